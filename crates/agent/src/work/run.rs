//! A Job of a work order in the cluster: created, watched, stopped.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_api::{
    reports::{HealthStatus, ObjectRef},
    work_orders::{ClaimedOrder, JobWork, OnAgentLoss},
};
use brokkr_telemetry::TraceContext;
use serde_json::{Value, json};
use tracing::Span;

use super::{
    Workforce, job,
    log::{last, last_lines},
    order::{Came, Found, Mind, Stop, Why, is_of},
    past,
    verdict::{Ended, Trouble, Verdict, progress},
    watch::Changes,
};
use crate::{
    cluster::{Class, KubeFailure, Resource, Select},
    health::{self, Assessment, Rules},
    schedule::backoff,
};

/// Pods of one attempt that are looked at.
const PODS: u32 = 50;
/// How long the log is asked for.
const LOG: Duration = Duration::from_secs(5);
/// Lines of the log in a message.
const LINES: usize = 3;

/// How the Job is.
enum Seen {
    GoesOn,
    /// It has ended by itself.
    Over(Ended),
    /// It does not get there; what is left of it has to be stopped.
    Hopeless(Ended),
}

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
        past::record(&Span::current(), &self.pods(&object).await.unwrap_or_default());
        // A node that does not answer must not hold the outcome back.
        let secrets = job::secrets(&manifest);
        let log = last(&self.workshop, namespace, &object.name, &secrets);
        found.log = tokio::time::timeout(LOG, log).await.ok().flatten();
        match ended {
            Ok((Ended::Failed { reason, message, retry }, is_over)) => {
                if !is_over && let Err(came) = self.stop_job(order, &object, mind).await {
                    return came;
                }
                let tail = found.log.as_deref().map(|log| last_lines(log, LINES)).filter(|tail| !tail.is_empty());
                let message = tail.map_or(message.clone(), |tail| format!("{message}: {tail}"));
                Came::Ended(Ended::failed(&reason, message, retry))
            }
            Ok((Ended::Succeeded, _)) => Came::Ended(Ended::Succeeded),
            Err(Stop::Lost) => Came::Lost,
            Err(Stop::Leave) => Came::Left,
            Err(Stop::Because(why)) => self.stopped(order, &object, mind, why).await,
        }
    }

    /// Creates the object. It has the same name whoever tries, so that a creation whose answer was lost is not made twice.
    async fn create(&self, order: &ClaimedOrder, object: &ObjectRef, manifest: &Value, mind: &mut Mind) -> Result<(), Came> {
        let mut failures = 0;
        loop {
            let Err(failure) = self.create_once(order, object, manifest).await else { return Ok(()) };
            if let Some(ended) = Ended::of_refusal(&failure).filter(|_| failure.class != Class::Conflict) {
                return Err(Came::Ended(ended));
            }
            failures += 1;
            self.progress(order.id, progress(&failure.message));
            tokio::select! {
                stop = mind.stop() => return Err(match stop {
                    Stop::Lost => Came::Lost,
                    Stop::Leave => Came::Left,
                    // A creation that was never answered may have happened.
                    Stop::Because(why) => self.stopped(order, object, mind, why).await,
                }),
                () = tokio::time::sleep(backoff(failures, self.ids.fraction())) => {}
            }
        }
    }

    /// What is there under the name already is this attempt's, or somebody else's. A conflict over something else, as of quotas that are
    /// counted at the same time, passes.
    async fn create_once(&self, order: &ClaimedOrder, object: &ObjectRef, manifest: &Value) -> Result<(), KubeFailure> {
        let namespace = object.namespace.as_deref();
        let Err(failure) = self.workshop.cluster.create(&job::resource(), namespace, manifest).await else { return Ok(()) };
        if failure.class != Class::Conflict {
            return Err(failure);
        }
        let found = self.workshop.cluster.get(&job::resource(), namespace, &object.name).await?.ok_or(failure)?;
        if is_of(&found, order) {
            return Ok(());
        }
        Err(KubeFailure::new(Class::Exists, format!("{object} is there already, and is not this order's")))
    }

    /// Looks again whenever something has changed, until the Job has ended by itself or is given up; tells which.
    async fn follow(&self, order: &ClaimedOrder, object: &ObjectRef, mind: &mut Mind) -> Result<(Ended, bool), Stop> {
        let pods = Resource::core("Pod", "pods", true);
        let places = vec![(job::resource(), object.namespace.clone()), (pods, object.namespace.clone())];
        let mut changes = Changes::of(&self.workshop.cluster, order.id, places);
        let mut trouble = Trouble::new(self.patience);
        loop {
            match self.look(order, object, &mut trouble).await {
                Seen::GoesOn => {}
                Seen::Over(ended) => return Ok((ended, true)),
                Seen::Hopeless(ended) => return Ok((ended, false)),
            }
            let given_up = async {
                match trouble.ends() {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                stop = mind.stop() => return Err(stop),
                () = changes.next() => {}
                () = given_up => {}
            }
        }
    }

    async fn look(&self, order: &ClaimedOrder, object: &ObjectRef, trouble: &mut Trouble) -> Seen {
        let found = self.workshop.cluster.get(&job::resource(), object.namespace.as_deref(), &object.name).await;
        let job = match found {
            Ok(Some(job)) => job,
            Ok(None) => {
                let message =
                    format!("{object} is not there any more; somebody deleted it, or the agent ended before it had made it");
                // It may have been done before it was deleted.
                let again = order.on_agent_loss == OnAgentLoss::Retry;
                return Seen::Hopeless(Ended::failed("missing", message, again));
            }
            // What passes is looked at again.
            Err(failure) => return Ended::of_refusal(&failure).map_or(Seen::GoesOn, Seen::Hopeless),
        };
        let assessment = health::assess(&job, &Rules::default());
        let failed = job::has_failed(&job);
        let assessment = health::diagnose(&self.workshop.cluster, &self.workshop.resources, &job, assessment).await;
        let assessment = if failed { self.with_reason_of_pod(object, assessment).await } else { assessment };
        let is_over = failed || assessment.is_healthy();
        match trouble.of_job(&assessment, failed, Instant::now()) {
            Verdict::Ended(ended) if is_over => Seen::Over(ended),
            Verdict::Ended(ended) => Seen::Hopeless(ended),
            Verdict::GoesOn(progress) => {
                self.progress(order.id, progress);
                Seen::GoesOn
            }
        }
    }

    async fn stopped(&self, order: &ClaimedOrder, object: &ObjectRef, mind: &mut Mind, why: Why) -> Came {
        match self.stop_job(order, object, mind).await {
            Ok(()) => Came::Stopped(why),
            Err(came) => came,
        }
    }

    /// Deletes the Job and waits until its pods are gone, however long that takes: before, something of it may run.
    async fn stop_job(&self, order: &ClaimedOrder, object: &ObjectRef, mind: &mut Mind) -> Result<(), Came> {
        self.progress(order.id, "stopping".to_owned());
        let mut failures = 0;
        while let Err(failure) = self.delete_job(object).await {
            if let Some(ended) = Ended::not_stopped(&object.to_string(), &failure) {
                return Err(Came::Ended(ended));
            }
            failures += 1;
            self.progress(order.id, progress(&format!("stopping: {failure}")));
            tokio::select! {
                came = mind.given_up() => return Err(came),
                () = tokio::time::sleep(backoff(failures, self.ids.fraction())) => {}
            }
        }
        let pods = Resource::core("Pod", "pods", true);
        let mut changes = Changes::of(&self.workshop.cluster, order.id, vec![(pods, object.namespace.clone())]);
        loop {
            match self.pods(object).await {
                Ok(pods) if pods.is_empty() => return Ok(()),
                Ok(pods) => self.progress(order.id, progress(&still_there(&pods))),
                Err(failure) => {
                    if let Some(ended) = Ended::not_stopped(&object.to_string(), &failure) {
                        return Err(Came::Ended(ended));
                    }
                }
            }
            tokio::select! {
                came = mind.given_up() => return Err(came),
                () = changes.next() => {}
            }
        }
    }

    async fn delete_job(&self, object: &ObjectRef) -> Result<(), KubeFailure> {
        let (resource, namespace) = (job::resource(), object.namespace.as_deref());
        let Some(live) = self.workshop.cluster.look(&resource, namespace, &object.name).await? else { return Ok(()) };
        self.workshop.cluster.delete(&resource, namespace, &object.name, &live.uid, &live.resource_version).await
    }

    /// Deletes a Job whose time to live is shorter than Kubernetes is told. Where this process ends before, Kubernetes deletes it later.
    pub(super) fn delete_soon(self: &Arc<Self>, order: &ClaimedOrder, object: &ObjectRef) {
        if order.ttl_seconds >= job::LEAST_KEPT {
            return;
        }
        let (this, object, stopping) = (Arc::clone(self), object.clone(), self.lifecycle.stopping().clone());
        let (id, ttl) = (order.id, Duration::from_secs(u64::from(order.ttl_seconds)));
        self.lifecycle.spawn_work(async move {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(ttl) => {}
            }
            if let Err(failure) = this.delete_job(&object).await {
                tracing::info!(work_order.id = %id, reason = failure.class.as_str(), detail = failure.message, "a finished Job goes later");
            }
        });
    }

    /// The pods of this attempt.
    async fn pods(&self, object: &ObjectRef) -> Result<Vec<Value>, KubeFailure> {
        let selector = format!("batch.kubernetes.io/job-name={}", object.name);
        let (pods, namespace) = (Resource::core("Pod", "pods", true), object.namespace.as_deref().unwrap_or_default());
        self.workshop.cluster.list_some(&pods, namespace, Select::Labels(&selector), PODS).await
    }

    /// A Job says only that it failed; a pod of it says of what.
    async fn with_reason_of_pod(&self, object: &ObjectRef, assessment: Assessment) -> Assessment {
        let of_pod = self.pods(object).await.unwrap_or_default().into_iter().find_map(|mut pod| {
            // What comes in a list does not say what it is.
            pod["apiVersion"] = json!("v1");
            pod["kind"] = json!("Pod");
            let found = health::assess(&pod, &Rules::default());
            found.reason.filter(|_| found.status == HealthStatus::Degraded)
        });
        Assessment { reason: of_pod.or(assessment.reason), ..assessment }
    }
}

fn still_there(pods: &[Value]) -> String {
    let text = |pod: &Value, pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or("none").to_owned();
    let one = |pod: &Value| format!("{} on node {}", text(pod, "/metadata/name"), text(pod, "/spec/nodeName"));
    format!("stopping: still there: {}", pods.iter().map(one).collect::<Vec<_>>().join(", "))
}
