//! The client's side of HTTP.

use std::sync::Arc;

use axum::{Router, http::HeaderMap, routing::get};
use brokkr_telemetry::{
    Service, TraceContext,
    capture::{Capture, options},
    http::ClientTelemetry,
    spans,
};
use opentelemetry::trace::SpanKind;
use parking_lot::Mutex;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tokio::net::TcpListener;
use tracing::{Instrument, instrument::WithSubscriber};

use crate::receiver;

const INBOUND: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

type Seen = Arc<Mutex<Vec<HeaderMap>>>;

/// A server that remembers the headers it is sent.
#[expect(clippy::disallowed_methods, reason = "a server of the test")]
async fn server() -> (Seen, String) {
    let seen = Seen::default();
    let keep = seen.clone();
    let handler = move |headers: HeaderMap| async move { keep.lock().push(headers) };
    let router = Router::new().route("/stacks/shop", get(handler));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (seen, base)
}

fn client() -> ClientWithMiddleware {
    drop(rustls::crypto::ring::default_provider().install_default());
    ClientBuilder::new(reqwest::Client::builder().build().unwrap()).with(ClientTelemetry).build()
}

#[tokio::test]
async fn a_request_is_a_client_span_whose_context_is_sent() {
    let (capture, (seen, base)) = (Capture::start(), server().await);
    let request =
        client().get(format!("{base}/stacks/shop?secret=hush")).header("traceparent", "old").with_extension("/stacks/{stack}");
    async { request.send().instrument(spans::report()).await.unwrap() }.with_subscriber(capture.dispatch()).await;
    let (call, report) = (capture.span("GET /stacks/{stack}"), capture.span("report"));
    assert_eq!((call.kind(), call.parent_id()), (&SpanKind::Client, report.span_id()));
    assert_eq!(seen.lock()[0]["traceparent"], format!("00-{}-{}-03", call.trace_id(), call.span_id()));
    assert_eq!(seen.lock()[0].get_all("traceparent").iter().count(), 1);
    assert_eq!(call.attribute("http.response.status_code").as_deref(), Some("200"));
    assert_eq!(call.attribute("server.address").as_deref(), Some("127.0.0.1"));
    let shown = format!("{call:?}");
    assert!(!shown.contains("hush") && !shown.contains("shop"), "{shown}");
}

#[tokio::test]
async fn a_4xx_is_an_error_of_the_client() {
    let (capture, (_, base)) = (Capture::start(), server().await);
    client().get(format!("{base}/no/such")).send().with_subscriber(capture.dispatch()).await.unwrap();
    let span = capture.span("GET");
    assert_eq!((span.is_error(), span.attribute("error.type").as_deref()), (true, Some("404")));
}

#[tokio::test]
async fn a_server_out_of_reach_is_an_error_with_a_word() {
    let (capture, base) = (Capture::start(), receiver::nobody().await);
    client().get(base).send().with_subscriber(capture.dispatch()).await.unwrap_err();
    assert_eq!(capture.span("GET").attribute("error.type").as_deref(), Some("connect"));
}

#[tokio::test]
async fn without_spans_the_context_of_the_request_is_sent() {
    let mut off = options(Service::Agent);
    off.telemetry.enabled = false;
    let (capture, (seen, base)) = (Capture::with(off).unwrap(), server().await);
    let context = TraceContext::from_parts(INBOUND, Some("vendor=1")).unwrap();
    client().get(format!("{base}/stacks/shop")).with_extension(context).send().with_subscriber(capture.dispatch()).await.unwrap();
    client().get(format!("{base}/stacks/shop")).send().with_subscriber(capture.dispatch()).await.unwrap();
    let seen = seen.lock();
    assert_eq!((&seen[0]["traceparent"], &seen[0]["tracestate"]), (&INBOUND.parse().unwrap(), &"vendor=1".parse().unwrap()));
    assert!(!seen[1].contains_key("traceparent"));
}
