//! From the words of the API server and of controllers to reasons.

use super::HealthReason;

/// Why a controller could not create pods, by what the API server answered it.
pub(super) fn of_refusal(message: &str) -> HealthReason {
    let says = |words: &str| message.contains(words);
    // The last one is said of a quota so new that nothing has been counted yet.
    if says("exceeded quota") || says("failed quota") || says("status unknown for quota") {
        HealthReason::QuotaExceeded
    } else if says("admission webhook") && says("denied the request") {
        HealthReason::WebhookDenied
    } else if says("failed calling webhook") || says("failed to call webhook") {
        HealthReason::WebhookUnavailable
    } else if says("is forbidden") || says("is invalid") {
        HealthReason::AdmissionDenied
    } else {
        HealthReason::ReplicaFailure
    }
}

/// A refusal's words up to where they repeat a value of the object.
pub(super) fn without_values(message: &str) -> &str {
    let markers = ["Invalid value", "invalid value", "Unsupported value", "Duplicate value", ", got "];
    let cut = markers.iter().filter_map(|marker| message.find(marker)).min();
    message[..cut.unwrap_or(message.len())].trim_end_matches([' ', ':', ','])
}

/// Why a container waits, by the kubelet's word. Nothing for the words of a usual start.
pub(super) fn of_waiting(word: &str) -> Option<HealthReason> {
    match word {
        "ImagePullBackOff"
        | "ErrImagePull"
        | "ErrImageNeverPull"
        | "InvalidImageName"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => Some(HealthReason::ImagePullFailed),
        "CrashLoopBackOff" => Some(HealthReason::CrashLoop),
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "StartError"
        | "ContainerCannotRun"
        | "PreCreateHookError"
        | "PreStartHookError"
        | "PostStartHookError" => Some(HealthReason::ConfigError),
        _ => None,
    }
}

/// What the kubelet says of a failed mount, without the arguments of the mount, which may hold credentials.
pub(super) fn of_mount(message: &str) -> &str {
    let line = message.lines().next().unwrap_or_default();
    let cut = ["Mounting command", "Mounting arguments", "Output:"].iter().filter_map(|words| line.find(words)).min();
    line[..cut.unwrap_or(line.len())].trim_end_matches([' ', ':', ','])
}

/// What the kubelet says of a failed probe, without what the probe answered: that is the program's own output.
pub(super) fn of_probe(message: &str) -> String {
    let Some((probe, answer)) = message.split_once(" failed") else { return "a probe failed".to_owned() };
    let known = ["Startup probe", "Readiness probe", "Liveness probe"].contains(&probe);
    let status = answer.split_once("statuscode: ").and_then(|(_, rest)| rest.get(..3));
    match status.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit())) {
        Some(status) if known => format!("{probe} failed with HTTP status {status}"),
        _ if known => format!("{probe} failed"),
        _ => "a probe failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_probe_or_a_mount_printed_is_left_out() {
        assert_eq!(of_probe("Readiness probe failed: password is hunter2"), "Readiness probe failed");
        let http = "Liveness probe failed: HTTP probe failed with statuscode: 503";
        assert_eq!(of_probe(http), "Liveness probe failed with HTTP status 503");
        assert_eq!(of_probe("hunter2 failed"), "a probe failed");
        let mount = "MountVolume.SetUp failed for volume \"data\" : mount failed: exit status 32\nMounting arguments: -o password=hunter2";
        assert_eq!(of_mount(mount), "MountVolume.SetUp failed for volume \"data\" : mount failed: exit status 32");
        assert_eq!(of_mount("failed Mounting command: mount -o password=hunter2"), "failed");
    }

    #[test]
    fn a_value_that_was_refused_is_left_out() {
        let refusal = "Pod \"a\" is invalid: spec.containers[0].env[0].value: Invalid value: \"hunter2\": no";
        assert_eq!(without_values(refusal), "Pod \"a\" is invalid: spec.containers[0].env[0].value");
    }

    #[test]
    fn a_refusal_is_told_by_who_refused() {
        for (message, reason) in [
            ("pods \"a\" is forbidden: exceeded quota: small, requested: pods=1", HealthReason::QuotaExceeded),
            ("pods \"a\" is forbidden: failed quota: small: must specify limits.cpu", HealthReason::QuotaExceeded),
            ("admission webhook \"w.example.com\" denied the request: no", HealthReason::WebhookDenied),
            ("Internal error occurred: failed calling webhook \"w\": no endpoints", HealthReason::WebhookUnavailable),
            ("pods \"a\" is forbidden: violates PodSecurity", HealthReason::AdmissionDenied),
            ("Pod \"a\" is invalid: spec.containers", HealthReason::AdmissionDenied),
            ("something else", HealthReason::ReplicaFailure),
        ] {
            assert_eq!(of_refusal(message), reason, "{message}");
        }
    }
}
