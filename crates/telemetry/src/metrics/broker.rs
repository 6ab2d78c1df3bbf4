//! The broker's metrics, on one screen.

use std::time::Duration;

use opentelemetry::KeyValue;

use super::{
    ClaimResult, DbOperation, HttpMethod, Instruments, JOBS, OpResult, PHASES, QUEUES, WORK_KINDS, WebhookResult, WorkClass,
    catalogue::metrics,
};

const REQUEST_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const STATEMENT_SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
const WAIT_SECONDS: &[f64] = &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0];
const WAKEUP_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const ROLLOUT_SECONDS: &[f64] = &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];
const WORK_SECONDS: &[f64] = &[1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0];
const DELIVERY_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 7_200.0, 86_400.0];
const JOB_SECONDS: &[f64] = &[0.001, 0.01, 0.1, 1.0, 10.0, 60.0];

metrics! {
    /// What the broker measures. Cheap to clone.
    pub struct BrokerMetrics, BROKER;

    /// Requests answered, by method, route template ("unmatched" for none) and status. 499 is a caller that left before the answer.
    http_requests: Counter "brokkr_http_requests_total" [METHOD, ENDPOINT, STATUS]
        => "sum by (endpoint, status) (rate(brokkr_http_requests_total[5m]))";
    /// Time from the arrival of a request until its answer, in seconds, without the time that a long poll was parked.
    http_request_duration: Histogram "brokkr_http_request_duration_seconds" [METHOD, ENDPOINT] in REQUEST_SECONDS
        => "histogram_quantile(0.99, sum by (endpoint, le) (rate(brokkr_http_request_duration_seconds_bucket[5m])))";
    /// Time that long polls were parked, in seconds.
    poll_wait: Histogram "brokkr_poll_wait_seconds" [] in WAIT_SECONDS
        => "rate(brokkr_poll_wait_seconds_sum[5m]) / rate(brokkr_poll_wait_seconds_count[5m])";
    /// Long polls that are parked at this moment.
    pub poll_waiters: Level "brokkr_poll_waiters" [] => "sum(brokkr_poll_waiters)";
    /// Time from the change of a deployment until the parked poll of its agent was answered, in seconds.
    wakeup_lag: Histogram "brokkr_wakeup_lag_seconds" [] in WAKEUP_SECONDS
        => "histogram_quantile(0.99, sum by (le) (rate(brokkr_wakeup_lag_seconds_bucket[5m])))";
    /// SQL statements executed, failed ones included, by what they do.
    database_queries: Counter "brokkr_database_queries_total" [DB_OPERATION]
        => "sum by (operation) (rate(brokkr_database_queries_total[5m]))";
    /// Time that SQL statements took, in seconds.
    database_query_duration: Histogram "brokkr_database_query_duration_seconds" [DB_OPERATION] in STATEMENT_SECONDS
        => "histogram_quantile(0.99, sum by (operation, le) (rate(brokkr_database_query_duration_seconds_bucket[5m])))";
    /// Connections to the database, by whether a statement is using them.
    database_connections: Observed "brokkr_database_connections" [CONNECTION_STATE]
        => "brokkr_database_connections{state=\"used\"}";
    /// Most connections that the broker may have to the database.
    pub database_connections_max: Gauge "brokkr_database_connections_max" []
        => "brokkr_database_connections{state=\"used\"} / ignoring(state) brokkr_database_connections_max";
    /// Agents that polled recently enough to count as online.
    pub active_agents: Gauge "brokkr_active_agents" [] => "max(brokkr_active_agents)";
    /// Agents that are neither abandoned nor deactivated, by whether they polled recently enough to count as online.
    agents: Gauge "brokkr_agents" [AGENT_STATE] => "max by (state) (brokkr_agents)";
    /// Age of the last sign of life of the agents that are neither abandoned nor deactivated, in seconds: of the median and of the oldest.
    agent_heartbeat_age: SecondsGauge "brokkr_agent_heartbeat_age_seconds" [STATISTIC]
        => "max by (stat) (brokkr_agent_heartbeat_age_seconds)";
    /// Stacks that are not deleted.
    pub stacks_total: Gauge "brokkr_stacks_total" [] => "max(brokkr_stacks_total)";
    /// Deployment objects that are stored.
    pub deployment_objects_total: Gauge "brokkr_deployment_objects_total" [] => "max(brokkr_deployment_objects_total)";
    /// Deployments of stacks on agents, by phase.
    deployments: Gauge "brokkr_deployments" [PHASE] => "max by (phase) (brokkr_deployments)";
    /// Time from the acceptance of a deployment's change until its agent had applied it, in seconds.
    rollout_duration: Histogram "brokkr_rollout_duration_seconds" [] in ROLLOUT_SECONDS
        => "histogram_quantile(0.95, sum by (le) (rate(brokkr_rollout_duration_seconds_bucket[5m])))";
    /// Age of the oldest change of a deployment that is neither applied nor failed, in seconds, of agents that are online and of what is not suspended; 0 for none.
    pub rollout_oldest_unsettled: SecondsGauge "brokkr_rollout_oldest_unsettled_seconds" []
        => "max(brokkr_rollout_oldest_unsettled_seconds)";
    /// What waits to be done for something outside of the broker, by queue.
    queue_depth: Gauge "brokkr_queue_depth" [QUEUE] => "max by (queue) (brokkr_queue_depth)";
    /// Age of what has waited longest, in seconds, by queue; 0 for none.
    queue_oldest_age: SecondsGauge "brokkr_queue_oldest_age_seconds" [QUEUE]
        => "max by (queue) (brokkr_queue_oldest_age_seconds)";
    /// Work orders that are not finished, by state.
    work_orders: Gauge "brokkr_work_orders" [WORK_STATE] => "max by (state) (brokkr_work_orders)";
    /// Claims of work orders, by kind ("none" where there was none for the agent) and result.
    work_order_claims: Counter "brokkr_work_order_claims_total" [CLAIMED_KIND, CLAIM_RESULT]
        => "sum by (kind, result) (rate(brokkr_work_order_claims_total[5m]))";
    /// Time from the start of a work order in its cluster until its end, in seconds.
    work_order_duration: Histogram "brokkr_work_order_duration_seconds" [WORK_KIND] in WORK_SECONDS
        => "histogram_quantile(0.95, sum by (kind, le) (rate(brokkr_work_order_duration_seconds_bucket[5m])))";
    /// Work orders that ended, by kind and class.
    work_order_outcomes: Counter "brokkr_work_order_outcomes_total" [WORK_KIND, WORK_CLASS]
        => "sum by (kind, class) (rate(brokkr_work_order_outcomes_total[5m]))";
    /// Attempts to deliver webhooks, by result.
    webhook_attempts: Counter "brokkr_webhook_attempts_total" [WEBHOOK_RESULT]
        => "sum by (result) (rate(brokkr_webhook_attempts_total[5m]))";
    /// Time that attempts to deliver webhooks took, in seconds.
    webhook_attempt_duration: Histogram "brokkr_webhook_attempt_duration_seconds" [] in REQUEST_SECONDS
        => "histogram_quantile(0.99, sum by (le) (rate(brokkr_webhook_attempt_duration_seconds_bucket[5m])))";
    /// Time from an event until a receiver had it, in seconds, failed attempts included.
    webhook_delivery_lag: Histogram "brokkr_webhook_delivery_lag_seconds" [] in DELIVERY_SECONDS
        => "histogram_quantile(0.99, sum by (le) (rate(brokkr_webhook_delivery_lag_seconds_bucket[5m])))";
    /// Webhooks that were disabled because their receivers failed for days or are gone.
    webhooks_disabled: Counter "brokkr_webhooks_disabled_total" [] => "increase(brokkr_webhooks_disabled_total[1h])";
    /// Rounds of background work, by how they ended. Only the broker that holds the lease of a job has rounds.
    job_runs: Counter "brokkr_job_runs_total" [JOB, OP_RESULT] => "sum by (name, result) (rate(brokkr_job_runs_total[5m]))";
    /// Time that rounds of background work took, in seconds.
    job_duration: Histogram "brokkr_job_duration_seconds" [JOB] in JOB_SECONDS
        => "sum by (name) (rate(brokkr_job_duration_seconds_sum[5m])) / sum by (name) (rate(brokkr_job_duration_seconds_count[5m]))";
    /// When the certificate that the broker serves expires, in Unix seconds; absent without TLS.
    pub certificate_expiry: SecondsGauge "brokkr_certificate_expiry_timestamp_seconds" []
        => "min(brokkr_certificate_expiry_timestamp_seconds) - time()";
    /// When the next API key expires that nothing follows, in Unix seconds; 0 where none does.
    pub key_next_expiry: SecondsGauge "brokkr_key_next_expiry_timestamp_seconds" []
        => "min(brokkr_key_next_expiry_timestamp_seconds > 0) - time()";
}

