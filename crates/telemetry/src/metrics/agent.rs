//! The agent's metrics, on one screen.

use std::time::Duration;

use opentelemetry::KeyValue;

use super::{Instruments, KubeOperation, OpResult, PollResult, catalogue::metrics};

const POLL_SECONDS: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0];
const CALL_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

metrics! {
    /// What an agent measures. Cheap to clone.
    pub struct AgentMetrics, AGENT;

    /// Polls for desired state, by whether they brought something, nothing, or failed.
    poll_requests: Counter "brokkr_agent_poll_requests_total" [result];
    /// Time that polls took, in seconds, parked time included.
    poll_duration: Histogram "brokkr_agent_poll_duration_seconds" [] in POLL_SECONDS;
    /// Calls to the Kubernetes API, by what they ask and how they ended.
    kubernetes_operations: Counter "brokkr_agent_kubernetes_operations_total" [operation, result];
    /// Time that calls to the Kubernetes API took, in seconds.
    kubernetes_operation_duration: Histogram "brokkr_agent_kubernetes_operation_duration_seconds" [operation] in CALL_SECONDS;
    /// Signs of life that the broker has answered.
    heartbeats: Counter "brokkr_agent_heartbeat_sent_total" [];
    /// When the broker last answered a poll, in Unix seconds; 0 for never.
    pub last_successful_poll_timestamp: SecondsGauge "brokkr_agent_last_successful_poll_timestamp" [];
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
        metrics.heartbeats.add(0, &[]);
        metrics.last_successful_poll_timestamp.set_seconds(0.0);
        metrics
    }

    /// A poll has ended.
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
}

fn call_labels(operation: KubeOperation, result: OpResult) -> [KeyValue; 2] {
    [KeyValue::new("operation", operation.as_str()), KeyValue::new("result", result.as_str())]
}
