//! W3C trace context at its strictest, from the text of the recommendation, on the wire: bytes go in at a server, and what that server
//! sends on while it serves them is looked at.

mod cases;

use std::sync::Arc;

use axum::{Router, extract::State, http::HeaderMap, routing::get};
use brokkr_telemetry::{
    Service,
    capture::{Capture, options},
    http::{ClientTelemetry, ServerTelemetry},
};
use parking_lot::Mutex;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use cases::{Case, Expected, PARENT, TRACE};

/// What was sent on: `traceparent` and `tracestate`, each of which must be there at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    traceparent: Option<String>,
    tracestate: Option<String>,
}

type Seen = Arc<Mutex<Vec<Sent>>>;

/// Calls the next server as often as the path says.
#[derive(Clone)]
struct Between {
    client: ClientWithMiddleware,
    next: String,
}

async fn once(State(between): State<Between>) {
    between.client.get(&between.next).send().await.unwrap();
}

async fn three_times(State(between): State<Between>) {
    for _ in 0..3 {
        between.client.get(&between.next).send().await.unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "a server of the test")]
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn only(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect();
    assert!(values.len() <= 1, "{name} is sent on {} times: {values:?}", values.len());
    values.into_iter().next()
}

/// A server whose callers are trusted, and what it sends on.
async fn servers(capture: &Capture) -> (String, Seen) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let seen = Seen::default();
    let keep = seen.clone();
    let last = get(move |headers: HeaderMap| async move {
        keep.lock().push(Sent { traceparent: only(&headers, "traceparent"), tracestate: only(&headers, "tracestate") });
    });
    let next = format!("http://{}/", serve(Router::new().route("/", last)).await);
    let client = ClientBuilder::new(reqwest::Client::builder().build().unwrap()).with(ClientTelemetry).build();
    let router = Router::new().route("/", get(once)).route("/three", get(three_times)).with_state(Between { client, next });
    let telemetry = ServerTelemetry::new(capture.telemetry(), None).trusting(|_| true);
    (serve(telemetry.wrap(router)).await, seen)
}

/// Sends the header lines byte for byte.
async fn send(address: &str, path: &str, lines: &[String]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Trace id, span id and flags of a `traceparent` that is as it must be.
fn fields(traceparent: &str) -> (&str, &str, &str) {
    let parts: Vec<_> = traceparent.split('-').collect();
    let [version, trace, span, flags]: [&str; 4] = parts.try_into().unwrap();
    let lengths = [version, trace, span, flags].map(str::len);
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    assert!(lengths == [2, 32, 16, 2] && [version, trace, span, flags].into_iter().all(is_hex), "{traceparent}");
    assert!(version == "00" && trace != "0".repeat(32) && span != "0".repeat(16), "{traceparent}");
    (trace, span, flags)
}

fn judge(case: &Case, sent: &Sent, spans: bool) -> Result<(), String> {
    let told = |what: &str| Err(format!("{}: {what}: {:?} became {sent:?}", case.name, case.lines));
    let Some(traceparent) = &sent.traceparent else {
        // Without spans nobody begins a trace.
        let right = !spans && case.expected == Expected::New && sent.tracestate.is_none();
        return if right { Ok(()) } else { told("nothing was sent on") };
    };
    let (trace, span, flags) = fields(traceparent);
    match &case.expected {
        Expected::New if trace == TRACE => told("the trace goes on"),
        // Ours are random in every bit, which the second version of the recommendation wants to be told.
        Expected::New if flags.ends_with(['0', '1']) => told("the new trace does not say that its id is random"),
        Expected::New if sent.tracestate.is_some() => told("the tracestate of no trace goes on"),
        Expected::Continued { .. } if trace != TRACE => told("the trace does not go on"),
        Expected::Continued { .. } if (span == PARENT) == spans => told("the place in the trace is another's"),
        Expected::Continued { flags: wanted, .. } if flags != *wanted => told("the flags are others"),
        Expected::Continued { tracestate, .. } if *tracestate != sent.tracestate => told("the tracestate is another"),
        Expected::New | Expected::Continued { .. } => Ok(()),
    }
}

async fn run(spans: bool) {
    let mut options = options(Service::Broker);
    options.telemetry.enabled = spans;
    let capture = Capture::with(options).unwrap();
    // The servers' tasks run on this test's one thread.
    let _here = capture.enter();
    let (address, seen) = servers(&capture).await;
    let mut wrong = Vec::new();
    for case in cases::all() {
        seen.lock().clear();
        let answer = send(&address, "/", &case.lines).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{}: {:?} is answered {answer}", case.name, case.lines);
        let sent = seen.lock().clone();
        assert_eq!(sent.len(), 1, "{}", case.name);
        wrong.extend(judge(&case, &sent[0], spans).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_case_of_the_recommendation_holds_on_the_wire() {
    run(true).await;
}

#[tokio::test]
async fn every_case_of_the_recommendation_holds_on_the_wire_without_spans() {
    run(false).await;
}

#[tokio::test]
async fn calls_of_one_request_are_places_of_their_own_in_one_trace() {
    let capture = Capture::start();
    let _here = capture.enter();
    let (address, seen) = servers(&capture).await;
    for lines in [vec![], vec![format!("traceparent: 00-{TRACE}-{PARENT}-01")]] {
        seen.lock().clear();
        send(&address, "/three", &lines).await;
        let sent: Vec<String> = seen.lock().iter().map(|sent| sent.traceparent.clone().unwrap()).collect();
        assert_eq!(sent.len(), 3);
        let traces: std::collections::HashSet<_> = sent.iter().map(|traceparent| fields(traceparent).0).collect();
        let spans: std::collections::HashSet<_> = sent.iter().map(|traceparent| fields(traceparent).1).collect();
        assert_eq!((traces.len(), spans.len()), (1, 3), "{sent:?}");
        assert!(!spans.contains(PARENT) && (lines.is_empty() || traces.contains(TRACE)), "{sent:?}");
    }
}
