//! A service that is ready to serve `generate` of cached keys, without the server around it.

use sealedge::guest::types::{Body, Finished, Operation, Outcome, Request, StoreOperation};
use sealedge::guest::{Instance, wall_clock};
use sealedge::pool::Factory;
use sealedge_benches::Scene;
use sealedge_core::key::Key;
use sealedge_tests::client::{Credentials, recorded};

/// An instance whose cache is full, and the requests that it is to serve.
pub struct Prepared {
    instance: Box<dyn Instance>,
    requests: Vec<Request>,
}

impl Prepared {
    /// An instance in which everything is as the scene says.
    pub fn new(make: &Factory, scene: &Scene) -> Self {
        let mut instance = make().unwrap();
        let client = recorded("app");
        let configured = instance.configure(&document(scene, &client.identity().to_string()));
        configured.unwrap().unwrap();
        let chain = Credentials::of(&client).chain;
        let chain: Vec<Vec<u8>> = chain.iter().map(|it| it.to_vec()).collect();
        let client = instance.authenticate(&chain, "127.0.0.1", true).unwrap();
        let request = |key| Request {
            line: format!("POST /v1/key/generate/bench-{key}"),
            arrived: wall_clock(),
            client: client.clone(),
            presented: None,
            audited: false,
            body: Body::None,
        };
        let requests: Vec<Request> = (0..scene.keys).map(request).collect();
        for request in &requests {
            fill_cache(&mut *instance, request);
        }
        instance.cancelled();
        Self { instance, requests }
    }

    /// Makes so many calls. The keys are asked for in no order that helps.
    pub fn calls(&mut self, count: usize) {
        const STRIDE: usize = 7919;
        for call in 0..count {
            let request = &self.requests[call * STRIDE % self.requests.len()];
            assert!(matches!(
                self.instance.start(call as u64, request).unwrap(),
                Some(Finished::Response(response)) if response.status == 200
            ));
            assert!(self.instance.begun().is_empty());
            assert!(self.instance.cancelled().is_empty());
        }
    }
}

fn document(scene: &Scene, client: &str) -> String {
    let start = "version: v1
address: 127.0.0.1:0
tls: {key: a, cert: b}
admin: {identity: disabled}
keystore: {mem: {}}
";
    start.to_owned() + &scene.policy_section(client)
}

/// Lets the instance read the key that a request wants.
fn fill_cache(instance: &mut dyn Instance, request: &Request) {
    assert!(instance.start(0, request).unwrap().is_none());
    let begun = instance.begun();
    let io = begun
        .iter()
        .find(|(_, what)| matches!(what, Operation::Store(StoreOperation::Get(_))))
        .unwrap()
        .0;
    let mut random = |buffer: &mut [u8]| buffer.fill(7);
    let key = Key::create(&mut random, jiff::Timestamp::now(), None);
    let value = Outcome::Value(key.to_stored().as_bytes().to_vec());
    instance.resume(io, &value).unwrap().unwrap();
}
