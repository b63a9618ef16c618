//! The service where clients can't show certificates.

use super::*;
use crate::api_key::ApiKey;
use crate::auth::Presented;
use crate::development;
use crate::seal::NodeIdentity;

const HERE: &str = "127.0.0.1";
const THERE: &str = "192.0.2.1";

/// The answer on such a platform, where bearer keys are on.
fn ask(line: &str, ip: &str, presented: Option<Presented>) -> Response {
    asked(line, ip, presented, "")
}

/// The same with more in the configuration.
fn asked(line: &str, ip: &str, presented: Option<Presented>, more: &str) -> Response {
    let policy = match more.contains("policy:") {
        true => String::new(),
        false => format!(
            "policy: {{p: {{allow: ['*'], identities: [{}]}}}}\n",
            key().identity()
        ),
    };
    let mut config = configured(&format!(
        "auth: {{bearer: on}}\nkeystore: {{mem: {{}}}}\n\
         {policy}{more}"
    ));
    config.is_for_development = development::is_in(&config);
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

#[test]
fn where_nothing_is_counted_there_are_no_metrics() {
    let answer = ask("GET /v1/metrics", THERE, Some(bearer(false)));
    assert_eq!(answer.status, 501);
    let body = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(body.contains("nothing outlives a request"), "{body}");
    assert_eq!(ask("GET /v1/metrics", THERE, None).status, 401);
}

#[test]
fn with_a_key_that_everybody_knows_only_this_machine_is_served() {
    let api_key: ApiKey = "kes:v1:AADevelopmentKeyThatEverybodyKnowsNeverUseIt"
        .parse()
        .unwrap();
    let admin = api_key.identity();
    let node = "SEALEDGE-IDENTITY-1QYR7QF7QG7SX0QY8VZN5P3EQUUQQ0CP8CPR6QEUQSAS2WSX8YRNSQV3RZZZ";
    let recipient = node.parse::<NodeIdentity>().unwrap();
    let recipient = recipient.recipient();
    let own = NodeIdentity::generate(&mut |bytes| bytes.fill(3));
    let line = "GET /v1/identity/self/describe";
    for more in [
        format!("admin: {{identity: {admin}}}\n"),
        format!("seal: {{recipients: [{recipient}], unseal: {{identity: {node}}}}}\n"),
        format!(
            "seal: {{recipients: [{recipient}], unseal: {{identity: {}}}}}\n",
            node.to_lowercase()
        ),
        // Its keys would be sealed for everybody.
        format!(
            "seal: {{recipients: [{}, {recipient}], unseal: {{identity: {}}}}}\n",
            own.recipient(),
            own.text()
        ),
        format!(
            "policy: {{p: {{allow: ['*'], identities: [{}, {admin}]}}}}\n",
            key().identity()
        ),
    ] {
        for (ip, expected) in [
            (HERE, 200),
            ("::1", 200),
            ("::ffff:127.0.0.1", 200),
            (THERE, 403),
            ("127.0.0.1.example.com", 403),
            ("", 403),
        ] {
            for presented in [Some(bearer(false)), None] {
                let expected = match (expected, &presented) {
                    (200, None) => 401,
                    (expected, _) => expected,
                };
                let answer = asked(line, ip, presented, &more);
                assert_eq!(answer.status, expected, "{ip} {more}");
            }
            assert_eq!(asked("GET /version", ip, None, &more).status, 200);
        }
        for header in ["forwarded", "x-forwarded-for", "x-real-ip"] {
            let mut presented = bearer(false);
            presented
                .headers
                .push((header.into(), b"192.0.2.7".to_vec()));
            assert_eq!(asked(line, HERE, Some(presented), &more).status, 403);
        }
    }
}
