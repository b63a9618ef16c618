//! Certificates, keys and authorities that change while the server runs, and clients whose
//! certificates are not good any more.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, date_time_ymd};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use sealedge_tests::authority::Authority;
use sealedge_tests::client::{
    Answer, Client, Credentials, Error, config, for_admin, handshake, recorded,
};
use sealedge_tests::server::{Server, write_certificate};
use tempfile::TempDir;

const SELF: &str = "/v1/identity/self/describe";
const UNTRUSTED: &str = "tls: the client certificate is not trusted: no trusted authority has issued it, or it is revoked";
const EXPIRED: &str = "tls: the client certificate has expired";

/// A folder with a server's certificate, and this authority in `ca.pem`.
pub fn folder_with(authority: &Authority) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    folder
}

pub const VERIFY: &str = "  auth: on\n  ca: {folder}/ca.pem";

fn start_in(folder: TempDir, tls: &str) -> Server {
    Server::start_in(
        Path::new(crate::SEALEDGE),
        folder,
        tls,
        &for_admin("mem: {}"),
    )
}

/// The certificate that the server shows.
async fn shown(server: &Server) -> Vec<u8> {
    let config = config(Some(&Credentials::of(&recorded("admin"))), &[&TLS13]);
    let stream = handshake(&server.address, Arc::new(config)).await.unwrap();
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].to_vec()
}

/// The certificate in a folder.
fn in_folder(folder: &Path) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(folder.join("server.cert"))
        .unwrap()
        .to_vec()
}

async fn wait_until_shown(server: &Server, certificate: &[u8]) {
    for _ in 0..600 {
        if shown(server).await == certificate {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the certificate is not taken: {}", server.errors());
}

async fn ask(client: &mut Client) -> Result<Answer, Error> {
    client.send("GET", SELF, &[], "").await
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_once_its_key_is_there() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let old = in_folder(folder.path());
    let server = start_in(folder, "");
    let admin = Credentials::of(&recorded("admin"));
    let mut client = Client::connect_http2(&server.address, Some(&admin))
        .await
        .unwrap();
    assert_eq!(ask(&mut client).await.unwrap().status, 200);
    assert_eq!(shown(&server).await, old);

    let renewed = tempfile::tempdir().unwrap();
    write_certificate(renewed.path());
    let copy = |name: &str| {
        fs::copy(renewed.path().join(name), server.folder.path().join(name)).unwrap();
    };
    copy("server.cert");
    let complaint = server.wait_for_error("error: tls.key: ");
    assert!(
        complaint.contains("what was in force before still is"),
        "{complaint}"
    );
    // It is tried again, and not said again.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(
        server.errors().matches("error: ").count(),
        1,
        "{}",
        server.errors()
    );
    assert_eq!(shown(&server).await, old);

    copy("server.key");
    wait_until_shown(&server, &in_folder(renewed.path())).await;
    server.wait_for_error("reloaded tls.key, tls.cert");
    assert_eq!(ask(&mut client).await.unwrap().status, 200);
}

#[tokio::test]
async fn files_behind_links_are_followed_as_kubernetes_swaps_them() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    for version in ["..1", "..2"] {
        fs::create_dir(path.join(version)).unwrap();
        write_certificate(&path.join(version));
    }
    symlink("..1", path.join("..data")).unwrap();
    for name in ["server.key", "server.cert"] {
        symlink(format!("..data/{name}"), path.join(name)).unwrap();
    }
    let server = start_in(folder, "");
    assert_eq!(shown(&server).await, in_folder(&path.join("..1")));
    symlink("..2", path.join("..data_tmp")).unwrap();
    fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
    wait_until_shown(&server, &in_folder(&path.join("..2"))).await;
    assert!(!server.errors().contains("error"), "{}", server.errors());
}

#[tokio::test]
async fn a_hangup_takes_the_certificate_as_well() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let server = start_in(folder, "");
    write_certificate(server.folder.path());
    server.reload("", &for_admin("mem: {}"));
    assert_eq!(shown(&server).await, in_folder(server.folder.path()));
}

/// A connection by these settings, and whether it is a session resumed.
async fn connect(server: &Server, config: &Arc<ClientConfig>) -> Result<(Client, bool), Error> {
    let stream = handshake(&server.address, config.clone()).await?;
    let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
    Ok((Client::over(stream).await?, is_resumed))
}

