//! Webhooks: events that are sent to receivers outside, as <https://www.standardwebhooks.com> has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{DeliveryId, EventId, GeneratorId, Name, TargetSelector, Timestamp, WebhookId, words::words};

/// Longest URL in bytes.
pub const MAX_URL: usize = 2_048;
/// Most patterns of types that one webhook names.
pub const MAX_PATTERNS: usize = 64;
/// Most headers of one webhook.
pub const MAX_HEADERS: usize = 16;
/// Longest value of a header in characters.
pub const MAX_HEADER: usize = 1_024;
/// Most generators that one webhook names.
pub const MAX_GENERATORS: usize = 64;
/// Longest time that an old secret stays valid beside its successor, in seconds: 7 days.
pub const MAX_OVERLAP_SECONDS: u32 = 7 * 24 * 3_600;
/// Most deliveries that one request sends again.
pub const MAX_REPLAYS: u32 = 10_000;

words! {
    /// What a message looks like.
    PayloadFormat {
        /// `type`, `timestamp` and `data`, as Standard Webhooks has it.
        Standard = "standard",
        /// An event of CloudEvents 1.0, in structured mode. It is signed in the same way.
        CloudEvents = "cloudevents",
    }
}

words! {
    /// What messages are signed with.
    SignatureKind {
        /// HMAC-SHA256 with a secret that sender and receiver share: `v1`.
        Hmac = "v1",
        /// Ed25519 with a key whose public half the receiver has: `v1a`.
        Ed25519 = "v1a",
    }
}

words! {
    /// Whether anything is sent.
    WebhookState {
        /// Events are sent.
        Enabled = "enabled",
        /// Nothing is sent, and new events do not wait. What waited before waits on.
        Disabled = "disabled",
    }
}

words! {
    /// How far a delivery is.
    DeliveryState {
        /// It waits for its time, or is on its way.
        Pending = "pending",
        /// It waits for an earlier one of the same stack, or for a moment until it has its place.
        Held = "held",
        /// The receiver has it.
        Delivered = "delivered",
        /// Every attempt failed; it is sent again when somebody replays it.
        Dead = "dead",
    }
}

words! {
    /// Why no agent sends.
    NoSender {
        /// `deliver_by` selects no agent.
        NoMatch = "no_match",
        /// None of the selected agents sends webhooks: they are of an older version, or `webhooks.enabled` is off.
        NotEnabled = "not_enabled",
        /// Those that send are offline.
        Offline = "offline",
    }
}

impl NoSender {
    /// The reason for people.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::NoMatch => "no agent is selected to send",
            Self::NotEnabled => "no selected agent sends webhooks",
            Self::Offline => "the agents that send are offline",
        }
    }
}

/// How a webhook is to be: what [`CreateWebhook`] and [`UpdateWebhook`] share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Types of events: `deployment.applied`, `deployment.*` for all that begin so, `*` for all.
    #[serde(default = "everything")]
    #[schema(min_items = 1, max_items = 64)]
    pub events: Vec<String>,
    /// Only events about these stacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stacks: Option<TargetSelector>,
    /// Only events about these agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<TargetSelector>,
    /// Only events about stacks of these generators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub generators: Vec<Name>,
    /// Agents that send, each from its own network and where its own configuration lets it; the broker when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_by: Option<TargetSelector>,
    /// What a message looks like.
    #[serde(default = "standard")]
    pub format: PayloadFormat,
    /// Whether events about one stack arrive in their order: each waits until those before it have arrived or are given up.
    #[serde(default)]
    pub ordered: bool,
    /// Whether a message carries `traceparent`, the place of the attempt in its trace.
    #[serde(default = "yes")]
    pub traceparent: bool,
    /// Whether it carries `tracestate` too.
    #[serde(default)]
    pub tracestate: bool,
    /// Seconds that an attempt may take: 1 to 30.
    #[serde(default = "fifteen")]
    #[schema(minimum = 1, maximum = 30)]
    pub timeout_seconds: u32,
    /// Most attempts at the same time, from each broker or through it: 1 to 64.
    #[serde(default = "eight")]
    #[schema(minimum = 1, maximum = 64)]
    pub concurrency: u32,
    /// Most attempts in a second, from each broker or through it: 1 to 10000; no limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10000)]
    pub rate_per_second: Option<u32>,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

fn standard() -> PayloadFormat {
    PayloadFormat::Standard
}

fn hmac() -> SignatureKind {
    SignatureKind::Hmac
}

fn yes() -> bool {
    true
}

fn fifteen() -> u32 {
    15
}

fn eight() -> u32 {
    8
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            events: everything(),
            stacks: None,
            agents: None,
            generators: Vec::new(),
            deliver_by: None,
            format: PayloadFormat::Standard,
            ordered: false,
            traceparent: true,
            tracestate: false,
            timeout_seconds: fifteen(),
            concurrency: eight(),
            rate_per_second: None,
        }
    }
}

