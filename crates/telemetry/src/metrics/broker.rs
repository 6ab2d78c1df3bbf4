//! The broker's metrics, on one screen.

use std::time::Duration;

use opentelemetry::KeyValue;

use super::{ClaimResult, DbOperation, HttpMethod, Instruments, WorkClass, catalogue::metrics};

const REQUEST_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const STATEMENT_SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
const WORK_SECONDS: &[f64] = &[1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0];
const WAIT_SECONDS: &[f64] = &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0];

metrics! {
    /// What the broker measures. Cheap to clone.
    pub struct BrokerMetrics, BROKER;

    /// Requests answered, by method, route template ("unmatched" for none) and status. 499 is a caller that left before the answer.
    http_requests: Counter "brokkr_http_requests_total" [method, endpoint, status];
    /// Time from the arrival of a request until its answer, in seconds, without the time that a long poll was parked.
    http_request_duration: Histogram "brokkr_http_request_duration_seconds" [method, endpoint] in REQUEST_SECONDS;
    /// Time that long polls were parked, in seconds.
    poll_wait: Histogram "brokkr_poll_wait_seconds" [] in WAIT_SECONDS;
    /// SQL statements executed, failed ones included, by what they do.
    database_queries: Counter "brokkr_database_queries_total" [operation];
    /// Time that SQL statements took, in seconds.
    database_query_duration: Histogram "brokkr_database_query_duration_seconds" [operation] in STATEMENT_SECONDS;
    /// Agents that polled recently enough to count as online.
    pub active_agents: Gauge "brokkr_active_agents" [];
    /// Stacks that are not deleted.
    pub stacks_total: Gauge "brokkr_stacks_total" [];
    /// Deployment objects that are stored.
    pub deployment_objects_total: Gauge "brokkr_deployment_objects_total" [];
    /// Work orders that are not finished, by state: waiting, queued, claimed, running.
    work_orders: Gauge "brokkr_work_orders" [state];
    /// How long the oldest work order has waited for an agent, in seconds; 0 when none waits.
    work_orders_oldest: Gauge "brokkr_work_orders_oldest_age_seconds" [];
    /// Claims of work orders, by kind ("none" where there was none) and result.
    work_order_claims: Counter "brokkr_work_order_claims_total" [kind, result];
    /// Time from the start of a work order in its cluster until its end, in seconds.
    work_order_duration: Histogram "brokkr_work_order_duration_seconds" [kind] in WORK_SECONDS;
    /// Work orders that ended, by kind and class.
    work_order_outcomes: Counter "brokkr_work_order_outcomes_total" [kind, class];
}

impl BrokerMetrics {
    pub(crate) fn new(instruments: &Instruments) -> Self {
        let metrics = Self::declare(instruments);
        for operation in DbOperation::ALL {
            metrics.database_queries.add(0, &[KeyValue::new("operation", operation.as_str())]);
        }
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

    /// So many work orders stand there, and the oldest of those that are queued has waited so long.
    pub fn work_orders(&self, waiting: i64, queued: i64, claimed: i64, running: i64, oldest: Duration) {
        for (state, count) in [("waiting", waiting), ("queued", queued), ("claimed", claimed), ("running", running)] {
            self.work_orders.set_with(count, &[KeyValue::new("state", state)]);
        }
        self.work_orders_oldest.set(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
    }

    /// An agent has claimed a work order of this kind, or there was none for it.
    pub fn work_order_claimed(&self, kind: &'static str, result: ClaimResult) {
        self.work_order_claims.add(1, &[KeyValue::new("kind", kind), KeyValue::new("result", result.as_str())]);
    }

    /// A work order has ended; `ran` is how long it was in its cluster, if it came there.
    pub fn work_order_ended(&self, kind: &'static str, class: WorkClass, ran: Option<Duration>) {
        let kind = KeyValue::new("kind", kind);
        if let Some(ran) = ran {
            self.work_order_duration.record(ran, std::slice::from_ref(&kind));
        }
        self.work_order_outcomes.add(1, &[kind, KeyValue::new("class", class.as_str())]);
    }

    /// A statement was executed, or failed. Call it inside its span.
    pub fn database_query(&self, operation: DbOperation, elapsed: Duration) {
        let labels = [KeyValue::new("operation", operation.as_str())];
        self.database_queries.add(1, &labels);
        self.database_query_duration.record(elapsed, &labels);
    }
}
