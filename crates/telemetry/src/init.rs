//! One init, which returns the guard of everything.

use std::{io::IsTerminal, sync::Arc, time::Duration};

use opentelemetry::{KeyValue, metrics::MeterProvider, trace::TracerProvider};
use opentelemetry_sdk::{Resource, error::OTelSdkError, metrics::SdkMeterProvider, trace::SdkTracerProvider};
use tracing::Dispatch;
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, filter_fn},
    fmt::writer::BoxMakeWriter,
    layer::SubscriberExt,
};

use crate::{
    config::{Exporter, LogConfig, MetricsConfig, TelemetryConfig},
    logging::{self, LevelError},
    metrics::{AGENT, AgentMetrics, BROKER, BrokerMetrics, Instruments, MetricsEndpoint, PROCESS, ProcessMetrics, push},
    pipeline::{self, Counts, PipelineStatus},
    sampler::{SamplerHandle, clamp},
    spans::TracerSlot,
};

const SCOPE: &str = "brokkr";

/// Which daemon this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `brokkr-broker`
    Broker,
    /// `brokkr-agent`
    Agent,
}

/// What telemetry is made from.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Which daemon this is.
    pub service: Service,
    /// Its version.
    pub version: String,
    /// Tells this process from others of the service; new at each start. Stands on spans, never on metrics.
    pub instance_id: String,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
    /// `[metrics]`
    pub metrics: MetricsConfig,
    /// `[log]`
    pub log: LogConfig,
}

/// Why telemetry cannot begin. A collector that is away, or an exporter that cannot be made, is no reason.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// `[log] level` is not understood.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The metrics cannot be set up.
    #[error("metrics: {0}")]
    Metrics(#[from] OTelSdkError),
    /// Another subscriber is in place already.
    #[error("another tracing subscriber is installed in this process")]
    Installed,
}

/// Everything that observes a daemon, and the guard that flushes it: keep it until the end, then call [`Telemetry::shutdown`].
#[derive(Debug)]
pub struct Telemetry {
    dispatch: Dispatch,
    tracer: Option<SdkTracerProvider>,
    meter: Option<SdkMeterProvider>,
    endpoint: Option<MetricsEndpoint>,
    instruments: Instruments,
    sampler: SamplerHandle,
    counts: Arc<Counts>,
    options: InitOptions,
}

/// Makes the telemetry of a daemon; the log goes to stderr. Nothing is global until [`Telemetry::install_global`].
///
/// Call it inside a tokio runtime: the gRPC exporter lives there. It connects to nothing.
///
/// # Errors
/// When the configuration of log or metrics makes no sense. Trouble with the exporter is told in [`Telemetry::status`] and in the log.
pub fn init(options: InitOptions) -> Result<Telemetry, InitError> {
    let colours = std::io::stderr().is_terminal();
    build(options, BoxMakeWriter::new(std::io::stderr), colours, None)
}

/// Makes the provider of spans in place of the configured one, as the capture does.
pub(crate) type MakeProvider = Box<dyn FnOnce(Resource, crate::sampler::RuleSampler) -> SdkTracerProvider>;

pub(crate) fn build(
    options: InitOptions,
    writer: BoxMakeWriter,
    colours: bool,
    provider: Option<MakeProvider>,
) -> Result<Telemetry, InitError> {
    let counts = Arc::new(Counts::default());
    let sampler = SamplerHandle::new(&options.telemetry);
    // The meter comes first: what is measured from the beginning must find it.
    let Metrics { endpoint, meter, instruments, trouble: unsent } = metrics(&options, &counts)?;
    let log = logging::layer(&options.log, options.service.name(&options.telemetry), writer, colours)?;
    let (tracer, trouble) = if options.telemetry.enabled { tracer(&options, &sampler, &counts, provider) } else { (None, None) };
    let spans = tracer.as_ref().map(|provider| {
        // Only the catalogue makes spans: those of the libraries below, the exporter's own among them, are none of ours.
        let ours = || {
            filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with(crate::TARGET))
                .with_max_level_hint(LevelFilter::INFO)
        };
        let layer = tracing_opentelemetry::layer()
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false);
        let slot = TracerSlot(provider.tracer(SCOPE)).with_filter(LevelFilter::OFF);
        layer.with_tracer(provider.tracer(SCOPE)).with_filter(ours()).and_then(slot)
    });
    // Off means off: without this, a registry whose only filter is the log's would keep spans that nobody looks at.
    let events_only = tracer.is_none().then(|| filter_fn(|metadata| !metadata.is_span()));
    let dispatch = Dispatch::new(Registry::default().with(spans).with(log).with(events_only));
    counts.tell(&dispatch);
    let telemetry = Telemetry { dispatch, tracer, meter, endpoint, instruments, sampler, counts, options };
    telemetry.say(trouble.as_deref());
    if let Some(trouble) = unsent {
        tracing::dispatcher::with_default(&telemetry.dispatch, || {
            tracing::warn!(trouble, "metrics cannot be sent to a collector")
        });
    }
    Ok(telemetry)
}

