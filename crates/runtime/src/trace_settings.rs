//! Between what travels of tracing and what is in effect in this process.

use brokkr_api::{
    Timestamp,
    tracing::{MAX_TEXT, MAX_VALUES, TraceExporter, TracePipeline, TraceProtocol, TraceSettings, TraceValue},
};
use brokkr_telemetry::{
    Control, RunTime,
    config::{Exporter, Protocol},
};

/// Settings as this process takes them.
#[must_use]
pub fn run_time(settings: &TraceSettings) -> RunTime {
    RunTime {
        enabled: settings.enabled,
        exporter: settings.exporter.map(|exporter| match exporter {
            TraceExporter::Otlp => Exporter::Otlp,
            TraceExporter::Jaeger => Exporter::Jaeger,
        }),
        endpoint: settings.endpoint.clone(),
        protocol: settings.protocol.map(|protocol| match protocol {
            TraceProtocol::Grpc => Protocol::Grpc,
            TraceProtocol::HttpProtobuf => Protocol::HttpProtobuf,
        }),
        service_name: settings.service_name.clone(),
        sampling_rate: settings.sampling_rate,
    }
}

/// What is in effect, and what became of the spans.
#[must_use]
pub fn pipeline(control: &Control) -> TracePipeline {
    let status = control.status();
    let value = |value: brokkr_telemetry::control::Effective| TraceValue {
        key: value.key.to_owned(),
        value: cut(value.value),
        source: cut(value.source),
    };
    TracePipeline {
        enabled: status.enabled,
        values: control.effective().into_iter().take(MAX_VALUES).map(value).collect(),
        exported: status.exported,
        failed: status.failed,
        dropped: status.dropped,
        last_success_at: status.last_success.map(Timestamp::from_system_time),
        last_error: status.last_error.map(cut),
    }
}

/// What people wrote may hold anything, and what travels is short and printable.
fn cut(text: String) -> String {
    if text.chars().count() <= MAX_TEXT && !text.chars().any(char::is_control) {
        return text;
    }
    text.chars().take(MAX_TEXT).map(|char| if char.is_control() { ' ' } else { char }).collect()
}
