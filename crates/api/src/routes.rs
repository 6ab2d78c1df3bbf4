//! Paths of the HTTP API, written once for broker and client.

/// Is the process alive?
pub const HEALTHZ: &str = "/healthz";
/// Does it take work, and how are its parts?
pub const READYZ: &str = "/readyz";
/// Metrics in the text format of Prometheus or in `OpenMetrics`.
pub const METRICS: &str = "/metrics";

/// The `OpenAPI` document, for anybody.
pub const OPENAPI: &str = "/api/v1/openapi.json";
/// The same as a page for people.
pub const DOCS: &str = "/docs";

/// Create and list keys.
pub const KEYS: &str = "/api/v1/keys";
/// Revoke a key.
pub const KEY: &str = "/api/v1/keys/{key}";
/// Create and list generators.
pub const GENERATORS: &str = "/api/v1/generators";
/// Read and change a generator.
pub const GENERATOR: &str = "/api/v1/generators/{generator}";
/// Create and list registration tokens.
pub const REGISTRATION_TOKENS: &str = "/api/v1/registration-tokens";
/// Revoke a registration token.
pub const REGISTRATION_TOKEN: &str = "/api/v1/registration-tokens/{token}";
/// An agent gets its identity for a registration token.
pub const ENROLMENTS: &str = "/api/v1/enrolments";
/// The fleet as a whole.
pub const FLEET: &str = "/api/v1/fleet";
/// Suspend and resume the fleet.
pub const FLEET_SUSPENSION: &str = "/api/v1/fleet/suspension";
/// Tracing of the broker, and what is set for everybody.
pub const TRACING: &str = "/api/v1/tracing";
/// How tracing fares on each agent.
pub const TRACING_AGENTS: &str = "/api/v1/tracing/agents";
/// Create and list agents.
pub const AGENTS: &str = "/api/v1/agents";
/// Read and change an agent.
pub const AGENT: &str = "/api/v1/agents/{agent}";
/// Suspend and resume an agent.
pub const AGENT_SUSPENSION: &str = "/api/v1/agents/{agent}/suspension";
/// Deactivate and activate an agent.
pub const AGENT_DEACTIVATION: &str = "/api/v1/agents/{agent}/deactivation";
/// Ask an agent to take a new key.
pub const AGENT_KEY_ROTATION: &str = "/api/v1/agents/{agent}/key-rotation";
/// What an agent has to do, and how far it is.
pub const AGENT_DEPLOYMENTS: &str = "/api/v1/agents/{agent}/deployments";
/// Say that an agent is gone for ever.
pub const ABANDON_AGENT: &str = "/api/v1/agents:abandon";
/// List stacks.
pub const STACKS: &str = "/api/v1/stacks";
/// Create, read, change and delete a stack.
pub const STACK: &str = "/api/v1/stacks/{stack}";
/// Who would gain and lose a stack.
pub const TARGETS_PREVIEW: &str = "/api/v1/stacks/{stack}/targets:preview";
/// Suspend and resume a stack.
pub const STACK_SUSPENSION: &str = "/api/v1/stacks/{stack}/suspension";
/// Approve deletions that an agent holds back.
pub const STACK_APPROVALS: &str = "/api/v1/stacks/{stack}/approvals";
/// Bring old content back.
pub const ROLLBACK: &str = "/api/v1/stacks/{stack}/rollback";
/// Where a stack stands on each of its agents.
pub const DEPLOYMENTS: &str = "/api/v1/stacks/{stack}/deployments";
/// Where a stack stands on one agent, object by object.
pub const DEPLOYMENT: &str = "/api/v1/stacks/{stack}/deployments/{agent}";
/// Send manifests, list generations.
pub const DEPLOYMENT_OBJECTS: &str = "/api/v1/stacks/{stack}/deployment-objects";
/// Read one generation's content.
pub const DEPLOYMENT_OBJECT: &str = "/api/v1/stacks/{stack}/deployment-objects/{generation}";
/// How far a stack's newest generation has come.
pub const ROLLOUT: &str = "/api/v1/stacks/{stack}/rollout";

