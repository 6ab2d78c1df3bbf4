//! How objects are, and why: judged from the object itself, and where that says too little from its pods and events.
//!
//! [`assess`] is pure. [`diagnose`] asks the cluster a few bounded questions about an object that is not healthy.

mod assessment;
mod diagnosis;
mod fields;
mod kinds;
mod reason;
mod rules;
mod words;

use serde_json::Value;

pub(crate) use assessment::{Assessment, worst};
pub(crate) use diagnosis::{diagnose, needs_diagnosis};
pub(crate) use reason::HealthReason;
pub(crate) use rules::Rules;

use crate::object::GroupKind;

/// How an object is, by itself: by the stack's rule for its kind, by its kind, or by its conditions.
pub(crate) fn assess(object: &Value, rules: &Rules) -> Assessment {
    let Some(kind) = kind_of(object) else {
        return Assessment::unknown(HealthReason::Unreadable, "the object has no kind");
    };
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return kinds::terminating(&kind, object);
    }
    if let Some(behind) = kinds::not_observed(object) {
        return behind;
    }
    rules.assess(&kind, object).unwrap_or_else(|| kinds::assess(&kind, object))
}

/// Whether objects of this kind can be anything but healthy once they exist, so that looking at them is worth a call.
pub(crate) fn has_health(kind: &GroupKind, rules: &Rules) -> bool {
    // A namespace is not in the list: one that is stuck in its deletion is what a person wants to hear of.
    let exists_and_is_fine = match kind.group.as_str() {
        "" => matches!(
            kind.kind.as_str(),
            "ConfigMap" | "Secret" | "ServiceAccount" | "LimitRange" | "Endpoints" | "Event" | "PodTemplate" | "ResourceQuota"
        ),
        "rbac.authorization.k8s.io"
        | "admissionregistration.k8s.io"
        | "scheduling.k8s.io"
        | "node.k8s.io"
        | "coordination.k8s.io"
        | "discovery.k8s.io"
        | "storage.k8s.io"
        | "events.k8s.io" => true,
        "networking.k8s.io" => matches!(kind.kind.as_str(), "Ingress" | "IngressClass" | "NetworkPolicy"),
        _ => false,
    };
    !exists_and_is_fine || rules.names(kind)
}

fn kind_of(object: &Value) -> Option<GroupKind> {
    let (api_version, kind) = (fields::text(object, "/apiVersion"), fields::text(object, "/kind"));
    (!kind.is_empty()).then(|| GroupKind::of(api_version, kind))
}
