//! TLS: versions, client certificates, private keys under a password, and the end of a server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, date_time_ymd};
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use sealedge_tests::authority::Authority;
use sealedge_tests::client::{Answer, Client, Credentials, Error, config, handshake, recorded};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SELF: &str = "/v1/identity/self/describe";

/// A server whose admin has this identity; more lines of the configuration in `more`.
fn server(admin: &str, tls: &str, more: &str) -> Server {
    let config = format!("admin: {{identity: {admin}}}\nkeystore: {{mem: {{}}}}\n{more}");
    Server::start(Path::new(crate::SEALEDGE), tls, &config)
}

fn admin() -> Credentials {
    Credentials::of(&recorded("admin"))
}

/// What a server answers to who these are, or why it does not.
async fn ask(server: &Server, who: Option<&Credentials>) -> Result<Answer, Error> {
    let mut client = Client::connect(&server.address, who).await?;
    client.send("GET", SELF, &[], "").await
}

fn assert_refused(answer: &Answer, message: &str) {
    assert_eq!((answer.status, answer.message().as_str()), (400, message));
}

/// The handshake failed because of what the client has shown: the alert says so.
fn assert_no_handshake(outcome: Result<Answer, Error>, alert: &str) {
    let error = outcome.expect_err("the handshake was not refused");
    let mut said = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(&*error);
    while let Some(error) = cause {
        said += &format!("{error:?} ");
        cause = error.source();
    }
    assert!(said.contains(alert), "{said}");
}

#[tokio::test]
async fn both_versions_of_tls_and_of_http_are_served() {
    let who = admin();
    let server = server(&who.identity().to_string(), "", "");
    for version in [&TLS12, &TLS13] {
        for alpn in ["http/1.1", "h2", ""] {
            let mut config = config(Some(&who), &[version]);
            if !alpn.is_empty() {
                config.alpn_protocols = vec![alpn.into()];
            }
            let stream = handshake(&server.address, Arc::new(config)).await.unwrap();
            let (_, session) = stream.get_ref();
            assert_eq!(session.protocol_version(), Some(version.version));
            assert_eq!(session.alpn_protocol().unwrap_or_default(), alpn.as_bytes());
            let mut client = Client::over(stream).await.unwrap();
            // More than once on one connection.
            for _ in 0..3 {
                let answer = client.call("GET", SELF, Value::Null).await;
                assert_eq!(answer.json()["admin"], true, "{version:?} {alpn}");
            }
        }
    }
}

