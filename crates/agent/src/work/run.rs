//! A Job of a work order in the cluster: created, watched, stopped.

use std::time::{Duration, Instant};

use brokkr_api::{
    reports::{HealthStatus, ObjectRef},
    work_orders::{ClaimedOrder, JobWork},
};
use brokkr_telemetry::TraceContext;
use serde_json::{Value, json};
use tracing::Span;

use super::{
    WORK_ORDER, Workforce, job,
    log::{last, last_lines},
    order::{Came, Found, Mind, Stop, Why},
    past,
    verdict::{Ended, Trouble, Verdict},
    watch::Changes,
};
use crate::{
    cluster::{Class, KubeFailure, Resource, Select},
    health::{self, Assessment, Rules},
    schedule::backoff,
};

/// Pods of one attempt that are looked at.
const PODS: u32 = 50;
/// How long pods may take to go before the stop is told all the same.
const GOING: Duration = Duration::from_secs(60);
/// How long the log is asked for.
const LOG: Duration = Duration::from_secs(5);
/// Lines of the log in a message.
const LINES: usize = 3;

impl Workforce {
    /// Runs a Job until it has ended, or should not go on.
    pub(super) async fn run_job(&self, order: &ClaimedOrder, job: &JobWork, mind: &mut Mind, found: &mut Found) -> Came {
        let object = job::object(order, job, &self.workshop.default_namespace);
        found.object = Some(object.clone());
        // Without spans of its own the agent passes on what came with the order.
        let came_with =
            || order.trace.as_ref().and_then(|work| TraceContext::from_parts(&work.traceparent, work.tracestate.as_deref()));
        let trace = TraceContext::of(&Span::current()).or_else(came_with);
        let manifest = job::manifest(order, job, &object, trace.as_ref());
        if !order.started {
            match self.create(order, &object, &manifest, mind).await {
                Ok(()) => {}
                Err(came) => return came,
            }
        }
        let ended = self.follow(order, &object, mind).await;
        if ended == Err(Stop::Leave) {
            return Came::Left;
        }
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let pods = self.pods(&object).await;
        past::record(&Span::current(), &pods);
        // A node that does not answer must not hold the outcome back.
        let secrets = job::secrets(&manifest);
        let log = last(&self.workshop, namespace, &object.name, &secrets);
        found.log = tokio::time::timeout(LOG, log).await.ok().flatten();
        match ended {
            Ok(Ended::Failed { reason, message, retry }) => {
                let tail = found.log.as_deref().map(|log| last_lines(log, LINES)).filter(|tail| !tail.is_empty());
                let message = tail.map_or(message.clone(), |tail| format!("{message}: {tail}"));
                Came::Ended(Ended::failed(&reason, message, retry))
            }
            Ok(Ended::Succeeded) => Came::Ended(Ended::Succeeded),
            Err(Stop::Lost) => Came::Lost,
            Err(Stop::Leave) => Came::Left,
            Err(Stop::Because(why)) => self.stop_job(order, &object, why).await,
        }
    }

    /// Creates the object. It has the same name whoever tries, so that a creation whose answer was lost is not made twice.
    async fn create(&self, order: &ClaimedOrder, object: &ObjectRef, manifest: &Value, mind: &mut Mind) -> Result<(), Came> {
        let namespace = object.namespace.as_deref();
        let mut failures = 0;
        loop {
            let Err(failure) = self.workshop.cluster.create(&job::resource(), namespace, manifest).await else { return Ok(()) };
            if failure.class == Class::Conflict {
                return self.is_ours(order, object).await;
            }
            if let Some(ended) = Ended::of_refusal(&failure) {
                return Err(Came::Ended(ended));
            }
            failures += 1;
            self.progress(order.id, failure.message.chars().filter(|c| !c.is_control()).take(200).collect());
            tokio::select! {
                stop = mind.stop() => return Err(self.stopped_before(order, object, stop).await),
                () = tokio::time::sleep(backoff(failures, self.ids.fraction())) => {}
            }
        }
    }

    /// What is there under the name already is this attempt's, or somebody else's.
    async fn is_ours(&self, order: &ClaimedOrder, object: &ObjectRef) -> Result<(), Came> {
        let found = self.workshop.cluster.get(&job::resource(), object.namespace.as_deref(), &object.name).await;
        let label = format!("/metadata/labels/{}", WORK_ORDER.replace('/', "~1"));
        let is_ours = |found: &Value| found.pointer(&label).and_then(Value::as_str) == Some(order.id.to_string().as_str());
        match found {
            Ok(Some(found)) if is_ours(&found) => Ok(()),
            _ => Err(Came::Ended(Ended::failed("exists", format!("{object} is there already, and is not this order's"), false))),
        }
    }

