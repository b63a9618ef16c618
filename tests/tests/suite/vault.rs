//! How the service gets to OpenBao, and who it is there.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::CertificateParams;
use rustls::pki_types::PrivatePkcs8KeyDer;
use sealedge_tests::authority::Authority;
use sealedge_tests::client::{Client, for_admin, to_pem};
use sealedge_tests::openbao::{OpenBao, free_address};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::stores::{POLICY, program};

fn start(keystore: &str) -> Server {
    Server::start(Path::new(crate::SEALEDGE), "", &for_admin(keystore))
}

async fn create(server: &Server, name: &str) -> u16 {
    let mut client = Client::admin(&server.address).await;
    let path = format!("/v1/key/create/{name}");
    client.call("PUT", &path, Value::Null).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tls_both_sides_show_who_they_are() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let clients = Authority::new("clients");
    fs::write(file("clients.pem"), clients.pem()).unwrap();
    let client = clients.issue(CertificateParams::default());
    fs::write(file("client.cert"), to_pem(client.chain.first().unwrap())).unwrap();
    let key = PrivatePkcs8KeyDer::from(client.key.clone());
    fs::write(file("client.key"), pem_of(&key)).unwrap();

    let address = free_address();
    let listener = json!({"tcp": {
        "address": address, "cluster_address": free_address(),
        "tls_cert_file": file("server.cert"), "tls_key_file": file("server.key"),
        "tls_client_ca_file": file("clients.pem"), "tls_require_and_verify_client_cert": true,
    }});
    let bao = OpenBao::start_with(&program, &[listener]).await;
    let role = bao.role("sealedge", POLICY, 3600).await;
    let with = |tls: &str| {
        start(&format!(
            "vault: {{endpoint: 'https://{address}', engine: kv2, version: v2, tls: {{{tls}}}, \
             approle: {{id: {}, secret: {}}}}}",
            role.id, role.secret
        ))
    };
    let (ca, own) = (
        format!("ca: '{}'", file("server.cert")),
        format!(
            "cert: '{}', key: '{}'",
            file("client.cert"),
            file("client.key")
        ),
    );
    assert_eq!(create(&with(&format!("{ca}, {own}")), "k").await, 200);
    // Nobody vouches for the server; and the server does not know the client, which it says or not.
    for (tls, why) in [(own, "certificate"), (ca, "")] {
        let server = with(&tls);
        assert_eq!(create(&server, "other").await, 502);
        let line = server.wait_for_error(&format!("the key store https://{address} is away: "));
        assert!(line.contains(why), "{line}");
    }
}

fn pem_of(key: &PrivatePkcs8KeyDer<'_>) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(key.secret_pkcs8_der());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

/// A fake of Kubernetes that finds every token authentic, but for `"revoked"`.
async fn kubernetes() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut read = Vec::new();
                let mut part = [0; 4096];
                while !read.ends_with(b"}\n") && !read.ends_with(b"}") {
                    match stream.read(&mut part).await {
                        Ok(length @ 1..) => read.extend_from_slice(&part[..length]),
                        _ => return,
                    }
                }
                let request = String::from_utf8_lossy(&read);
                let path = "POST /apis/authentication.k8s.io/v1/tokenreviews ";
                let is_asked = request.starts_with(path);
                let review = json!({
                    "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                    "status": {
                        "authenticated": is_asked && !request.contains(&revoked()),
                        "user": {"username": "system:serviceaccount:apps:sealedge", "uid": "u-1"},
                    },
                })
                .to_string();
                let length = review.len();
                let head = format!(
                    "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\n\
                     content-length: {length}\r\nconnection: close\r\n\r\n"
                );
                let _ = stream.write_all((head + &review).as_bytes()).await;
            });
        }
    });
    format!("http://{address}")
}

/// The token of a service account, with another number each.
fn token(number: &str) -> String {
    let now = jiff::Timestamp::now().as_second();
    let claims = json!({
        "iss": "kubernetes/serviceaccount", "iat": now - 60, "nbf": now - 60, "exp": now + 3600,
        "jti": number, "sub": "system:serviceaccount:apps:sealedge",
        "kubernetes.io": {
            "namespace": "apps", "serviceaccount": {"name": "sealedge", "uid": "u-1"},
        },
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(&json!({"alg": "RS256", "typ": "JWT"}));
    format!(
        "{head}.{}.{}",
        part(&claims),
        URL_SAFE_NO_PAD.encode(number)
    )
}

/// How the signature of a token ends that is not taken.
fn revoked() -> String {
    format!(".{}", URL_SAFE_NO_PAD.encode("revoked"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_of_kubernetes_logs_in_with_the_token_that_is_there_now() {
    let Some(program) = program() else { return };
    let bao = OpenBao::start(&program).await;
    bao.put("sys/policies/acl/sealedge", &json!({"policy": POLICY}))
        .await;
    bao.put("sys/auth/kubernetes", &json!({"type": "kubernetes"}))
        .await;
    let config = json!({
        "kubernetes_host": kubernetes().await, "disable_local_ca_jwt": true,
        "kubernetes_ca_cert": Authority::new("kubernetes").pem(),
    });
    bao.put("auth/kubernetes/config", &config).await;
    let role = json!({
        "bound_service_account_names": "sealedge", "bound_service_account_namespaces": "apps",
        "token_policies": "sealedge", "token_ttl": 2, "token_max_ttl": 3,
    });
    bao.put("auth/kubernetes/role/my-role", &role).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, token("revoked")).unwrap();
    let server = start(&format!(
        "vault: {{endpoint: 'http://{}', engine: kv2, version: v2, kubernetes: {{role: my-role, jwt: '{}'}}}}",
        bao.address,
        file.display()
    ));
    assert_eq!(create(&server, "k1").await, 502);
    server.wait_for_error("error: failed to create key: ");
    // As Kubernetes does: the file has another token.
    fs::write(&file, token("1")).unwrap();
    assert_eq!(create(&server, "k2").await, 200);
    fs::write(&file, token("2")).unwrap();
    // After the token's greatest age there was another login.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(create(&server, "k3").await, 200);
    // Where there is no such file, it is named.
    fs::remove_file(&file).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(create(&server, "k4").await, 502);
    let line = server.wait_for_error("vault.kubernetes.jwt");
    assert!(line.contains(&file.display().to_string()), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_be_in_a_namespace_and_the_login_in_another() {
    let Some(program) = program() else { return };
    let bao = OpenBao::start(&program).await;
    bao.put("sys/namespaces/ns1", &json!({})).await;
    let engine = json!({"type": "kv", "options": {"version": "2"}});
    bao.put("ns1/sys/mounts/kv", &engine).await;
    let policy =
        r#"path "ns1/kv/*" { capabilities = ["create", "read", "update", "delete", "list"] }"#;
    let role = bao.role("sealedge", policy, 3600).await;
    let server = start(&format!(
        "vault: {{endpoint: 'http://{}', version: v2, namespace: ns1, \
         approle: {{id: {}, secret: {}, namespace: /}}}}",
        bao.address, role.id, role.secret
    ));
    assert_eq!(create(&server, "k").await, 200);
    let (status, stored) = bao.call("GET", "ns1/kv/data/k", &Value::Null).await;
    assert_eq!(status, 200, "{stored}");
    assert!(stored["data"]["data"]["k"].is_string(), "{stored}");
    // The server itself is asked outside of any namespace.
    let mut client = Client::admin(&server.address).await;
    assert_eq!(
        client.call("GET", "/v1/ready", Value::Null).await.status,
        200
    );
}