impl BrokerMetrics {
    pub(crate) fn new(instruments: &Instruments) -> Self {
        let metrics = Self::declare(instruments);
        for operation in DbOperation::ALL {
            metrics.database_queries.add(0, &[KeyValue::new("operation", operation.as_str())]);
        }
        for (job, result) in JOBS.iter().flat_map(|job| OpResult::ALL.iter().map(move |result| (*job, *result))) {
            metrics.job_runs.add(0, &job_labels(job, result));
        }
        for result in WebhookResult::ALL {
            metrics.webhook_attempts.add(0, &[KeyValue::new("result", result.as_str())]);
        }
        metrics.webhooks_disabled.add(0, &[]);
        for (kind, class) in WORK_KINDS.iter().flat_map(|kind| WorkClass::ALL.iter().map(move |class| (*kind, *class))) {
            metrics.work_order_outcomes.add(0, &outcome_labels(kind, class));
        }
        metrics.poll_waiters.add(0);
        metrics
    }

    /// A request was answered. `endpoint` is the route template that matched, or "unmatched"; `elapsed` is without parked time.
    ///
    /// Call it inside the request's span: a sampled one becomes an exemplar.
    pub fn http_request(&self, method: HttpMethod, endpoint: &str, status: u16, elapsed: Duration) {
        let method = KeyValue::new("method", method.as_str());
        let endpoint = KeyValue::new("endpoint", endpoint.to_owned());
        let status = KeyValue::new("status", status.to_string());
        self.http_request_duration.record(elapsed, &[method.clone(), endpoint.clone()]);
        self.http_requests.add(1, &[method, endpoint, status]);
    }

