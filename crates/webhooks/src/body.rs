//! What a message says: the payload of Standard Webhooks, or an event of `CloudEvents` 1.0 in structured mode.

use brokkr_api::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// Content type of [`standard`].
pub const JSON: &str = "application/json";
/// Content type of [`cloud_event`].
pub const CLOUD_EVENT: &str = "application/cloudevents+json";

/// The payload of Standard Webhooks.
///
/// # Errors
/// Never for data that is JSON.
pub fn standard(kind: &str, at: Timestamp, data: &Value) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Payload<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        timestamp: Timestamp,
        data: &'a Value,
    }
    serde_json::to_vec(&Payload { kind, timestamp: at, data })
}

/// An event of `CloudEvents` 1.0.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CloudEvent<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// Which installation it happened in.
    pub source: &'a str,
    /// `io.brokkr.` and the type of the event.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// When it happened.
    pub time: Timestamp,
    /// What it happened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'a str>,
    /// Names the schema of `data`: a URI.
    pub dataschema: &'a str,
    /// The extension for distributed tracing: the place of the event itself in its trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<&'a str>,
    /// The same as in the payload of Standard Webhooks.
    pub data: &'a Value,
}

/// An event in structured mode.
///
/// # Errors
/// Never for data that is JSON.
pub fn cloud_event(event: CloudEvent<'_>) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Envelope<'a> {
        specversion: &'static str,
        datacontenttype: &'static str,
        #[serde(flatten)]
        event: CloudEvent<'a>,
    }
    serde_json::to_vec(&Envelope { specversion: "1.0", datacontenttype: JSON, event })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_payloads_have_the_fields_of_their_standards() {
        let at = Timestamp::from_micros(1_767_225_600_000_000);
        let data = json!({"stack": "shop"});
        let payload: Value = serde_json::from_slice(&standard("stack.created", at, &data).unwrap()).unwrap();
        assert_eq!(payload, json!({"type": "stack.created", "timestamp": "2026-01-01T00:00:00Z", "data": data}));
        let event = CloudEvent {
            id: "1",
            source: "/brokkr/2",
            kind: "io.brokkr.stack.created",
            time: at,
            subject: Some("stacks/shop"),
            dataschema: "urn:brokkr:event:stack.created:1#/properties/data",
            traceparent: None,
            data: &data,
        };
        let event: Value = serde_json::from_slice(&cloud_event(event).unwrap()).unwrap();
        assert_eq!(
            event,
            json!({"specversion": "1.0", "datacontenttype": "application/json", "id": "1", "source": "/brokkr/2",
                "type": "io.brokkr.stack.created", "time": "2026-01-01T00:00:00Z", "subject": "stacks/shop",
                "dataschema": "urn:brokkr:event:stack.created:1#/properties/data", "data": data})
        );
    }
}
