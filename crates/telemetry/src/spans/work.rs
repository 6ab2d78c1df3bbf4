//! Steps inside a daemon, and waits: where time goes when nothing is called.

use tracing::{Span, field::Empty};

use crate::sampler::Class;

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
    /// For a node to run on.
    Scheduling,
    /// For images, volumes and the start of a container.
    ImagePull,
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
            Self::Scheduling => "scheduling",
            Self::ImagePull => "image pull",
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
            Self::Scheduling => "wait scheduling",
            Self::ImagePull => "wait image pull",
        }
    }
}

/// `wait {reason}`, INTERNAL: a wait that begins now. One that is known only afterwards is a [`super::record_past`].
#[must_use]
pub fn wait(reason: WaitReason) -> Span {
    tracing::info_span!(
        "wait",
        otel.name = reason.span_name(),
        otel.kind = "internal",
        otel.status_code = Empty,
        brokkr.wait.reason = reason.as_str(),
        error.type = Empty
    )
}

/// `validate`, INTERNAL: the manifests of a request are parsed and checked.
#[must_use]
pub fn validate() -> Span {
    tracing::info_span!("validate", otel.name = "validate", otel.kind = "internal", otel.status_code = Empty, brokkr.objects = Empty, error.type = Empty)
}

/// `plan`, INTERNAL: desired against observed.
#[must_use]
pub fn plan() -> Span {
    tracing::info_span!("plan", otel.name = "plan", otel.kind = "internal", otel.status_code = Empty, brokkr.objects = Empty, error.type = Empty)
}

/// `report`, INTERNAL: the outcome is told to the broker.
#[must_use]
pub fn report() -> Span {
    tracing::info_span!("report", otel.name = "report", otel.kind = "internal", otel.status_code = Empty, error.type = Empty)
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

/// `job {name}`, INTERNAL: one run of background work, the root of a trace of its own, kept by the rate of polls: most runs find nothing to do.
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
    super::begin_trace(span, Class::Poll)
}
