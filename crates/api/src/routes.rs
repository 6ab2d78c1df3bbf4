//! Paths of the HTTP API, written once for broker and client.

/// Is the process alive?
pub const HEALTHZ: &str = "/healthz";
/// Does it take work, and how are its parts?
pub const READYZ: &str = "/readyz";
/// Metrics in the text format of Prometheus or in `OpenMetrics`.
pub const METRICS: &str = "/metrics";

/// Create and list keys.
pub const KEYS: &str = "/api/v1/keys";
/// Revoke a key.
pub const KEY: &str = "/api/v1/keys/{key}";
/// Create and list generators.
pub const GENERATORS: &str = "/api/v1/generators";
/// Create and list agents.
pub const AGENTS: &str = "/api/v1/agents";
/// Read and change an agent.
pub const AGENT: &str = "/api/v1/agents/{agent}";
/// List stacks.
pub const STACKS: &str = "/api/v1/stacks";
/// Create, read, change and delete a stack.
pub const STACK: &str = "/api/v1/stacks/{stack}";
/// Send manifests, list generations.
pub const DEPLOYMENT_OBJECTS: &str = "/api/v1/stacks/{stack}/deployment-objects";
/// Read one generation's content.
pub const DEPLOYMENT_OBJECT: &str = "/api/v1/stacks/{stack}/deployment-objects/{generation}";
/// How far a stack's newest generation has come.
pub const ROLLOUT: &str = "/api/v1/stacks/{stack}/rollout";

/// An agent says what it is and which cluster it works in.
pub const AGENT_CLUSTER: &str = "/api/v1/agent/cluster";
/// The long poll of an agent.
pub const DESIRED_STATE: &str = "/api/v1/agent/desired-state";
/// Content by digest.
pub const CONTENT: &str = "/api/v1/agent/stacks/{stack}/content/{digest}";
/// Outcomes.
pub const REPORTS: &str = "/api/v1/agent/reports";

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
