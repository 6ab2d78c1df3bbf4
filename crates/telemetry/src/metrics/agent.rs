//! The agent's metrics, on one screen.

use std::time::Duration;

use opentelemetry::KeyValue;

use super::{FailureClass, Instruments, KubeOperation, OpResult, PollResult, ReconcileAction, catalogue::metrics};

const POLL_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const CALL_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const RECONCILE_SECONDS: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

metrics! {
    /// What an agent measures. Cheap to clone.
    pub struct AgentMetrics, AGENT;

    /// Polls for desired state, by whether they brought something, nothing, or failed.
    poll_requests: Counter "brokkr_agent_poll_requests_total" [POLL_RESULT]
        => "sum by (result) (rate(brokkr_agent_poll_requests_total[5m]))";
    /// Time that polls took, in seconds, without the time that the broker parked them.
    poll_duration: Histogram "brokkr_agent_poll_duration_seconds" [] in POLL_SECONDS
        => "histogram_quantile(0.99, sum by (le) (rate(brokkr_agent_poll_duration_seconds_bucket[5m])))";
    /// Calls to the Kubernetes API, by what they ask and how they ended.
    kubernetes_operations: Counter "brokkr_agent_kubernetes_operations_total" [KUBE_OPERATION, OP_RESULT]
        => "sum by (operation) (rate(brokkr_agent_kubernetes_operations_total{result=\"error\"}[5m]))";
    /// Time that calls to the Kubernetes API took, in seconds.
    kubernetes_operation_duration: Histogram "brokkr_agent_kubernetes_operation_duration_seconds" [KUBE_OPERATION] in CALL_SECONDS
        => "histogram_quantile(0.99, sum by (operation, le) (rate(brokkr_agent_kubernetes_operation_duration_seconds_bucket[5m])))";
    /// Signs of life that the broker has answered.
    heartbeats: Counter "brokkr_agent_heartbeat_sent_total" [] => "rate(brokkr_agent_heartbeat_sent_total[5m])";
    /// When the broker last answered a poll, in Unix seconds; 0 for never.
    pub last_successful_poll_timestamp: SecondsGauge "brokkr_agent_last_successful_poll_timestamp" []
        => "time() - (brokkr_agent_last_successful_poll_timestamp > 0)";
    /// Stacks that the agent is to have in its cluster.
    pub stacks: Observed "brokkr_agent_stacks" [] => "sum(brokkr_agent_stacks)";
    /// Objects of applied stacks that can be well or not, by how they are; what was not looked at yet is unknown.
    objects: Observed "brokkr_agent_objects" [HEALTH] => "sum by (health) (brokkr_agent_objects)";
    /// Time that attempts to carry out or to check a deployment took, in seconds, waits included.
    reconcile_duration: Histogram "brokkr_agent_reconcile_duration_seconds" [ACTION] in RECONCILE_SECONDS
        => "histogram_quantile(0.95, sum by (action, le) (rate(brokkr_agent_reconcile_duration_seconds_bucket[5m])))";
    /// Objects that could not be applied, deleted or read, and attempts that came to no result, by what kind of failure it was.
    failures: Counter "brokkr_agent_failures_total" [CLASS] => "sum by (class) (rate(brokkr_agent_failures_total[5m]))";
    /// Objects that others had changed and that the agent set right.
    drift_repairs: Counter "brokkr_agent_drift_repairs_total" [] => "sum(rate(brokkr_agent_drift_repairs_total[5m]))";
    /// Objects that somebody keeps changing back, so that the agent leaves them alone for a while.
    pub drift_contested: Observed "brokkr_agent_drift_contested" [] => "sum(brokkr_agent_drift_contested)";
    /// Objects that should have gone and were held back until somebody approves it.
    prunes_refused: Counter "brokkr_agent_prunes_refused_total" [] => "sum(increase(brokkr_agent_prunes_refused_total[1h]))";
    /// 1 where this agent may act: it leads, or needs no election. 0 on standby.
    pub leader: Observed "brokkr_agent_leader" [] => "sum(brokkr_agent_leader)";
}

impl AgentMetrics {
    pub(crate) fn new(instruments: &Instruments) -> Self {
        let metrics = Self::declare(instruments);
        for result in PollResult::ALL {
            metrics.poll_requests.add(0, &[KeyValue::new("result", result.as_str())]);
        }
        for operation in KubeOperation::ALL {
            for result in OpResult::ALL {
                metrics.kubernetes_operations.add(0, &call_labels(*operation, *result));
            }
        }
        for class in FailureClass::ALL {
            metrics.failures.add(0, &[KeyValue::new("class", class.as_str())]);
        }
        for counter in [&metrics.heartbeats, &metrics.drift_repairs, &metrics.prunes_refused] {
            counter.add(0, &[]);
        }
        metrics.last_successful_poll_timestamp.set_seconds(0.0);
        metrics
    }

    /// A poll has ended. `elapsed` is without the time that the broker parked it.
    pub fn poll(&self, result: PollResult, elapsed: Duration) {
        self.poll_requests.add(1, &[KeyValue::new("result", result.as_str())]);
        self.poll_duration.record(elapsed, &[]);
    }

    /// A call to the Kubernetes API has ended. Call it inside its span.
    pub fn kubernetes_operation(&self, operation: KubeOperation, result: OpResult, elapsed: Duration) {
        self.kubernetes_operations.add(1, &call_labels(operation, result));
        self.kubernetes_operation_duration.record(elapsed, &[KeyValue::new("operation", operation.as_str())]);
    }

    /// The broker has answered a sign of life.
    pub fn heartbeat_sent(&self) {
        self.heartbeats.add(1, &[]);
    }

    /// An attempt has ended. Call it inside its span.
    pub fn reconciled(&self, action: ReconcileAction, elapsed: Duration) {
        self.reconcile_duration.record(elapsed, &[KeyValue::new("action", action.as_str())]);
    }

    /// Something failed.
    pub fn failed(&self, class: FailureClass) {
        self.failures.add(1, &[KeyValue::new("class", class.as_str())]);
    }

    /// So many changes of others were set right.
    pub fn drift_repaired(&self, objects: u64) {
        self.drift_repairs.add(objects, &[]);
    }

    /// So many objects should have gone, and wait for an approval.
    pub fn prunes_refused(&self, objects: u64) {
        self.prunes_refused.add(objects, &[]);
    }

    /// Where objects are counted by health: words of [`HEALTH_WORDS`](super::HEALTH_WORDS).
    pub fn count_objects(&self, by_health: impl Fn() -> Vec<(&'static str, i64)> + Send + Sync + 'static) {
        self.objects.by_word("health", by_health);
    }
}

fn call_labels(operation: KubeOperation, result: OpResult) -> [KeyValue; 2] {
    [KeyValue::new("operation", operation.as_str()), KeyValue::new("result", result.as_str())]
}