    /// A creation that was never answered may have happened.
    async fn stopped_before(&self, order: &ClaimedOrder, object: &ObjectRef, stop: Stop) -> Came {
        match stop {
            Stop::Lost => Came::Lost,
            Stop::Leave => Came::Left,
            Stop::Because(why) => self.stop_job(order, object, why).await,
        }
    }

    /// Looks again whenever something has changed, until the Job has ended.
    async fn follow(&self, order: &ClaimedOrder, object: &ObjectRef, mind: &mut Mind) -> Result<Ended, Stop> {
        let pods = Resource::core("Pod", "pods", true);
        let places = vec![(job::resource(), object.namespace.clone()), (pods, object.namespace.clone())];
        let mut changes = Changes::of(&self.workshop.cluster, order.id, places);
        let mut trouble = Trouble::default();
        loop {
            if let Some(ended) = self.look(order, object, &mut trouble).await {
                return Ok(ended);
            }
            tokio::select! {
                stop = mind.stop() => return Err(stop),
                () = changes.next() => {}
            }
        }
    }

    async fn look(&self, order: &ClaimedOrder, object: &ObjectRef, trouble: &mut Trouble) -> Option<Ended> {
        let found = self.workshop.cluster.get(&job::resource(), object.namespace.as_deref(), &object.name).await;
        let job = match found {
            Ok(Some(job)) => job,
            Ok(None) => {
                let message =
                    format!("{object} is not there any more; somebody deleted it, or the agent ended before it had made it");
                return Some(Ended::failed("missing", message, false));
            }
            // What passes is looked at again.
            Err(failure) => return Ended::of_refusal(&failure),
        };
        let assessment = health::assess(&job, &Rules::default());
        let failed = job::has_failed(&job);
        let assessment = health::diagnose(&self.workshop.cluster, &self.workshop.resources, &job, assessment).await;
        let assessment = if failed { self.with_reason_of_pod(object, assessment).await } else { assessment };
        match trouble.of_job(&assessment, failed, Instant::now()) {
            Verdict::Ended(ended) => Some(ended),
            Verdict::GoesOn(progress) => {
                self.progress(order.id, progress);
                None
            }
        }
    }

    /// Deletes the Job and waits until its pods are gone.
    async fn stop_job(&self, order: &ClaimedOrder, object: &ObjectRef, why: Why) -> Came {
        self.progress(order.id, "stopping".to_owned());
        let mut failures = 0;
        while let Err(failure) = self.delete_job(object).await {
            failures += 1;
            tracing::warn!(work_order.id = %order.id, reason = failure.class.as_str(), detail = failure.message, "a Job cannot be deleted; it is tried again");
            tokio::time::sleep(backoff(failures, self.ids.fraction())).await;
        }
        let pods = Resource::core("Pod", "pods", true);
        let mut changes = Changes::of(&self.workshop.cluster, order.id, vec![(pods, object.namespace.clone())]);
        let gone = async {
            while !self.pods(object).await.is_empty() {
                changes.next().await;
            }
        };
        if tokio::time::timeout(GOING, gone).await.is_err() {
            tracing::warn!(work_order.id = %order.id, "pods of a stopped Job take long to go");
        }
        Came::Stopped(why)
    }

    async fn delete_job(&self, object: &ObjectRef) -> Result<(), KubeFailure> {
        let (resource, namespace) = (job::resource(), object.namespace.as_deref());
        let Some(live) = self.workshop.cluster.look(&resource, namespace, &object.name).await? else { return Ok(()) };
        self.workshop.cluster.delete(&resource, namespace, &object.name, &live.uid, &live.resource_version).await
    }

    /// The pods of this attempt.
    async fn pods(&self, object: &ObjectRef) -> Vec<Value> {
        let selector = format!("batch.kubernetes.io/job-name={}", object.name);
        let (pods, namespace) = (Resource::core("Pod", "pods", true), object.namespace.as_deref().unwrap_or_default());
        self.workshop.cluster.list_some(&pods, namespace, Select::Labels(&selector), PODS).await.unwrap_or_default()
    }

    /// A Job says only that it failed; a pod of it says of what.
    async fn with_reason_of_pod(&self, object: &ObjectRef, assessment: Assessment) -> Assessment {
        let of_pod = self.pods(object).await.into_iter().find_map(|mut pod| {
            // What comes in a list does not say what it is.
            pod["apiVersion"] = json!("v1");
            pod["kind"] = json!("Pod");
            let found = health::assess(&pod, &Rules::default());
            found.reason.filter(|_| found.status == HealthStatus::Degraded)
        });
        Assessment { reason: of_pod.or(assessment.reason), ..assessment }
    }
}