/// The client gets this refusal, and then its connection ends.
async fn assert_shut_out(client: &mut Client, message: &str) {
    let answer = ask(client).await.unwrap();
    assert_eq!((answer.status, answer.message().as_str()), (400, message));
    for _ in 0..200 {
        match ask(client).await {
            Ok(answer) => assert_eq!(answer.message(), message),
            Err(_) => return,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the connection goes on");
}

#[tokio::test]
async fn clients_of_a_replaced_authority_are_shut_out_and_others_go_on() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let by_first = first.issue(CertificateParams::default());
    let by_second = second.issue(CertificateParams::default());
    let server = start_in(folder_with(&first), VERIFY);
    let both = first.pem() + &second.pem();
    let files = [both, second.pem()];
    let mut kept = Vec::new();
    for version in [&TLS12, &TLS13] {
        for alpn in ["http/1.1", "h2"] {
            let mut config = config(Some(&by_first), &[version]);
            config.alpn_protocols = vec![alpn.into()];
            let config = Arc::new(config);
            // The second time resumes the session of the first.
            let mut clients = Vec::new();
            for expected in [false, true] {
                let (mut client, is_resumed) = connect(&server, &config).await.unwrap();
                assert_eq!(ask(&mut client).await.unwrap().status, 404);
                assert_eq!(is_resumed, expected);
                clients.push(client);
            }
            kept.push((config, clients));
        }
    }
    for (at, file) in files.iter().enumerate() {
        fs::write(server.folder.path().join("ca.pem"), file).unwrap();
        for _ in 0..3000 {
            if server.errors().matches("reloaded tls.ca").count() > at {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut other = Client::connect(&server.address, Some(&by_second))
            .await
            .unwrap();
        assert_eq!(ask(&mut other).await.unwrap().status, 404);
        for (config, clients) in &mut kept {
            for client in clients {
                if at == 0 {
                    assert_eq!(ask(client).await.unwrap().status, 404);
                } else {
                    assert_shut_out(client, UNTRUSTED).await;
                }
            }
            let again = async {
                let (mut client, is_resumed) = connect(&server, config).await?;
                ask(&mut client)
                    .await
                    .map(|answer| (answer.status, is_resumed))
            };
            match again.await {
                Ok(outcome) => assert!(at == 0 && outcome == (404, false), "{outcome:?}"),
                Err(_) => assert_eq!(at, 1),
            }
        }
    }
}

#[tokio::test]
async fn connections_that_were_not_verified_are_when_that_is_turned_on() {
    let authority = Authority::new("ours");
    let good = authority.issue(CertificateParams::default());
    let server = start_in(folder_with(&authority), "");
    let api_key = Credentials::of(&recorded("admin"));
    let mut clients = Vec::new();
    for who in [&good, &api_key] {
        let by_one = Client::connect(&server.address, Some(who)).await.unwrap();
        let by_two = Client::connect_http2(&server.address, Some(who))
            .await
            .unwrap();
        clients.extend([by_one, by_two]);
    }
    let config = Arc::new(config(Some(&api_key), &[&TLS13]));
    let (mut resumable, _) = connect(&server, &config).await.unwrap();
    assert_eq!(ask(&mut resumable).await.unwrap().status, 200);
    // A handshake that begins before, and ends after.
    let late = tokio::net::TcpStream::connect(&server.address)
        .await
        .unwrap();

    server.reload(VERIFY, &for_admin("mem: {}"));
    let [one, two, third, fourth] = &mut clients[..] else {
        panic!()
    };
    for client in [one, two] {
        assert_eq!(ask(client).await.unwrap().status, 404);
    }
    for client in [third, fourth] {
        assert_shut_out(client, UNTRUSTED).await;
    }
    let again = async {
        let (mut client, _) = connect(&server, &config).await?;
        ask(&mut client).await
    };
    assert!(again.await.is_err(), "a session was resumed");
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(config.clone());
    if let Ok(stream) = connector.connect(name, late).await
        && let Ok(mut client) = Client::over(stream).await
        && let Ok(answer) = ask(&mut client).await
    {
        assert_eq!(answer.message(), UNTRUSTED);
    }

    server.reload("", &for_admin("mem: {}"));
    let (mut client, _) = connect(&server, &config).await.unwrap();
    assert_eq!(ask(&mut client).await.unwrap().status, 200);
}

/// A certificate that is valid for some seconds from now.
pub fn short(authority: &Authority, seconds: u64) -> (Credentials, SystemTime) {
    let until = SystemTime::now() + Duration::from_secs(seconds);
    let mut params = CertificateParams::default();
    params.not_after = date_time_ymd(1970, 1, 1) + until.duration_since(UNIX_EPOCH).unwrap();
    // Its last second is whole.
    (authority.issue(params), until + Duration::from_secs(1))
}

/// What becomes of connections whose certificate expires.
async fn expire(tls: &str, is_verified: bool) {
    let authority = Authority::new("ours");
    let server = start_in(folder_with(&authority), tls);
    let (who, until) = short(&authority, 10);
    let mut config = config(Some(&who), &[&TLS13]);
    config.alpn_protocols = vec!["h2".into()];
    let config = Arc::new(config);
    let mut by_one = Client::connect(&server.address, Some(&who)).await.unwrap();
    let (mut by_two, _) = connect(&server, &config).await.unwrap();
    for client in [&mut by_one, &mut by_two] {
        assert_eq!(ask(client).await.unwrap().status, 404);
    }
    // Until shortly before, for one that is idle for ten seconds is closed anyway.
    while SystemTime::now() < until - Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(ask(&mut by_one).await.unwrap().status, 404);
    }
    while SystemTime::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // TLS itself does not look at the certificate when it resumes a session.
    let (mut resumed, is_resumed) = connect(&server, &config).await.unwrap();
    assert!(is_resumed);
    for client in [&mut by_one, &mut by_two, &mut resumed] {
        if is_verified {
            assert_shut_out(client, EXPIRED).await;
        } else {
            assert_eq!(ask(client).await.unwrap().status, 404);
        }
    }
}

#[tokio::test]
async fn a_certificate_that_expires_ends_its_connections_where_it_is_verified() {
    tokio::join!(expire(VERIFY, true), expire("", false));
}
