//! The server's side.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use http::{HeaderName, HeaderValue, Method, request::Parts};
use opentelemetry::{Context, context::FutureExt};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    StatusHandle, Telemetry,
    metrics::{BrokerMetrics, HttpMethod},
    propagation::TraceContext,
    sampler::{Class, Head, Place, SamplerHandle, with_trace_id},
    spans,
};

/// Every answer inside a trace carries its id here.
pub const TRACE_ID_HEADER: HeaderName = HeaderName::from_static("x-trace-id");

/// The status in metrics of a caller that left before the answer.
const LEFT: u16 = 499;

/// How long the broker parked a request, in milliseconds, under the name `parked`: <https://www.w3.org/TR/server-timing/>.
pub const SERVER_TIMING_HEADER: HeaderName = HeaderName::from_static("server-timing");

/// Extension of a response: for how long the request was parked, waiting for something to tell. It does not count as the time of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked(pub Duration);

/// Gives every request its SERVER span, its place in the caller's trace, and its metrics.
///
/// Handlers find their place as [`TraceContext::current`]: their own span's, or what the caller sent where tracing is off. A request that nobody
/// will see has a place of its own and no span.
/// The span ends with the head of the answer; a body that is still streaming is not part of it.
#[derive(Clone)]
pub struct ServerTelemetry {
    metrics: Option<BrokerMetrics>,
    status: StatusHandle,
    sampler: SamplerHandle,
    /// By route template.
    classes: HashMap<String, Vec<(Method, Class)>>,
    served: Option<HashMap<String, Vec<Method>>>,
    trust_inbound: bool,
    trusted: Arc<dyn Fn(&Parts) -> bool + Send + Sync>,
}

impl fmt::Debug for ServerTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTelemetry")
            .field("classes", &self.classes)
            .field("trust_inbound", &self.trust_inbound)
            .finish_non_exhaustive()
    }
}

/// Whoever serves over TLS marks each request with this extension: its span says `https`.
#[derive(Debug, Clone, Copy)]
pub struct Encrypted;

impl ServerTelemetry {
    /// With metrics where the daemon has some for its requests. `/healthz`, `/readyz` and the path of the metrics are probes. No caller's sampled flag is trusted
    /// until [`ServerTelemetry::trusting`] says whose.
    #[must_use]
    pub fn new(telemetry: &Telemetry, metrics: Option<BrokerMetrics>) -> Self {
        let probes =
            ["/healthz", "/readyz", telemetry.metrics_path()].map(|route| (route.to_owned(), vec![(Method::GET, Class::Probe)]));
        Self {
            metrics,
            status: telemetry.status_handle(),
            sampler: telemetry.sampler(),
            classes: HashMap::from(probes),
            served: None,
            trust_inbound: telemetry.trusts_inbound(),
            trusted: Arc::new(|_| false),
        }
    }

    /// The same, with metrics by route for these methods of these route templates alone: what a caller asks of a route that does not
    /// have it counts as unmatched, whoever answers, so that no caller can invent series.
    #[must_use]
    pub fn serving(mut self, routes: impl IntoIterator<Item = (Method, String)>) -> Self {
        let served = self.served.get_or_insert_default();
        for (method, route) in routes {
            served.entry(route).or_default().push(method);
        }
        self
    }

    /// The same, with requests of this method and route template sampled by the rate of `class` where the sampler has to decide.
    #[must_use]
    pub fn with_class(mut self, method: Method, route: &'static str, class: Class) -> Self {
        self.classes.entry(route.to_owned()).or_default().push((method, class));
        self
    }

    /// The same, trusting the sampled flag of the callers that `trusted` knows. It is asked before the request is authenticated, and must not block:
    /// look the credentials up in memory, and say no when in doubt.
    #[must_use]
    pub fn trusting(mut self, trusted: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.trusted = Arc::new(trusted);
        self
    }

