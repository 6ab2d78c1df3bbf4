//! W3C trace context: strict parsing, and how a span takes its place in a trace.
//!
//! <https://www.w3.org/TR/trace-context-2/>. Baggage is never read and never sent.

mod context;
mod traceparent;
mod tracestate;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    context::FutureExt,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::IdGenerator;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

pub(crate) use context::Inbound;
pub use tracestate::MAX_TRACESTATE_BYTES;

use crate::sampler::{Class, Ids};

/// Name of the header with trace id, span id and flags.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Name of the header with what vendors add.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

const SAMPLED: u8 = 0b01;
const RANDOM: u8 = 0b10;

/// A place in a trace: what crosses process borders, and what is stored with work that is done later.
///
/// Always valid: only the parsers and spans make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// `00-<32 hex>-<16 hex>-<2 hex>`, lower case.
    pub traceparent: String,
    /// At most [`MAX_TRACESTATE_BYTES`] bytes; never empty.
    pub tracestate: Option<String>,
}

/// How a span relates to the context of the work that it carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It is a child of the context, and links to it.
    Parent,
    /// It is the root of a trace of its own, and links to the context. The sampler follows the flag of the link.
    Link,
}

impl TraceContext {
    /// The context that the headers carry. None when they carry none, or one that breaks the recommendation.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = parents.next()?;
        if parents.next().is_some() {
            return None;
        }
        let parent = traceparent::parse(parent.to_str().ok()?.trim_matches([' ', '\t']))?;
        let states: Option<Vec<&str>> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
        let state = states.and_then(|states| tracestate::parse(&states.join(",")));
        Some(Self { traceparent: parent.to_string(), tracestate: state })
    }

    /// The context of a stored `traceparent` and `tracestate`. None when the former is malformed; a malformed latter is left out.
    #[must_use]
    pub fn from_parts(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let parent = traceparent::parse(traceparent)?;
        Some(Self { traceparent: parent.to_string(), tracestate: tracestate.and_then(tracestate::parse) })
    }

    /// Where the current span stands. None outside of any span, unless the request that is being served brought a context and spans are off.
    #[must_use]
    pub fn current() -> Option<Self> {
        Self::of_context(&opentelemetry::Context::current())
    }

    /// Where `span` stands. None when spans are off. This starts the span: relate it first.
    #[must_use]
    pub fn of(span: &Span) -> Option<Self> {
        Self::of_context(&span.context())
    }

    /// A span id of its own, for a call that has no span and must be told from others all the same. 16 hex digits.
    #[must_use]
    pub fn new_span_id() -> String {
        Ids::default().new_span_id().to_string()
    }

    pub(crate) fn of_context(context: &opentelemetry::Context) -> Option<Self> {
        let span = context.span();
        let place = span.span_context();
        if !place.is_valid() {
            return None;
        }
        let inbound = context.get::<Inbound>().filter(|inbound| inbound.trace_id == place.trace_id());
        // A trace that begins here has an id that is random in every bit.
        let is_random = inbound.map_or(!place.is_remote(), |inbound| inbound.random);
        let random = if is_random { RANDOM } else { 0 };
        let flags = (place.trace_flags().to_u8() & (SAMPLED | RANDOM)) | random;
        let state = inbound.and_then(|inbound| inbound.tracestate.as_deref());
        Some(Self {
            traceparent: format!("00-{}-{}-{flags:02x}", place.trace_id(), place.span_id()),
            tracestate: state.map(str::to_owned).or_else(|| tracestate::parse(&place.trace_state().header())),
        })
    }

    /// Puts the context into the headers, in place of any that they carry.
    pub fn inject(&self, headers: &mut HeaderMap) {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
        if let Ok(value) = HeaderValue::from_str(&self.traceparent) {
            headers.insert(TRACEPARENT, value);
        }
        if let Some(value) = self.tracestate.as_deref().and_then(|state| HeaderValue::from_str(state).ok()) {
            headers.insert(TRACESTATE, value);
        }
    }

    /// 32 hex digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
    }

    /// 16 hex digits.
    #[must_use]
    pub fn span_id(&self) -> &str {
        self.traceparent.get(36..52).unwrap_or_default()
    }

    /// Whether the head of the trace decided to keep it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags() & SAMPLED != 0
    }

    /// The same with every flag but "sampled" cleared. For receivers of the first version of the recommendation, some of which refuse others:
    /// API servers and build tools.
    #[must_use]
    pub fn with_flags_masked(&self) -> Self {
        let flags = self.flags() & SAMPLED;
        let head = self.traceparent.get(..53).unwrap_or_default();
        Self { traceparent: format!("{head}{flags:02x}"), tracestate: self.tracestate.clone() }
    }

    fn flags(&self) -> u8 {
        self.traceparent.get(53..55).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0)
    }

    pub(crate) fn span_context(&self) -> SpanContext {
        let trace_id = TraceId::from_hex(self.trace_id()).unwrap_or(TraceId::INVALID);
        let span_id = SpanId::from_hex(self.span_id()).unwrap_or(SpanId::INVALID);
        // What the SDK's own, older grammar refuses travels on in `Inbound` all the same.
        let state = self.tracestate.as_deref().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
        SpanContext::new(trace_id, span_id, TraceFlags::new(self.flags()), true, state)
    }

    /// An OpenTelemetry context whose current span is this place.
    pub(crate) fn to_remote_parent(&self) -> opentelemetry::Context {
        let place = self.span_context();
        let inbound = Inbound {
            trace_id: place.trace_id(),
            random: self.flags() & RANDOM != 0,
            tracestate: self.tracestate.as_deref().map(Arc::from),
        };
        opentelemetry::Context::new().with_remote_span_context(place).with_value(inbound)
    }
}

/// Relates the span of a piece of work to the context that the work carries. Before the span is first entered: afterwards it changes nothing.
pub fn relate(span: &Span, context: &TraceContext, relation: Relation) {
    if span.is_disabled() {
        return;
    }
    let parent = match relation {
        Relation::Parent => context.to_remote_parent(),
        Relation::Link => opentelemetry::Context::new(),
    };
    // Refused only when spans are off, or the span has begun; neither is the caller's trouble.
    drop(span.set_parent(parent.with_value(Class::Rollout)));
    span.add_link(context.span_context());
}

/// Does the work inside its span. Where spans are off it is done at the place that it came with, so that what it calls is part of the same
/// trace all the same: <https://www.w3.org/TR/trace-context-2/#a-traceparent-is-received>.
pub fn within<T>(span: &Span, came_with: Option<&TraceContext>, work: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = came_with.filter(|_| TraceContext::of(span).is_none()).map(TraceContext::to_remote_parent);
    // What is done within is large, and would be part of whatever awaits it several times over.
    let work = Box::pin(work.instrument(span.clone()));
    async move {
        match place {
            Some(place) => work.with_context(place).await,
            None => work.await,
        }
    }
}

#[cfg(test)]
mod tests;
