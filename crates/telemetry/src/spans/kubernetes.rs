//! Calls to the Kubernetes API.

use tracing::{Span, field::Empty};

use crate::metrics::HttpMethod;

/// A call, without its body.
#[derive(Debug, Clone, Copy)]
pub struct KubernetesCall<'a> {
    /// `apply`, `get`, `delete`, `list`, `watch`, `create`.
    pub verb: &'a str,
    /// The resource in the plural, `deployments`.
    pub resource: &'a str,
    /// Namespace of the object, where it has one.
    pub namespace: Option<&'a str>,
    /// Name of the object, where the call is about one.
    pub name: Option<&'a str>,
    /// The method on the wire.
    pub method: HttpMethod,
    /// Host of the API server.
    pub server_address: &'a str,
    /// Its port.
    pub server_port: u16,
}

/// `{verb} {resource}`, CLIENT: one request to the API server.
#[must_use]
pub fn kubernetes_call(call: KubernetesCall<'_>) -> Span {
    child_span!(
        "kubernetes.call",
        otel.name = %format_args!("{} {}", call.verb, call.resource),
        otel.kind = "client",
        otel.status_code = Empty,
        brokkr.kubernetes.verb = call.verb,
        brokkr.kubernetes.resource = call.resource,
        brokkr.kubernetes.audit_id = Empty,
        brokkr.object.namespace = call.namespace,
        brokkr.object.name = call.name,
        http.request.method = call.method.as_str(),
        http.response.status_code = Empty,
        server.address = call.server_address,
        server.port = i64::from(call.server_port),
        error.type = Empty,
    )
}

/// The `Audit-ID` that was sent: the audit log and the API server's own spans carry it.
pub fn record_audit_id(span: &Span, audit_id: &str) {
    span.record("brokkr.kubernetes.audit_id", audit_id);
}
