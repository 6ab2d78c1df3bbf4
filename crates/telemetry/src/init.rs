//! One init, which returns the guard of everything.

use std::{collections::BTreeMap, io::IsTerminal, sync::Arc, time::Duration};

use opentelemetry::{KeyValue, metrics::MeterProvider, trace::TracerProvider};
use opentelemetry_sdk::{
    Resource, error::OTelSdkError, metrics::SdkMeterProvider, resource::TelemetryResourceDetector, trace::SdkTracerProvider,
};
use tracing::Dispatch;
use tracing_subscriber::{Layer, Registry, filter::LevelFilter, fmt::writer::BoxMakeWriter, layer::SubscriberExt};

use crate::{
    config::{Exporter, MetricsConfig, TelemetryConfig},
    control::{Control, RunTime},
    logging::{self, LevelError},
    metrics::{AGENT, AgentMetrics, BROKER, BrokerMetrics, Instruments, MetricsEndpoint, PROCESS, ProcessMetrics, push},
    pipeline::{Counts, PipelineStatus},
    sampler::{SamplerHandle, clamp},
    spans::{Gate, TracerSlot, ours},
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
}

/// Why telemetry cannot begin. A collector that is away, or an exporter that cannot be made, is no reason.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// `[telemetry.log] level` is not understood.
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
    control: Control,
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
    let log = logging::layer(&options.telemetry.log, options.service.name(&options.telemetry), writer, colours)?;
    let mut config = options.telemetry.clone();
    if provider.is_some() {
        // Who brings a provider has the spans.
        config.exporter = Exporter::None;
    }
    let control = Control::new(config, options.identity(), sampler.clone(), counts.clone());
    let tracer = match provider {
        Some(make) => make(control.resource(&options.telemetry), sampler.sampler()),
        None => control.provider(),
    };
    let spans = tracing_opentelemetry::layer()
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_tracer(tracer.tracer(SCOPE))
        .with_filter(ours());
    let slot = TracerSlot { tracer: tracer.tracer(SCOPE), counts: counts.clone() }.with_filter(LevelFilter::OFF);
    let dispatch = Dispatch::new(Registry::default().with(spans).with(slot).with(log).with(Gate(counts.clone())));
    counts.tell(&dispatch);
    control.apply(&RunTime::default());
    let telemetry = Telemetry { dispatch, tracer: Some(tracer), meter, endpoint, instruments, sampler, counts, control, options };
    telemetry.say();
    if let Some(trouble) = unsent {
        tracing::dispatcher::with_default(&telemetry.dispatch, || {
            tracing::warn!(trouble, "metrics cannot be sent to a collector");
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
    // Fewer attributes than spans have: a metric's resource becomes labels of `target_info`.
    let bare = TelemetryConfig { resource: BTreeMap::new(), ..options.telemetry.clone() };
    let resource = options.identity().resource(&bare, false);
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

/// What tells this process from others.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) service: Service,
    version: String,
    instance_id: String,
}

impl Identity {
    /// The attributes of everything that this process sends. The instance stands on spans, never on metrics.
    pub(crate) fn resource(&self, config: &TelemetryConfig, with_instance: bool) -> Resource {
        let mut attributes: BTreeMap<String, String> = config.resource.clone();
        let version = config.service_version.as_ref().unwrap_or(&self.version);
        let mut set = |key: &str, value: &str| drop(attributes.insert(key.to_owned(), value.to_owned()));
        set("service.name", self.service.name(config));
        set("service.version", version);
        if let Some(environment) = &config.environment {
            set("deployment.environment.name", environment);
        }
        if with_instance {
            set("service.instance.id", &self.instance_id);
        }
        let attributes = attributes.into_iter().map(|(key, value)| KeyValue::new(key, value));
        // Empty, because the other builder looks at the environment for itself.
        Resource::builder_empty().with_detector(Box::new(TelemetryResourceDetector)).with_attributes(attributes).build()
    }
}

impl InitOptions {
    fn identity(&self) -> Identity {
        Identity { service: self.service, version: self.version.clone(), instance_id: self.instance_id.clone() }
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

    /// Changes tracing while the process runs.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// What became of the spans so far.
    #[must_use]
    pub fn status(&self) -> PipelineStatus {
        self.status_handle().status()
    }

    /// The same, for parts that outlive a borrow, such as `/readyz`.
    #[must_use]
    pub fn status_handle(&self) -> StatusHandle {
        StatusHandle { counts: self.counts.clone() }
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
        status.counts.give_up();
        status.status()
    }

    fn end(&mut self, limit: Duration) {
        let tracer = self.tracer.take().map(|provider| provider.shutdown_with_timeout(limit));
        let meter = self.meter.take().map(|provider| provider.shutdown_with_timeout(limit));
        for error in [tracer, meter].into_iter().flatten().filter_map(Result::err) {
            tracing::debug!(%error, "telemetry ends with an error");
        }
    }

    fn say(&self) {
        let config = &self.options.telemetry;
        tracing::dispatcher::with_default(&self.dispatch, || {
            for (key, rate) in config.named_rates() {
                if !(0.0..=1.0).contains(&rate) {
                    tracing::warn!(key, rate, used = clamp(rate), "a sampling rate of [telemetry] is not within 0 to 1");
                }
            }
            for warning in self.control.warnings() {
                tracing::warn!("{warning}");
            }
        });
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
    counts: Arc<Counts>,
}

impl StatusHandle {
    /// What became of them so far.
    #[must_use]
    pub fn status(&self) -> PipelineStatus {
        self.counts.status()
    }

    /// Whether spans are made at all.
    pub(crate) fn is_on(&self) -> bool {
        self.counts.is_on()
    }
}
