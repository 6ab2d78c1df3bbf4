//! What the conditions that many kinds share say.

use serde_json::Value;

use crate::health::{
    Assessment, HealthReason,
    fields::{self, condition, number},
};

/// Whether the controller has yet to act on the latest generation.
pub(in crate::health) fn not_observed(object: &Value) -> Option<Assessment> {
    let (wanted, observed) = (number(object, "/metadata/generation")?, number(object, "/status/observedGeneration")?);
    (observed < wanted).then(|| {
        Assessment::progressing(HealthReason::NotObserved, format!("generation {wanted} is not observed yet, only {observed} is"))
    })
}

/// `Reconciling` and `Stalled`, which mean the same wherever they stand.
pub(in crate::health) fn stalled(object: &Value) -> Option<Assessment> {
    let set = |kind| condition(object, kind).filter(|condition| condition.is_true() && !condition.is_stale);
    if let Some(stalled) = set("Stalled") {
        return Some(Assessment::degraded(HealthReason::Stalled, stalled.words()));
    }
    set("Reconciling").map(|reconciling| Assessment::progressing(HealthReason::NotReady, reconciling.words()))
}

/// By `Ready`, else by `Available`; an object with neither is healthy.
pub(in crate::health) fn generic(object: &Value) -> Assessment {
    if let Some(stalled) = stalled(object) {
        return stalled;
    }
    match condition(object, "Ready").or_else(|| condition(object, "Available")) {
        Some(condition) if condition.is_stale => {
            Assessment::progressing(HealthReason::NotObserved, "the condition is of an older generation")
        }
        Some(condition) if !condition.is_true() => Assessment::progressing(HealthReason::NotReady, condition.words()),
        _ => Assessment::healthy(),
    }
}

pub(super) fn terminating(object: &Value) -> Assessment {
    let finalizers: Vec<_> = fields::list(object, "/metadata/finalizers").iter().filter_map(Value::as_str).take(5).collect();
    let message = if finalizers.is_empty() {
        "it is being deleted".to_owned()
    } else {
        format!("it is being deleted, and waits for its finalizers: {}", finalizers.join(", "))
    };
    Assessment::progressing(HealthReason::Terminating, message)
}
