//! Real TLS proxies in front of a server, and every form in which they forward the certificates of clients.

use std::path::Path;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use sealedge_tests::authority::Authority;
use sealedge_tests::client::{Answer, Client, Credentials, for_admin, recorded};
use sealedge_tests::front::{Front, Place};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::Value;

const SELF: &str = "/v1/identity/self/describe";

/// What proxies at an address show.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A server that believes the proxy of the recordings, in this form.
fn server(header: &str) -> Server {
    let proxy = recorded("proxy").identity();
    let tls = format!("  proxy:\n    identities: [{proxy}]\n    header: {{{header}}}\n");
    Server::start(Path::new(crate::SEALEDGE), &tls, &for_admin("mem: {}"))
}

/// One that believes whoever comes from this address and has the secret.
fn server_by_secret(address: &str) -> Server {
    let tls = format!("  proxy: {{addresses: ['{address}'], secret: {SECRET}}}\n");
    Server::start(Path::new(crate::SEALEDGE), &tls, &for_admin("mem: {}"))
}

fn proxy() -> Credentials {
    Credentials::of(&recorded("proxy"))
}

fn admin() -> Credentials {
    Credentials::of(&recorded("admin"))
}

async fn ask(address: &str, who: Option<&Credentials>, headers: &[(&str, &str)]) -> Answer {
    let mut client = Client::connect(address, who).await.unwrap();
    client.send("GET", SELF, headers, "").await.unwrap()
}

/// nginx, which takes any certificate and writes a header by these directives.
async fn nginx(server: &Server, header: &str) -> Option<Front> {
    let directives = |place: &Place| {
        format!(
            "ssl_verify_client optional_no_ca; location / {{ {header}\nproxy_pass https://{};\n\
             proxy_set_header Host $http_host; proxy_http_version 1.1; proxy_ssl_certificate {}; proxy_ssl_certificate_key {}; }}",
            server.address,
            place.file("proxy.cert"),
            place.file("proxy.key")
        )
    };
    Front::nginx(&proxy(), directives).await
}

/// haproxy, likewise.
async fn haproxy(server: &Server, header: &str) -> Option<Front> {
    let lines = |place: &Place| {
        format!(
            "  http-request set-header {header} if {{ ssl_c_used }}\n  \
             http-request del-header {} unless {{ ssl_c_used }}\n  default_backend back\n\
             backend back\n  server one {} ssl verify none crt {}",
            header.split(' ').next().unwrap(),
            server.address,
            place.file("proxy.pem")
        )
    };
    Front::haproxy(&proxy(), lines).await
}