/// A ClientHello (RFC 5246, 7.4.1.2) for this version and nothing newer.
fn client_hello(minor: u8) -> Vec<u8> {
    // ECDHE-ECDSA with AES-128-GCM, and with AES-128-CBC for what is older.
    let suites = [0xc0, 0x2b, 0xc0, 0x09];
    #[rustfmt::skip]
    let extensions = [
        0, 10, 0, 4, 0, 2, 0, 23,   // supported_groups: P-256
        0, 11, 0, 2, 1, 0,          // ec_point_formats: uncompressed
        0, 13, 0, 4, 0, 2, 4, 3,    // signature_algorithms: ECDSA with P-256 and SHA-256
        0, 23, 0, 0,                // extended_master_secret
    ];
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.extend([0, 0, suites.len() as u8]);
    body.extend(suites);
    body.extend([1, 0, 0, extensions.len() as u8]);
    body.extend(extensions);
    let length = body.len() as u8;
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[tokio::test]
async fn older_versions_of_tls_are_refused() {
    let server = server("disabled", "", "");
    // The last one, TLS 1.2, shows that the message is well-formed: a ServerHello answers it.
    for (minor, expected) in [(1, [21, 70]), (2, [21, 70]), (3, [22, 2])] {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(&client_hello(minor)).await.unwrap();
        let mut record = [0; 7];
        stream.read_exact(&mut record).await.unwrap();
        let [kind, _, _, _, _, first, second] = record;
        // An alert is a level and a description; a handshake message begins with its kind.
        let said = if kind == 21 { second } else { first };
        assert_eq!([kind, said], expected, "TLS 1.{}", minor - 1);
    }
}

#[tokio::test]
async fn a_certificate_without_its_private_key_is_nobody_s() {
    let victim = admin();
    let server = server(&victim.identity().to_string(), "", "");
    for version in [&TLS12, &TLS13] {
        let thief = Credentials {
            chain: victim.chain.clone(),
            key: Credentials::of(&recorded("stranger")).key,
        };
        for (who, works) in [(&victim, true), (&thief, false)] {
            let outcome = async {
                let config = config(Some(who), &[version]);
                let mut client = Client::connect_with(&server.address, config).await?;
                client.send("GET", SELF, &[], "").await
            };
            match outcome.await {
                Ok(answer) => assert!(works && answer.status == 200, "{answer:?}"),
                Err(error) if works => panic!("{error}"),
                Err(error) => assert_no_handshake(Err(error), "DecryptError"),
            }
        }
    }
}

/// A certificate that says it is an authority's.
fn self_made_authority() -> Credentials {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Credentials::self_signed(&params)
}

fn chain(of: &[&CertificateDer<'static>], key: &Credentials) -> Credentials {
    Credentials {
        chain: of.iter().map(|der| (*der).clone()).collect(),
        key: key.key.clone(),
    }
}

#[tokio::test]
async fn only_the_certificate_whose_key_signed_says_who_it_is() {
    let victim = admin();
    let server = server(&victim.identity().to_string(), "", "");
    let other = Credentials::of(&recorded("stranger"));
    let authority = self_made_authority();
    let own = |credentials: &Credentials| credentials.chain.first().unwrap().clone();
    let (victims, others, authoritys) = (own(&victim), own(&other), own(&authority));
    let garbage = CertificateDer::from(vec![0x30, 3, 1, 1, 0]);

    let several = "tls: received more than one client certificate";
    let not_first = "tls: the client certificate must be the first of its chain";
    let required = "tls: client certificate is required";
    let malformed = "tls: the client certificate is malformed";
    for (credentials, message) in [
        (chain(&[&authoritys, &victims], &authority), not_first),
        (
            chain(&[&authoritys, &authoritys, &victims], &authority),
            not_first,
        ),
        (chain(&[&others, &victims], &other), several),
        (
            chain(&[&authoritys, &others, &victims], &authority),
            several,
        ),
        (chain(&[&authoritys], &authority), required),
        (chain(&[&others, &garbage], &other), malformed),
    ] {
        let answer = ask(&server, Some(&credentials)).await.unwrap();
        assert_refused(&answer, message);
    }
    let with_authority = chain(&[&victims, &authoritys], &victim);
    let answer = ask(&server, Some(&with_authority)).await.unwrap();
    assert_eq!(answer.json()["identity"], victim.identity().to_string());
    // One that is no certificate has no key with which the handshake could be checked.
    let unreadable = chain(&[&garbage], &other);
    assert_no_handshake(ask(&server, Some(&unreadable)).await, "AlertReceived");
}

#[tokio::test]
async fn no_certificate_is_let_in_only_where_a_route_skips_authentication() {
    let off = "auth: {signatures: off}\n";
    let strict = server("disabled", "", off);
    assert_no_handshake(ask(&strict, None).await, "CertificateRequired");
    let skips = format!("{off}api: {{/v1/ready: {{skip_auth: true}}}}");
    let lax = server("disabled", "", &skips);
    let mut client = Client::connect(&lax.address, None).await.unwrap();
    assert_eq!(
        client.call("GET", "/v1/ready", Value::Null).await.status,
        200
    );
    for path in [SELF, "/v1/status", "/v1/key/list/", "/v1/key/describe/a"] {
        let answer = client.call("GET", path, Value::Null).await;
        assert_refused(&answer, "tls: client certificate is required");
    }
}

#[tokio::test]
async fn certificates_are_verified_when_that_is_wanted() {
    let authority = Authority::new("ours");
    let good = authority.issue(CertificateParams::default());
    let mut params = CertificateParams::default();
    params.not_after = date_time_ymd(2020, 1, 1);
    let expired = authority.issue(params);
    let another = Authority::new("another");
    let mut by_another = Authority::new("unknown").issue(CertificateParams::default());
    let api_key = admin();
    let behind = vec![authority.certificate().clone()];
    let with_authority = Credentials {
        chain: [good.chain.clone(), behind.clone()].concat(),
        key: good.key.clone(),
    };
    by_another.chain.extend(behind);

    for ca in ["authority.pem", "authorities"] {
        for skip in ["", "api: {/v1/ready: {skip_auth: true}}"] {
            let folder = tempfile::tempdir().unwrap();
            write_certificate(folder.path());
            std::fs::write(folder.path().join("authority.pem"), authority.pem()).unwrap();
            std::fs::create_dir_all(folder.path().join("authorities/empty")).unwrap();
            for (name, one) in [("a.pem", &another), ("b.crt", &authority)] {
                std::fs::write(folder.path().join("authorities").join(name), one.pem()).unwrap();
            }
            let tls = format!("  auth: on\n  ca: {{folder}}/{ca}");
            let config = format!(
                "admin: {{identity: {}}}\nauth: {{signatures: off}}\nkeystore: {{mem: {{}}}}\n{skip}",
                good.identity()
            );
            let server = Server::start_in(Path::new(crate::SEALEDGE), folder, &tls, &config);
            for accepted in [&good, &with_authority] {
                let answer = ask(&server, Some(accepted)).await.unwrap();
                assert_eq!(answer.json()["admin"], true, "{ca} {skip}");
            }
            assert_no_handshake(ask(&server, Some(&expired)).await, "CertificateExpired");
            for unknown in [&api_key, &by_another] {
                assert_no_handshake(ask(&server, Some(unknown)).await, "UnknownCA");
            }
            let nobody = ask(&server, None).await;
            if skip.is_empty() {
                assert_no_handshake(nobody, "CertificateRequired");
            } else {
                assert_refused(&nobody.unwrap(), "tls: client certificate is required");
            }
        }
    }
}

#[tokio::test]
async fn a_private_key_may_be_under_a_password() {
    let run = |tls: &str, password: Option<&str>| {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path());
        let file = folder.path().join("server.key");
        let plain = std::fs::read(&file).unwrap();
        let encrypted = sealedge::private_key::encrypt(&plain, "correct horse").unwrap();
        std::fs::write(&file, encrypted.as_bytes()).unwrap();
        let config = "admin: {identity: disabled}\nkeystore: {mem: {}}";
        let mut command = Server::command(Path::new(crate::SEALEDGE), folder.path(), tls, config);
        if let Some(password) = password {
            command.env("TLS_PASSWORD", password);
        }
        (command, folder)
    };
    for (tls, variable) in [
        ("  password: correct horse", None),
        ("  password: ${TLS_PASSWORD}", Some("correct horse")),
    ] {
        let (command, folder) = run(tls, variable);
        let server = Server::run(command, folder);
        let who = admin();
        let mut client = Client::connect(&server.address, Some(&who)).await.unwrap();
        assert_eq!(
            client.call("GET", "/version", Value::Null).await.status,
            200
        );
    }
    for (tls, variable, message) in [
        (
            "  password: battery",
            None,
            "the password is wrong, or the private key is damaged",
        ),
        (
            "  password: ${TLS_PASSWORD}",
            Some("staple"),
            "the password is wrong, or the private key is damaged",
        ),
        ("", None, "it is encrypted: set tls.password"),
    ] {
        let (mut command, folder) = run(tls, variable);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let file = folder.path().join("server.key");
        assert_eq!(
            said,
            format!("error: tls.key: {}: {message}\n", file.display())
        );
        assert_eq!(output.status.code(), Some(1));
    }
}

#[tokio::test]
async fn a_resumed_session_has_the_identity_of_its_first_handshake() {
    let who = admin();
    let server = server(&who.identity().to_string(), "", "");
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(config(Some(&who), &[version]));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let stream = handshake(&server.address, config.clone()).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind();
            let mut client = Client::over(stream).await.unwrap();
            let answer = client.call("GET", SELF, Value::Null).await;
            assert_eq!(answer.json()["identity"], who.identity().to_string());
            // By TLS 1.3 the kind is known here already: `connect` waits for the server's Finished.
            assert_eq!(kind, Some(expected), "{version:?}");
        }
    }
}

