//! Volumes and claims.

use serde_json::Value;

use crate::health::{Assessment, HealthReason, fields::text};

pub(super) fn claim(object: &Value) -> Assessment {
    match text(object, "/status/phase") {
        "Bound" => Assessment::healthy(),
        "Lost" => Assessment::degraded(HealthReason::VolumeLost, "the claim's volume is gone"),
        _ => Assessment::progressing(HealthReason::VolumeUnbound, "the claim has no volume yet"),
    }
}

pub(super) fn volume(object: &Value) -> Assessment {
    match text(object, "/status/phase") {
        "Available" | "Bound" | "Released" => Assessment::healthy(),
        "Failed" => Assessment::degraded(HealthReason::VolumeFailed, text(object, "/status/message")),
        _ => Assessment::progressing(HealthReason::NotReady, "the volume is not available yet"),
    }
}
