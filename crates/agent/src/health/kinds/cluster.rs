//! Kinds of the whole cluster.

use serde_json::Value;

use super::generic;
use crate::health::{
    Assessment, HealthReason,
    fields::{Condition, condition},
};

pub(super) fn definition(object: &Value) -> Assessment {
    if let Some(rejected) = condition(object, "NamesAccepted").filter(Condition::is_false) {
        return Assessment::degraded(HealthReason::NamesRejected, rejected.words());
    }
    match condition(object, "Established") {
        Some(established) if established.is_true() => Assessment::healthy(),
        Some(established) => Assessment::progressing(HealthReason::NotEstablished, established.words()),
        None => Assessment::progressing(HealthReason::NotEstablished, "the API server has not accepted its names yet"),
    }
}

pub(super) fn api_service(object: &Value) -> Assessment {
    match condition(object, "Available") {
        Some(available) if available.is_true() => Assessment::healthy(),
        Some(available) => Assessment::progressing(HealthReason::ApiUnavailable, available.words()),
        None => Assessment::progressing(HealthReason::ApiUnavailable, "nobody has tried to reach it yet"),
    }
}

/// A namespace that is being deleted says what it waits for. Content that is left goes by itself, unless a finalizer holds it.
pub(super) fn terminating_namespace(object: &Value) -> Assessment {
    let set = |kind| condition(object, kind).filter(Condition::is_true);
    let failures =
        ["NamespaceDeletionDiscoveryFailure", "NamespaceDeletionGroupVersionParsingFailure", "NamespaceDeletionContentFailure"];
    if let Some(failure) = failures.into_iter().find_map(set) {
        return Assessment::degraded(HealthReason::DeletionFailed, failure.words());
    }
    // Said of a moment too in which the finalizers are just being removed; whoever wants the namespace has lost it either way.
    if let Some(finalizers) = set("NamespaceFinalizersRemaining") {
        return Assessment::degraded(HealthReason::FinalizersRemaining, finalizers.message);
    }
    match set("NamespaceContentRemaining") {
        Some(content) => Assessment::progressing(HealthReason::Terminating, content.message),
        None => generic::terminating(object),
    }
}
