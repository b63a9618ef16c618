//! A service that is ready to serve `generate` of cached keys, without the server around it.

use sealedge::guest::types::{Body, Finished, Operation, Outcome, Request, StoreOperation};
use sealedge::guest::{Instance, wall_clock};
use sealedge::pool::Factory;
use sealedge_benches::Scene;
use sealedge_core::auth::Packed;
use sealedge_core::auth::signature::Signer;
use sealedge_core::key::Key;
use sealedge_tests::client::{Credentials, recorded, signed};

/// An instance whose cache is full, and the requests that it is to serve.
pub struct Prepared {
    instance: Box<dyn Instance>,
    requests: Vec<Request>,
    /// How many calls were made.
    made: usize,
}

impl Prepared {
    /// An instance in which everything is as the scene says, and clients with certificates.
    pub fn new(make: &Factory, scene: &Scene) -> Self {
        let mut instance = configured(make, scene);
        let chain = Credentials::of(&recorded("app")).chain;
        let chain: Vec<Vec<u8>> = chain.iter().map(|it| it.to_vec()).collect();
        let client = instance.authenticate(&chain, "127.0.0.1", true).unwrap();
        let requests: Vec<Request> = (0..scene.keys).map(|key| request(key, &client)).collect();
        for request in &requests {
            fill_cache(&mut *instance, request);
        }
        Self::of(instance, requests)
    }

    /// An instance with one key, and so many requests for it that are signed, each to be served once.
    pub fn signed(make: &Factory, calls: usize) -> Self {
        let mut instance = configured(make, &Scene::SMALL);
        let client = instance.authenticate(&[], "127.0.0.1", true).unwrap();
        let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let signer = Signer::new(recorded("app"));
        let request = || {
            let request = request(0, &client);
            let (method, path) = request.line.split_once(' ').unwrap();
            let headers = signed(&signer, method, path, b"");
            let mut presented = Packed::default();
            for (name, value) in headers {
                presented.header(name, value.as_bytes());
            }
            presented.authority("localhost");
            presented.shown(server.cert.der());
            Request {
                presented: Some(presented.into_bytes()),
                ..request
            }
        };
        fill_cache(&mut *instance, &request());
        Self::of(instance, (0..calls).map(|_| request()).collect())
    }

    fn of(mut instance: Box<dyn Instance>, requests: Vec<Request>) -> Self {
        instance.cancelled();
        Self {
            instance,
            requests,
            made: 0,
        }
    }

    /// Makes so many calls. The keys are asked for in no order that helps.
    pub fn calls(&mut self, count: usize) {
        const STRIDE: usize = 7919;
        for call in self.made..self.made + count {
            let request = &self.requests[call * STRIDE % self.requests.len()];
            assert!(matches!(
                self.instance.start(call as u64, request).unwrap(),
                Some(Finished::Response(response)) if response.status == 200
            ));
            assert!(self.instance.begun().is_empty());
            assert!(self.instance.cancelled().is_empty());
        }
        self.made += count;
    }
}

fn configured(make: &Factory, scene: &Scene) -> Box<dyn Instance> {
    let mut instance = make().unwrap();
    let client = recorded("app").identity().to_string();
    let configured = instance.configure(&document(scene, &client));
    configured.unwrap().unwrap();
    instance
}

fn request(key: usize, client: &[u8]) -> Request {
    Request {
        line: format!("POST /v1/key/generate/bench-{key}"),
        arrived: wall_clock(),
        client: client.to_vec(),
        presented: None,
        audited: false,
        body: Body::None,
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
