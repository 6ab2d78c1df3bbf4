//! Why an object is not healthy: a closed set, in reports, metrics and the reference.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+) => {
        /// Why an object is not healthy. The doc comment of each is its row in the reference.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum HealthReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl HealthReason {
            /// The word in reports.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// Every reason with its description.
            #[cfg(test)]
            pub(crate) const ALL: &'static [(Self, &'static str)] = &[$((Self::$variant, concat!($($doc),+)),)+];
        }
    };
}

reasons! {
    /// It was applied, and is not there any more.
    Missing = "missing",
    /// A container does not get its image: it does not exist, the registry refuses, or the name is wrong.
    ImagePullFailed = "image_pull_failed",
    /// A container ends again and again soon after it starts.
    CrashLoop = "crash_loop",
    /// A container was killed because it used more memory than its limit.
    OutOfMemory = "out_of_memory",
    /// A container ended with a failure and is not started again.
    ContainerFailed = "container_failed",
    /// A container cannot be created: a ConfigMap, Secret, key or command that it needs is missing or wrong.
    ConfigError = "config_error",
    /// A container runs, and its startup, readiness or liveness probe fails.
    ProbeFailed = "probe_failed",
    /// The scheduler finds no node for a pod.
    Unschedulable = "unschedulable",
    /// A pod was evicted from its node.
    Evicted = "evicted",
    /// A volume of a pod cannot be attached or mounted.
    VolumeMountFailed = "volume_mount_failed",
    /// A claim has no volume.
    VolumeUnbound = "volume_unbound",
    /// The volume of a claim is gone.
    VolumeLost = "volume_lost",
    /// A volume could not be reclaimed or recycled.
    VolumeFailed = "volume_failed",
    /// A `ResourceQuota` is used up.
    QuotaExceeded = "quota_exceeded",
    /// An admission webhook refuses what a controller creates.
    WebhookDenied = "webhook_denied",
    /// An admission webhook cannot be called, and so nothing is let through.
    WebhookUnavailable = "webhook_unavailable",
    /// The API server refuses what a controller creates: a limit range, pod security, a missing service account or right.
    AdmissionDenied = "admission_denied",
    /// A controller cannot create pods, for another reason.
    ReplicaFailure = "replica_failure",
    /// A Deployment made no progress within its `progressDeadlineSeconds`.
    ProgressDeadlineExceeded = "progress_deadline_exceeded",
    /// A Job failed.
    JobFailed = "job_failed",
    /// A Job or a pod ran longer than its `activeDeadlineSeconds`.
    DeadlineExceeded = "deadline_exceeded",
    /// A Job has not finished yet.
    JobRunning = "job_running",
    /// A Job is suspended.
    Suspended = "suspended",
    /// A rollout is paused halfway.
    Paused = "paused",
    /// Pods are replaced, or new ones start.
    RollingOut = "rolling_out",
    /// The object says of itself that it is not ready.
    NotReady = "not_ready",
    /// The object, or the rule of the stack for it, says that it does not get there by itself.
    Stalled = "stalled",
    /// The controller has not acted on the latest change yet.
    NotObserved = "not_observed",
    /// The object is being deleted.
    Terminating = "terminating",
    /// A namespace cannot be deleted: something in it waits for a finalizer.
    FinalizersRemaining = "finalizers_remaining",
    /// A namespace cannot be deleted: its content cannot be listed or deleted, for example because an API does not answer.
    DeletionFailed = "deletion_failed",
    /// A CRD asks for names that another one has.
    NamesRejected = "names_rejected",
    /// A CRD is not served yet.
    NotEstablished = "not_established",
    /// The server behind an `APIService` does not answer.
    ApiUnavailable = "api_unavailable",
    /// A load balancer has no address yet.
    NoAddress = "no_address",
    /// Fewer pods are healthy than a `PodDisruptionBudget` wants.
    BudgetUnmet = "budget_unmet",
    /// An autoscaler cannot scale: it gets no metrics, or cannot read or write its target.
    ScalingInactive = "scaling_inactive",
    /// The stack's health rule cannot be used: it does not compile, or it gives something other than true or false.
    RuleInvalid = "rule_invalid",
    /// The stack's health rule takes more steps over this object than a rule may.
    RuleTooCostly = "rule_too_costly",
    /// What the cluster returned is no object of Kubernetes.
    Unreadable = "unreadable",
}

impl fmt::Display for HealthReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_row_in_the_reference() {
        let reference = include_str!("../../../../docs/content/reference/health.md");
        let rows: Vec<_> = reference.lines().skip_while(|line| !line.starts_with("| reason")).skip(2).collect();
        for (row, (reason, meaning)) in rows.iter().zip(HealthReason::ALL) {
            assert_eq!(*row, format!("| `{reason}` |{meaning} |"));
        }
        assert_eq!(rows.iter().take_while(|line| line.starts_with('|')).count(), HealthReason::ALL.len());
    }

    #[test]
    fn words_are_distinct_lower_case_and_fit_a_report() {
        let mut words: Vec<_> = HealthReason::ALL.iter().map(|(reason, _)| reason.as_str()).collect();
        let fits = |word: &&str| {
            word.len() <= brokkr_api::reports::MAX_REASON && word.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())
        };
        assert!(words.iter().all(fits), "{words:?}");
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), HealthReason::ALL.len());
    }
}