    /// Puts it around every route of the router, its fallback included. Layers added later are outside of the span.
    pub fn wrap<S>(self, router: Router<S>) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        // Behind one pointer: every request has a copy, also while it waits.
        router.layer(from_fn_with_state(Arc::new(self), serve))
    }

    fn begin(&self, parts: &Parts, inbound: Option<TraceContext>, route: Option<&str>) -> Begun {
        if !self.status.is_on() {
            return Begun::without_spans(inbound);
        }
        let class = route.and_then(|route| self.class(&parts.method, route)).unwrap_or_else(|| Class::of_method(&parts.method));
        let head = Head { class, inbound: inbound.as_ref(), trust: self.trust_inbound };
        match self.sampler.place(head, || (self.trusted)(parts)) {
            Place::Unseen(context) => {
                Begun { span: Span::none(), place: TraceContext::of_context(&context), context: Some(context) }
            }
            Place::Span(parent, trace_id) => {
                let scheme = if parts.extensions.get::<Encrypted>().is_some() { "https" } else { "http" };
                let span = spans::http_server(HttpMethod::from(&parts.method), route, scheme);
                // Refused only when the span has begun, and it has not.
                drop(span.set_parent(parent));
                match with_trace_id(trace_id, || TraceContext::of(&span)) {
                    None => Begun::without_spans(inbound),
                    place => Begun { span, context: None, place },
                }
            }
        }
    }

    fn class(&self, method: &Method, route: &str) -> Option<Class> {
        self.classes.get(route)?.iter().find(|(of, _)| of == method).map(|(_, class)| *class)
    }
}

/// Where a request stands.
struct Begun {
    span: Span,
    /// In which it is served where it has no span.
    context: Option<Context>,
    place: Option<TraceContext>,
}

impl Begun {
    /// The caller's context is passed on as it came, to the log and to whatever is called.
    fn without_spans(inbound: Option<TraceContext>) -> Self {
        Self { span: Span::none(), context: inbound.as_ref().map(TraceContext::to_remote_parent), place: inbound }
    }
}

async fn serve(State(telemetry): State<Arc<ServerTelemetry>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    let route = parts.extensions.get::<MatchedPath>().cloned();
    let inbound = TraceContext::from_headers(&parts.headers);
    let Begun { span, context, place } = telemetry.begin(&parts, inbound, route.as_ref().map(MatchedPath::as_str));
    let is_served = |route: &MatchedPath| {
        let methods = telemetry.served.as_ref().map(|served| served.get(route.as_str()));
        methods.is_none_or(|methods| methods.is_some_and(|methods| methods.contains(&parts.method)))
    };
    let mut pending = Pending {
        telemetry: &telemetry,
        method: HttpMethod::from(&parts.method),
        route: route.filter(is_served),
        began,
        span: span.clone(),
        answered: false,
    };
    let answering = next.run(Request::from_parts(parts, body));
    let mut response = match context {
        Some(context) => answering.with_context(context).await,
        None => answering.instrument(span).await,
    };
    if let Some(value) = place.and_then(|place| HeaderValue::from_str(place.trace_id()).ok()) {
        response.headers_mut().insert(TRACE_ID_HEADER, value);
    }
    pending.answered(&response);
    if let Some(Parked(parked)) = response.extensions().get::<Parked>().copied()
        && !parked.is_zero()
        && let Ok(value) = HeaderValue::from_str(&format!("parked;dur={:.3}", parked.as_secs_f64() * 1000.0))
    {
        // Not part of what the request took: the caller's own measurements leave it out as well.
        response.headers_mut().append(SERVER_TIMING_HEADER, value);
    }
    response
}

/// A request without an answer. Dropped like that, its caller has left, or its handler has panicked.
struct Pending<'a> {
    telemetry: &'a ServerTelemetry,
    method: HttpMethod,
    route: Option<MatchedPath>,
    began: Instant,
    span: Span,
    answered: bool,
}

impl Pending<'_> {
    fn answered(&mut self, response: &Response) {
        self.answered = true;
        let status = response.status().as_u16();
        spans::record_http_status_server(&self.span, status);
        let parked = response.extensions().get::<Parked>().map(|parked| parked.0);
        if let (Some(parked), Some(metrics)) = (parked, &self.telemetry.metrics) {
            self.span.in_scope(|| metrics.poll_waited(parked));
        }
        self.measure(status, parked.unwrap_or_default());
    }

    fn measure(&self, status: u16, parked: Duration) {
        let Some(metrics) = &self.telemetry.metrics else { return };
        let endpoint = self.route.as_ref().map_or("unmatched", MatchedPath::as_str);
        let elapsed = self.began.elapsed().saturating_sub(parked);
        // Inside the span, so that it can be an exemplar.
        self.span.in_scope(|| metrics.http_request(self.method, endpoint, status, elapsed));
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        if std::thread::panicking() {
            spans::record_error(&self.span, "panic");
            self.measure(500, Duration::ZERO);
        } else {
            spans::record_client_disconnect(&self.span);
            self.measure(LEFT, Duration::ZERO);
        }
    }
}
