//! The driver against a server that is away, in every way in which one can be.

use proptest::prelude::*;

use super::server::{Fate, Server, store};
use super::*;
use crate::store::remote::fake::{Fake, Reply, within};

const V2: EngineVersion = EngineVersion::V2;
const AWAY: &str = "the key store https://vault:8200 is away: ";
const BACK: &str = "the key store https://vault:8200 is back";

/// A store that is logged in, with a key `a`.
fn logged_in() -> (Rc<Vault<Fake>>, Fake, Server) {
    let (store, fake, server) = store(V2);
    server.put("a", &["text"]);
    fake.run(store.get(&name("a"))).unwrap();
    fake.requests();
    (store, fake, server)
}

fn get(store: &Vault<Fake>, fake: &Fake) -> Result<(), StoreError> {
    fake.run(store.get(&name("a"))).map(drop)
}

fn html(status: u16) -> Reply {
    Reply::json(status, "<html>").with("content-type", "text/html")
}

/// A reply, and what it is.
type Case = (fn() -> Reply, &'static str);

#[test]
fn an_outage_is_what_it_is_and_nothing_else() {
    let cases: [Case; 12] = [
        (Reply::refused, "away: connection refused"),
        (Reply::silence, "away: no answer in time"),
        (
            || Reply::json(503, r#"{"errors":["Vault is sealed"]}"#),
            "away: status 503: Vault is sealed",
        ),
        (
            || Reply::json(500, ""),
            "away: status 500: the answer is empty",
        ),
        (
            || Reply::json(429, r#"{"errors":["request path rate limited"]}"#),
            "away: status 429: request path rate limited",
        ),
        (
            || Reply::json(307, "").with("location", "https://other:8200/v1/kv/data/a"),
            "away: it redirects to https://other:8200/v1/kv/data/a, as a server does that is on \
             standby; the endpoint has to be the active one, or a load balancer that finds it",
        ),
        (
            || Reply::json(403, r#"{"errors":["permission denied"]}"#),
            "failed: status 403: permission denied; check the engine's path and the login's policy (see the README)",
        ),
        (
            || Reply::json(401, r#"{"errors":[]}"#),
            "failed: status 401: the answer says no reason",
        ),
        (
            || Reply::json(404, r#"{"errors":["namespace not found"]}"#),
            "failed: status 404: namespace not found",
        ),
        (|| Reply::json(404, r#"{"errors":[]}"#), "not found"),
        (
            || Reply::json(200, r#"{"data":{"data":{"a":"te"#),
            "failed: status 200: the answer is no valid JSON; was it cut off?",
        ),
        (
            || Reply::json(200, &" ".repeat((1 << 20) + 1)),
            "failed: the answer is too long",
        ),
    ];
    for (reply, expected) in cases {
        let (store, fake, _) = logged_in();
        fake.serve(move |request| match &*request.method {
            "GET" => reply(),
            _ => Reply::json(200, r#"{"auth":{"client_token":"t","lease_duration":0}}"#),
        });
        let begun = fake.elapsed();
        let found = match get(&store, &fake) {
            Err(StoreError::Unreachable(why)) => {
                let cause = why.strip_prefix("https://vault:8200: ").unwrap().to_owned();
                assert_eq!(fake.lines(), [format!("{AWAY}{cause}")]);
                format!("away: {cause}")
            }
            Err(StoreError::Failed(why)) => {
                let place = "GET https://vault:8200/v1/kv/data/a: ";
                format!("failed: {}", why.strip_prefix(place).unwrap())
            }
            Err(StoreError::NotFound) => "not found".into(),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected);
        let took = fake.elapsed() - begun;
        assert!(took <= Duration::from_secs(12), "{expected}: {took:?}");
    }
}

#[test]
fn an_answer_of_something_before_the_server_is_no_key_that_does_not_exist() {
    let (store, fake, _) = logged_in();
    fake.serve(|_| html(404));
    let read = get(&store, &fake);
    assert!(matches!(read, Err(StoreError::Failed(_))), "{read:?}");
}

#[test]
fn what_may_be_repeated_is_tried_three_times() {
    let (store, fake, server) = logged_in();
    let busy = || Fate::Replaced(Reply::json(503, ""));
    server.next([busy(), busy()]);
    let begun = fake.elapsed();
    get(&store, &fake).unwrap();
    assert_eq!(fake.requests(), ["GET /v1/kv/data/a"; 3]);
    let took = fake.elapsed() - begun;
    assert!((400..2_010).contains(&took.as_millis()), "{took:?}");
    server.next([busy(), busy(), busy()]);
    assert!(get(&store, &fake).is_err());
    assert_eq!(fake.requests(), ["GET /v1/kv/data/a"; 3]);
}

#[test]
fn a_replica_that_does_not_yet_know_the_token_is_asked_again() {
    let (store, fake, server) = store(EngineVersion::V1);
    let behind = || Fate::Replaced(Reply::json(412, r#"{"errors":["required index state"]}"#));
    server.next([Fate::Answered, behind(), Fate::Answered, behind(), behind()]);
    assert_eq!(fake.run(store.create(&name("a"), b"text")), Ok(()));
    assert_eq!(server.versions("a"), [Some("text".into())]);
}

#[test]
fn a_server_that_wants_to_be_left_alone_is_unless_that_takes_too_long() {
    let (store, fake, server) = logged_in();
    let busy = |seconds| Fate::Replaced(Reply::json(429, "").with("retry-after", seconds));
    server.next([busy("3")]);
    let begun = fake.elapsed();
    get(&store, &fake).unwrap();
    assert!((3_000..3_100).contains(&(fake.elapsed() - begun).as_millis()));
    for seconds in ["12", "99999999999999999999999"] {
        server.next([busy(seconds)]);
        let begun = fake.elapsed();
        let read = get(&store, &fake);
        let took = (fake.elapsed() - begun).as_millis();
        // The second one is no number of seconds.
        assert_eq!(
            (read.is_err(), took < 100),
            (seconds == "12", seconds == "12")
        );
        get(&store, &fake).unwrap();
    }
}

#[test]
fn one_outage_is_two_lines_however_many_requests_meet_it() {
    let (store, fake, server) = logged_in();
    fake.serve(|_| Reply::refused());
    let a = name("a");
    fake.run_all((0..20).map(|_| store.get(&a)));
    assert_eq!(fake.lines(), [format!("{AWAY}connection refused")]);
    // From now on each is tried once: what is in a cache is not waited for.
    fake.requests();
    let begun = fake.elapsed();
    for _ in 0..20 {
        assert!(get(&store, &fake).is_err());
        assert!(fake.run(store.status()).is_err());
    }
    assert_eq!(fake.requests().len(), 40);
    assert_eq!(fake.elapsed(), begun);
    assert_eq!(fake.lines(), [""; 0]);
    // One that comes back is used at once, with the token that it knows still.
    let serving = server.clone();
    fake.serve(move |request| serving.serve(request));
    let read = fake.run_all((0..20).map(|_| store.get(&a)));
    assert!(read.iter().all(Result::is_ok));
    assert_eq!(fake.lines(), [BACK]);
    assert_eq!(server.logins(), 1);
}

#[test]
fn a_server_that_hangs_is_tried_by_few() {
    let (store, fake, server) = logged_in();
    fake.serve(|_| Reply::silence());
    let a = name("a");
    assert!(get(&store, &fake).is_err());
    fake.requests();
    let read = fake.run_all((0..20).map(|_| store.get(&a)));
    assert!(read.iter().all(Result::is_err));
    assert_eq!(fake.requests().len(), 1);
    assert_eq!(fake.lines(), [format!("{AWAY}no answer in time")]);
    // It comes back while somebody tries it: the answer of its health shows that to the others.
    let serving = server.clone();
    fake.serve(move |request| serving.serve(request));
    let begun = fake.elapsed();
    assert_eq!(fake.run(store.status()), Ok(()));
    get(&store, &fake).unwrap();
    assert!(fake.elapsed() - begun < Duration::from_millis(500));
    assert_eq!(fake.lines(), [BACK]);
}

#[test]
fn who_began_before_the_change_does_not_say_that_it_is_undone() {
    let (store, fake, server) = logged_in();
    let a = name("a");
    // The first two end long after the others: one is answered then, and one is not.
    let slow = |fate: Reply| Fate::Replaced(fate);
    let answer = r#"{"data":{"data":{"a":"text"},"metadata":{"created_time":"","version":1}}}"#;
    server.next([
        slow(Reply::json(200, answer).after(Duration::from_secs(4))),
        slow(Reply::refused()),
        slow(Reply::refused()),
        slow(Reply::refused()),
    ]);
    let read = fake.run_all((0..2).map(|_| store.get(&a)));
    assert_eq!((read[0].is_ok(), read[1].is_ok()), (true, false));
    assert_eq!(fake.lines(), [format!("{AWAY}connection refused")]);

    server.next([slow(Reply::silence()), slow(Reply::json(200, answer))]);
    let read = fake.run_all((0..2).map(|_| store.get(&a)));
    assert_eq!((read[0].is_ok(), read[1].is_ok()), (false, true));
    assert_eq!(fake.lines(), [BACK]);
}

#[test]
fn a_server_that_says_that_it_is_well_and_answers_nothing_is_not_back() {
    let (store, fake, server) = logged_in();
    let failing = server.clone();
    fake.serve(move |request| match request.path.contains("health") {
        true => failing.serve(request),
        false => Reply::json(500, ""),
    });
    for _ in 0..3 {
        assert!(get(&store, &fake).is_err());
        assert_eq!(fake.run(store.status()), Ok(()));
    }
    assert_eq!(
        fake.lines(),
        [format!("{AWAY}status 500: the answer is empty")]
    );
}

#[test]
fn a_sealed_server_is_away_and_back_when_it_says_so() {
    let (store, fake, server) = logged_in();
    let sealed = r#"{"initialized":true,"sealed":true}"#;
    server.next([Fate::Replaced(Reply::json(299, sealed))]);
    let why = "https://vault:8200: Vault is sealed".to_owned();
    assert_eq!(fake.run(store.status()), Err(StoreError::Unreachable(why)));
    assert_eq!(fake.run(store.status()), Ok(()));
    assert_eq!(
        fake.lines(),
        [format!("{AWAY}Vault is sealed"), BACK.to_owned()]
    );
}

#[test]
fn a_status_tells_of_the_server_before_there_is_a_login_and_then_needs_one() {
    let (store, fake, server) = store(V2);
    server.next((0..3).map(|_| Fate::Replaced(Reply::json(503, "{}"))));
    assert!(fake.run(store.status()).is_err());
    assert_eq!(server.logins(), 0);
    assert_eq!(fake.run(store.status()), Ok(()));
    assert_eq!(fake.run(store.status()), Ok(()));
    assert_eq!(server.logins(), 1);
}

proptest! {
    /// Whatever a server does, an operation ends in its time, and with one line at most.
    #[test]
    fn no_answer_is_too_odd(
        replies in prop::collection::vec(
            (
                prop_oneof![
                    prop::sample::select(vec![200, 204, 299, 307, 400, 401, 403, 404, 429, 503]),
                    any::<u16>(),
                ],
                prop_oneof![
                    prop::sample::select(vec![
                        r#"{"auth":{"client_token":"t","lease_duration":1,"renewable":true}}"#,
                        r#"{"errors":[]}"#,
                        r#"{"data":{"a":"b","data":{"a":"b"},"metadata":{"created_time":"","version":1}}}"#,
                        r#"{"initialized":true,"sealed":true}"#,
                    ])
                    .prop_map(ToOwned::to_owned),
                    ".{0,40}",
                ],
                "[0-9]{0,2}",
                0..6_000_u64,
            ),
            1..20,
        ),
        is_v2: bool,
    ) {
        let (store, fake, _) = store(if is_v2 { V2 } else { EngineVersion::V1 });
        let mut replies = replies.into_iter().cycle();
        fake.serve(move |_| {
            let (status, body, wait, millis) = replies.next().unwrap();
            Reply::json(status, &body)
                .with("retry-after", &wait)
                .with("location", &body)
                .after(Duration::from_millis(millis))
        });
        let a = name("a");
        for operation in 0..6 {
            let begun = fake.elapsed();
            fake.run(async {
                let version = Version("1 ".into());
                match operation {
                    0 => drop(store.get(&a).await),
                    1 => drop(store.create(&a, b"text").await),
                    2 => drop(store.delete(&a).await),
                    3 => drop(store.list("", None, 10).await),
                    4 => drop(store.status().await),
                    _ => drop(store.replace(&a, b"text", &version).await),
                }
            });
            prop_assert!(fake.elapsed() - begun <= Duration::from_secs(12));
            for line in fake.lines() {
                prop_assert!(!line.contains('\n') && line.len() < 1500, "{}", line);
            }
        }
    }
}

#[test]
fn calls_that_are_dropped_in_the_middle_do_no_harm() {
    let (store, fake, server) = logged_in();
    let a = name("a");
    for millis in 0..50 {
        server.0.borrow_mut().tokens.clear();
        let limit = Duration::from_micros(millis * 100);
        fake.run_all((0..3).map(|_| {
            let (fake, get) = (&fake, store.get(&a));
            async move { within(fake, limit, get).await }
        }));
        get(&store, &fake).unwrap();
    }
    assert_eq!(fake.lines(), [""; 0]);
}