/// What metrics are recorded with, and what kept them from being sent.
#[derive(Default)]
struct Metrics {
    endpoint: Option<MetricsEndpoint>,
    meter: Option<SdkMeterProvider>,
    instruments: Instruments,
    trouble: Option<String>,
}

fn metrics(options: &InitOptions, counts: &Arc<Counts>) -> Result<Metrics, InitError> {
    let mut instruments = Instruments::default();
    if !options.metrics.enabled {
        return Ok(Metrics::default());
    }
    let of_service = if options.service == Service::Broker { BROKER } else { AGENT };
    let catalogue = of_service.iter().chain(PROCESS).copied();
    let resource = Resource::builder().with_attributes(options.described()).build();
    let mut builder = SdkMeterProvider::builder().with_resource(resource);
    let mut made = Metrics::default();
    if options.metrics.are_served() {
        let (endpoint, reader) = MetricsEndpoint::new(&options.metrics.path, instruments.exemplars.clone(), catalogue)?;
        builder = builder.with_reader(reader);
        made.endpoint = Some(endpoint);
    }
    if options.metrics.are_sent() {
        match push::reader(&options.metrics, &options.telemetry) {
            Ok(reader) => builder = builder.with_reader(reader),
            Err(error) => made.trouble = Some(error.to_string()),
        }
    }
    let provider = builder.build();
    instruments.meter = Some(provider.meter(SCOPE));
    ProcessMetrics::register(&instruments, &options.version, counts);
    Ok(Metrics { meter: Some(provider), instruments, ..made })
}

/// A provider, and what kept it from having an exporter.
fn tracer(
    options: &InitOptions,
    sampler: &SamplerHandle,
    counts: &Arc<Counts>,
    provider: Option<MakeProvider>,
) -> (Option<SdkTracerProvider>, Option<String>) {
    let instance = KeyValue::new("service.instance.id", options.instance_id.clone());
    let resource = Resource::builder().with_attributes(options.described()).with_attribute(instance).build();
    if let Some(provider) = provider {
        return (Some(provider(resource, sampler.sampler())), None);
    }
    let config = &options.telemetry;
    let exporter = match config.exporter {
        Exporter::Otlp => pipeline::otlp(config).map(Some),
        Exporter::None => Ok(None),
    };
    let (exporter, trouble) = match exporter {
        Ok(exporter) => (exporter.map(|exporter| (exporter, config.batch)), None),
        Err(error) => (None, Some(error.to_string())),
    };
    (Some(pipeline::provider(resource, sampler.sampler(), exporter, counts)), trouble)
}

impl Service {
    /// `service.name`.
    pub(crate) fn name(self, config: &TelemetryConfig) -> &str {
        match (&config.service_name, self) {
            (Some(name), _) => name,
            (None, Self::Broker) => "brokkr-broker",
            (None, Self::Agent) => "brokkr-agent",
        }
    }
}

impl InitOptions {
    fn described(&self) -> [KeyValue; 2] {
        let name = self.service.name(&self.telemetry).to_owned();
        [KeyValue::new("service.name", name), KeyValue::new("service.version", self.version.clone())]
    }
}

impl Telemetry {
    /// Makes this the telemetry of the whole process, for `main` alone.
    ///
    /// # Errors
    /// When another one is.
    pub fn install_global(&self) -> Result<(), InitError> {
        tracing::dispatcher::set_global_default(self.dispatch.clone()).map_err(|_| InitError::Installed)
    }