    /// A long poll was parked for so long.
    pub fn poll_waited(&self, parked: Duration) {
        self.poll_wait.record(parked, &[]);
    }

    /// A parked poll is answered, so long after the change that it tells of. Call it inside its span.
    pub fn woken(&self, lag: Duration) {
        self.wakeup_lag.record(lag, &[]);
    }

    /// A deployment was applied, so long after its change was accepted. Call it inside the span of the report.
    pub fn deployment_applied(&self, elapsed: Duration) {
        self.rollout_duration.record(elapsed, &[]);
    }

    /// So many work orders stand there, and the oldest of those that are queued has waited so long.
    pub fn work_orders(&self, waiting: i64, queued: i64, claimed: i64, running: i64, oldest: Duration) {
        for (state, count) in [("waiting", waiting), ("queued", queued), ("claimed", claimed), ("running", running)] {
            self.work_orders.set_with(count, &[KeyValue::new("state", state)]);
        }
        self.queue("work_orders", queued, oldest);
    }

    /// An agent has claimed a work order of this kind, or there was none for it.
    pub fn work_order_claimed(&self, kind: &'static str, result: ClaimResult) {
        self.work_order_claims.add(1, &[KeyValue::new("kind", kind), KeyValue::new("result", result.as_str())]);
    }

