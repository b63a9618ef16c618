//! Clients that ask for what the service is there for, and check every answer.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{PATIENCE, Target};
use crate::client::{Answer, Client};

/// Kept-alive users for each version of HTTP.
const KEPT_ALIVE: u64 = 4;

/// How many keys a user has at most.
const KEYS: usize = 8;

/// The longest plaintext, in bytes.
const LONGEST: usize = 4096;

/// Has all users begin.
pub fn begin(clients: &mut JoinSet<()>, target: &Arc<Target>, seed: u64) {
    let mut number = 0;
    for http2 in [false, true] {
        // One of them connects anew for each request.
        for at in 0..=KEPT_ALIVE {
            let user = User {
                name: format!("{}user-{number}", target.prefix),
                target: target.clone(),
                dice: Rng::with_seed(seed.wrapping_mul(1000).wrapping_add(number)),
                http2,
                requests_per_connection: if at == 0 { 1 } else { 2000 },
                connection: None,
                left: 0,
                keys: Vec::new(),
                created: 0,
            };
            clients.spawn(user.live());
            number += 1;
        }
    }
}

struct User {
    /// What the names of its keys begin with: nobody else uses them.
    name: String,
    target: Arc<Target>,
    dice: Rng,
    http2: bool,
    requests_per_connection: u32,
    connection: Option<Client>,
    /// How many requests the connection is still good for.
    left: u32,
    keys: Vec<Key>,
    created: u64,
}

struct Key {
    name: String,
    /// A plaintext and its ciphertext, both in base64.
    sealed: Option<(String, String)>,
}

impl User {
    async fn live(mut self) {
        while self.target.goes_on() {
            self.act().await;
        }
        while let Some(key) = self.keys.pop() {
            self.ask(
                "DELETE",
                &format!("/v1/key/delete/{}", key.name),
                Value::Null,
                200,
            )
            .await;
        }
    }

    /// Does something of all that one can do.
    async fn act(&mut self) {
        if self.keys.is_empty() {
            return self.create().await;
        }
        let at = self.dice.usize(..self.keys.len());
        match self.dice.u8(..100) {
            0..3 if self.keys.len() < KEYS => self.create().await,
            0..5 => self.delete(at).await,
            5..35 => self.generate(at).await,
            35..55 => self.encrypt(at).await,
            55..80 => self.decrypt(at).await,
            80..85 => self.describe(at).await,
            85..88 => self.list().await,
            88..91 => self.get("/v1/status").await,
            91..93 => self.get("/v1/metrics").await,
            93..96 => self.get("/version").await,
            _ => self.err(at).await,
        }
    }

    async fn create(&mut self) {
        // Never a name that was there before: what is kept of each name would show.
        self.created += 1;
        let name = format!("{}-{}", self.name, self.created);
        let path = format!("/v1/key/create/{name}");
        self.ask("PUT", &path, Value::Null, 200).await;
        self.keys.push(Key { name, sealed: None });
    }

    async fn delete(&mut self, at: usize) {
        let Key { name, .. } = self.keys.swap_remove(at);
        let path = format!("/v1/key/delete/{name}");
        self.ask("DELETE", &path, Value::Null, 200).await;
        let path = format!("/v1/key/generate/{name}");
        self.ask("PUT", &path, Value::Null, 404).await;
    }

    async fn generate(&mut self, at: usize) {
        let path = self.path("generate", at);
        if let Some(answer) = self.ask("PUT", &path, Value::Null, 200).await {
            let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
            self.keys[at].sealed = Some((text("plaintext"), text("ciphertext")));
        }
    }

    async fn encrypt(&mut self, at: usize) {
        let length = self.dice.usize(1..LONGEST);
        let bytes: Vec<u8> = std::iter::repeat_with(|| self.dice.u8(..))
            .take(length)
            .collect();
        let plaintext = STANDARD.encode(bytes);
        let body = json!({"plaintext": plaintext});
        let path = self.path("encrypt", at);
        if let Some(answer) = self.ask("PUT", &path, body, 200).await {
            let ciphertext = answer["ciphertext"].as_str().unwrap_or_default();
            self.keys[at].sealed = Some((plaintext, ciphertext.to_owned()));
        }
    }

