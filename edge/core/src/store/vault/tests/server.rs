//! A fake of Vault: AppRole, and a secrets engine KV with its prefix empty.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::{Value, json};

use super::engine::Engine;
use super::*;
use crate::store::remote::fake::{Fake, Reply};

/// A test's hand on the server.
#[derive(Clone, Default)]
pub struct Server(pub Rc<RefCell<State>>);

#[derive(Default)]
pub struct State {
    /// The secrets engine.
    pub engine: Engine,
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
        self.0.borrow().engine.texts(name)
    }

    pub fn put(&self, name: &str, texts: &[&str]) {
        let texts: Vec<_> = texts.iter().copied().map(Some).collect();
        self.0.borrow_mut().engine.put(name, &texts);
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

pub fn answer(status: u16, body: &Value) -> Reply {
    Reply::json(status, &body.to_string())
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let path = request.path.strip_prefix("/v1/").unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
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
        if path == "sys/internal/ui/mounts/kv" {
            let options = json!({"version": "2"});
            return answer(200, &json!({"data": {"type": "kv", "options": options}}));
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
        let Some(("kv", rest)) = parts.split_first().map(|(first, rest)| (*first, rest)) else {
            panic!("{} {}", request.method, request.path);
        };
        self.engine.answer(&request.method, rest, query, &body)
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
}
