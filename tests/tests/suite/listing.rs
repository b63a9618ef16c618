//! Listings of more keys than a page has.

use std::collections::BTreeSet;
use std::path::Path;

use sealedge_tests::client::{Answer, Client, Credentials, recorded};
use sealedge_tests::server::Server;
use serde_json::Value;

async fn list(client: &mut Client, pattern: &str) -> Answer {
    client
        .call("GET", &format!("/v1/key/list/{pattern}"), Value::Null)
        .await
}

/// All pages from this pattern on: their names, and the tokens between them.
async fn walk(client: &mut Client, pattern: &str) -> (Vec<Vec<String>>, Vec<String>) {
    let (mut pages, mut tokens) = (Vec::new(), Vec::new());
    let mut pattern = pattern.to_owned();
    loop {
        let answer = list(client, &pattern).await;
        assert_eq!(answer.status, 200, "{pattern}: {answer:?}");
        let page = answer.json();
        pages.push(serde_json::from_value(page["names"].clone()).unwrap());
        match page["continue_at"].as_str() {
            None | Some("") => return (pages, tokens),
            Some(token) => {
                assert!(tokens.len() < 10, "it never ends");
                tokens.push(token.to_owned());
                pattern = token.to_owned();
            }
        }
    }
}

#[tokio::test]
async fn every_page_is_reached_with_the_rights_of_the_first() {
    let identity = |who: &str| recorded(who).identity();
    let config = format!(
        "admin: {{identity: {}}}
policy:
  prefix:
    allow: [/v1/key/list/app*]
    identities: [{}]
  exact:
    allow: [/v1/key/list/app]
    identities: [{}]
  other:
    allow: [/v1/key/list/app-2*]
    identities: [{}]
keystore: {{mem: {{}}}}
",
        identity("admin"),
        identity("prefix"),
        identity("exact"),
        identity("other"),
    );
    let server = Server::start(Path::new(crate::SEALEDGE), "", &config);
    let connect = async |who: &str| {
        let credentials = Credentials::of(&recorded(who));
        Client::connect(&server.address, Some(&credentials))
            .await
            .unwrap()
    };
    let mut admin = connect("admin").await;
    let mut expected = BTreeSet::new();
    for at in 0..3000 {
        // Not created in their order, and some with `-` or `_` right behind the prefix.
        let name = format!("app{}{}", ["-", "_", ""][at % 3], at * 7 % 3000);
        let answer = admin
            .call("PUT", &format!("/v1/key/create/{name}"), Value::Null)
            .await;
        assert_eq!(answer.status, 200);
        expected.insert(name);
    }
    for name in ["aaa", "ap", "apq", "zzz"] {
        admin
            .call("PUT", &format!("/v1/key/create/{name}"), Value::Null)
            .await;
    }
    assert_eq!(expected.len(), 3000);
    let expected: Vec<String> = expected.into_iter().collect();

    let mut tokens = Vec::new();
    for (who, pattern) in [
        ("prefix", "app*"),
        ("prefix", "app"),
        ("exact", "app"),
        ("prefix", "app%2A"),
    ] {
        let mut client = connect(who).await;
        let (pages, between) = walk(&mut client, pattern).await;
        let lengths: Vec<usize> = pages.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1024, 1024, 952], "{who} {pattern}");
        // Each once, sorted, none left out, none of another prefix.
        assert_eq!(pages.concat(), expected, "{who} {pattern}");
        tokens = between;
    }
    let (pages, _) = walk(&mut admin, "").await;
    assert_eq!(pages.concat().len(), 3004);

    // A token is no name, so that it is never taken for one.
    for token in &tokens {
        assert!(token.starts_with("app"), "{token}");
        for (method, route) in [("PUT", "create"), ("GET", "describe"), ("DELETE", "delete")] {
            let answer = admin
                .call(method, &format!("/v1/key/{route}/{token}"), Value::Null)
                .await;
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(answer.message().starts_with("key name '"), "{answer:?}");
        }
    }
    // Nor does one open what the policy keeps shut.
    let token = tokens.first().unwrap();
    for (who, pattern) in [
        ("other", token.as_str()),
        ("prefix", "~aaa"),
        ("prefix", "ap~p"),
        ("prefix", "*"),
        ("exact", "app*"),
        ("exact", "ap~p"),
        ("exact", "app-2~0"),
        ("other", "app~-20"),
    ] {
        let answer = list(&mut connect(who).await, pattern).await;
        assert_eq!(answer.status, 403, "{who} {pattern}: {answer:?}");
    }
    // One that was cut, or put together wrongly, is refused and never widens to all names.
    for pattern in ["app~", "app~*", "app~~x", "app*~x", "app~a/b", "app~%2F"] {
        let answer = list(&mut connect("prefix").await, pattern).await;
        let widened = answer.status == 200
            && answer.json()["names"]
                .as_array()
                .unwrap()
                .iter()
                .any(|name| !name.as_str().unwrap().starts_with("app"));
        assert!(
            !widened && [200, 400].contains(&answer.status),
            "{pattern}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_listing_is_judged_alike_with_and_without_its_last_slash() {
    let identity = |who: &str| recorded(who).identity();
    let config = format!(
        "admin: {{identity: {}}}
policy:
  allowed:
    allow: [/v1/key/list/*, /v1/policy/list/*, /v1/identity/list/*]
    identities: [{}]
  denied:
    allow: [/v1/*]
    deny: [/v1/key/list/*, /v1/policy/list/*, /v1/identity/list/*]
    identities: [{}]
keystore: {{mem: {{}}}}
",
        identity("admin"),
        identity("allowed"),
        identity("denied"),
    );
    let server = Server::start(Path::new(crate::SEALEDGE), "", &config);
    for (who, status) in [("allowed", 200), ("denied", 403)] {
        let credentials = Credentials::of(&recorded(who));
        let mut client = Client::connect(&server.address, Some(&credentials))
            .await
            .unwrap();
        for kind in ["key", "policy", "identity"] {
            for path in [
                format!("/v1/{kind}/list"),
                format!("/v1/{kind}/list/"),
                format!("/v1/{kind}/list/%2A"),
                format!("/v1/{kind}/lis%74"),
                format!("/v1/{kind}/list%2f"),
                format!("/v1/{kind}/list?x=/"),
            ] {
                let answer = client.call("GET", &path, Value::Null).await;
                assert_eq!(answer.status, status, "{who} {path}: {answer:?}");
            }
        }
    }
}
