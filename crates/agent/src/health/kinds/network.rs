//! Services, budgets and autoscalers.

use serde_json::Value;

use crate::health::{
    Assessment, HealthReason,
    fields::{condition, count, list, text},
};

pub(super) fn service(object: &Value) -> Assessment {
    let is_ready = text(object, "/spec/type") != "LoadBalancer" || !list(object, "/status/loadBalancer/ingress").is_empty();
    if is_ready {
        return Assessment::healthy();
    }
    Assessment::progressing(HealthReason::NoAddress, "the load balancer has no address yet")
}

pub(super) fn disruption_budget(object: &Value) -> Assessment {
    let (have, want) = (count(object, "/status/currentHealthy"), count(object, "/status/desiredHealthy"));
    if have < want {
        return Assessment::progressing(HealthReason::BudgetUnmet, format!("{have} of {want} pods are healthy"));
    }
    Assessment::healthy()
}

pub(super) fn autoscaler(object: &Value) -> Assessment {
    for kind in ["AbleToScale", "ScalingActive"] {
        // Zero replicas switch an autoscaler off, which is somebody's intention.
        let is_broken =
            |condition: &crate::health::fields::Condition<'_>| condition.is_false() && condition.reason != "ScalingDisabled";
        if let Some(condition) = condition(object, kind).filter(is_broken) {
            return Assessment::degraded(HealthReason::ScalingInactive, condition.words());
        }
    }
    Assessment::healthy()
}
