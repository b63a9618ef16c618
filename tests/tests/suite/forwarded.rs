//! Real TLS proxies in front of a server, and every form in which they forward the certificates of clients.

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use sealedge_tests::authority::Authority;
use sealedge_tests::client::{self, Answer, Client, Credentials, for_admin, recorded};
use sealedge_tests::document::blocks;
use sealedge_tests::front::{Front, Place};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/authentication.md");

const SELF: &str = "/v1/identity/self/describe";

/// What proxies at an address show in the document.
const SECRET: &str = "5c9e8f4b1d7a2063c48fb05e9d16a7328e4fc1750b9a3d6286e1f07c5b2d9a44";

/// The header of the forms that have no standard for it.
const HEADER: &str = "X-Tls-Client-Cert";

/// A block of the document in this language, by its number.
fn block(language: &str, number: usize) -> &'static str {
    blocks(DOCUMENT, language)[number]
}

/// What the document puts into a server's configuration: before nginx, before haproxy, and before proxies with a secret.
fn settings(number: usize) -> String {
    block("yaml", number)
        .replace("kms.example.com", "localhost")
        .replace("${PROXY_IDENTITY}", &proxy().identity().to_string())
        .replace("${PROXY_SECRET}", SECRET)
        .replace("10.0.0.7", "127.0.0.1")
}

fn server(settings: &str) -> Server {
    let tls = settings.strip_prefix("tls:\n").unwrap();
    Server::start(Path::new(crate::SEALEDGE), tls, &for_admin("mem: {}"))
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

/// A proxy's configuration as the document has it, with the addresses and files that there are.
fn placed(config: &str, place: &Place, server: &Server) -> String {
    let certificate = server.folder.path().join("server.cert");
    let certificate = certificate.display().to_string();
    let mut config = config
        .replace(":443 ssl", &format!("{} ssl", place.listen))
        .replace(" 443 ssl", &format!(" {} ssl", place.listen))
        .replace("10.0.0.5:7373", &server.address)
        .replace("sealedge.internal", "localhost");
    for folder in ["/etc/nginx", "/etc/haproxy"] {
        config = config
            .replace(&format!("{folder}/sealedge.crt"), &certificate)
            .replace(folder, &place.folder);
    }
    config
}

async fn nginx(server: &Server, config: &str) -> Option<Front> {
    Front::nginx(&proxy(), |place| placed(config, place, server)).await
}

async fn haproxy(server: &Server, config: &str) -> Option<Front> {
    Front::haproxy(&proxy(), |place| placed(config, place, server)).await
}

/// Shows its certificate as Go does: not if authorities are named that have not signed it.
#[derive(Debug)]
struct Careful(Arc<CertifiedKey>);

impl Careful {
    fn config(who: &Credentials) -> ClientConfig {
        let key = PrivatePkcs8KeyDer::from(who.key.clone()).into();
        let key = ring::sign::any_supported_type(&key).unwrap();
        let certified = CertifiedKey::new(who.chain.clone(), key);
        let mut config = client::config(None, rustls::DEFAULT_VERSIONS);
        config.client_auth_cert_resolver = Arc::new(Self(certified.into()));
        config
    }
}

impl ResolvesClientCert for Careful {
    fn resolve(&self, named: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        named.is_empty().then(|| self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
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
    let careful = Client::connect_with(&front.address, Careful::config(&admin())).await;
    let answer = careful.unwrap().call("GET", SELF, Value::Null).await;
    assert_eq!(answer.json()["auth"], "forwarded", "{answer:?}");
    // And a client that signs gets through.
    let mut signing = Client::signing(&front.address, recorded("admin"))
        .await
        .unwrap();
    let answer = signing.call("GET", SELF, Value::Null).await;
    assert_eq!(answer.json()["auth"], "signature", "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_forwards_escaped_pem() {
    let server = server(&settings(0));
    if let Some(front) = nginx(&server, block("nginx", 0)).await {
        speaks_for_its_clients(&front, HEADER).await;
    }
}

/// As Envoy writes it, which is not at hand.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_forwards_what_envoy_would() {
    let form = "    header:\n      form: xfcc\nauth:\n";
    let server = server(&settings(0).replace("auth:\n", form));
    let line = line_with(block("nginx", 0), HEADER);
    let lines = "set $it ''; if ($ssl_client_fingerprint) {\n\
                 set $it 'Hash=$ssl_client_fingerprint;Cert=\"$ssl_client_escaped_cert\"'; }\n\
                 proxy_set_header X-Forwarded-Client-Cert $it;";
    let config = block("nginx", 0).replace(line, lines);
    if let Some(front) = nginx(&server, &config).await {
        speaks_for_its_clients(&front, "X-Forwarded-Client-Cert").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_forwards_der() {
    let server = server(&settings(1));
    if let Some(front) = haproxy(&server, block("haproxy", 0)).await {
        speaks_for_its_clients(&front, HEADER).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_forwards_client_cert() {
    let server = server(&settings(1).replace("form: der", "form: client-cert"));
    let config = block("haproxy", 0)
        .replace(HEADER, "Client-Cert")
        .replace("%[ssl_c_der,base64]", ":%[ssl_c_der,base64]:");
    if let Some(front) = haproxy(&server, &config).await {
        speaks_for_its_clients(&front, "Client-Cert").await;
    }
}

/// The line of a text that has this in it first.
fn line_with<'a>(text: &'a str, part: &str) -> &'a str {
    text.lines().find(|line| line.contains(part)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_may_show_a_secret_instead_of_a_certificate() {
    let server = server(&settings(2));
    let config = block("nginx", 0);
    let config = config
        .replace(
            line_with(config, "proxy_ssl_certificate "),
            block("nginx", 1),
        )
        .replace(line_with(config, "proxy_ssl_certificate_key"), "");
    if let Some(front) = nginx(&server, &config).await {
        speaks_for_its_clients(&front, HEADER).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_may_show_a_secret_instead_of_a_certificate() {
    let form = "    header:\n      form: der\n";
    let server = server(&settings(2).replace("    header:\n", form));
    let backend = "    default_backend sealedge\n";
    let secret = format!("{}{backend}", block("haproxy", 1));
    let config = block("haproxy", 0)
        .replace(backend, &secret)
        .replace(" crt /etc/haproxy/proxy.pem", "");
    if let Some(front) = haproxy(&server, &config).await {
        speaks_for_its_clients(&front, HEADER).await;
    }
}

#[tokio::test]
async fn only_the_whole_secret_from_the_right_address_counts() {
    let server = server(&settings(2));
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
    let elsewhere = self::server(&settings(2).replace("127.0.0.1", "10.0.0.1"));
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
    assert!(
        refused.message().contains("not of a trusted authority"),
        "{refused:?}"
    );
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
    // No more than the client's own certificate is forwarded: what is between it and its authority has to be known.
    let between = authority.below("between");
    let far = between.issue(CertificateParams::default());
    let refused = forward(&far).await;
    assert!(
        refused.message().contains("not of a trusted authority"),
        "{refused:?}"
    );
    let ca = server.folder.path().join("ca.pem");
    std::fs::write(ca, authority.pem() + &between.pem()).unwrap();
    server.reload(&tls, &config);
    let answer = forward(&far).await;
    assert_eq!(answer.message(), "identity does not exist");
}
