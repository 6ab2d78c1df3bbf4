//! A Job of a work order in the cluster: created, watched, stopped.

use std::time::Instant;

use brokkr_api::{
    reports::ObjectRef,
    work_orders::{ClaimedOrder, JobWork},
};
use serde_json::Value;
use tracing::Span;

use super::{
    Workforce, job, log,
    made::{Over, come_of},
    mind::{Came, Mind, Stop},
    order::{Found, place},
    past, pods,
    verdict::{Ended, Trouble, Verdict},
    watch::Changes,
};
use crate::{
    cluster::{KubeFailure, Select},
    health::{self, Assessment, Rules},
};

/// Pods of one attempt that are looked at.
const PODS: u32 = 50;

impl Workforce {
    /// Runs a Job until it has ended, or should not go on.
    pub(super) async fn run_job(&self, order: &ClaimedOrder, job: &JobWork, mind: &mut Mind, found: &mut Found) -> Came {
        let object = job::object(order, job, &self.workshop.default_namespace);
        found.object = Some(object.clone());
        let manifest = job::manifest(order, job, &object, place(order).as_ref());
        if !order.started {
            match self.create(order, &job::resource(), &object, &manifest, mind, Ended::of_refusal).await {
                Ok(None) => {}
                Ok(Some(refused)) => return Came::Ended(refused),
                // A creation that was never answered may have happened.
                Err(stop) => return stop.came(self.stop_job(order, &object, mind)).await,
            }
        }
        let over = self.follow(order, &object, mind).await;
        if matches!(over, Err(Stop::Leave)) {
            return Came::Left;
        }
        let namespace = object.namespace.as_deref().unwrap_or_default();
        past::record(&Span::current(), &self.pods(&object).await.unwrap_or_default());
        let secrets = job::secrets(&manifest);
        found.log = log::in_time(log::last(&self.workshop, namespace, &object.name, &secrets)).await;
        come_of(over, found.log.as_deref(), self.stop_job(order, &object, mind)).await
    }

    /// Looks again whenever something has changed, until the Job is over.
    async fn follow(&self, order: &ClaimedOrder, object: &ObjectRef, mind: &mut Mind) -> Result<Over, Stop> {
        let places = vec![(job::resource(), object.namespace.clone()), (pods::resource(), object.namespace.clone())];
        let mut changes = Changes::of(&self.workshop.cluster, order.id, places);
        let mut trouble = Trouble::new(self.patience);
        loop {
            if let Some(over) = self.look(order, object, &mut trouble).await {
                return Ok(over);
            }
            mind.unless_stopped(changes.next_until(trouble.ends())).await?;
        }
    }

    async fn look(&self, order: &ClaimedOrder, object: &ObjectRef, trouble: &mut Trouble) -> Option<Over> {
        let found = self.workshop.cluster.get(&job::resource(), object.namespace.as_deref(), &object.name).await;
        let job = match found {
            Ok(Some(job)) => job,
            Ok(None) => return Some(Over::hopeless(Ended::missing(order, object))),
            // What passes is looked at again.
            Err(failure) => return Ended::of_refusal(&failure).map(Over::hopeless),
        };
        let assessment = health::assess(&job, &Rules::default());
        let failed = job::has_failed(&job);
        let assessment = health::diagnose(&self.workshop.cluster, &self.workshop.resources, &job, assessment).await;
        let assessment = if failed { self.with_reason_of_pod(object, assessment).await } else { assessment };
        let is_over = failed || assessment.is_healthy();
        match trouble.of_job(&assessment, failed, Instant::now()) {
            Verdict::Ended(ended) => Some(Over { ended, by_itself: is_over }),
            Verdict::GoesOn(progress) => {
                self.progress(order.id, progress);
                None
            }
        }
    }

    /// Deletes the Job and waits until its pods are gone, however long that takes: before, something of it may run.
    async fn stop_job(&self, order: &ClaimedOrder, object: &ObjectRef, mind: &mut Mind) -> Result<(), Came> {
        self.progress(order.id, "stopping".to_owned());
        let what = object.to_string();
        let delete = || async { self.delete_now(&job::resource(), object).await.map(|()| None) };
        self.until_gone(order, &what, mind, &mut Changes::none(), delete).await?;
        let mut changes = Changes::of(&self.workshop.cluster, order.id, vec![(pods::resource(), object.namespace.clone())]);
        loop {
            match self.pods(object).await.map(|left| pods::named(&left)) {
                Ok(None) => return Ok(()),
                Ok(Some(left)) => self.still_there(order, &left),
                Err(failure) => {
                    if let Some(ended) = Ended::not_stopped(&what, &failure) {
                        return Err(Came::Ended(ended));
                    }
                }
            }
            mind.unless_given_up(changes.next()).await?;
        }
    }

    /// The pods of this attempt.
    async fn pods(&self, object: &ObjectRef) -> Result<Vec<Value>, KubeFailure> {
        let (selector, namespace) = (pods::selector_of_job(&object.name), object.namespace.as_deref().unwrap_or_default());
        self.workshop.cluster.list_some(&pods::resource(), namespace, Select::Labels(&selector), PODS).await
    }

    /// A Job says only that it failed; a pod of it says of what.
    async fn with_reason_of_pod(&self, object: &ObjectRef, assessment: Assessment) -> Assessment {
        let of_pod = pods::degraded(&self.pods(object).await.unwrap_or_default());
        Assessment { reason: of_pod.and_then(|pod| pod.reason).or(assessment.reason), ..assessment }
    }
}