/// Ask for work, list work orders.
pub const WORK_ORDERS: &str = "/api/v1/work-orders";
/// Read a work order.
pub const WORK_ORDER: &str = "/api/v1/work-orders/{order}";
/// The end of the log of a work order.
pub const WORK_ORDER_LOG: &str = "/api/v1/work-orders/{order}/log";
/// Cancel a work order.
pub const CANCEL_WORK_ORDER: &str = "/api/v1/work-orders/{order}/cancel";
/// Try a finished work order again.
pub const RETRY_WORK_ORDER: &str = "/api/v1/work-orders/{order}/retry";

/// Make and list webhooks.
pub const WEBHOOKS: &str = "/api/v1/webhooks";
/// Read, change and delete a webhook.
pub const WEBHOOK: &str = "/api/v1/webhooks/{webhook}";
/// Send a test event.
pub const TEST_WEBHOOK: &str = "/api/v1/webhooks/{webhook}/test";
/// Replace the secret.
pub const ROTATE_WEBHOOK: &str = "/api/v1/webhooks/{webhook}/rotate";
/// List deliveries.
pub const DELIVERIES: &str = "/api/v1/webhooks/{webhook}/deliveries";
/// One delivery with its attempts.
pub const DELIVERY: &str = "/api/v1/webhooks/{webhook}/deliveries/{delivery}";
/// Send again.
pub const REPLAY_WEBHOOK: &str = "/api/v1/webhooks/{webhook}/replay";
/// The types of events.
pub const EVENT_TYPES: &str = "/api/v1/event-types";
/// The JSON Schema of a type.
pub const EVENT_TYPE: &str = "/api/v1/event-types/{type}";

/// What happened, by position.
pub const EVENTS: &str = "/api/v1/events";
/// Who did what.
pub const AUDIT: &str = "/api/v1/audit";

/// An agent says what it is and which cluster it works in.
pub const AGENT_CLUSTER: &str = "/api/v1/agent/cluster";
/// An agent takes a new key.
pub const AGENT_KEY: &str = "/api/v1/agent/key";
/// The long poll of an agent.
pub const DESIRED_STATE: &str = "/api/v1/agent/desired-state";
/// Content by digest.
pub const CONTENT: &str = "/api/v1/agent/stacks/{stack}/content/{digest}";
/// An agent tells how its tracing fares.
pub const AGENT_TRACING: &str = "/api/v1/agent/tracing";
/// Outcomes.
pub const REPORTS: &str = "/api/v1/agent/reports";
/// An agent asks for a work order.
pub const CLAIM_WORK: &str = "/api/v1/agent/work-orders:claim";
/// An agent renews its leases.
pub const RENEW_WORK: &str = "/api/v1/agent/work-orders:renew";
/// An agent tells how a work order goes.
pub const REPORT_WORK: &str = "/api/v1/agent/work-orders:report";
/// An agent asks for deliveries of webhooks to send.
pub const CLAIM_DELIVERIES: &str = "/api/v1/agent/webhook-deliveries:claim";
/// An agent tells how attempts went.
pub const REPORT_DELIVERIES: &str = "/api/v1/agent/webhook-deliveries:report";

/// Fills the placeholders of a route template in their order. Values are names, ids, digests and numbers, which need no escaping.
#[must_use]
pub fn fill(template: &str, values: &[&str]) -> String {
    let mut values = values.iter();
    let segments = template.split('/').map(|segment| match segment.strip_prefix('{') {
        Some(_) => values.next().copied().unwrap_or(segment),
        None => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_their_order() {
        assert_eq!(fill(DEPLOYMENT_OBJECT, &["shop", "3"]), "/api/v1/stacks/shop/deployment-objects/3");
    }
}