/// Asks for a webhook: `POST /api/v1/webhooks`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWebhook {
    /// Its name, unique among those of its owner.
    pub name: Name,
    /// Where events are sent: an `https` URL. What is secret belongs into a header.
    pub url: String,
    /// Headers of every message, such as `authorization`. They are stored encrypted and never shown again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What messages are signed with.
    #[serde(default = "hmac")]
    pub signature: SignatureKind,
    /// What is sent, and how.
    #[serde(default)]
    pub settings: WebhookSettings,
}

impl std::fmt::Debug for CreateWebhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A header may be a secret, and people put them into URLs too.
        f.debug_struct("CreateWebhook").field("name", &self.name).field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Changes a webhook; what is absent stays: `PATCH /api/v1/webhooks/{webhook}`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateWebhook {
    /// Where events are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// All headers of every message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// What is sent, and how: all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<WebhookSettings>,
    /// Whether anything is sent. Enabling forgets how long the receiver has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<WebhookState>,
}

impl std::fmt::Debug for UpdateWebhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpdateWebhook").field("settings", &self.settings).field("state", &self.state).finish_non_exhaustive()
    }
}

/// A webhook, without what is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// Names it for ever.
    pub id: WebhookId,
    /// Its name.
    pub name: Name,
    /// Whose it is; an admin's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorId>,
    /// Where events are sent.
    pub url: String,
    /// Names of the headers of every message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// What messages are signed with.
    pub signature: SignatureKind,
    /// What the receiver verifies with where that is no secret: `whpk_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Until when the secret before the present one signs too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_secret_until: Option<Timestamp>,
    /// What is sent, and how.
    pub settings: WebhookSettings,
    /// Whether anything is sent.
    pub state: WebhookState,
    /// Why it is disabled: `by_request`, `receiver_gone` or `failed_for_days`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
    /// Since when no attempt has worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Why no agent sends at present, where agents are to: deliveries wait until one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_sender: Option<NoSender>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// A webhook with its secret, which is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookWithSecret {
    /// The webhook.
    pub webhook: Webhook,
    /// What the receiver verifies with: `whsec_…`, or the public key `whpk_…`.
    pub secret: String,
}

impl std::fmt::Debug for WebhookWithSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookWithSecret").field("webhook", &self.webhook).finish_non_exhaustive()
    }
}

/// Asks for a new secret: `POST /api/v1/webhooks/{webhook}/rotate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateWebhook {
    /// Seconds that the present secret signs beside the new one: 0 to 604800.
    #[serde(default = "day")]
    #[schema(minimum = 0, maximum = 604_800)]
    pub overlap_seconds: u32,
}

fn day() -> u32 {
    24 * 3_600
}

impl Default for RotateWebhook {
    fn default() -> Self {
        Self { overlap_seconds: day() }
    }
}

/// One attempt at a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryAttempt {
    /// 1 for the first.
    pub number: u32,
    /// When it was made; of a lost one when that was noticed.
    pub at: Timestamp,
    /// How it ended, in a word: `success`, `timeout`, `server_error`, …; `lost` where whoever made it never came back.
    pub result: String,
    /// The status, if there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
    /// The beginning of the answer, with what could be a key masked; or why there was none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// Its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// One event on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// The `webhook-id` of every attempt.
    pub id: DeliveryId,
    /// What happened.
    pub event: EventId,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// How far it is.
    pub state: DeliveryState,
    /// Attempts so far, replays included.
    pub attempts: u32,
    /// When the next one is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// When it was due first.
    pub created_at: Timestamp,
    /// When the receiver had it, or it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The trace of what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The last twenty attempts, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<DeliveryAttempt>,
}

/// Which deliveries are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesQuery {
    /// Most items in the answer, 1 to 500; 100 when absent.
    #[param(minimum = 1, maximum = 500)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the page begins: `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<DeliveryState>,
}

/// What is sent again: `POST /api/v1/webhooks/{webhook}/replay`. Exactly one of the three ways to name it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Replay {
    /// This one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryId>,
    /// Those made at this time or later, whether they were delivered or not; with `until`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// And before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// All that were given up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// How much is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replayed {
    /// So many deliveries.
    pub deliveries: u64,
    /// Whether there are more: ask again, with `since` where a time was asked for.
    pub more: bool,
    /// `since` of the next request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_since: Option<Timestamp>,
}

/// A type of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventType {
    /// `deployment.applied`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Version of the schema: it grows when a field changes its meaning or goes, and not when one is added.
    pub version: u32,
    /// When it happens.
    pub description: String,
    /// Where its JSON Schema is served.
    pub schema: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_needs_a_name_and_a_url_and_says_none_of_its_secrets() {
        let text = r#"{"name": "chat", "url": "https://example.com/hunter2", "headers": {"authorization": "hunter3"}}"#;
        let create: CreateWebhook = serde_json::from_str(text).unwrap();
        assert_eq!(create.settings, WebhookSettings::default());
        assert_eq!(serde_json::from_str::<WebhookSettings>("{}").unwrap(), WebhookSettings::default());
        assert!(!format!("{create:?}").contains("hunter"), "{create:?}");
        assert!(serde_json::from_str::<CreateWebhook>(r#"{"name": "chat", "url": "u", "secret": "x"}"#).is_err());
    }
}