    /// The subscriber, for tests that have several in one process (`WithSubscriber`, `with_default`).
    #[must_use]
    pub fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// The broker's metrics. No-ops where metrics are off.
    #[must_use]
    pub fn broker_metrics(&self) -> BrokerMetrics {
        BrokerMetrics::new(&self.instruments)
    }

    /// The agent's metrics. No-ops where metrics are off.
    #[must_use]
    pub fn agent_metrics(&self) -> AgentMetrics {
        AgentMetrics::new(&self.instruments)
    }

    /// Whether metrics are recorded.
    #[must_use]
    pub fn measures(&self) -> bool {
        self.instruments.meter.is_some()
    }

    /// What `/metrics` answers. None where metrics are off: answer 404 then.
    #[must_use]
    pub fn metrics_endpoint(&self) -> Option<MetricsEndpoint> {
        self.endpoint.clone()
    }

    /// Changes sampling while the process runs.
    #[must_use]
    pub fn sampler(&self) -> SamplerHandle {
        self.sampler.clone()
    }

    /// What became of the spans so far.
    #[must_use]
    pub fn status(&self) -> PipelineStatus {
        self.status_handle().status()
    }

    /// The same, for parts that outlive a borrow, such as `/readyz`.
    #[must_use]
    pub fn status_handle(&self) -> StatusHandle {
        StatusHandle { enabled: self.tracer.is_some(), counts: self.counts.clone() }
    }

    pub(crate) fn metrics_path(&self) -> &str {
        &self.options.metrics.path
    }

    pub(crate) fn trusts_inbound(&self) -> bool {
        self.options.telemetry.trust_inbound
    }

    /// Sends what is waiting, and says what became of the spans so far. It takes 5 seconds at most.
    pub async fn flush(&self) -> PipelineStatus {
        if let Some(provider) = self.tracer.clone() {
            // As in `shutdown`. What cannot be sent is in the status, and a blocking task that panicked has sent nothing.
            let flushed = tokio::task::spawn_blocking(move || provider.force_flush()).await;
            tracing::debug!(done = matches!(flushed, Ok(Ok(()))), "spans flushed");
        }
        self.status()
    }

    /// Flushes and ends: first the spans, then the metrics. It takes `limit` at most; what is not out by then is lost.
    pub async fn shutdown(mut self, limit: Duration) -> PipelineStatus {
        let status = self.status_handle();
        // The SDK waits by blocking a thread, and the exporter needs the runtime's threads meanwhile.
        let ending = tokio::task::spawn_blocking(move || self.end(limit));
        if tokio::time::timeout(limit, ending).await.is_err() {
            tracing::warn!(limit_seconds = limit.as_secs_f64(), "not all spans could be sent in time");
        }
        status.status()
    }

    fn end(&mut self, limit: Duration) {
        let tracer = self.tracer.take().map(|provider| provider.shutdown_with_timeout(limit));
        let meter = self.meter.take().map(|provider| provider.shutdown_with_timeout(limit));
        for error in [tracer, meter].into_iter().flatten().filter_map(Result::err) {
            tracing::debug!(%error, "telemetry ends with an error");
        }
    }

    fn say(&self, trouble: Option<&str>) {
        let config = &self.options.telemetry;
        tracing::dispatcher::with_default(&self.dispatch, || {
            let rates = [Some(config.sampling_rate), Some(config.rates.poll), Some(config.rates.probe), config.rates.rollout];
            for rate in rates.into_iter().flatten().filter(|rate| !(0.0..=1.0).contains(rate)) {
                tracing::warn!(rate, used = clamp(rate), "a sampling rate of [telemetry] is not within 0 to 1");
            }
        });
        if let Some(trouble) = trouble {
            self.counts.broken(trouble);
        }
    }
}

impl Drop for Telemetry {
    /// Best effort, and short: [`Telemetry::shutdown`] is the way.
    fn drop(&mut self) {
        self.end(Duration::from_millis(200));
    }
}

/// Tells what became of the spans. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StatusHandle {
    enabled: bool,
    counts: Arc<Counts>,
}

impl StatusHandle {
    /// What became of them so far.
    #[must_use]
    pub fn status(&self) -> PipelineStatus {
        self.counts.status(self.enabled)
    }
}
