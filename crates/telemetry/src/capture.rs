//! Spans, metrics and logs in memory, for tests. Scoped to a thread or a future, so that parallel tests do not mix.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry::trace::{Link, SpanKind, Status};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use parking_lot::Mutex;
use tracing::{Dispatch, dispatcher::DefaultGuard};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::{
    InitOptions, LogConfig, MetricsConfig, Service, Telemetry, TelemetryConfig,
    config::{LogFormat, Rates},
    init::{InitError, MakeProvider, build},
    logging::Memory,
    sampler::Ids,
};

/// A telemetry of its own, whose spans and log lines stay in memory.
#[derive(Debug)]
pub struct Capture {
    telemetry: Telemetry,
    spans: Spans,
    logs: Memory,
}

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct CapturedSpan(SpanData);

impl Capture {
    /// A broker's capture that samples and records everything, in JSON lines from `debug` on.
    ///
    /// # Panics
    /// Never, with these options.
    #[must_use]
    #[expect(clippy::expect_used, reason = "for tests, with options that are known")]
    pub fn start() -> Self {
        Self::with(options(Service::Broker)).expect("the options of captures make sense")
    }

    /// A capture with options of one's own. Spans never leave memory, whatever the exporter.
    ///
    /// # Errors
    /// As [`crate::init()`].
    pub fn with(options: InitOptions) -> Result<Self, InitError> {
        let logs = Memory::default();
        let spans = Spans::default();
        let kept = spans.clone();
        let provider: MakeProvider = Box::new(move |resource, sampler| {
            SdkTracerProvider::builder()
                .with_resource(resource)
                .with_sampler(sampler)
                .with_id_generator(Ids::default())
                .with_span_processor(kept)
                .build()
        });
        let telemetry = build(options, logs.writer(), false, Some(provider))?;
        Ok(Self { telemetry, spans, logs })
    }

    /// What the code under test is given.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// For `WithSubscriber::with_subscriber` around a future.
    #[must_use]
    pub fn dispatch(&self) -> Dispatch {
        self.telemetry.dispatch().clone()
    }

    /// Captures what this thread does until the guard is dropped; enough for a test on a current-thread runtime.
    #[must_use]
    pub fn enter(&self) -> DefaultGuard {
        tracing::dispatcher::set_default(self.telemetry.dispatch())
    }

    /// The spans that have ended, recorded and sampled alike, in the order of their ends.
    #[must_use]
    pub fn spans(&self) -> Vec<CapturedSpan> {
        self.spans.0.lock().iter().cloned().map(CapturedSpan).collect()
    }

    /// The first span of this name.
    ///
    /// # Panics
    /// When there is none; the message lists those that there are.
    #[must_use]
    #[expect(clippy::panic, reason = "for tests")]
    pub fn span(&self, name: &str) -> CapturedSpan {
        let spans = self.spans();
        match spans.iter().find(|span| span.name() == name) {
            Some(span) => span.clone(),
            None => panic!("no span {name:?} among {:?}", spans.iter().map(CapturedSpan::name).collect::<Vec<_>>()),
        }
    }

    /// The log lines so far.
    #[must_use]
    pub fn logs(&self) -> Vec<String> {
        self.logs.text().lines().map(str::to_owned).collect()
    }

    /// The metrics, in Prometheus text. Empty where metrics are off.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.telemetry.metrics_endpoint().map(|endpoint| endpoint.render(None).body).unwrap_or_default()
    }

    /// The value of a series, written as in Prometheus text: `brokkr_active_agents`, `name{label="value"}`.
    #[must_use]
    pub fn metric(&self, series: &str) -> Option<f64> {
        self.metrics().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// The spans as an indented tree by parents, one line each, siblings by start.
    #[must_use]
    pub fn tree(&self) -> String {
        let mut spans = self.spans();
        spans.sort_by_key(|span| span.0.start_time);
        let mut out = String::new();
        for root in spans.iter().filter(|span| !spans.iter().any(|other| other.span_id() == span.parent_id())) {
            branch(&mut out, &spans, root, 0);
        }
        out
    }
}

fn branch(out: &mut String, spans: &[CapturedSpan], span: &CapturedSpan, depth: usize) {
    let _infallible = writeln!(out, "{:indent$}{}", "", span.name(), indent = depth * 2);
    for child in spans.iter().filter(|child| child.parent_id() == span.span_id()) {
        branch(out, spans, child, depth + 1);
    }
}

/// Options of a daemon that samples everything, for tests.
#[must_use]
pub fn options(service: Service) -> InitOptions {
    let telemetry = TelemetryConfig {
        enabled: true,
        sampling_rate: 1.0,
        rates: Rates { poll: 1.0, probe: 1.0, job: 1.0, rollout: None, write: None },
        untrusted_traces_per_second: 1_000_000.0,
        log: LogConfig { format: LogFormat::Json, level: "debug".to_owned() },
        ..TelemetryConfig::default()
    };
    InitOptions {
        service,
        version: "0.0.0-test".to_owned(),
        instance_id: "test".to_owned(),
        telemetry,
        metrics: MetricsConfig::default(),
    }
}

/// As [`crate::init()`], with the log going elsewhere than to stderr, without colours.
///
/// # Errors
/// As [`crate::init()`].
pub fn init_with_writer(options: InitOptions, writer: BoxMakeWriter) -> Result<Telemetry, InitError> {
    build(options, writer, false, None)
}

impl CapturedSpan {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &SpanKind {
        &self.0.span_kind
    }

    /// 32 hex digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.0.span_context.trace_id().to_string()
    }

    /// 16 hex digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        self.0.span_context.span_id().to_string()
    }

    /// 16 hex digits; zeros for a root.
    #[must_use]
    pub fn parent_id(&self) -> String {
        self.0.parent_span_id.to_string()
    }

    /// Whether it would be exported.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.0.span_context.is_sampled()
    }

    /// Whether its status is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self.0.status, Status::Error { .. })
    }

    /// An attribute, as text.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.0
            .attributes
            .iter()
            .rev()
            .find(|attribute| attribute.key.as_str() == name)
            .map(|attribute| attribute.value.to_string())
    }

    /// The names of its attributes.
    #[must_use]
    pub fn attribute_names(&self) -> Vec<String> {
        self.0.attributes.iter().map(|attribute| attribute.key.to_string()).collect()
    }

    /// Span ids that it links to.
    #[must_use]
    pub fn links(&self) -> Vec<String> {
        self.0.links.iter().map(|link: &Link| link.span_context.span_id().to_string()).collect()
    }

    /// When it began and ended.
    #[must_use]
    pub fn times(&self) -> (SystemTime, SystemTime) {
        (self.0.start_time, self.0.end_time)
    }
}

/// Keeps every span that is recorded.
#[derive(Debug, Clone, Default)]
struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Spans {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
