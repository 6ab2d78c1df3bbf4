use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
};

use brokkr_telemetry::capture::Capture;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{Verifier, guard::Lookups};

const NOW: i64 = 1_767_225_600;

/// What a receiver does with each connection that it takes.
async fn receiver<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let mut served = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            served.spawn(serve(stream));
        }
    });
    (address, tasks)
}

/// Reads a request to its end; the body is the one that [`message`] has.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8(text).unwrap()
}

/// A receiver that answers every request with this text, and then goes on as it likes.
async fn answering(answer: &'static str) -> (SocketAddr, tokio::task::JoinSet<()>) {
    receiver(move |mut stream| async move {
        read(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.ok();
        std::future::pending::<()>().await;
    })
    .await
}

fn sender(address: SocketAddr) -> Sender {
    let guard = Guard { networks: vec!["127.0.0.0/8".parse().unwrap()], ports: vec![address.port()], http: true };
    Sender::new(guard, "test", None).unwrap()
}

fn secret() -> Secret {
    Secret::hmac([1; 32])
}

fn message(address: SocketAddr) -> Message {
    Message {
        id: "msg-1".to_owned(),
        url: Url::parse(&format!("http://{address}/hook")).unwrap(),
        webhook_id: "019b76da-a800-7000-8000-000000000001".to_owned(),
        webhook: "chat".to_owned(),
        kind: "stack.created".to_owned(),
        body: br#"{"type":"stack.created"}"#.to_vec(),
        headers: HeaderMap::from_iter([
            (header::AUTHORIZATION, HeaderValue::from_static("Bearer hunter2")),
            (header::CONTENT_TYPE, HeaderValue::from_static(crate::body::JSON)),
        ]),
        signing: Signing::Secrets(vec![secret()]),
        timeout: Duration::from_secs(20),
        traceparent: true,
        tracestate: false,
        attempt: 1,
        cause: None,
        before: None,
    }
}

fn now() -> Timestamp {
    Timestamp::from_micros(NOW * 1_000_000)
}

async fn attempt(address: SocketAddr) -> Attempt {
    sender(address).send(message(address), now()).await
}

#[tokio::test]
async fn each_status_is_what_the_standard_says() {
    for (answer, class, status) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", AttemptClass::Success, 204),
        ("HTTP/1.1 301 Moved\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n", AttemptClass::Redirect, 301),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", AttemptClass::ClientError, 404),
        ("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", AttemptClass::Gone, 410),
        ("HTTP/1.1 429 Slow\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n", AttemptClass::Throttled, 429),
        ("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", AttemptClass::ServerError, 503),
    ] {
        let (address, _tasks) = answering(answer).await;
        let attempt = attempt(address).await;
        assert_eq!((attempt.class, attempt.status), (class, Some(status)), "{answer}");
        assert_eq!(attempt.retry_after, (status == 429).then_some(Duration::from_secs(120)));
    }
}

#[tokio::test]
async fn the_receiver_gets_a_signed_message_with_the_place_of_the_attempt_and_no_baggage() {
    let capture = Capture::start();
    // While there is one subscriber alone, `tracing` asks that of whichever thread comes first whether a span is wanted at all, and the
    // threads of the other tests have none.
    let _second = Capture::start();
    let _entered = capture.enter();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (address, _tasks) = receiver(move |mut stream| {
        let tell = tell.clone();
        async move {
            let request = read(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\nthanks hunter2").await.ok();
            tell.send(request).ok();
        }
    })
    .await;
    let cause = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let before = "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01";
    let message = Message {
        cause: Some((TraceContext::from_parts(cause, Some("vendor=1")).unwrap(), Relation::Parent)),
        before: TraceContext::from_parts(before, None),
        attempt: 2,
        headers: HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("hunter2"))]),
        ..message(address)
    };
    let (secret, body) = (secret(), message.body.clone());
    let attempt = sender(address).send(message, now()).await;
    assert_eq!((attempt.class, attempt.excerpt.as_str()), (AttemptClass::Success, "thanks ***"));

    let request = told.recv().await.unwrap();
    let (head, sent) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(sent.as_bytes(), body);
    let headers: HeaderMap = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap()))
        .collect();
    assert_eq!(Verifier::parse(&secret.reveal()).unwrap().verify(&headers, &body, NOW), Ok("msg-1"));
    assert_eq!(headers["authorization"], "hunter2");
    assert!(!headers.contains_key("tracestate") && !headers.contains_key("baggage"));

    let spans = capture.spans();
    let outer = spans.iter().find(|span| span.name() == "send webhook").unwrap();
    let client = spans.iter().find(|span| span.name() == "POST").unwrap();
    let sent = TraceContext::from_headers(&headers).unwrap();
    assert_eq!((sent.trace_id(), sent.span_id()), (&*client.trace_id(), &*client.span_id()));
    assert_eq!(outer.trace_id(), "0af7651916cd43dd8448eb211c80319c", "a child of what happened");
    assert_eq!(attempt.trace.unwrap().span_id(), outer.span_id());
    let text = format!("{spans:?}");
    assert!(!text.contains("hunter2") && !text.contains(&secret.reveal()[6..]), "{text}");
}

