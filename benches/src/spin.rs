//! What a request costs inside the component on Spin, where each begins with a new instance: its configuration is read,
//! and its key opened from the sealed copy, each time. In the harness of the tests, over SQLite in memory.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark stops at what it did not expect"
)]

use std::time::Duration;

use sealedge_core::auth::signature::Signer;
use sealedge_core::seal::NodeIdentity;
use sealedge_tests::client::{Client, Credentials, recorded};
use sealedge_tests::spin::{App, Setup, Spent, Times, manifest_of_sealedge};
use serde_json::Value;

/// Requests of each kind; the median counts.
const REQUESTS: usize = 500;

/// What issue 9 wants of a configuration that is read and a key that is opened.
const AIM: Duration = Duration::from_micros(300);

const GENERATE: &str = "/v1/key/generate/one";
const SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";

#[tokio::main]
async fn main() {
    let empty = empty().await;
    let app = started();
    let signer = Signer::new(recorded("admin"));
    let mut signing = Client::plain(&app.address, Some(signer)).await.unwrap();
    let mut client = Client::plain(&app.address, None).await.unwrap();
    signing.call("PUT", "/v1/key/create/one", Value::Null).await;
    signing.call("PUT", GENERATE, Value::Null).await;

    let certificate = Credentials::of(&recorded("admin")).escaped();
    let bearer = format!("Bearer {}", *recorded("admin").to_text());
    let forwarded = [
        ("x-tls-client-cert", &*certificate),
        ("x-proxy-secret", SECRET),
    ];
    println!(
        "| {REQUESTS} requests | inside | in the key-value store | a new instance | all, by the clock |"
    );
    println!("|---|---|---|---|---|");
    let mut version = median(&app, &mut client, "GET", "/version", &[]).await;
    let least = inside(&mut version);
    println!(
        "| the version, of which no key is asked | {} |",
        row(&mut version)
    );
    let mut cached = median(&app, &mut client, "PUT", GENERATE, &forwarded).await;
    let with_key = inside(&mut cached);
    println!(
        "| a DEK, by a certificate that a proxy forwards | {} |",
        row(&mut cached)
    );
    let headers = [("authorization", &*bearer)];
    let mut by_bearer = median(&app, &mut client, "PUT", GENERATE, &headers).await;
    println!("| a DEK, by a bearer key | {} |", row(&mut by_bearer));
    let mut by_signature = median(&app, &mut signing, "PUT", GENERATE, &[]).await;
    println!(
        "| a DEK, by a signed request | {} |",
        row(&mut by_signature)
    );
    println!();
    let more = with_key.saturating_sub(empty);
    println!(
        "An instance without a configuration takes {empty:?} to say so. With one, a service and its answer are there in \
         {least:?}. What a DEK by a forwarded certificate takes more than the first, the configuration read and the key \
         opened among it, is {more:?}: {} (aim: {AIM:?})",
        if more <= AIM { "met" } else { "missed" }
    );
}

fn started() -> App {
    let node = NodeIdentity::generate(&mut |buffer| {
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), buffer).unwrap();
    });
    let admin = recorded("admin").identity();
    let config = format!(
        "version: v1\nadmin: {{identity: {admin}}}\nauth: {{authorities: [localhost], bearer: on}}\n\
         tls: {{proxy: {{addresses: [127.0.0.1], secret: '{SECRET}'}}}}\n\
         policy: {{app: {{allow: ['/v1/key/generate/*', '/v1/key/decrypt/*'], identities: [{}]}}}}\n\
         cache: {{expiry: {{any: 1h, unused: 1h}}}}\nkeystore: {{spin: {{keyvalue: {{}}}}}}\n\
         seal: {{recipients: [{}], unseal: {{identity: '${{SEALEDGE_IDENTITY}}'}}}}\n",
        recorded("app").identity(),
        node.recipient(),
    );
    Setup::new(manifest_of_sealedge())
        .variable("sealedge_config", &config)
        .variable("sealedge_identity", node.text())
        .start()
        .unwrap()
}

/// What an instance takes that finds no configuration.
async fn empty() -> Duration {
    let app = Setup::new(manifest_of_sealedge())
        .variable("sealedge_config", "")
        .variable("sealedge_identity", "-")
        .start()
        .unwrap();
    let mut client = Client::plain(&app.address, None).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        client.call("GET", "/version", Value::Null).await;
        times.push(app.last());
    }
    inside(&mut times)
}

async fn median(
    app: &App,
    client: &mut Client,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Vec<Times> {
    let mut times = Vec::new();
    for at in 0..REQUESTS + 20 {
        let answer = client.send(method, path, headers, "").await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let last = app.last();
        // The first ones touch memory that nobody has touched.
        if at >= 20 {
            times.push(last);
        }
    }
    times
}

fn of(times: &mut [Times], what: impl Fn(&Times, &Spent) -> Duration) -> Duration {
    let spent = times
        .iter()
        .filter_map(|it| Some(what(it, it.answered.as_ref()?)));
    let mut spent: Vec<Duration> = spent.collect();
    spent.sort_unstable();
    spent[spent.len() / 2]
}

fn inside(times: &mut [Times]) -> Duration {
    of(times, |_, spent| spent.guest)
}

fn row(times: &mut [Times]) -> String {
    let cells = [
        of(times, |_, spent| spent.guest),
        of(times, |_, spent| spent.key_value),
        of(times, |times, _| times.instance),
        of(times, |_, spent| spent.total),
    ];
    cells.map(|time| format!("{time:.0?}")).join(" | ")
}
