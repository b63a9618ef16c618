//! Unsealing by a Vault that is there, away, or says something else.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::outgoing::Request;
use crate::store::remote::fake::{Fake, Reply, within};
use crate::store::vault::{Access, Credentials, Jwt, Transit};

const LOGIN: &str = "PUT /v1/auth/approle/login";
const DECRYPT: &str = "POST /v1/transit/decrypt/k";
const AWAY: &str = "this node is not unsealed yet: https://kms:8200 is away: ";

fn node() -> NodeIdentity {
    NodeIdentity::generate(&mut |bytes| bytes.fill(1))
}

fn unwrapping() -> Unwrapping {
    Unwrapping {
        access: Access {
            destination: 1,
            ..Access::by_role("https://kms:8200", "i", "s")
        },
        transit: Transit {
            engine: "transit".into(),
            key: "k".into(),
        },
        wrapped: Wrapped::Text("vault:v1:abc".into()),
    }
}

fn by(unwrapping: Unwrapping) -> Unsealed {
    Unsealed::new(Unseal::Vault(Box::new(unwrapping)))
}

fn logged_in() -> Reply {
    Reply::json(200, r#"{"auth":{"client_token":"t","lease_duration":0}}"#)
}

fn decrypted(plaintext: &[u8]) -> Reply {
    let text = STANDARD.encode(plaintext);
    Reply::json(200, &format!(r#"{{"data":{{"plaintext":"{text}"}}}}"#))
}

/// Has a Vault answer that unwraps the identity.
fn answer(fake: &Fake) {
    fake.serve(|request: &Request| {
        assert_eq!(request.destination, 1);
        if request.path.ends_with("/login") {
            return logged_in();
        }
        let body = std::str::from_utf8(&request.body).unwrap();
        assert_eq!(body, r#"{"ciphertext":"vault:v1:abc"}"#);
        decrypted(format!("\n{} \n", node().text()).as_bytes())
    });
}

fn get(unsealed: &Unsealed, fake: &Fake) -> Result<(), SealingError> {
    let identity = fake.run(unsealed.identity(fake))?;
    assert_eq!(identity.text(), node().text());
    Ok(())
}

fn away(cause: &str) -> Result<(), SealingError> {
    let why = format!("https://kms:8200 is away: {cause}");
    Err(SealingError::Away(why))
}

fn no_identity(why: &str) -> Result<(), SealingError> {
    Err(SealingError::NoIdentity(why.into()))
}

#[test]
fn the_first_need_unseals_once_for_all_calls_and_for_good() {
    let (unsealed, fake) = (by(unwrapping()), Fake::default());
    answer(&fake);
    let found = fake.run_all((0..20).map(|_| unsealed.identity(&fake)));
    assert!(found.iter().all(Result::is_ok));
    assert_eq!(fake.requests(), [LOGIN, DECRYPT]);

    fake.serve(|_| Reply::refused());
    fake.pass(Duration::from_secs(100 * 365 * 86_400));
    assert_eq!(get(&unsealed, &fake), Ok(()));
    assert_eq!(fake.requests(), [""; 0]);
    assert_eq!(fake.lines(), [""; 0]);
}

#[test]
fn a_server_that_is_away_and_comes_back_is_two_lines() {
    let (unsealed, fake) = (by(unwrapping()), Fake::default());
    let begun = fake.elapsed();
    let found = fake.run_all((0..20).map(|_| unsealed.identity(&fake)));
    for found in found {
        assert_eq!(found.map(drop), away("connection refused"));
    }
    assert_eq!(fake.requests(), [LOGIN; 3]);
    assert!(fake.elapsed() - begun < Duration::from_secs(3));
    assert_eq!(
        fake.lines(),
        [format!("{AWAY}connection refused; retrying")]
    );

    // Nobody waits, and nothing is asked for, until it is time.
    answer(&fake);
    let begun = fake.elapsed();
    for _ in 0..20 {
        assert_eq!(get(&unsealed, &fake), away("connection refused"));
    }
    assert_eq!(fake.elapsed(), begun);
    assert_eq!(fake.requests(), [""; 0]);
    assert_eq!(fake.lines(), [""; 0]);

    fake.pass(Duration::from_millis(700));
    assert_eq!(get(&unsealed, &fake), Ok(()));
    assert_eq!(fake.lines(), ["this node is unsealed"]);
}

#[test]
fn rests_grow_from_half_a_second_to_fifteen() {
    let (unsealed, fake) = (by(unwrapping()), Fake::default());
    let mut rests = Vec::new();
    let mut ended = None;
    while rests.len() < 9 {
        let begun = fake.elapsed();
        assert_eq!(get(&unsealed, &fake), away("connection refused"));
        if fake.requests().is_empty() {
            fake.pass(Duration::from_millis(1));
            continue;
        }
        rests.extend(ended.replace(fake.elapsed()).map(|ended| begun - ended));
    }
    let bounds = [
        500, 1_000, 2_000, 4_000, 8_000, 12_000, 12_000, 12_000, 12_000,
    ];
    for (rest, least) in rests.into_iter().zip(bounds.map(Duration::from_millis)) {
        assert!(
            rest >= least && rest <= least * 5 / 4,
            "{least:?}: {rest:?}"
        );
    }
    assert_eq!(fake.lines().len(), 1);
}

#[test]
fn rests_end_by_chance() {
    struct Chance(u8);

    impl World for Chance {
        fn now(&self) -> Time {
            Time::from_nanos(1_000)
        }

        fn random(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }

        async fn sleep(&self, _: Duration) {}

        async fn fetch(
            &self,
            _: Request,
        ) -> Result<crate::outgoing::Response, crate::outgoing::Fault> {
            Err(crate::outgoing::Fault::TimedOut)
        }

        async fn file(&self, _: &str) -> Result<Zeroizing<Vec<u8>>, String> {
            Err(String::new())
        }

        fn log_error(&self, _: &str) {}
    }

    let failure = |chance, before| {
        let why = SealingError::Away(String::new());
        Failure::new(&Chance(chance), why, before)
    };
    let (soon, late) = (failure(0, None), failure(255, None));
    assert_eq!(soon.pause, Duration::from_millis(500));
    assert_eq!(late.pause, Duration::from_millis(625));
    // A rest does not grow by what was chance.
    assert_eq!(failure(0, Some(&late)).pause, Duration::from_secs(1));

    let now = Chance(0).now();
    assert!(soon.is_recent(now));
    assert!(!soon.is_recent(now.after(soon.pause)));
    // The clock was set back.
    assert!(!soon.is_recent(Time::from_nanos(999)));
}

#[test]
fn a_server_that_says_nothing_costs_one_call_five_seconds() {
    let (unsealed, fake) = (by(unwrapping()), Fake::default());
    fake.serve(|_| Reply::silence());
    assert_eq!(get(&unsealed, &fake), away("no answer in time"));
    let took = fake.elapsed();
    assert!(took <= Duration::from_secs(5), "{took:?}");

    fake.pass(Duration::from_secs(1));
    let begun = fake.elapsed();
    let took = fake.run_all((0..20).map(|_| async {
        let found = unsealed.identity(&fake).await.map(drop);
        assert_eq!(found, away("no answer in time"));
        fake.elapsed() - begun
    }));
    // Those who come while another one tries know how it was the last time.
    let waited = took.iter().filter(|took| !took.is_zero());
    assert_eq!(waited.count(), 1, "{took:?}");
}

#[test]
fn a_call_that_is_dropped_while_it_tries_leaves_that_to_the_next() {
    let fake = Fake::default();
    answer(&fake);
    for micros in (100..3_000).step_by(100) {
        let unsealed = by(unwrapping());
        let limits = [Duration::from_micros(micros), Duration::from_secs(60)];
        let found = fake.run_all(limits.map(|limit| {
            let (fake, get) = (&fake, unsealed.identity(&fake));
            async move { within(fake, limit, get).await }
        }));
        assert_eq!(found[0].is_some(), micros > 2_000, "{micros}");
        assert!(matches!(found[1], Some(Ok(_))), "{micros}");
    }
    assert_eq!(fake.lines(), [""; 0]);
}

#[test]
fn what_is_no_outage_is_a_mistake_and_says_which() {
    let place = "can't be unwrapped: POST https://kms:8200/v1/transit/decrypt/k";
    let recipient = node().recipient().to_string();
    let cases: [(Reply, String); 8] = [
        (
            Reply::json(400, r#"{"errors":["invalid ciphertext"]}"#),
            format!("{place}: status 400: invalid ciphertext"),
        ),
        (
            Reply::json(404, r#"{"errors":["no handler for route"]}"#),
            format!("{place}: status 404: no handler for route"),
        ),
        (
            Reply::json(403, r#"{"errors":["permission denied"]}"#),
            format!(
                "{place}: status 403: permission denied; check the engine's path and the login's policy (see the README)"
            ),
        ),
        (
            Reply::json(200, r#"{"data":{"plaintext":"?"}}"#),
            format!("{place}: status 200: `data.plaintext` is not base64"),
        ),
        (
            Reply::json(200, r#"{"data":{"plaintext":"#),
            format!("{place}: status 200: the answer is no valid JSON; was it cut off?"),
        ),
        (
            decrypted(b"\xff"),
            "is not what transit unwraps: it is no text".into(),
        ),
        (
            decrypted(b"something"),
            format!(
                "is not what transit unwraps: {}",
                "x".parse::<NodeIdentity>().err().unwrap()
            ),
        ),
        (
            decrypted(recipient.as_bytes()),
            format!(
                "is not what transit unwraps: {}",
                recipient.parse::<NodeIdentity>().err().unwrap()
            ),
        ),
    ];
    for (reply, expected) in cases {
        let (unsealed, fake) = (by(unwrapping()), Fake::default());
        let Reply(takes, Ok(response)) = reply else {
            panic!("no answer")
        };
        let body = String::from_utf8(response.body.to_vec()).unwrap();
        fake.serve(move |request| match request.path.ends_with("/login") {
            true => logged_in(),
            false => Reply::json(response.status, &body).after(takes),
        });
        assert_eq!(get(&unsealed, &fake), no_identity(&expected));
        // Who asked is told; the log of requests has it.
        assert_eq!(fake.lines(), [""; 0]);
        let asked = fake.requests().len();
        let again = if expected.contains("403") { 4 } else { 2 };
        assert_eq!(asked, again, "{expected}");
        // It rests as after an outage.
        answer(&fake);
        assert_eq!(get(&unsealed, &fake), no_identity(&expected));
        fake.pass(Duration::from_secs(1));
        assert_eq!(get(&unsealed, &fake), Ok(()));
    }
}

#[test]
fn a_refused_login_is_no_outage_and_may_follow_one() {
    let (unsealed, fake) = (by(unwrapping()), Fake::default());
    assert_eq!(get(&unsealed, &fake), away("connection refused"));
    fake.serve(|_| Reply::json(400, r#"{"errors":["invalid role or secret ID"]}"#));
    fake.pass(Duration::from_secs(1));
    let refused = no_identity(
        "can't be unwrapped: PUT https://kms:8200/v1/auth/approle/login: status 400: invalid role or \
         secret ID; check what the service logs in with, and the method's path (`engine`)",
    );
    assert_eq!(get(&unsealed, &fake), refused);
    fake.serve(|_| Reply::json(503, r#"{"errors":["Vault is sealed"]}"#));
    fake.pass(Duration::from_secs(2));
    assert_eq!(get(&unsealed, &fake), away("status 503: Vault is sealed"));
    assert_eq!(
        fake.lines(),
        [
            format!("{AWAY}connection refused; retrying"),
            format!("{AWAY}status 503: Vault is sealed; retrying"),
        ]
    );
}

#[test]
fn files_are_read_at_each_try() {
    let mut unwrapping = unwrapping();
    unwrapping.wrapped = Wrapped::File("/etc/wrapped".into());
    unwrapping.access.login.credentials = Credentials::Kubernetes {
        role: "r".into(),
        jwt: Jwt::File("/run/token".into()),
    };
    let (unsealed, fake) = (by(unwrapping), Fake::default());
    answer(&fake);
    let next = |expected: &str| {
        assert_eq!(get(&unsealed, &fake), no_identity(expected));
        assert_eq!(fake.requests(), [""; 0]);
        fake.pass(Duration::from_secs(15));
    };
    next("can't be read from `/etc/wrapped`: no such file");
    fake.put_file("/etc/wrapped", node().text());
    next("can't be read from `/etc/wrapped`: it is no ciphertext of transit");
    fake.put_file("/etc/wrapped", "vault:v1:abc\n");
    next(
        "can't be unwrapped: the service account's token in `/run/token` (`vault.kubernetes.jwt`) can't \
         be read: no such file",
    );
    fake.put_file("/run/token", "jwt\n");
    assert_eq!(get(&unsealed, &fake), Ok(()));
}

#[test]
fn an_identity_in_a_file_needs_no_server() {
    let unsealed = Unsealed::new(Unseal::File("/etc/node".into()));
    let fake = Fake::default();
    let missing = no_identity("can't be read from `/etc/node`: no such file");
    assert_eq!(get(&unsealed, &fake), missing);
    fake.put_file("/etc/node", &format!("{}\n", node().text()));
    assert_eq!(get(&unsealed, &fake), missing);
    fake.pass(Duration::from_secs(1));
    assert_eq!(get(&unsealed, &fake), Ok(()));
    fake.put_file("/etc/node", "");
    assert_eq!(get(&unsealed, &fake), Ok(()));
    assert_eq!(fake.requests(), [""; 0]);
}