    async fn decrypt(&mut self, at: usize) {
        let Some((plaintext, ciphertext)) = self.keys[at].sealed.clone() else {
            return self.generate(at).await;
        };
        let path = self.path("decrypt", at);
        let body = json!({"ciphertext": ciphertext});
        if let Some(answer) = self.ask("PUT", &path, body, 200).await
            && answer["plaintext"] != plaintext.as_str()
        {
            self.target
                .tally
                .client_fault("a plaintext is not what was encrypted");
        }
    }

    async fn describe(&mut self, at: usize) {
        let path = self.path("describe", at);
        if let Some(answer) = self.ask("GET", &path, Value::Null, 200).await
            && answer["name"] != self.keys[at].name.as_str()
        {
            self.target.tally.client_fault("another key is described");
        }
    }

    async fn list(&mut self) {
        let path = format!("/v1/key/list/{}-*", self.name);
        if let Some(answer) = self.ask("GET", &path, Value::Null, 200).await {
            let mut expected: Vec<&str> = self.keys.iter().map(|key| key.name.as_str()).collect();
            expected.sort_unstable();
            if answer["names"] != json!(expected) {
                self.target.tally.client_fault("a listing is not complete");
            }
        }
    }

    async fn get(&mut self, path: &str) {
        self.ask("GET", path, Value::Null, 200).await;
    }

    /// Makes a mistake.
    async fn err(&mut self, at: usize) {
        let create = self.path("create", at);
        let decrypt = self.path("decrypt", at);
        let nonsense = json!({"ciphertext": "bm90aGluZw=="});
        match self.dice.u8(..4) {
            0 => self.ask("PUT", &create, Value::Null, 400).await,
            1 => self.ask("PUT", &decrypt, nonsense, 400).await,
            2 => self.ask("GET", &create, Value::Null, 405).await,
            _ => self.ask("GET", "/v1/nowhere", Value::Null, 404).await,
        };
    }

    fn path(&self, what: &str, at: usize) -> String {
        format!("/v1/key/{what}/{}", self.keys[at].name)
    }

    /// Sends a request that must be answered with this status; the body of the answer if it was, `null`
    /// if that is no JSON.
    async fn ask(&mut self, method: &str, path: &str, body: Value, status: u16) -> Option<Value> {
        let tally = self.target.tally.clone();
        tally.sent();
        let answer = match timeout(PATIENCE, self.exchange(method, path, &body)).await {
            Ok(Ok(answer)) => answer,
            failed => {
                self.connection = None;
                let why = match failed {
                    Ok(Err(error)) => chain(&*error),
                    _ => "it takes too long".to_owned(),
                };
                tally.client_fault(&format!("{method} {path} has no answer: {why}"));
                return None;
            }
        };
        tally.answered(answer.status);
        if answer.status != status {
            let text = String::from_utf8_lossy(&answer.body);
            let got = answer.status;
            tally.client_fault(&format!("{method} {path}: {got} and not {status}: {text}"));
            return None;
        }
        Some(serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Answer, crate::client::Error> {
        if self.left == 0 {
            self.connection = None;
        }
        if self.connection.is_none() {
            let config = match self.http2 {
                false => &self.target.http1,
                true => &self.target.http2,
            };
            let connected = Client::connect_with(&self.target.address, config.clone()).await?;
            self.connection = Some(connected);
            self.left = self.requests_per_connection;
        }
        self.left -= 1;
        let body = match body.is_null() {
            true => String::new(),
            false => body.to_string(),
        };
        let client = self.connection.as_mut().unwrap();
        client.send(method, path, &[], body).await
    }
}

/// An error with its causes.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}
