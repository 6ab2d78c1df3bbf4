//! Steps inside a daemon, and waits: where time goes when nothing is called.

use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{propagation::TraceContext, sampler::Class};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// For a free hand: from being handed off until being taken up.
    Queued,
    /// For the objects of an earlier wave.
    EarlierWave,
    /// For the API server's or the broker's leave to go on.
    Throttled,
    /// For a CRD to be established.
    CrdEstablished,
    /// For the workload to become healthy.
    Health,
    /// For the next attempt.
    Retry,
    /// For a deleted object to be gone.
    Gone,
    /// For agents to report.
    Reports,
    /// For somebody to resume what is suspended.
    Suspended,
    /// For somebody to approve a deletion.
    Approval,
    /// For a node to run on.
    Scheduling,
    /// For images, volumes and the start of a container.
    ImagePull,
    /// For the condition with which a work order ends.
    Condition,
}

impl WaitReason {
    /// The word after `wait`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::EarlierWave => "earlier wave",
            Self::Throttled => "throttled",
            Self::CrdEstablished => "crd established",
            Self::Health => "health",
            Self::Retry => "retry",
            Self::Gone => "gone",
            Self::Reports => "reports",
            Self::Suspended => "suspended",
            Self::Approval => "approval",
            Self::Scheduling => "scheduling",
            Self::ImagePull => "image pull",
            Self::Condition => "condition",
        }
    }

    pub(super) fn span_name(self) -> &'static str {
        match self {
            Self::Queued => "wait queued",
            Self::EarlierWave => "wait earlier wave",
            Self::Throttled => "wait throttled",
            Self::CrdEstablished => "wait crd established",
            Self::Health => "wait health",
            Self::Retry => "wait retry",
            Self::Gone => "wait gone",
            Self::Reports => "wait reports",
            Self::Suspended => "wait suspended",
            Self::Approval => "wait approval",
            Self::Scheduling => "wait scheduling",
            Self::ImagePull => "wait image pull",
            Self::Condition => "wait condition",
        }
    }
}

/// `wait {reason}`, INTERNAL: a wait that begins now. One that is known only afterwards is a [`super::record_past`].
#[must_use]
pub fn wait(reason: WaitReason) -> Span {
    child_span!(
        "wait",
        otel.name = reason.span_name(),
        otel.kind = "internal",
        otel.status_code = Empty,
        brokkr.wait.reason = reason.as_str(),
        error.type = Empty
    )
}

/// A step that is pure or a bundle of calls: INTERNAL, with the number of objects or agents that it is about where that is known.
macro_rules! steps {
    ($($(#[$doc:meta])* $function:ident $name:literal;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $function() -> Span {
            child_span!(
                $name,
                otel.name = $name,
                otel.kind = "internal",
                otel.status_code = Empty,
                brokkr.objects = Empty,
                brokkr.agents = Empty,
                brokkr.reason = Empty,
                error.type = Empty,
            )
        }
    )*};
}

steps! {
    /// `validate`, INTERNAL: the manifests of a request are parsed and checked.
    validate "validate";
    /// `target`, INTERNAL: a stack's selector meets the agents.
    target "target";
    /// `encrypt`, INTERNAL: content with Secrets is sealed.
    encrypt "encrypt";
    /// `plan rollout`, INTERNAL: the deployments of a generation get their new revision.
    plan_rollout "plan rollout";
    /// `prepare`, INTERNAL: the agent reads the content and finds out what its objects are.
    prepare "prepare";
    /// `observe`, INTERNAL: the agent looks at what the cluster holds of the stack.
    observe "observe";
    /// `plan`, INTERNAL: desired against observed.
    plan "plan";
}

/// Says how many objects a step is about.
pub fn record_objects(span: &Span, objects: usize) {
    span.record("brokkr.objects", i64::try_from(objects).unwrap_or(i64::MAX));
}

/// Says how many agents a step is about.
pub fn record_agents(span: &Span, agents: u64) {
    span.record("brokkr.agents", i64::try_from(agents).unwrap_or(i64::MAX));
}

/// `report`, INTERNAL: the outcome is told to the broker.
#[must_use]
pub fn report() -> Span {
    child_span!("report", otel.name = "report", otel.kind = "internal", otel.status_code = Empty, brokkr.reason = Empty, error.type = Empty)
}

/// `poll`, CLIENT: one long poll of an agent, the root of a trace of its own, kept by the rate of polls.
#[must_use]
pub fn poll() -> Span {
    let span = tracing::info_span!(
        parent: None,
        "poll",
        otel.name = "poll",
        otel.kind = "client",
        otel.status_code = Empty,
        brokkr.poll.result = Empty,
        error.type = Empty,
    );
    super::begin_trace(span, Class::Poll)
}

/// What a poll brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollOutcome {
    /// Something to do.
    Changed,
    /// Nothing new.
    Unchanged,
}

/// Puts the result on the span of [`poll`]. Trouble is a [`super::record_error`].
pub fn record_poll(span: &Span, outcome: PollOutcome) {
    let word = match outcome {
        PollOutcome::Changed => "changed",
        PollOutcome::Unchanged => "unchanged",
    };
    span.record("brokkr.poll.result", word);
}

/// `job {name}`, INTERNAL: one run of background work, the root of a trace of its own, kept by the rate of jobs: most runs find nothing to do.
#[must_use]
pub fn job(name: &'static str) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "job",
        otel.name = %format_args!("job {name}"),
        otel.kind = "internal",
        otel.status_code = Empty,
        brokkr.job.name = name,
        error.type = Empty,
    );
    super::begin_trace(span, Class::Job)
}

/// Most causes that the span of background work links to: a link costs some 50 bytes, and a backend shows few.
const MAX_CAUSES: usize = 16;

/// `job {name}`, INTERNAL: background work that somebody caused, the root of a trace of its own that links to its causes. It is kept when one of
/// them is; without any it is a [`job`].
#[must_use]
pub fn job_of<'a>(name: &'static str, causes: impl IntoIterator<Item = &'a TraceContext>) -> Span {
    let span = job(name);
    let mut known = Vec::with_capacity(MAX_CAUSES);
    for cause in causes {
        if known.len() < MAX_CAUSES && !known.contains(&cause) {
            span.add_link(cause.span_context());
            known.push(cause);
        }
    }
    span
}
