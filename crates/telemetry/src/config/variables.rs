//! The standard variables, `OTEL_*`, and what becomes of each: one table, from which they are read and documented.
//!
//! They win over `BROKKR__…` and the file. They are read here and nowhere else: neither the SDK nor the exporter looks at the environment for itself.

mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

use read::Reader;

/// A variable, or all that begin alike when the name ends in `*`.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a variable.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// It sets keys of the configuration.
    Honoured {
        /// The keys, for people.
        by: &'static str,
        /// How.
        read: fn(&mut Reader, &str),
    },
    /// It has no effect, and that is told when it is set to something else than these values.
    Ignored {
        /// Values that ask for what is done anyway.
        unless: &'static [&'static str],
        /// Why.
        why: &'static str,
    },
}

/// What the variables say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standard {
    /// Values, by their place in the configuration.
    pub settings: BTreeMap<Vec<String>, (Value, &'static str)>,
    /// A variable that asks for spans without saying so: it switches them on where nothing else says whether they are.
    pub asks: Option<&'static str>,
    /// What was set and has no effect.
    pub notes: Vec<String>,
}

const fn honoured(name: &'static str, by: &'static str, read: fn(&mut Reader, &str)) -> Variable {
    Variable { name, fate: Fate::Honoured { by, read } }
}

