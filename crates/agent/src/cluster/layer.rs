//! Around every HTTP request to the API server: a CLIENT span, `traceparent`, `Audit-ID`, metrics.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use brokkr_telemetry::{
    AgentMetrics, TraceContext,
    metrics::{HttpMethod, KubeOperation, OpResult},
    spans::{self, KubernetesCall},
};
use http::{HeaderValue, Request, Response, Uri};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use super::Resource;

/// What a request does, as an extension of the request.
#[derive(Debug, Clone)]
pub(crate) struct KubeCall {
    verb: &'static str,
    pub(super) operation: KubeOperation,
    /// Plural name of the resource, with its group when it has one; for other paths the path.
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    /// When nobody waits for the answer any longer.
    deadline: Option<Instant>,
    /// Where the work stands that makes the call: the client calls in a task of its own.
    place: Option<TraceContext>,
}

impl KubeCall {
    pub(crate) fn new(
        verb: &'static str,
        operation: KubeOperation,
        resource: &Resource,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Self {
        Self {
            verb,
            operation,
            resource: resource.qualified_name(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            deadline: None,
            place: None,
        }
    }

    pub(crate) fn of_path(verb: &'static str, path: &str) -> Self {
        Self {
            verb,
            operation: KubeOperation::Other,
            resource: path.to_owned(),
            namespace: None,
            name: None,
            deadline: None,
            place: None,
        }
    }

    pub(super) fn until(&self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self.clone().standing_here() }
    }

    /// The same, made by the work that is being done now.
    pub(super) fn standing_here(self) -> Self {
        Self { place: TraceContext::current(), ..self }
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(super) fn verb(&self) -> &'static str {
        self.verb
    }

    /// Plural name of the resource, with its group when it has one.
    pub(super) fn resource(&self) -> &str {
        &self.resource
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.resource == "secrets"
    }
}

/// Host and port of the API server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    host: String,
    port: u16,
}

impl Server {
    pub(crate) fn of(url: &Uri) -> Self {
        let default_port = if url.scheme_str() == Some("http") { 80 } else { 443 };
        Self { host: url.host().unwrap_or_default().to_owned(), port: url.port_u16().unwrap_or(default_port) }
    }
}

/// Makes [`CallService`]s.
#[derive(Clone)]
pub(crate) struct CallLayer {
    server: Server,
    metrics: AgentMetrics,
}

impl CallLayer {
    pub(crate) fn new(server: Server, metrics: AgentMetrics) -> Self {
        Self { server, metrics }
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> CallService<S> {
        CallService { inner, shared: self.clone() }
    }
}

/// Observes calls.
#[derive(Clone)]
pub(crate) struct CallService<S> {
    inner: S,
    shared: CallLayer,
}

impl<S, B, A> Service<Request<B>> for CallService<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    A: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let call =
            request.extensions_mut().remove::<KubeCall>().unwrap_or_else(|| KubeCall::of_path("other", request.uri().path()));
        let span = spans::kubernetes_call(KubernetesCall {
            verb: call.verb,
            resource: &call.resource,
            namespace: call.namespace.as_deref(),
            name: call.name.as_deref(),
            method: HttpMethod::from(request.method()),
            server_address: &self.shared.server.host,
            server_port: self.shared.server.port,
        });
        let own = TraceContext::of(&span);
        // Without a span of its own the call stands where the work does: whoever looks for its parent finds one.
        if let Some(trace) = own.as_ref().or(call.place.as_ref()) {
            // API servers up to 1.35 refuse any flag but "sampled".
            trace.with_flags_masked().inject(request.headers_mut());
            // The API server takes this id into its audit log and its own spans, whether or not it joins the trace.
            let id = own.as_ref().map_or_else(TraceContext::new_span_id, |own| own.span_id().to_owned());
            let audit_id = format!("{}-{id}", trace.trace_id());
            spans::record_audit_id(&span, &audit_id);
            if let Ok(value) = HeaderValue::from_str(&audit_id) {
                request.headers_mut().insert("audit-id", value);
            }
        }
        let operation = call.operation;
        let mut pending = Pending {
            span: span.clone(),
            metrics: self.shared.metrics.clone(),
            operation,
            started: Instant::now(),
            deadline: call.deadline,
            answered: false,
        };
        let answer = span.in_scope(|| self.inner.call(request));
        let work = async move {
            let result = answer.await;
            let observed = &pending.span;
            let succeeded = match &result {
                Ok(response) => {
                    let status = response.status().as_u16();
                    // "There is none" is an answer to a read.
                    if status == 404 && matches!(operation, KubeOperation::Get) {
                        spans::record_http_status_expected(observed, status);
                        true
                    } else {
                        spans::record_http_status_client(observed, status);
                        status < 400
                    }
                }
                Err(_) => {
                    spans::record_error(observed, "unreachable");
                    false
                }
            };
            pending.answered(if succeeded { OpResult::Success } else { OpResult::Error });
            result
        };
        Box::pin(work.instrument(span))
    }
}

/// A call without an answer. Dropped like that, it took too long, or nobody wants to know any more.
struct Pending {
    span: Span,
    metrics: AgentMetrics,
    operation: KubeOperation,
    started: Instant,
    deadline: Option<Instant>,
    answered: bool,
}

impl Pending {
    fn answered(&mut self, result: OpResult) {
        self.answered = true;
        self.span.in_scope(|| self.metrics.kubernetes_operation(self.operation, result, self.started.elapsed()));
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            spans::record_error(&self.span, "timeout");
            self.answered(OpResult::Error);
        } else {
            spans::record_cancelled(&self.span);
        }
    }
}
