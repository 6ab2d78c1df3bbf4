//! One of several agents of a cluster leads: the holder of a Lease. The others stand by.

mod election;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_runtime::{Clock, Ids};
use brokkr_telemetry::spans;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, warn};

use crate::{
    cluster::{Class, Cluster, KubeFailure, Resource},
    standing::Standing,
    status::Status,
};
use election::{Election, Step};

/// How long a leader acts without a renewal: less than the Lease holds, so that it has stopped before another begins.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often a leader renews, before jitter.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How often a candidate looks, and a leader tries again what failed; before jitter.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A candidate for the lead.
pub(crate) struct Candidate {
    /// Calls to the cluster that stand apart from those of the work: what slows the work down must not cost the lead.
    pub(crate) cluster: Cluster,
    pub(crate) namespace: String,
    pub(crate) lease: String,
    /// What this agent calls itself in the Lease; new at each start.
    pub(crate) me: String,
    pub(crate) standing: Standing,
    /// Cancelled when this agent begins to lead.
    pub(crate) leads: CancellationToken,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) status: Arc<Status>,
}

impl Candidate {
    /// Stands by, then leads; returns when the lead is lost.
    pub(crate) async fn run(&self) {
        let mut election = Election::new(self.me.clone());
        let mut until: Option<Instant> = None;
        loop {
            let began = Instant::now();
            // A try that takes longer than the lead is no renewal.
            let left = until.map_or(RENEW_WITHIN, |until| until.saturating_duration_since(began));
            let tried = tokio::time::timeout(left, self.look(&mut election, began).instrument(spans::job("election"))).await;
            let every = match tried {
                Ok(Ok(Step::Take | Step::Create)) => {
                    self.status.kubernetes(None);
                    // From before the write: the Lease holds longer than this, whoever's clock is asked.
                    self.standing.renew(began + RENEW_WITHIN);
                    if until.replace(began + RENEW_WITHIN).is_none() {
                        info!(lease = self.lease, namespace = self.namespace, me = self.me, "this agent leads");
                        self.status.leads();
                        self.leads.cancel();
                    }
                    RENEW_EVERY
                }
                Ok(Ok(Step::StandBy(leader))) => {
                    self.status.kubernetes(None);
                    if until.is_some() {
                        warn!(leader, "another agent leads");
                        break;
                    }
                    if self.status.stands_by(&leader) {
                        info!(leader, "another agent leads; this one stands by");
                    }
                    LOOK_EVERY
                }
                Ok(Err(failure)) => {
                    warn!(
                        lease = self.lease,
                        reason = failure.class.as_str(),
                        detail = failure.message,
                        "the lease cannot be had"
                    );
                    LOOK_EVERY
                }
                Err(_) => LOOK_EVERY,
            };
            if until.is_some_and(|until| Instant::now() >= until) {
                warn!(seconds = RENEW_WITHIN.as_secs(), "the lease could not be renewed in time");
                break;
            }
            tokio::time::sleep(every.mul_f64(0.8 + self.ids.fraction() / 5.0)).await;
        }
        self.standing.lose();
    }

    /// Looks at the Lease and writes it when it is to be had. A conflict means that another was quicker.
    async fn look(&self, election: &mut Election, now: Instant) -> Result<Step, KubeFailure> {
        let lease = self.cluster.get(&leases(), Some(&self.namespace), &self.lease).await?;
        let step = election.step(lease.as_ref(), now);
        let body = election.held(&self.namespace, &self.lease, lease.as_ref(), &self.now());
        match step {
            Step::Create => self.create(&body).await?,
            Step::Take => self.cluster.replace(&leases(), Some(&self.namespace), &self.lease, &body).await.map(drop)?,
            Step::StandBy(_) => {}
        }
        Ok(step)
    }

    /// The first agent of a cluster makes its namespace too.
    async fn create(&self, body: &Value) -> Result<(), KubeFailure> {
        match self.cluster.create(&leases(), Some(&self.namespace), body).await {
            Err(failure) if failure.class == Class::NotFound => {}
            other => return other.map(drop),
        }
        let namespaces = Resource::core("Namespace", "namespaces", false);
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        match self.cluster.create(&namespaces, None, &namespace).await {
            Err(failure) if failure.class != Class::Conflict => return Err(failure),
            _ => {}
        }
        self.cluster.create(&leases(), Some(&self.namespace), body).await.map(drop)
    }

    /// Gives the lead back, once nothing is in flight any more: the next one need not wait for the Lease to run out.
    pub(crate) async fn release(&self) {
        self.standing.lose();
        let election = Election::new(self.me.clone());
        let give_back = async {
            let Some(lease) = self.cluster.get(&leases(), Some(&self.namespace), &self.lease).await? else { return Ok(()) };
            match election.released(&lease, &self.now()) {
                Some(body) => self.cluster.replace(&leases(), Some(&self.namespace), &self.lease, &body).await.map(drop),
                None => Ok(()),
            }
        };
        if let Ok(Err(failure)) = tokio::time::timeout(LOOK_EVERY, give_back).await {
            let failure: KubeFailure = failure;
            warn!(reason = failure.class.as_str(), detail = failure.message, "the lease is not given back; it runs out");
        }
    }

    fn now(&self) -> String {
        // The API server takes microseconds and nothing else.
        chrono::DateTime::from_timestamp_micros(self.clock.now().as_micros())
            .unwrap_or_default()
            .to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    }
}

fn leases() -> Resource {
    Resource {
        group: "coordination.k8s.io".to_owned(),
        version: "v1".to_owned(),
        kind: "Lease".to_owned(),
        plural: "leases".to_owned(),
        namespaced: true,
    }
}