#[tokio::test]
async fn tracestate_goes_along_where_it_is_wanted_and_neither_where_nothing_is() {
    for (traceparent, tracestate) in [(true, true), (false, true), (true, false)] {
        let cause =
            TraceContext::from_parts("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("vendor=1")).unwrap();
        let mut message = message("127.0.0.1:1".parse().unwrap());
        (message.traceparent, message.tracestate) = (traceparent, tracestate);
        let headers = message.placed(Some(cause)).headers;
        assert_eq!(headers.contains_key("traceparent"), traceparent);
        assert_eq!(headers.contains_key("tracestate"), traceparent && tracestate);
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_or_drips_costs_its_timeout_and_no_more() {
    let (silent, _silent) = answering("").await;
    let started = tokio::time::Instant::now();
    assert_eq!(attempt(silent).await.class, AttemptClass::Timeout);
    assert!(started.elapsed() <= Duration::from_secs(21), "{:?}", started.elapsed());

    let (dripping, _dripping) = receiver(|mut stream| async move {
        read(&mut stream).await;
        for byte in b"HTTP/1.1 200 OK\r\nx-a: ".iter().chain(std::iter::repeat(&b'a')) {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let started = tokio::time::Instant::now();
    assert_eq!(attempt(dripping).await.class, AttemptClass::Timeout);
    assert!(started.elapsed() <= Duration::from_secs(21), "{:?}", started.elapsed());

    // The head says how it went; the rest is waited for but a moment.
    let (slow, _slow) = answering("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nok").await;
    let started = tokio::time::Instant::now();
    assert_eq!(attempt(slow).await.class, AttemptClass::Success);
    assert!(started.elapsed() <= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn of_an_endless_answer_only_the_beginning_is_read() {
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    let (address, mut tasks) = receiver(|mut stream| async move {
        read(&mut stream).await;
        let mut all = b"HTTP/1.1 500 Oh\r\ncontent-length: 1073741824\r\n\r\n".to_vec();
        all.resize(64 * 1_024, b'a');
        while stream.write_all(&all).await.is_ok() {
            WRITTEN.fetch_add(all.len(), Ordering::Relaxed);
        }
    })
    .await;
    let attempt = attempt(address).await;
    assert_eq!((attempt.class, attempt.excerpt.len()), (AttemptClass::ServerError, mask::EXCERPT));
    // What stands in the buffers of the machine between both, and far from the gigabyte.
    assert!(WRITTEN.load(Ordering::Relaxed) < 64 * 1_024 * 1_024);
    tasks.abort_all();
}

#[tokio::test]
async fn a_connection_that_is_closed_or_refused_is_told_apart() {
    let (address, _tasks) = receiver(|mut stream| async move {
        read(&mut stream).await;
    })
    .await;
    assert_eq!(attempt(address).await.class, AttemptClass::Broken);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(attempt(gone).await.class, AttemptClass::Connect);
}

/// A receiver over TLS, with a certificate for this name that it signed itself; and that certificate.
async fn encrypted(name: &str) -> (SocketAddr, String, tokio::task::JoinSet<()>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (address, tasks) = receiver(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            read(&mut stream).await;
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok();
            std::future::pending::<()>().await;
        }
    })
    .await;
    (address, cert.pem(), tasks)
}

#[tokio::test]
async fn a_receiver_is_told_nothing_before_its_certificate_is_believed() {
    let (address, certificate, _tasks) = encrypted("hooks.example.com").await;
    let guard = Guard { networks: vec!["127.0.0.1/32".parse().unwrap()], ports: vec![address.port()], http: false };
    let attempt = async |host: &str, authorities: Option<&[u8]>| {
        let here = Arc::new(Rebinding(vec![&["127.0.0.1"]], AtomicUsize::new(0)));
        let sender = Sender::with_lookup(guard.clone(), "test", authorities, here).unwrap();
        let url = Url::parse(&format!("https://{host}:{}/hook", address.port())).unwrap();
        sender.send(Message { url, ..message(address) }, now()).await
    };
    let known = Some(certificate.as_bytes());
    let believed = attempt("hooks.example.com", known).await;
    assert_eq!((believed.class, believed.status), (AttemptClass::Success, Some(204)), "{}", believed.excerpt);
    for (host, authorities) in [("hooks.example.com", None), ("others.example.com", known)] {
        let refused = attempt(host, authorities).await;
        assert_eq!((refused.class, refused.status), (AttemptClass::Tls, None), "{host}: {}", refused.excerpt);
    }
}

/// A name that means something else each time; in the end what it meant last.
struct Rebinding(Vec<&'static [&'static str]>, AtomicUsize);

impl Lookup for Rebinding {
    fn lookup(&self, _: String) -> Lookups {
        let at = self.1.fetch_add(1, Ordering::Relaxed).min(self.0.len() - 1);
        let addresses = self.0[at].iter().map(|address| SocketAddr::new(address.parse::<IpAddr>().unwrap(), 0)).collect();
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

#[tokio::test]
async fn a_name_that_changes_its_meaning_leads_nowhere_it_must_not() {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    let (address, _tasks) = receiver(|stream| async move {
        TAKEN.fetch_add(1, Ordering::Relaxed);
        drop(stream);
    })
    .await;
    let guard = Guard { ports: vec![address.port()], http: true, ..Guard::default() };
    let to = |host: &str| Message { url: Url::parse(&format!("http://{host}:{}/", address.port())).unwrap(), ..message(address) };
    for meaning in ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "fd00:ec2::254"] {
        let lookup = Arc::new(Rebinding(vec![Vec::leak(vec![meaning])], AtomicUsize::new(0)));
        let sender = Sender::with_lookup(guard.clone(), "test", None, lookup).unwrap();
        sender.guard().check(&to("rebind.example.com").url).unwrap();
        let attempt = sender.send(to("rebind.example.com"), now()).await;
        assert_eq!((attempt.class, attempt.status), (AttemptClass::Blocked, None), "{meaning}: {}", attempt.excerpt);
    }
    // From one attempt to the next, and with one bad address among good ones.
    let here = Guard { networks: vec!["127.0.0.1/32".parse().unwrap()], ..guard.clone() };
    let meanings: Vec<&[&str]> = vec![&["127.0.0.1"], &["169.254.169.254"], &["127.0.0.1", "169.254.169.254"], &["127.0.0.1"]];
    let sender = Sender::with_lookup(here, "test", None, Arc::new(Rebinding(meanings, AtomicUsize::new(0)))).unwrap();
    let mut classes = Vec::new();
    for _ in 0..4 {
        classes.push(sender.send(to("rebind.example.com"), now()).await.class);
    }
    assert_eq!(classes, [AttemptClass::Broken, AttemptClass::Blocked, AttemptClass::Blocked, AttemptClass::Broken]);
    assert_eq!(TAKEN.swap(0, Ordering::Relaxed), 2, "only where it may lead");
    // Without any name, and with one that the machine knows.
    let sender = Sender::new(guard, "test", None).unwrap();
    for host in ["127.0.0.1", "2130706433", "localhost", "[::1]"] {
        assert_eq!(sender.send(to(host), now()).await.class, AttemptClass::Blocked, "{host}");
    }
    assert_eq!(TAKEN.load(Ordering::Relaxed), 0, "nobody was reached");
    let nowhere = Sender::new(Guard { http: true, ports: vec![80], ..Guard::default() }, "test", None).unwrap();
    let unknown = Message { url: Url::parse("http://does-not-exist.invalid/").unwrap(), ..message(address) };
    assert_eq!(nowhere.send(unknown, now()).await.class, AttemptClass::Dns);
}

#[test]
fn retry_after_is_seconds_or_a_date_and_never_more_than_a_day() {
    let of =
        |text: &str| retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_str(text).unwrap())]), now());
    assert_eq!(of("30"), Some(Duration::from_secs(30)));
    assert_eq!(of("Thu, 01 Jan 2026 00:01:00 GMT"), Some(Duration::from_secs(60)));
    assert_eq!(of("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
    assert_eq!(of("99999999"), Some(LONGEST_PAUSE));
    assert_eq!(of("soon"), None);
}

#[test]
fn headers_of_the_message_and_its_transport_are_taken() {
    for name in ["webhook-id", "webhook-other", "traceparent", "baggage", "host", "content-length"] {
        assert!(!is_free(&HeaderName::from_static(name)), "{name}");
    }
    for name in ["authorization", "x-api-key", "user-agent"] {
        assert!(is_free(&HeaderName::from_static(name)), "{name}");
    }
}
