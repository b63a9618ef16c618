//! Certificates that TLS proxies forward.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, date_time_ymd};
use sealedge_tests::client::{Answer, Client, Credentials, recorded, to_pem};
use sealedge_tests::server::Server;
use serde_json::Value;

const SELF: &str = "/v1/identity/self/describe";
const HEADER: &str = "X-Tls-Client-Cert";

/// A certificate with these contents, as a client behind the proxy has it.
fn client(change: impl FnOnce(&mut CertificateParams)) -> Credentials {
    let mut params = CertificateParams::default();
    change(&mut params);
    Credentials::self_signed(&params)
}

/// A server that knows `app` by a policy, and a proxy, if `tls` says so: `{proxy}` is its identity.
fn server(app: &Credentials, tls: &str) -> Server {
    let config = format!(
        "admin: {{identity: {}}}
policy:
  my-app:
    allow: [/v1/key/create/my-app*]
    identities: [{}]
log: {{audit: on}}
keystore: {{mem: {{}}}}
",
        recorded("admin").identity(),
        app.identity()
    );
    let proxy = recorded("proxy").identity().to_string();
    let tls = tls.replace("{proxy}", &proxy);
    Server::start(Path::new(crate::SEALEDGE), &tls, &config)
}

const PROXY: &str = "  proxy: {identities: [\"{proxy}\"]}";

async fn connect(server: &Server, who: &str) -> Client {
    let credentials = Credentials::of(&recorded(who));
    Client::connect(&server.address, Some(&credentials))
        .await
        .unwrap()
}

async fn forward(client: &mut Client, values: &[&str]) -> Answer {
    let headers: Vec<(&str, &str)> = values.iter().map(|value| (HEADER, *value)).collect();
    client.send("GET", SELF, &headers, "").await.unwrap()
}

#[tokio::test]
async fn a_proxy_speaks_for_its_clients() {
    let app = client(|_| {});
    let server = server(&app, PROXY);
    let mut proxy = connect(&server, "proxy").await;
    let identity = app.identity().to_string();

    // Everything but letters and digits escaped, and as little as a header's line needs.
    let sparing = to_pem(app.chain.first().unwrap()).replace('\n', "%0A");
    for value in [app.escaped(), sparing] {
        let answer = forward(&mut proxy, &[&value]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["identity"], identity);
        assert_eq!(answer.json()["policy"], "my-app");
    }
    // The client's rights, whoever the proxy was before, and nothing more.
    let escaped = app.escaped();
    for (path, status) in [
        ("/v1/key/create/my-app-1", 200),
        ("/v1/key/create/other", 403),
    ] {
        let headers = [(HEADER, escaped.as_str())];
        let answer = proxy.send("PUT", path, &headers, "").await.unwrap();
        assert_eq!(answer.status, status, "{path}");
    }
    let admin = Credentials::of(&recorded("admin"));
    let answer = forward(&mut proxy, &[&admin.escaped()]).await;
    assert_eq!(answer.json()["admin"], true);
    let stranger = client(|_| {});
    assert_eq!(
        forward(&mut proxy, &[&stranger.escaped()]).await.status,
        404
    );

    server.signal("TERM");
    let (_, output, _) = server.wait();
    let seen: Vec<String> = output
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            record["request"]["identity"].as_str().unwrap().to_owned()
        })
        .collect();
    let admin = admin.identity().to_string();
    let stranger = stranger.identity().to_string();
    let app = &identity;
    assert_eq!(
        seen,
        [app, app, app, app, &admin, &stranger].map(String::clone)
    );
}

