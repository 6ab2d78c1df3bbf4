use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::{Extension, Router, routing::get};
use brokkr_telemetry::http::Encrypted;
use http::StatusCode;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
    version::TLS13,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    Limits, Server, serve,
    tls::{Tls, TlsFiles},
};

struct Running {
    address: SocketAddr,
    draining: CancellationToken,
    stopping: CancellationToken,
    /// Lets `/slow` answer.
    answer: Arc<Notify>,
    /// Tells that `/slow` was asked.
    asked: Arc<Notify>,
    ended: JoinHandle<()>,
}

#[expect(clippy::disallowed_methods, reason = "a test has no lifecycle")]
async fn start(tls: Option<Tls>) -> Running {
    let (answer, asked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (wait, tell) = (Arc::clone(&answer), Arc::clone(&asked));
    let slow = async move || {
        tell.notify_one();
        wait.notified().await;
        "slow"
    };
    let encrypted = async |encrypted: Option<Extension<Encrypted>>| {
        (if encrypted.is_some() { StatusCode::OK } else { StatusCode::UPGRADE_REQUIRED }, "here")
    };
    let router = Router::new().route("/", get(async || "here")).route("/slow", get(slow)).route("/encrypted", get(encrypted));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (draining, stopping) = (CancellationToken::new(), CancellationToken::new());
    let server = Server { tls, limits: Limits::default(), draining: draining.clone(), stopping: stopping.clone() };
    let ended = tokio::spawn(serve(listener, router, server));
    Running { address, draining, stopping, answer, asked, ended }
}

/// Sends a head, and reads one answer with a body of known length.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), head: &str) -> String {
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.contains("\r\n\r\n") || !(text.ends_with("here") || text.ends_with("slow") || text.contains("length: 0")) {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "the connection ended after {text:?}");
        text += std::str::from_utf8(&bytes[..count]).unwrap();
    }
    text
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Whether the other side has closed the connection, and nothing came before.
async fn is_closed(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    stream.read(&mut [0; 64]).await.is_ok_and(|count| count == 0)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_or_not_enough_loses_its_connection() {
    let running = start(None).await;
    for said in ["", "G", "PRI * HT", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        assert!(is_closed(&mut stream).await, "after {said:?}");
    }
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    ask(&mut stream, GET).await;
    assert!(is_closed(&mut stream).await, "an idle connection is not kept for ever");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_finish_its_handshake_loses_its_connection() {
    let (_folder, files, _) = pair();
    let running = start(Some(Tls::load(files).unwrap())).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    assert!(is_closed(&mut stream).await);
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    plain.write_all(GET.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // What comes is an alert of TLS, or a reset.
    drop(plain.read_to_end(&mut answer).await);
    assert!(!answer.starts_with(b"HTTP"), "nothing is served in the clear");
}

#[tokio::test]
async fn a_request_that_takes_its_time_is_not_idle() {
    let running = start(None).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let mut request = Box::pin(ask(&mut stream, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n"));
    tokio::select! {
        () = running.asked.notified() => {}
        _ = &mut request => panic!("it is answered when it may"),
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(600)).await;
    tokio::time::resume();
    running.answer.notify_one();
    assert!(request.await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_long_path_is_answered_and_a_longer_head_is_refused() {
    let running = start(None).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let answer = ask(&mut stream, &format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(16 * 1024))).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    for (what, head) in [
        ("a header", format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024))),
        ("a path", format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(64 * 1024))),
    ] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        // The server may stop reading before all of it is sent.
        drop(stream.write_all(head.as_bytes()).await);
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert!(matches!(&answer, b"HTTP/1.1 431" | b"HTTP/1.1 414"), "{what}: {}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn a_draining_server_serves_and_sends_its_callers_elsewhere() {
    let running = start(None).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    assert!(!ask(&mut stream, GET).await.contains("connection: close"));
    running.draining.cancel();
    let answer = ask(&mut stream, GET).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    assert!(is_closed(&mut stream).await);
    let mut later = TcpStream::connect(running.address).await.unwrap();
    assert!(ask(&mut later, GET).await.contains("connection: close"), "new connections are still served");
}

#[tokio::test]
async fn a_stopped_server_finishes_what_is_in_flight_and_ends() {
    let running = start(None).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    ask(&mut idle, GET).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let mut request = Box::pin(ask(&mut stream, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n"));
    tokio::select! {
        () = running.asked.notified() => {}
        _ = &mut request => panic!("it is answered when it may"),
    }
    running.draining.cancel();
    running.stopping.cancel();
    assert!(is_closed(&mut idle).await && is_closed(&mut silent).await, "nobody waits for those that ask nothing");
    assert!(!running.ended.is_finished(), "the request is in flight");
    running.answer.notify_one();
    let answer = request.await;
    assert!(answer.ends_with("slow") && answer.contains("connection: close"), "{answer}");
    running.ended.await.unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

/// A pair in files, and the certificate.
fn pair() -> (tempfile::TempDir, TlsFiles, CertificateDer<'static>) {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { certificate: folder.path().join("tls.crt"), key: folder.path().join("tls.key") };
    let certificate = write_pair(&files);
    (folder, files, certificate)
}

fn write_pair(files: &TlsFiles) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&files.certificate, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

async fn connect(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    alpn: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn a_request_knows_whether_it_came_over_tls() {
    const ENCRYPTED: &str = "GET /encrypted HTTP/1.1\r\nhost: a\r\n\r\n";
    let clear = start(None).await;
    let mut stream = TcpStream::connect(clear.address).await.unwrap();
    assert!(ask(&mut stream, ENCRYPTED).await.starts_with("HTTP/1.1 426"));
    let (_folder, files, certificate) = pair();
    let running = start(Some(Tls::load(files).unwrap())).await;
    let mut stream = connect(running.address, &certificate, "http/1.1").await.unwrap();
    assert!(ask(&mut stream, ENCRYPTED).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn both_versions_of_http_are_negotiated() {
    let (_folder, files, certificate) = pair();
    let running = start(Some(Tls::load(files).unwrap())).await;
    let mut stream = connect(running.address, &certificate, "http/1.1").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(ask(&mut stream, GET).await.starts_with("HTTP/1.1 200"));
    let mut stream = connect(running.address, &certificate, "h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "the first frame of a server is SETTINGS");
}

#[tokio::test]
async fn a_new_certificate_is_used_for_new_connections_and_open_ones_stay() {
    let (_folder, files, first) = pair();
    let mut tls = Tls::load(files.clone()).unwrap();
    let running = start(Some(tls.clone())).await;
    let mut held = connect(running.address, &first, "http/1.1").await.unwrap();
    let second = write_pair(&files);
    assert!(connect(running.address, &second, "http/1.1").await.is_err(), "nobody has looked at the files");
    tls.look(false).await;
    let mut stream = connect(running.address, &second, "http/1.1").await.unwrap();
    assert!(ask(&mut stream, GET).await.starts_with("HTTP/1.1 200"));
    assert!(connect(running.address, &first, "http/1.1").await.is_err());
    assert!(ask(&mut held, GET).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_broken_pair_is_refused_and_the_one_before_stays() {
    let (_folder, files, first) = pair();
    let mut tls = Tls::load(files.clone()).unwrap();
    let running = start(Some(tls.clone())).await;
    let good = std::fs::read(&files.key).unwrap();
    let (_other_folder, other, _) = pair();
    type Break<'a> = &'a dyn Fn(&Path);
    let breaks: [(&str, Break<'_>); 3] = [
        ("a key of another certificate", &|key| assert!(std::fs::copy(&other.key, key).unwrap() > 0)),
        ("no key", &|key| std::fs::write(key, "nothing").unwrap()),
        ("no file", &|key| std::fs::remove_file(key).unwrap()),
    ];
    for (what, break_it) in breaks {
        break_it(&files.key);
        tls.look(false).await;
        assert!(connect(running.address, &first, "http/1.1").await.is_ok(), "{what}");
        assert!(Tls::load(files.clone()).is_err(), "{what}");
    }
    std::fs::write(&files.key, good).unwrap();
    assert!(!tls.look(true).await, "it is readable again");
    assert!(connect(running.address, &first, "http/1.1").await.is_ok());
}

#[tokio::test]
async fn a_certificate_is_followed_through_a_swapped_link_until_the_server_stops() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // As Kubernetes mounts a Secret: the files are links through a link that is swapped.
    for version in ["one", "two"] {
        std::fs::create_dir(at(version)).unwrap();
    }
    let files = |of: &str| TlsFiles { certificate: at(of).join("tls.crt"), key: at(of).join("tls.key") };
    write_pair(&files("one"));
    let second = write_pair(&files("two"));
    std::os::unix::fs::symlink("one", at("data")).unwrap();
    let mut tls = Tls::load(files("data")).unwrap();
    let running = start(Some(tls.clone())).await;
    std::os::unix::fs::symlink("two", at("new")).unwrap();
    std::fs::rename(at("new"), at("data")).unwrap();
    tls.look(false).await;
    assert!(connect(running.address, &second, "http/1.1").await.is_ok());
    running.stopping.cancel();
    tls.follow_every(Duration::from_secs(3600), running.stopping.clone()).await;
}
