//! A fake of Vault: AppRole, and a secrets engine KV of version 2 with its prefix empty.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use serde_json::{Value, json};

use super::*;
use crate::store::remote::fake::{Fake, Reply};

/// A test's hand on the server.
#[derive(Clone, Default)]
pub struct Server(pub Rc<RefCell<State>>);

#[derive(Default)]
pub struct State {
    /// Texts by name, with all their versions; a deleted one is `None`.
    pub secrets: BTreeMap<String, Vec<Option<String>>>,
    /// Tokens that are valid.
    pub tokens: Vec<String>,
    /// What a login and each renewal give, in seconds; the last one stays.
    pub leases: VecDeque<u64>,
    pub logins: u32,
    pub renewals: u32,
    /// Whether a valid token may do anything.
    pub forbids: bool,
    /// Whether logins and renewals are refused.
    pub refuses_logins: bool,
    /// What becomes of the next requests, whatever they are; the others are answered.
    pub next: VecDeque<Fate>,
}

/// What becomes of a request.
pub enum Fate {
    /// It is answered.
    Answered,
    /// This is its answer, and it is not done.
    Replaced(Reply),
    /// It is done, and its answer is lost.
    Lost,
}

/// A store in front of a server.
pub fn store(version: EngineVersion) -> (Rc<Vault<Fake>>, Fake, Server) {
    store_with(settings(version))
}

pub fn store_with(settings: Settings) -> (Rc<Vault<Fake>>, Fake, Server) {
    let (fake, server) = (Fake::default(), Server::default());
    let serving = server.clone();
    fake.serve(move |request| serving.serve(request));
    let store = Vault::new(settings, fake.clone());
    // Most tests are about what comes after this: see `mounts`.
    store.is_seen.set(true);
    (Rc::new(store), fake, server)
}

impl Server {
    /// Decides over the next requests.
    pub fn next(&self, fates: impl IntoIterator<Item = Fate>) {
        self.0.borrow_mut().next.extend(fates);
    }

    pub fn logins(&self) -> u32 {
        self.0.borrow().logins
    }

    /// What the versions under a name are.
    pub fn versions(&self, name: &str) -> Vec<Option<String>> {
        self.0.borrow().secrets[name].clone()
    }

    pub fn put(&self, name: &str, texts: &[&str]) {
        let texts = texts.iter().map(|text| Some((*text).into())).collect();
        self.0.borrow_mut().secrets.insert(name.into(), texts);
    }

    pub fn serve(&self, request: &Request) -> Reply {
        let mut state = self.0.borrow_mut();
        match state.next.pop_front() {
            None | Some(Fate::Answered) => state.answer(request),
            Some(Fate::Replaced(reply)) => reply,
            Some(Fate::Lost) => {
                state.answer(request);
                Reply::silence()
            }
        }
    }
}

fn answer(status: u16, body: &Value) -> Reply {
    Reply::json(status, &body.to_string())
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let path = request.path.strip_prefix("/v1/").unwrap();
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        if path == "sys/health" {
            return answer(200, &json!({"initialized": true, "sealed": false}));
        }
        if path.ends_with("/login") {
            return self.log_in();
        }
        let token = request.headers.iter().find(|(n, _)| *n == "x-vault-token");
        let (_, token) = token.unwrap();
        if !self.tokens.contains(token) || self.forbids {
            return answer(403, &json!({"errors": ["permission denied"]}));
        }
        if path == "auth/token/renew-self" {
            if self.refuses_logins {
                return answer(400, &json!({"errors": ["lease is not renewable"]}));
            }
            self.renewals += 1;
            let token = token.to_string();
            return self.grant(&token);
        }
        let parts: Vec<&str> = path.split('/').collect();
        match (&*request.method, parts.as_slice()) {
            ("GET", ["kv", "data", name]) => self.read(name),
            ("PUT", ["kv", "data", name]) => self.write(name, &body),
            ("PUT", ["kv", "destroy", name]) => {
                for version in body["versions"].as_array().unwrap() {
                    let version = usize::try_from(version.as_u64().unwrap()).unwrap();
                    let versions = self.secrets.get_mut(*name);
                    if let Some(text) = versions.and_then(|v| v.get_mut(version - 1)) {
                        *text = None;
                    }
                }
                Reply::json(204, "")
            }
            ("DELETE", ["kv", "metadata", name]) => {
                self.secrets.remove(*name);
                Reply::json(204, "")
            }
            ("GET", ["kv", "metadata"]) if self.secrets.is_empty() => {
                answer(404, &json!({"errors": []}))
            }
            ("GET", ["kv", "metadata"]) => {
                let names: Vec<&String> = self.secrets.keys().rev().collect();
                answer(200, &json!({"data": {"keys": names}}))
            }
            ("GET", ["kv", name]) => match self.secrets.get(*name).and_then(|v| v.last()) {
                Some(text) => answer(200, &json!({"data": {*name: text}})),
                None => answer(404, &json!({"errors": []})),
            },
            ("PUT", ["kv", name]) => {
                let text = body[*name].as_str().unwrap().to_owned();
                self.secrets.insert((*name).into(), vec![Some(text)]);
                Reply::json(204, "")
            }
            _ => panic!("{} {}", request.method, request.path),
        }
    }

    fn log_in(&mut self) -> Reply {
        self.logins += 1;
        if self.refuses_logins {
            return answer(400, &json!({"errors": ["invalid role or secret ID"]}));
        }
        let token = format!("token-{}", self.logins);
        self.tokens.push(token.clone());
        self.grant(&token)
    }

    fn grant(&mut self, token: &str) -> Reply {
        let lease = match self.leases.len() {
            0 => 0,
            1 => self.leases[0],
            _ => self.leases.pop_front().unwrap(),
        };
        let auth = json!({"client_token": token, "lease_duration": lease, "renewable": true});
        answer(200, &json!({"auth": auth}))
    }

    fn read(&self, name: &str) -> Reply {
        let Some(versions) = self.secrets.get(name) else {
            return answer(404, &json!({"errors": []}));
        };
        let text = versions.last().unwrap();
        let data = text.as_ref().map(|text| json!({name: text}));
        let created = format!("time of {}", versions[0].as_deref().unwrap_or_default());
        let metadata = json!({"created_time": created, "version": versions.len()});
        let status = if data.is_some() { 200 } else { 404 };
        answer(
            status,
            &json!({"data": {"data": data, "metadata": metadata}}),
        )
    }

    fn write(&mut self, name: &str, body: &Value) -> Reply {
        let versions = self.secrets.entry(name.into()).or_default();
        if body["options"]["cas"].as_u64() != Some(versions.len() as u64) {
            let why = "check-and-set parameter did not match the current version";
            return answer(400, &json!({"errors": [why]}));
        }
        versions.push(body["data"][name].as_str().map(Into::into));
        answer(200, &json!({"data": {"version": versions.len()}}))
    }
}
