//! The decision about a request before it has a span: where nobody will see one, none is made.

use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{IdGenerator, SamplingDecision};

use super::{Class, Ids, SamplerHandle};
use crate::propagation::TraceContext;

/// A request that begins here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) class: Class,
    /// Where its caller says that it stands.
    pub(crate) inbound: Option<&'a TraceContext>,
    /// Whether the sampled flag of a caller that we know decides.
    pub(crate) trust: bool,
}

/// Where a request stands.
#[derive(Debug)]
pub(crate) enum Place {
    /// In a span, which begins under this context. A trace that begins with it has this id.
    Span(Context, TraceId),
    /// At a place of its own without a span: the context of everything that the request does.
    Unseen(Context),
}

/// The decision about a span that is about to begin, in the context of its parent.
#[derive(Debug, Clone)]
pub(crate) struct Decided(SamplingDecision);

impl Decided {
    /// None where the parent is a span of ours: that one was decided about, and its children follow it.
    pub(super) fn of(parent: &Context) -> Option<SamplingDecision> {
        let span = parent.span();
        let place = span.span_context();
        let is_ours = place.is_valid() && !place.is_remote();
        parent.get::<Self>().filter(|_| !is_ours).map(|decided| decided.0.clone())
    }
}

impl SamplerHandle {
    /// Decides about a request. `is_known` says whether the caller is somebody that we know, and is asked only where it matters.
    pub(crate) fn place(&self, head: Head<'_>, is_known: impl Fn() -> bool) -> Place {
        let ids = Ids::default();
        let parent = head.inbound.map_or_else(Context::new, TraceContext::to_remote_parent);
        let remote = head.inbound.map(|_| parent.span().span_context().clone());
        let trace_id = remote.as_ref().map_or_else(|| ids.new_trace_id(), SpanContext::trace_id);
        let decision = if self.keeps_head(head, is_known, trace_id) {
            SamplingDecision::RecordAndSample
        } else if self.rules.records(head.class) {
            SamplingDecision::RecordOnly
        } else {
            let flags = remote.as_ref().map_or(TraceFlags::default(), SpanContext::trace_flags).with_sampled(false);
            let state = remote.as_ref().map_or(TraceState::NONE, |remote| remote.trace_state().clone());
            let own = SpanContext::new(trace_id, ids.new_span_id(), flags, false, state);
            return Place::Unseen(parent.with_remote_span_context(own));
        };
        Place::Span(parent.with_value(head.class).with_value(Decided(decision)), trace_id)
    }

    fn keeps_head(&self, head: Head<'_>, is_known: impl Fn() -> bool, trace_id: TraceId) -> bool {
        match head.inbound {
            Some(inbound) if head.trust && is_known() => inbound.is_sampled(),
            // Probes come from nobody in particular, and have a rate of their own.
            None if head.class == Class::Probe => self.rules.by_rate(head.class, trace_id),
            _ => self.rules.by_rate(head.class, trace_id) && (is_known() || self.rules.admits_stranger()),
        }
    }
}
