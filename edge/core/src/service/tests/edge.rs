//! The service where clients can't show certificates.

use super::*;
use crate::api_key::ApiKey;
use crate::auth::Presented;

const HERE: &str = "127.0.0.1";
const THERE: &str = "192.0.2.1";

/// The answer on such a platform, where bearer keys are on.
fn ask(line: &str, ip: &str, presented: Option<Presented>) -> Response {
    let config = configured(&format!(
        "auth: {{bearer: on}}\nkeystore: {{mem: {{}}}}\npolicy: {{p: {{allow: ['*'], identities: [{}]}}}}\n",
        key().identity()
    ));
    let fake = Fake::default();
    let machine = Machine::<_, true> {
        fake: fake.clone(),
        store: Away,
        trusts: Cell::default(),
        copies: None,
    };
    let request = Request {
        line: line.into(),
        arrived: fake.now(),
        client: Client::new([], ip, false),
        presented: presented.map(Box::new),
        audited: false,
        body: Incoming::Whole(Vec::new()),
    };
    match fake.run(Rc::new(Service::new(config, machine)).serve(request)) {
        Answer::Response(response) => response,
        Answer::Subscription(_) => panic!("{line}"),
    }
}

fn key() -> ApiKey {
    ApiKey::from_seed(&[7; 32])
}

fn bearer(is_plain: bool) -> Presented {
    let value = format!("Bearer {}", *key().to_text());
    Presented {
        is_plain,
        headers: vec![("authorization".into(), value.into_bytes())],
        ..Presented::default()
    }
}

#[test]
fn without_a_credential_the_answer_asks_for_one() {
    let answer = ask("GET /v1/identity/self/describe", THERE, None);
    assert_eq!(answer.status, 401);
    let challenge = "Signature realm=\"sealedge\", Bearer realm=\"sealedge\"";
    assert_eq!(answer.challenge, Some(challenge));
    assert!(answer.asks_for_signature);
    let answer = ask("GET /version", THERE, None);
    assert_eq!((answer.status, answer.challenge), (200, None));
}

#[test]
fn a_bearer_key_that_others_may_have_read_is_refused() {
    let status = |ip, is_plain| {
        let line = "GET /v1/identity/self/describe";
        ask(line, ip, Some(bearer(is_plain))).status
    };
    assert_eq!(status(THERE, false), 200);
    assert_eq!(status(THERE, true), 400);
    assert_eq!(status(HERE, true), 200);
    assert_eq!(status("::1", true), 200);
    assert_eq!(status("", true), 400);
}

#[test]
fn logs_are_no_streams_for_those_who_may_read_them() {
    for line in ["GET /v1/log/error", "GET /v1/log/audit"] {
        assert_eq!(ask(line, THERE, Some(bearer(false))).status, 501);
        assert_eq!(ask(line, THERE, None).status, 401);
    }
}
