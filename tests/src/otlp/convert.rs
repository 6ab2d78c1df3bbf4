use super::{Event, Kind, Link, Span, Status};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    trace::v1::{self as proto, span::SpanKind, status::StatusCode},
};
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// All spans of an export request.
pub(super) fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource_spans in request.resource_spans {
        let resource = attributes(resource_spans.resource.map(|resource| resource.attributes).unwrap_or_default());
        let service = resource.get("service.name").and_then(Value::as_str).unwrap_or("unknown_service").to_owned();
        let scoped = resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(scoped.map(|found| span(found, &service, &resource)));
    }
    spans
}

fn span(span: proto::Span, service: &str, resource: &BTreeMap<String, Value>) -> Span {
    let (kind, bytes) = (span.kind(), span.encoded_len() as u64);
    Span {
        bytes,
        service: service.to_owned(),
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent: Some(hex(&span.parent_span_id)).filter(|id| !id.is_empty()),
        trace_state: span.trace_state,
        name: span.name,
        kind: match kind {
            SpanKind::Server => Kind::Server,
            SpanKind::Client => Kind::Client,
            SpanKind::Producer => Kind::Producer,
            SpanKind::Consumer => Kind::Consumer,
            SpanKind::Internal | SpanKind::Unspecified => Kind::Internal,
        },
        start_nanos: span.start_time_unix_nano,
        end_nanos: span.end_time_unix_nano,
        attributes: attributes(span.attributes),
        resource: resource.clone(),
        links: span.links.into_iter().map(link).collect(),
        events: span.events.into_iter().map(event).collect(),
        status: span.status.map_or(Status::Unset, status),
    }
}

fn link(link: proto::span::Link) -> Link {
    Link { trace_id: hex(&link.trace_id), span_id: hex(&link.span_id), attributes: attributes(link.attributes) }
}

fn event(event: proto::span::Event) -> Event {
    Event { name: event.name, nanos: event.time_unix_nano, attributes: attributes(event.attributes) }
}

fn status(status: proto::Status) -> Status {
    match status.code() {
        StatusCode::Unset => Status::Unset,
        StatusCode::Ok => Status::Ok,
        StatusCode::Error => Status::Error(status.message),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, Value> {
    pairs.into_iter().map(|pair| (pair.key, pair.value.map_or(Value::Null, value))).collect()
}

fn value(any: AnyValue) -> Value {
    match any.value {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(flag)) => json!(flag),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::ArrayValue(array)) => array.values.into_iter().map(value).collect(),
        Some(Any::KvlistValue(list)) => json!(attributes(list.values)),
        Some(Any::BytesValue(bytes)) => json!(hex(&bytes)),
        Some(Any::StringValueStrindex(index)) => json!(index),
        None => Value::Null,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
