//! Deliveries of webhooks that agents send: what an agent is handed, and what it reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{DeliveryId, Name, WebhookId, WorkTrace};

/// Most deliveries that one claim hands out, and that one report tells of.
pub const MAX_DELIVERIES: u32 = 64;
/// Longest beginning of an answer in characters.
pub const MAX_ANSWER: usize = 256;
/// Longest time that a receiver may ask to be left alone, in seconds: a day.
pub const MAX_RETRY_AFTER_SECONDS: u32 = 24 * 3_600;
/// Longest time that an attempt may be said to have taken, in milliseconds: an hour.
pub const MAX_LATENCY_MS: u64 = 3_600_000;

/// An agent asks for deliveries: `POST /api/v1/agent/webhook-deliveries:claim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimDeliveries {
    /// Most of them: 1 to 64. They are to be sent at once, and at the same time.
    #[schema(minimum = 1, maximum = 64)]
    pub limit: u32,
}

/// The answer to [`ClaimDeliveries`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimedDeliveries {
    /// What is to be sent, the oldest of each webhook first; none is an answer too.
    pub deliveries: Vec<DeliveryToSend>,
    /// The lease ends so many seconds after the claim: what is not reported by then is sent again, by whoever claims it next.
    pub lease_seconds: u64,
    /// Milliseconds after which there may be more for this agent; absent when it will be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_after_ms: Option<u64>,
}

/// One attempt that an agent is to make. Signed by the broker: an agent never has what a webhook signs with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryToSend {
    /// The delivery.
    pub id: DeliveryId,
    /// Proves who has it: the report names it, and an older one changes nothing.
    pub token: u64,
    /// The webhook.
    pub webhook_id: WebhookId,
    /// Its name.
    pub webhook: Name,
    /// Type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// 1 for the first.
    pub attempt: u32,
    /// Where it goes, if the agent's own configuration lets it.
    pub url: String,
    /// Every header but those of the trace.
    pub headers: BTreeMap<String, String>,
    /// What is sent.
    pub body: String,
    /// Seconds that the attempt may take.
    pub timeout_seconds: u32,
    /// Whether `traceparent` goes along.
    pub traceparent: bool,
    /// Whether `tracestate` does.
    pub tracestate: bool,
    /// The trace of what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<WorkTrace>,
    /// The `traceparent` of the attempt before, which the span of this one links to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

impl std::fmt::Debug for DeliveryToSend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers and URL may be secret.
        f.debug_struct("DeliveryToSend").field("id", &self.id).field("webhook", &self.webhook).finish_non_exhaustive()
    }
}

/// An agent reports attempts: `POST /api/v1/agent/webhook-deliveries:report`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportDeliveries {
    /// At most 64.
    pub deliveries: Vec<DeliveryReport>,
}

/// How one attempt went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliveryReport {
    /// The delivery.
    pub id: DeliveryId,
    /// The token of the claim.
    pub token: u64,
    /// How it ended, in a word: `success`, `timeout`, `server_error`, …
    pub result: String,
    /// The status, if there was an answer: 100 to 999.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 999)]
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
    /// The beginning of the answer, or why there was none. The broker masks what could be a key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// Seconds that the receiver wants to be left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
    /// The `traceparent` of the attempt's span; one that is malformed is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// The answer to [`ReportDeliveries`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportedDeliveries {
    /// One for each, in their order.
    pub results: Vec<ReportedDelivery>,
}

/// What became of the report of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportedDelivery {
    /// It was stored.
    Accepted,
    /// The agent does not have this delivery, or no more: nothing was stored.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_says_nothing_of_what_may_be_secret() {
        let text = r#"{"id": "00000000-0000-7000-8000-000000000000", "token": 1, "webhook": "chat",
            "webhook_id": "00000000-0000-7000-8000-000000000000", "type": "stack.created", "attempt": 1,
            "url": "https://hooks.example.com/hunter2", "headers": {"authorization": "hunter2"}, "body": "hunter2", "timeout_seconds": 15,
            "traceparent": true, "tracestate": false}"#;
        let delivery: DeliveryToSend = serde_json::from_str(text).unwrap();
        let claimed = ClaimedDeliveries { deliveries: vec![delivery], lease_seconds: 60, again_after_ms: None };
        assert!(!format!("{claimed:?}").contains("hunter2"), "{claimed:?}");
    }
}