#[tokio::test]
async fn the_signal_to_stop_lets_requests_in_flight_end() {
    let who = admin();
    let config = format!(
        "admin: {{identity: {}}}\nkeystore: {{mem: {{}}}}",
        who.identity()
    );
    let server = Server::start(Path::new(crate::SEALEDGE_WITH_FAULTS), "", &config);
    let address = server.address.clone();
    let mut busy = Client::connect(&address, Some(&who)).await.unwrap();
    let mut idle = Client::connect_http2(&address, Some(&who)).await.unwrap();
    // In flight from the other client: a key whose read takes eight seconds.
    let created = busy
        .call("PUT", "/v1/key/create/hang-8-x", Value::Null)
        .await;
    assert_eq!(created.status, 200);
    assert_eq!(idle.call("GET", "/version", Value::Null).await.status, 200);
    let waiting = tokio::spawn(async move {
        busy.call(
            "PUT",
            "/v1/key/encrypt/hang-8-x",
            json!({"plaintext": "AAAA"}),
        )
        .await
    });
    let reading = tokio::task::spawn_blocking(move || {
        server.wait_for_error("the read of hang-8-x begins");
        server
    });
    let server = reading.await.unwrap();
    server.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || server.wait());
    // It takes no more connections, and ends those on which nothing is in flight.
    while TcpStream::connect(&address).await.is_ok()
        || idle.send("GET", "/version", &[], "").await.is_ok()
    {
        assert!(!waiting.is_finished(), "it still serves");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(waiting.await.unwrap().status, 200);
    let (code, _, errors) = ended.await.unwrap();
    assert_eq!(code, Some(0), "{errors}");
    // The two, and one that may have come with the signal.
    let said = |count| {
        let line = format!("stopping: finishing {count} connections (a second signal cuts off");
        errors.contains(&line)
    };
    assert!(said(2) || said(3), "{errors}");
}