const fn ignored(name: &'static str, unless: &'static [&'static str], why: &'static str) -> Variable {
    Variable { name, fate: Fate::Ignored { unless, why } }
}

const ONE_SIGNAL: &str =
    "it is about another signal: `[metrics]` says how metrics leave, and logs are written to the standard error";
const LIMITS: &str = "attributes are an allow-list of short values, and the SDK's limits of 128 apply";

/// Every variable. What stands lower wins.
pub const VARIABLES: &[Variable] = &[
    honoured(
        "K8S_*",
        "`resource` (`K8S_POD_NAME` is `k8s.pod.name`; also `K8S_POD_UID`, `K8S_NAMESPACE_NAME`, `K8S_NODE_NAME`, `K8S_CONTAINER_NAME`, `K8S_DEPLOYMENT_NAME`, `K8S_CLUSTER_NAME`); the charts set those of pod, namespace, node and deployment",
        Reader::kubernetes,
    ),
    honoured("RUST_ENV", "`environment`", Reader::environment),
    honoured(
        "OTEL_RESOURCE_ATTRIBUTES",
        "`resource`, entry by entry; `service.name`, `service.version` and `deployment.environment.name` in it set the keys of their own",
        Reader::resource,
    ),
    honoured("OTEL_SERVICE_VERSION", "`service_version`", Reader::service_version),
    honoured("OTEL_SERVICE_NAME", "`service_name`", Reader::service_name),
    honoured("OTLP_EXPORTER_ENDPOINT", "`endpoint`, as `OTEL_EXPORTER_OTLP_ENDPOINT`", Reader::base_endpoint),
    honoured("OTEL_EXPORTER_OTLP_ENDPOINT", "`endpoint`; `/v1/traces` is appended to its path for HTTP", Reader::base_endpoint),
    honoured(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "`endpoint`; for HTTP, `/v1/traces` is appended when it has no path",
        Reader::endpoint,
    ),
    honoured(
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "`protocol`: `grpc` or `http/protobuf`; `http/json` is refused in the log",
        Reader::protocol,
    ),
    honoured("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "`protocol`", Reader::protocol),
    honoured("OTEL_EXPORTER_OTLP_HEADERS", "`headers`, entry by entry", Reader::base_headers),
    honoured("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "`headers`, in place of `OTEL_EXPORTER_OTLP_HEADERS`", Reader::headers),
    honoured("OTEL_EXPORTER_OTLP_TIMEOUT", "`timeout`, in milliseconds", Reader::timeout),
    honoured("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "`timeout`, in milliseconds", Reader::timeout),
    honoured("OTEL_EXPORTER_OTLP_COMPRESSION", "`compression`: `gzip` or `none`", Reader::compression),
    honoured("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "`compression`", Reader::compression),
    honoured("OTEL_EXPORTER_OTLP_CERTIFICATE", "`tls.ca_file`", Reader::ca_file),
    honoured("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "`tls.ca_file`", Reader::ca_file),
    honoured("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "`tls.certificate_file`", Reader::certificate_file),
    honoured("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "`tls.certificate_file`", Reader::certificate_file),
    honoured("OTEL_EXPORTER_OTLP_CLIENT_KEY", "`tls.key_file`", Reader::key_file),
    honoured("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "`tls.key_file`", Reader::key_file),
    honoured("OTEL_SAMPLING_RATE", "`sampling_rate`", Reader::sampling_rate),
    honoured(
        "OTEL_TRACES_SAMPLER",
        "`sampling_rate`: `parentbased_traceidratio`, `parentbased_always_on`, `parentbased_always_off`; the same without `parentbased_` also set `trust_inbound` to false",
        Reader::sampler,
    ),
    honoured("OTEL_TRACES_SAMPLER_ARG", "`sampling_rate`, with a sampler that takes a ratio", Reader::sampler_argument),
    honoured("OTEL_TRACES_EXPORTER", "`exporter`: `otlp`, `jaeger` or `none`", Reader::exporter),
    honoured("OTEL_ENABLED", "`enabled`", Reader::enabled),
    honoured("OTEL_SDK_DISABLED", "`enabled`: `true` is false, anything else says nothing", Reader::disabled),
    honoured("OTEL_BSP_SCHEDULE_DELAY", "`batch.delay`, in milliseconds", Reader::delay),
    honoured("OTEL_BSP_MAX_QUEUE_SIZE", "`batch.queue_size`", Reader::queue_size),
    honoured("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "`batch.batch_size`", Reader::batch_size),
    ignored("OTEL_BSP_EXPORT_TIMEOUT", &[], "`timeout` bounds an attempt and `retry` an export"),
    ignored("OTEL_BSP_MAX_CONCURRENT_EXPORTS", &["1"], "one export is under way at a time"),
    ignored("OTEL_EXPORTER_OTLP_INSECURE", &[], "the scheme of the endpoint decides"),
    ignored("OTEL_EXPORTER_OTLP_TRACES_INSECURE", &[], "the scheme of the endpoint decides"),
    ignored("OTEL_EXPORTER_OTLP_METRICS_*", &[], ONE_SIGNAL),
    ignored("OTEL_EXPORTER_OTLP_LOGS_*", &[], ONE_SIGNAL),
    ignored("OTEL_METRICS_EXPORTER", &["none", "prometheus"], ONE_SIGNAL),
    ignored("OTEL_LOGS_EXPORTER", &["none"], ONE_SIGNAL),
    ignored("OTEL_EXPORTER_PROMETHEUS_*", &[], "metrics are served by the server of the daemon"),
    ignored("OTEL_METRIC_EXPORT_*", &[], ONE_SIGNAL),
    ignored("OTEL_METRICS_EXEMPLAR_FILTER", &["trace_based"], "exemplars are those of sampled spans"),
    ignored("OTEL_BLRP_*", &[], ONE_SIGNAL),
    ignored("OTEL_EXPORTER_JAEGER_*", &[], "Jaeger takes OTLP: set `exporter` and `endpoint`"),
    ignored("OTEL_EXPORTER_ZIPKIN_*", &[], "a collector translates OTLP for Zipkin"),
    ignored(
        "OTEL_PROPAGATORS",
        &["tracecontext"],
        "contexts travel as W3C `traceparent` and `tracestate`; baggage is never read and never sent",
    ),
    ignored("OTEL_LOG_LEVEL", &[], "the log is set in `[telemetry.log]`"),
    ignored("OTEL_ATTRIBUTE_*", &[], LIMITS),
    ignored("OTEL_SPAN_*", &[], LIMITS),
    ignored("OTEL_EVENT_*", &[], LIMITS),
    ignored("OTEL_LINK_*", &[], LIMITS),
    ignored("OTEL_LOGRECORD_*", &[], LIMITS),
    ignored("OTEL_EXPERIMENTAL_CONFIG_FILE", &[], "the configuration is `config.toml`"),
    ignored("OTEL_CONFIG_FILE", &[], "the configuration is `config.toml`"),
    ignored("OTEL_SEMCONV_STABILITY_OPT_IN", &[], "names follow the stable conventions"),
];

impl Variable {
    fn is(&self, name: &str) -> bool {
        self.name.strip_suffix('*').map_or(self.name == name, |prefix| name.starts_with(prefix))
    }
}

/// Reads the standard variables of an environment. Pure. An empty variable is as good as none.
#[must_use]
pub fn standard(environment: &BTreeMap<String, String>) -> Standard {
    let mut reader = Reader::new(environment);
    let set = |variable: &Variable| {
        environment.iter().filter(move |(name, value)| variable.is(name) && !value.trim().is_empty()).collect::<Vec<_>>()
    };
    for variable in VARIABLES {
        for (name, value) in set(variable) {
            match variable.fate {
                Fate::Honoured { read, .. } => reader.at(variable.name, name, |reader| read(reader, value.trim())),
                Fate::Ignored { unless, why } if !unless.contains(&value.trim()) => {
                    reader.note(format!("{name} is set and has no effect: {}", why.replace('`', "")));
                }
                Fate::Ignored { .. } => {}
            }
        }
    }
    for name in environment.keys().filter(|name| name.starts_with("OTEL_") && !VARIABLES.iter().any(|variable| variable.is(name)))
    {
        reader.note(format!("{name} is set and has no effect: it is not known here"));
    }
    reader.finish()
}
