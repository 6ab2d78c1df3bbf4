//! Controllers of pods that keep running.

use serde_json::Value;

use crate::health::{
    Assessment, HealthReason,
    fields::{Condition, condition, count, flag, number, text},
    words,
};

/// Replicas that are wanted: one where nothing is said.
fn wanted(object: &Value) -> i64 {
    number(object, "/spec/replicas").unwrap_or(1)
}

fn rolling_out(have: i64, want: i64, what: &str) -> Assessment {
    Assessment::progressing(HealthReason::RollingOut, format!("{have} of {want} {what}"))
}

/// A controller that says that it cannot create or delete pods.
fn refused(object: &Value) -> Option<Assessment> {
    let failure = condition(object, "ReplicaFailure").filter(Condition::is_true)?;
    Some(Assessment::degraded(words::of_refusal(failure.message), words::without_values(failure.message)))
}

pub(super) fn deployment(object: &Value) -> Assessment {
    if let Some(refused) = refused(object) {
        return refused;
    }
    let progress = condition(object, "Progressing");
    if let Some(stuck) = progress.filter(Condition::is_false) {
        return match stuck.reason {
            "ProgressDeadlineExceeded" => Assessment::degraded(HealthReason::ProgressDeadlineExceeded, stuck.message),
            _ => Assessment::degraded(words::of_refusal(stuck.message), words::without_values(stuck.message)),
        };
    }
    let want = wanted(object);
    let [total, updated, available, ready] =
        ["/status/replicas", "/status/updatedReplicas", "/status/availableReplicas", "/status/readyReplicas"]
            .map(|pointer| count(object, pointer));
    let rollout = if updated < want {
        Some(rolling_out(updated, want, "replicas are of the new version"))
    } else if total > updated {
        Some(rolling_out(total - updated, total, "replicas are still of an older version"))
    } else if available < updated {
        Some(rolling_out(available, updated, "replicas are available"))
    } else if ready < want {
        Some(rolling_out(ready, want, "replicas are ready"))
    } else {
        None
    };
    match rollout {
        Some(rollout) if flag(object, "/spec/paused") => {
            let detail = rollout.message.unwrap_or_default();
            Assessment::progressing(HealthReason::Paused, format!("the rollout is paused: {detail}"))
        }
        Some(rollout) => rollout,
        None => match condition(object, "Available").filter(|condition| !condition.is_true()) {
            Some(condition) => Assessment::progressing(HealthReason::RollingOut, condition.words()),
            // Without a status nothing has looked at it yet, unless nothing is wanted.
            None if number(object, "/status/observedGeneration").is_none() => {
                Assessment::progressing(HealthReason::NotObserved, "no controller has seen it yet")
            }
            None => Assessment::healthy(),
        },
    }
}

pub(super) fn replica_set(object: &Value) -> Assessment {
    if let Some(refused) = refused(object) {
        return refused;
    }
    let want = wanted(object);
    for (pointer, what) in [
        ("/status/fullyLabeledReplicas", "replicas exist"),
        ("/status/readyReplicas", "replicas are ready"),
        ("/status/availableReplicas", "replicas are available"),
    ] {
        let have = count(object, pointer);
        if have < want {
            return rolling_out(have, want, what);
        }
    }
    let total = count(object, "/status/replicas");
    if total > want { rolling_out(total - want, total, "replicas are still to go") } else { Assessment::healthy() }
}

pub(super) fn stateful_set(object: &Value) -> Assessment {
    let want = wanted(object);
    let ready = count(object, "/status/readyReplicas");
    let total = count(object, "/status/replicas");
    if total < want {
        return rolling_out(total, want, "replicas exist");
    }
    if total > want {
        return rolling_out(total - want, total, "replicas are still to go");
    }
    if ready < want {
        return rolling_out(ready, want, "replicas are ready");
    }
    // A person replaces the pods of this strategy; until then the old ones are what is wanted.
    if text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return Assessment::healthy();
    }
    let partition = count(object, "/spec/updateStrategy/rollingUpdate/partition");
    let updated = count(object, "/status/updatedReplicas");
    let to_update = (want - partition).max(0);
    if partition > 0 {
        return if updated < to_update {
            rolling_out(updated, to_update, "replicas above the partition are of the new version")
        } else {
            Assessment::healthy()
        };
    }
    let revision = |pointer| text(object, pointer);
    if revision("/status/updateRevision") != revision("/status/currentRevision") {
        return rolling_out(updated, want, "replicas are of the new version");
    }
    if number(object, "/status/observedGeneration").is_none() {
        return Assessment::progressing(HealthReason::NotObserved, "no controller has seen it yet");
    }
    Assessment::healthy()
}

pub(super) fn daemon_set(object: &Value) -> Assessment {
    if number(object, "/status/observedGeneration").is_none() {
        return Assessment::progressing(HealthReason::NotObserved, "no controller has seen it yet");
    }
    let want = count(object, "/status/desiredNumberScheduled");
    let on_delete = text(object, "/spec/updateStrategy/type") == "OnDelete";
    for (pointer, what) in [
        ("/status/currentNumberScheduled", "nodes have their pod"),
        ("/status/updatedNumberScheduled", "nodes have the new version"),
        ("/status/numberReady", "pods are ready"),
        ("/status/numberAvailable", "pods are available"),
    ] {
        let have = count(object, pointer);
        if have < want && !(on_delete && pointer.ends_with("updatedNumberScheduled")) {
            return rolling_out(have, want, what);
        }
    }
    Assessment::healthy()
}
