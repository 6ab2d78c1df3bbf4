//! What can be set while the process runs, and what is in effect with it.

use crate::{
    Service,
    config::{Exporter, Protocol, TelemetryConfig, endpoint},
    sampler::clamp,
};

/// Where a value comes from that was set at run time.
pub const RUN_TIME: &str = "run time";

/// What can be set while the process runs. What is absent is as configured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunTime {
    /// Whether spans are made.
    pub enabled: Option<bool>,
    /// How they leave the process.
    pub exporter: Option<Exporter>,
    /// The collector, as [`endpoint::parse`] has it.
    pub endpoint: Option<String>,
    /// The OTLP transport.
    pub protocol: Option<Protocol>,
    /// `service.name`.
    pub service_name: Option<String>,
    /// Share of the traces begun here that are kept.
    pub sampling_rate: Option<f64>,
}

/// A value that is in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Its key in `[telemetry]`.
    pub key: &'static str,
    /// The value.
    pub value: String,
    /// [`RUN_TIME`], a variable, a file, or `default`.
    pub source: String,
}

impl RunTime {
    /// The configuration with these settings in place of its own.
    pub(super) fn over(&self, base: &TelemetryConfig) -> TelemetryConfig {
        let mut config = base.clone();
        let mut set = Vec::new();
        if let Some(enabled) = self.enabled {
            config.enabled = enabled;
            set.push("enabled");
        }
        if let Some(exporter) = self.exporter {
            if exporter != config.exporter && self.endpoint.is_none() {
                // Another kind of receiver is found at its own usual address, not at the configured one of the former.
                config.endpoint = None;
                set.push("endpoint");
            }
            config.exporter = exporter;
            set.push("exporter");
        }
        if let Some(protocol) = self.protocol {
            config.protocol = protocol;
            set.push("protocol");
        }
        if let Some(endpoint) = &self.endpoint {
            config.endpoint = Some(endpoint.clone());
            set.push("endpoint");
        }
        if !endpoint::same_server(config.effective_endpoint(), base.effective_endpoint()) {
            // What lets this process in at the configured collector is no business of another one.
            config.headers.clear();
            config.tls.certificate_file = None;
            config.tls.key_file = None;
        }
        if let Some(name) = &self.service_name {
            config.service_name = Some(name.clone());
            set.push("service_name");
        }
        if let Some(rate) = self.sampling_rate {
            config.sampling_rate = rate;
            // Who names a share wants that share.
            config.adaptive_traces_per_second = None;
            config.rates.rollout = None;
            config.rates.write = None;
            set.extend(["sampling_rate", "adaptive_traces_per_second", "rates.rollout", "rates.write"]);
        }
        for key in set {
            config.origins.set(key, RUN_TIME);
        }
        config
    }
}

/// What people want to see of a configuration.
pub(super) fn effective(config: &TelemetryConfig, service: Service) -> Vec<Effective> {
    let shown = |key: &'static str, value: String| Effective { key, value, source: config.origins.of(key).to_owned() };
    let mut all = vec![
        shown("enabled", config.enabled.to_string()),
        shown("exporter", config.exporter.as_str().to_owned()),
        shown("endpoint", config.effective_endpoint().to_owned()),
        shown("protocol", config.protocol.as_str().to_owned()),
        shown("service_name", service.name(config).to_owned()),
    ];
    all.extend(config.environment.iter().map(|environment| shown("environment", environment.clone())));
    all.extend(config.named_rates().into_iter().map(|(key, rate)| shown(key, clamp(rate).to_string())));
    all.extend(config.adaptive_traces_per_second.iter().map(|rate| shown("adaptive_traces_per_second", rate.to_string())));
    if !config.headers.is_empty() {
        let names: Vec<_> = config.headers.keys().map(String::as_str).collect();
        all.push(shown("headers", names.join(", ")));
    }
    all
}