/// The client behind a proxy is who its certificate says, whatever it writes into the header itself.
async fn speaks_for_its_clients(front: &Front, header: &str) {
    let app = Credentials::self_signed(&CertificateParams::default());
    let forged = admin().escaped();
    let forged = [(header, forged.as_str())];
    for headers in [&[][..], &forged] {
        let answer = ask(&front.address, Some(&admin()), headers).await;
        assert_eq!(answer.json()["admin"], true, "{answer:?}");
        assert_eq!(answer.json()["auth"], "forwarded");
        assert_eq!(ask(&front.address, Some(&app), headers).await.status, 404);
        let nobody = ask(&front.address, None, headers).await;
        assert_eq!(nobody.status, 400, "{nobody:?}");
    }
    // And a client that signs gets through.
    let mut signing = Client::signing(&front.address, recorded("admin"))
        .await
        .unwrap();
    let answer = signing.call("GET", SELF, Value::Null).await;
    assert_eq!(answer.json()["auth"], "signature", "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_forwards_escaped_pem() {
    let server = server("cert: X-Tls-Client-Cert");
    let header = "proxy_set_header X-Tls-Client-Cert $ssl_client_escaped_cert;";
    let Some(front) = nginx(&server, header).await else {
        return;
    };
    speaks_for_its_clients(&front, "X-Tls-Client-Cert").await;
}

/// As Envoy writes it, which is not at hand.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_forwards_what_envoy_would() {
    let server = server("form: xfcc");
    let header = "set $it ''; if ($ssl_client_fingerprint) {\n\
                  set $it 'Hash=$ssl_client_fingerprint;Cert=\"$ssl_client_escaped_cert\"'; }\n\
                  proxy_set_header X-Forwarded-Client-Cert $it;";
    let Some(front) = nginx(&server, header).await else {
        return;
    };
    speaks_for_its_clients(&front, "X-Forwarded-Client-Cert").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_forwards_der() {
    let server = server("form: der");
    let header = "X-Tls-Client-Cert %[ssl_c_der,base64]";
    let Some(front) = haproxy(&server, header).await else {
        return;
    };
    speaks_for_its_clients(&front, "X-Tls-Client-Cert").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_forwards_client_cert() {
    let server = server("form: client-cert");
    let header = "Client-Cert :%[ssl_c_der,base64]:";
    let Some(front) = haproxy(&server, header).await else {
        return;
    };
    speaks_for_its_clients(&front, "Client-Cert").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_may_show_a_secret_instead_of_a_certificate() {
    let server = server_by_secret("127.0.0.0/8");
    let directives = |_: &Place| {
        format!(
            "ssl_verify_client optional_no_ca; location / {{ proxy_pass https://{};\n\
             proxy_set_header X-Tls-Client-Cert $ssl_client_escaped_cert;\n\
             proxy_set_header Host $http_host; proxy_set_header X-Proxy-Secret {SECRET}; }}",
            server.address
        )
    };
    if let Some(front) = Front::nginx(&proxy(), directives).await {
        speaks_for_its_clients(&front, "X-Tls-Client-Cert").await;
    }
    let escaped = admin().escaped();
    let cert = ("x-tls-client-cert", escaped.as_str());
    let right = ask(&server.address, None, &[cert, ("x-proxy-secret", SECRET)]).await;
    assert_eq!(right.json()["admin"], true, "{right:?}");
    let longer = format!("{SECRET}0");
    for wrong in ["", &SECRET[1..], longer.as_str(), "another"] {
        let answer = ask(&server.address, None, &[cert, ("x-proxy-secret", wrong)]).await;
        assert!(
            answer.message().contains("only a listed TLS proxy"),
            "{answer:?}"
        );
    }
    let twice = [cert, ("x-proxy-secret", SECRET), ("x-proxy-secret", SECRET)];
    assert_eq!(ask(&server.address, None, &twice).await.status, 400);
    let elsewhere = server_by_secret("10.0.0.1");
    let answer = ask(
        &elsewhere.address,
        None,
        &[cert, ("x-proxy-secret", SECRET)],
    )
    .await;
    assert!(
        answer.message().contains("only a listed TLS proxy"),
        "{answer:?}"
    );
    for server in [&server, &elsewhere] {
        assert!(!(server.output() + &server.errors()).contains(SECRET));
    }
}

/// With `tls.auth: on` what a proxy forwards, or a client signs with, has to come from an authority.
#[tokio::test]
async fn certificates_come_from_an_authority_by_whichever_way() {
    let authority = Authority::new("ours");
    let of = |usage| {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![usage];
        authority.issue(params)
    };
    let (proxy, good) = (
        of(ExtendedKeyUsagePurpose::ClientAuth),
        of(ExtendedKeyUsagePurpose::ClientAuth),
    );
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let tls = format!(
        "  auth: on\n  ca: {{folder}}/ca.pem\n  proxy: {{identities: [{}]}}\n",
        proxy.identity()
    );
    let config = format!(
        "admin: {{identity: {}}}\nauth: {{bearer: on}}\nkeystore: {{mem: {{}}}}\n",
        good.identity()
    );
    let server = Server::start_in(Path::new(crate::SEALEDGE), folder, &tls, &config);
    let forward = async |who: &Credentials| {
        let escaped = who.escaped();
        ask(
            &server.address,
            Some(&proxy),
            &[("x-tls-client-cert", &escaped)],
        )
        .await
    };
    let answer = forward(&good).await;
    assert_eq!(answer.json()["admin"], true, "{answer:?}");
    let refused = forward(&admin()).await;
    assert!(refused.message().contains("is not trusted"), "{refused:?}");
    let servers = forward(&of(ExtendedKeyUsagePurpose::ServerAuth)).await;
    assert!(
        servers.message().contains("is not for clients"),
        "{servers:?}"
    );
    // Keys alone.
    let mut signing = Client::signing(&server.address, recorded("admin"))
        .await
        .unwrap();
    let bare = signing.call("GET", SELF, Value::Null).await;
    let bearer = format!("Bearer {}", &*recorded("admin").to_text());
    let bearer = ask(&server.address, None, &[("authorization", &bearer)]).await;
    for answer in [bare, bearer] {
        assert_eq!(answer.status, 400);
        assert!(
            answer
                .message()
                .contains("certificate of a trusted authority"),
            "{answer:?}"
        );
    }
}
