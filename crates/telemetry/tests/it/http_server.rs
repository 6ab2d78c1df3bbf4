//! The server's side of HTTP.

use std::time::Duration;

use axum::{
    Extension, Router,
    body::Body,
    http::{HeaderMap, Method, Request, Response, StatusCode},
    response::IntoResponse,
    routing::{get, put},
};
use brokkr_telemetry::{
    Service, TraceContext,
    capture::{Capture, options},
    config::Rates,
    http::{Encrypted, Parked, ServerTelemetry, TRACE_ID_HEADER},
    sampler::Class,
    spans,
};
use http_body_util::BodyExt;
use opentelemetry::trace::SpanKind;
use tower::ServiceExt;
use tracing::instrument::WithSubscriber;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

type Case = (bool, bool, &'static [(&'static str, &'static str)], bool);

async fn place() -> String {
    TraceContext::current().map(|here| here.traceparent).unwrap_or_default()
}

fn router(capture: &Capture, configure: impl FnOnce(ServerTelemetry) -> ServerTelemetry) -> Router {
    let telemetry = ServerTelemetry::new(capture.telemetry(), Some(capture.telemetry().broker_metrics()));
    let router = Router::new()
        .route("/api/v1/stacks/{stack}", put(place))
        .route("/broken", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .route("/missing", get(|| async { StatusCode::NOT_FOUND }))
        .route("/stuck", get(|| async { std::future::pending::<()>().await }))
        .route("/parked", get(|| async { (Extension(Parked(Duration::from_secs(30))), "late").into_response() }))
        .route("/here", get(place))
        .route("/healthz", get(|| async { "ok" }))
        .route("/poll", get(place));
    configure(telemetry).wrap(router)
}

async fn call(capture: &Capture, router: Router, method: Method, path: &str, headers: &[(&str, &str)]) -> (HeaderMap, String) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response: Response<Body> = router.oneshot(request).with_subscriber(capture.dispatch()).await.unwrap();
    let headers = response.headers().clone();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn get_it(capture: &Capture, path: &str, headers: &[(&str, &str)]) -> (HeaderMap, String) {
    call(capture, router(capture, |telemetry| telemetry), Method::GET, path, headers).await
}

#[tokio::test]
async fn the_scheme_is_that_of_the_connection() {
    for (is_encrypted, scheme) in [(false, "http"), (true, "https")] {
        let capture = Capture::start();
        let clear = router(&capture, |telemetry| telemetry);
        let router = if is_encrypted { clear.layer(Extension(Encrypted)) } else { clear };
        call(&capture, router, Method::PUT, "/api/v1/stacks/shop", &[]).await;
        assert_eq!(capture.span("PUT /api/v1/stacks/{stack}").attribute("url.scheme").as_deref(), Some(scheme));
    }
}

#[tokio::test]
async fn a_request_continues_the_callers_trace_and_is_measured_by_its_template() {
    let capture = Capture::start();
    let sent = [("traceparent", SAMPLED), ("authorization", "Bearer hush")];
    let (headers, body) =
        call(&capture, router(&capture, |telemetry| telemetry), Method::PUT, "/api/v1/stacks/shop?secret=hush", &sent).await;
    let span = capture.span("PUT /api/v1/stacks/{stack}");
    assert_eq!(
        (span.kind(), span.trace_id().as_str(), span.parent_id().as_str()),
        (&SpanKind::Server, TRACE, "b7ad6b7169203331")
    );
    assert_eq!(body, format!("00-{TRACE}-{}-01", span.span_id()));
    assert_eq!(headers[TRACE_ID_HEADER], TRACE);
    let mut attributes = span.attribute_names();
    attributes.sort();
    assert_eq!(attributes, ["http.request.method", "http.response.status_code", "http.route", "url.path", "url.scheme"]);
    let series = "brokkr_http_requests_total{endpoint=\"/api/v1/stacks/{stack}\",method=\"PUT\",status=\"200\"}";
    assert_eq!(capture.metric(series), Some(1.0), "{}", capture.metrics());
    let everything = format!("{:?}{}{}", capture.spans(), capture.metrics(), capture.logs().concat());
    assert!(!everything.contains("hush") && !everything.contains("shop"), "{everything}");
}

#[tokio::test]
async fn only_5xx_is_an_error() {
    let capture = Capture::start();
    get_it(&capture, "/broken", &[]).await;
    get_it(&capture, "/missing", &[]).await;
    assert!(capture.span("GET /broken").is_error());
    assert_eq!(capture.span("GET /broken").attribute("error.type").as_deref(), Some("500"));
    assert!(!capture.span("GET /missing").is_error());
}

#[tokio::test]
async fn callers_cannot_invent_label_values() {
    let capture = Capture::start();
    let router = router(&capture, |telemetry| telemetry);
    call(&capture, router.clone(), Method::from_bytes(b"BREW").unwrap(), "/no/such/route", &[]).await;
    let series = "brokkr_http_requests_total{endpoint=\"unmatched\",method=\"_OTHER\",status=\"404\"}";
    assert_eq!(capture.metric(series), Some(1.0), "{}", capture.metrics());
    assert_eq!(capture.span("HTTP").attribute("http.request.method").as_deref(), Some("_OTHER"));
}

#[tokio::test]
async fn a_malformed_context_begins_a_new_trace() {
    let capture = Capture::start();
    get_it(&capture, "/missing", &[("traceparent", SAMPLED), ("traceparent", UNSAMPLED)]).await;
    let span = capture.span("GET /missing");
    assert_ne!(span.trace_id(), TRACE);
    assert_eq!(span.parent_id(), "0".repeat(16));
}

#[tokio::test]
async fn only_trusted_callers_decide_what_is_sampled_and_all_keep_their_trace_id() {
    let mut never = options(Service::Broker);
    never.telemetry.sampling_rate = 0.0;
    const AUTHORIZED: (&str, &str) = ("authorization", "Bearer x");
    // Trust by configuration, a known caller, what is sent, and whether its flag decided.
    let cases: [Case; 5] = [
        (true, true, &[("traceparent", SAMPLED), AUTHORIZED], true),
        (true, true, &[("traceparent", UNSAMPLED), AUTHORIZED], false),
        (true, true, &[("traceparent", SAMPLED)], false),
        (true, false, &[("traceparent", SAMPLED), AUTHORIZED], false),
        (false, true, &[("traceparent", SAMPLED), AUTHORIZED], false),
    ];
    for (trust_inbound, known, headers, sampled) in cases {
        let mut options = never.clone();
        options.telemetry.trust_inbound = trust_inbound;
        let capture = Capture::with(options).unwrap();
        let router = router(&capture, |telemetry| {
            if known { telemetry.trusting(|parts| parts.headers.contains_key("authorization")) } else { telemetry }
        });
        let (_, here) = call(&capture, router, Method::GET, "/here", headers).await;
        let here = TraceContext::from_parts(&here, None).unwrap();
        assert_eq!((here.trace_id(), here.is_sampled()), (TRACE, sampled), "{trust_inbound} {known} {headers:?}");
    }
}

#[tokio::test]
async fn probes_and_polls_are_sampled_by_rates_of_their_own() {
    let mut options = options(Service::Broker);
    options.telemetry.rates = Rates { poll: 0.0, probe: 0.0, ..Rates::default() };
    let capture = Capture::with(options).unwrap();
    let router = router(&capture, |telemetry| telemetry.with_class(Method::GET, "/poll", Class::Poll));
    for path in ["/healthz", "/poll", "/missing"] {
        call(&capture, router.clone(), Method::GET, path, &[]).await;
    }
    assert_eq!(capture.spans().iter().map(|span| span.name().to_owned()).collect::<Vec<_>>(), ["GET /missing"]);
}

#[tokio::test]
async fn parked_time_is_no_time_of_the_request() {
    let capture = Capture::start();
    get_it(&capture, "/parked", &[]).await;
    assert_eq!(capture.metric("brokkr_poll_wait_seconds_sum"), Some(30.0), "{}", capture.metrics());
    let series = "brokkr_http_request_duration_seconds_sum{endpoint=\"/parked\",method=\"GET\"}";
    assert_eq!(capture.metric(series), Some(0.0), "{}", capture.metrics());
}

#[tokio::test]
async fn a_caller_that_leaves_is_counted_and_its_span_ends() {
    let capture = Capture::start();
    let request = Request::builder().uri("/stuck").body(Body::empty()).unwrap();
    let mut answering = Box::pin(router(&capture, |telemetry| telemetry).oneshot(request).with_subscriber(capture.dispatch()));
    assert!(futures_poll(answering.as_mut()).is_pending());
    assert!(capture.spans().is_empty());
    drop(answering);
    let span = capture.span("GET /stuck");
    assert_eq!((span.attribute("error.type").as_deref(), span.is_error()), (Some("client_disconnected"), false));
    assert_eq!(capture.metric("brokkr_http_requests_total{endpoint=\"/stuck\",method=\"GET\",status=\"499\"}"), Some(1.0));
}

#[tokio::test]
async fn a_panic_is_an_error_and_no_caller_that_left() {
    let capture = Capture::start();
    let handler = || async {
        if true {
            panic!("on purpose")
        }
    };
    let telemetry = ServerTelemetry::new(capture.telemetry(), Some(capture.telemetry().broker_metrics()));
    let router = telemetry.wrap(Router::new().route("/", get(handler)));
    let request = Request::builder().uri("/").body(Body::empty()).unwrap();
    let mut answering = Box::pin(router.oneshot(request).with_subscriber(capture.dispatch()));
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| futures_poll(answering.as_mut()).is_ready()));
    assert!(polled.is_err());
    drop(answering);
    let span = capture.span("GET /");
    assert_eq!((span.attribute("error.type").as_deref(), span.is_error()), (Some("panic"), true));
    assert_eq!(capture.metric("brokkr_http_requests_total{endpoint=\"/\",method=\"GET\",status=\"500\"}"), Some(1.0));
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn the_handlers_spans_are_children_of_the_request() {
    let capture = Capture::start();
    let handler = || async { drop(spans::validate().entered()) };
    let telemetry = ServerTelemetry::new(capture.telemetry(), None);
    call(&capture, telemetry.wrap(Router::new().route("/", get(handler))), Method::GET, "/", &[]).await;
    assert_eq!(capture.tree(), "GET /\n  validate\n");
}

#[tokio::test]
async fn without_spans_the_callers_context_is_passed_on_as_it_came() {
    let mut off = options(Service::Broker);
    off.telemetry.enabled = false;
    let capture = Capture::with(off).unwrap();
    let authorized = [("traceparent", SAMPLED), ("tracestate", "vendor=1")];
    let (headers, here) = get_it(&capture, "/here", &authorized).await;
    assert_eq!(here, SAMPLED);
    assert_eq!(get_it(&capture, "/poll", &authorized).await.1, SAMPLED);
    assert_eq!(headers[TRACE_ID_HEADER], TRACE);
    let (headers, here) = get_it(&capture, "/here", &[]).await;
    assert_eq!((headers.get(TRACE_ID_HEADER), here.as_str()), (None, ""));
}
