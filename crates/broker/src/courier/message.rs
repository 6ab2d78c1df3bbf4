//! From a delivery to the message that is sent.

use brokkr_api::{Relation, Timestamp, webhooks::PayloadFormat};
use brokkr_telemetry::{TraceContext, config::Handoff};
use brokkr_webhooks::{
    Message, Signing,
    body::{self, CloudEvent},
};
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};

use super::Endpoint;
use crate::{
    domain::{handoff, webhook::schema},
    store::ClaimedDelivery,
};

/// What a receiver is told of an event.
fn data(delivery: &ClaimedDelivery) -> Value {
    let mut data = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            data.insert(name.to_owned(), value);
        }
    };
    put("event_id", json!(delivery.event));
    put("position", json!(delivery.position));
    if let Some((id, name)) = &delivery.stack {
        put("stack_id", json!(id));
        put("stack", json!(name));
    }
    if let Some((id, name)) = &delivery.agent {
        put("agent_id", json!(id));
        put("agent", json!(name));
    }
    put("generation", json!(delivery.generation));
    put("trace_id", json!(delivery.trace.as_ref().map(TraceContext::trace_id)));
    put("details", delivery.data.clone());
    Value::Object(data)
}

/// The message of a delivery.
pub(super) fn message(
    delivery: &ClaimedDelivery,
    endpoint: &Endpoint,
    installation: &str,
    knob: Handoff,
    now: Timestamp,
) -> Message {
    let (id, data) = (delivery.id.to_string(), data(delivery));
    let (body, content_type) = match endpoint.settings.format {
        PayloadFormat::Standard => (body::standard(&delivery.kind, delivery.created_at, &data), body::JSON),
        PayloadFormat::CloudEvents => {
            let subject = delivery.stack.as_ref().and_then(|(_, name)| Some(format!("stacks/{}", name.as_ref()?)));
            let subject =
                subject.or_else(|| delivery.agent.as_ref().and_then(|(_, name)| Some(format!("agents/{}", name.as_ref()?))));
            let trace = delivery.trace.as_ref().filter(|_| endpoint.settings.traceparent);
            let traceparent = trace.map(|trace| trace.with_flags_masked().traceparent);
            let event = CloudEvent {
                id: &id,
                source: &format!("/brokkr/{installation}"),
                kind: &format!("io.brokkr.{}", delivery.kind),
                time: delivery.created_at,
                subject: subject.as_deref(),
                dataschema: &schema::id_of_data(&delivery.kind),
                traceparent: traceparent.as_deref(),
                data: &data,
            };
            (body::cloud_event(event), body::CLOUD_EVENT)
        }
    };
    let mut headers = endpoint.headers.clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let age = now.since(delivery.created_at);
    let relation = match handoff::relation(knob, delivery.tries == 1, delivery.fan_out, age) {
        Relation::Parent => brokkr_telemetry::Relation::Parent,
        Relation::Link => brokkr_telemetry::Relation::Link,
    };
    Message {
        id,
        url: endpoint.url.clone(),
        webhook_id: endpoint.id.to_string(),
        webhook: endpoint.name.to_string(),
        kind: delivery.kind.clone(),
        // Texts and numbers can always be written.
        body: body.unwrap_or_default(),
        headers,
        signing: Signing::Secrets(endpoint.sealed.secrets(now)),
        timeout: endpoint.timeout(),
        traceparent: endpoint.settings.traceparent,
        tracestate: endpoint.settings.tracestate,
        attempt: delivery.attempts,
        cause: delivery.trace.clone().map(|trace| (trace, relation)),
        before: delivery.last_trace.clone(),
    }
}