    /// A work order has ended; `ran` is how long it was in its cluster, if it came there.
    pub fn work_order_ended(&self, kind: &'static str, class: WorkClass, ran: Option<Duration>) {
        if let Some(ran) = ran {
            self.work_order_duration.record(ran, &[KeyValue::new("kind", kind)]);
        }
        self.work_order_outcomes.add(1, &outcome_labels(kind, class));
    }

    /// An attempt to deliver a webhook has ended; `lag` is the time since the event, where the receiver has it now.
    pub fn webhook_attempted(&self, result: WebhookResult, elapsed: Duration, lag: Option<Duration>) {
        self.webhook_attempts.add(1, &[KeyValue::new("result", result.as_str())]);
        self.webhook_attempt_duration.record(elapsed, &[]);
        if let Some(lag) = lag {
            self.webhook_delivery_lag.record(lag, &[]);
        }
    }

    /// A webhook was disabled.
    pub fn webhook_disabled(&self) {
        self.webhooks_disabled.add(1, &[]);
    }

    /// A statement was executed, or failed. Call it inside its span.
    pub fn database_query(&self, operation: DbOperation, elapsed: Duration) {
        let labels = [KeyValue::new("operation", operation.as_str())];
        self.database_queries.add(1, &labels);
        self.database_query_duration.record(elapsed, &labels);
    }

    /// Where idle and used connections are counted.
    pub fn count_connections(&self, idle_and_used: impl Fn() -> (i64, i64) + Send + Sync + 'static) {
        self.database_connections.by_word("state", move || {
            let (idle, used) = idle_and_used();
            vec![("idle", idle), ("used", used)]
        });
    }

    /// How many agents are online and offline.
    pub fn agents(&self, online: i64, offline: i64) {
        self.active_agents.set(online);
        self.agents.set_with(online, &[KeyValue::new("state", "online")]);
        self.agents.set_with(offline, &[KeyValue::new("state", "offline")]);
    }

    /// How long ago the median agent and the one that is missed most gave a sign of life.
    pub fn heartbeat_age(&self, median: Duration, max: Duration) {
        self.agent_heartbeat_age.set_with(median.as_secs_f64(), &[KeyValue::new("stat", "median")]);
        self.agent_heartbeat_age.set_with(max.as_secs_f64(), &[KeyValue::new("stat", "max")]);
    }

    /// How many deployments are in which phase; what `of` does not name is in none.
    pub fn deployments(&self, of: impl Fn(&str) -> i64) {
        for phase in PHASES {
            self.deployments.set_with(of(phase), &[KeyValue::new("phase", *phase)]);
        }
    }

    /// How much waits in a queue of [`QUEUES`], and for how long the oldest of it.
    pub fn queue(&self, queue: &'static str, depth: i64, oldest: Duration) {
        debug_assert!(QUEUES.contains(&queue), "{queue} is not in the catalogue");
        self.queue_depth.set_with(depth, &[KeyValue::new("queue", queue)]);
        self.queue_oldest_age.set_with(oldest.as_secs_f64(), &[KeyValue::new("queue", queue)]);
    }

    /// A round of a job of [`JOBS`] has ended. Call it inside its span.
    pub fn job_ran(&self, job: &'static str, result: OpResult, elapsed: Duration) {
        debug_assert!(JOBS.contains(&job), "{job} is not in the catalogue");
        self.job_runs.add(1, &job_labels(job, result));
        self.job_duration.record(elapsed, &[KeyValue::new("name", job)]);
    }
}

fn outcome_labels(kind: &'static str, class: WorkClass) -> [KeyValue; 2] {
    [KeyValue::new("kind", kind), KeyValue::new("class", class.as_str())]
}

fn job_labels(job: &'static str, result: OpResult) -> [KeyValue; 2] {
    [KeyValue::new("name", job), KeyValue::new("result", result.as_str())]
}
