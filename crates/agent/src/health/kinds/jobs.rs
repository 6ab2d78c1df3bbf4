//! Work that ends.

use serde_json::Value;

use crate::health::{
    Assessment, HealthReason,
    fields::{Condition, condition, count, flag, number},
};

pub(super) fn job(object: &Value) -> Assessment {
    let set = |kind| condition(object, kind).filter(Condition::is_true);
    if set("Complete").is_some() {
        return Assessment::healthy();
    }
    // The target is known before the last pods have ended.
    if let Some(failed) = set("Failed").or_else(|| set("FailureTarget")) {
        let reason = if failed.reason == "DeadlineExceeded" { HealthReason::DeadlineExceeded } else { HealthReason::JobFailed };
        return Assessment::degraded(reason, failed.words());
    }
    if set("Suspended").is_some() || flag(object, "/spec/suspend") {
        return Assessment::progressing(HealthReason::Suspended, "the Job is suspended");
    }
    let [active, failed, succeeded] =
        ["/status/active", "/status/failed", "/status/succeeded"].map(|pointer| count(object, pointer));
    let message = match number(object, "/spec/completions") {
        _ if number(object, "/status/active").or(number(object, "/status/succeeded")).is_none() && failed == 0 => {
            "no pod of the Job has started yet".to_owned()
        }
        Some(wanted) => format!("{succeeded} of {wanted} pods succeeded, {active} active, {failed} failed"),
        None => format!("{succeeded} pods succeeded, {active} active, {failed} failed"),
    };
    Assessment::progressing(HealthReason::JobRunning, message)
}

/// The Jobs that it starts are objects of their own.
pub(super) fn cron_job(_object: &Value) -> Assessment {
    Assessment::healthy()
}