#[tokio::test]
async fn what_a_proxy_forwards_is_checked() {
    let app = client(|_| {});
    let server = server(&app, PROXY);
    let mut proxy = connect(&server, "proxy").await;
    let good = app.escaped();
    let expired = client(|params| params.not_after = date_time_ymd(2020, 1, 1)).escaped();
    let early = client(|params| params.not_before = date_time_ymd(4000, 1, 1)).escaped();
    let authority = client(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let authority = authority.escaped();
    let twice = [good.as_str(), "%0A", &good].concat();
    let cut = good.get(..good.len() / 2).unwrap();
    let other_label = good.replace("CERTIFICATE", "PUBLIC%20KEY");
    let other_der = to_pem(&[0x30, 3, 1, 1, 0]).replace('\n', "%0A");
    let two_in_one = {
        let der = app.chain.first().unwrap();
        to_pem(&[der.as_ref(), der.as_ref()].concat()).replace('\n', "%0A")
    };

    let bad = "tls: the forwarded client certificate is not one URL-escaped PEM certificate";
    let malformed = "tls: the forwarded client certificate is malformed";
    let cases: [(&[&str], &str); 13] = [
        (
            &[&expired],
            "tls: the forwarded client certificate has expired",
        ),
        (
            &[&early],
            "tls: the forwarded client certificate is not valid yet",
        ),
        (
            &[&authority],
            "tls: the forwarded client certificate is that of a certificate authority",
        ),
        (&["garbage"], bad),
        (&[""], "tls: client certificate is required"),
        (&["%"], bad),
        (&["%ff%00"], bad),
        (&[cut], bad),
        (&[&other_label], bad),
        (&[&other_der], malformed),
        (&[&two_in_one], malformed),
        (&[&twice], bad),
        (
            &[&good, &good],
            "tls: received more than one client certificate",
        ),
    ];
    for (values, message) in cases {
        let answer = forward(&mut proxy, values).await;
        assert_eq!((answer.status, answer.message().as_str()), (400, message));
    }
    // Without the header it speaks for nobody, whatever it asks.
    for path in [SELF, "/v1/status", "/v1/key/list/"] {
        let answer = proxy.call("GET", path, Value::Null).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.message(), "tls: client certificate is required");
    }
    // And after all that it still works on the same connection.
    assert_eq!(forward(&mut proxy, &[&good]).await.status, 200);
}

#[tokio::test]
async fn only_a_listed_proxy_may_forward() {
    let app = client(|_| {});
    let good = app.escaped();
    let listed = server(&app, PROXY);
    for who in ["admin", "stranger"] {
        let mut client = connect(&listed, who).await;
        let answer = forward(&mut client, &[&good]).await;
        assert_eq!(answer.status, 400, "{who}");
        assert!(
            answer
                .message()
                .starts_with("tls: only a listed TLS proxy may forward")
        );
    }
    let own = Client::connect(&listed.address, Some(&app)).await;
    let answer = forward(&mut own.unwrap(), &[]).await;
    assert_eq!(answer.json()["identity"], app.identity().to_string());

    // Where no proxy is listed the header says nothing.
    let none = server(&app, "");
    let mut admin = connect(&none, "admin").await;
    let answer = forward(&mut admin, &[&good]).await;
    assert_eq!(answer.json()["admin"], true);
    let mut stranger = connect(&none, "proxy").await;
    assert_eq!(forward(&mut stranger, &[&good]).await.status, 404);
}

#[tokio::test]
async fn the_header_s_name_is_configured() {
    let app = client(|_| {});
    let good = app.escaped();
    let server = server(
        &app,
        "  proxy:\n    identities: [\"{proxy}\"]\n    header: {cert: X-My-Client}",
    );
    let mut proxy = connect(&server, "proxy").await;
    for name in ["X-My-Client", "x-my-client"] {
        let answer = proxy.send("GET", SELF, &[(name, &good)], "").await.unwrap();
        assert_eq!(answer.json()["identity"], app.identity().to_string());
    }
    // The usual name is any header now.
    let answer = forward(&mut proxy, &[&good]).await;
    assert_eq!(answer.message(), "tls: client certificate is required");
    let mut admin = connect(&server, "admin").await;
    assert_eq!(forward(&mut admin, &[&good]).await.json()["admin"], true);
}
