//! A build of a work order in the cluster: asked for, watched, stopped.

use std::time::{Duration, Instant};

use brokkr_api::{
    builds::BuildWork,
    reports::{HealthStatus, ObjectRef},
    work_orders::ClaimedOrder,
};
use brokkr_telemetry::TraceContext;
use serde_json::json;
use tracing::{Span, warn};

use super::{
    Workforce, apply,
    build::{self, BUILD_RUN},
    build_past,
    build_status::Sight,
    job,
    log::{last_lines, of_newest},
    order::{Came, Found, Mind, Stop},
    verdict::{Ended, Trouble, Verdict},
    watch::Changes,
};
use crate::{
    cluster::{Class, KubeFailure, Resource, Select},
    health::{self, Rules},
    schedule::backoff,
};

/// Pods and `TaskRun`s of one attempt that are looked at.
const FEW: u32 = 20;
/// How long Shipwright may take to stop a build, and its pods to go.
const GOING: Duration = Duration::from_secs(60);
/// How long the log is asked for.
const LOG: Duration = Duration::from_secs(5);
/// Lines of the log in a message.
const LINES: usize = 3;

impl Workforce {
    /// Runs a build until it has ended, or should not go on.
    pub(super) async fn run_build(&self, order: &ClaimedOrder, build: &BuildWork, mind: &mut Mind, found: &mut Found) -> Came {
        let object = build::object(order, build, &self.workshop.default_namespace);
        found.object = Some(object.clone());
        let mut sight = Sight::default();
        if !order.started
            && let Err(came) = self.ask(order, build, &object, mind).await
        {
            return came;
        }
        let ended = self.follow_build(order, &object, mind, &mut sight).await;
        if ended == Err(Stop::Leave) {
            return Came::Left;
        }
        // Before anything is stopped: the log goes with the pod.
        found.log = self.log_of_build(&object, &sight).await;
        let came = match ended {
            Ok(ended) => {
                self.let_go(order, &object, &mut sight).await;
                Came::Ended(with_last_lines(ended, found.log.as_deref()))
            }
            Err(Stop::Because(why)) => {
                self.stop_build(order, &object, &mut sight).await;
                Came::Stopped(why)
            }
            Err(Stop::Lost) => Came::Lost,
            Err(Stop::Leave) => Came::Left,
        };
        build_past::record(&Span::current(), &sight);
        came
    }

    /// Creates the `BuildRun`. It has the same name whoever tries, so that a creation whose answer was lost is not made twice.
    async fn ask(&self, order: &ClaimedOrder, build: &BuildWork, object: &ObjectRef, mind: &mut Mind) -> Result<(), Came> {
        // Without spans of its own the agent passes on what came with the order.
        let came_with =
            || order.trace.as_ref().and_then(|work| TraceContext::from_parts(&work.traceparent, work.tracestate.as_deref()));
        let trace = TraceContext::of(&Span::current()).or_else(came_with);
        let manifest = build::manifest(order, build, object, trace.as_ref());
        let (resource, namespace) = (build::resource(), object.namespace.as_deref());
        let mut failures = 0;
        loop {
            let Err(failure) = self.workshop.cluster.create(&resource, namespace, &manifest).await else { return Ok(()) };
            let ended = match failure.class {
                Class::Conflict => return self.is_this_orders(order, object).await,
                Class::MissingKind => {
                    let message = "this cluster has no Shipwright: it does not serve BuildRun of shipwright.io/v1beta1";
                    Some(Ended::failed("shipwright_missing", message, false))
                }
                _ => Ended::of_refusal(&failure),
            };
            if let Some(ended) = ended {
                return Err(Came::Ended(ended));
            }
            failures += 1;
            self.progress(order.id, failure.message.chars().filter(|c| !c.is_control()).take(200).collect());
            tokio::select! {
                stop = mind.stop() => return Err(self.stopped_unasked(order, object, stop).await),
                () = tokio::time::sleep(backoff(failures, self.ids.fraction())) => {}
            }
        }
    }

    /// What is there under the name already is this attempt's, or somebody else's.
    async fn is_this_orders(&self, order: &ClaimedOrder, object: &ObjectRef) -> Result<(), Came> {
        let found = self.workshop.cluster.get(&build::resource(), object.namespace.as_deref(), &object.name).await;
        match found {
            Ok(Some(found)) if apply::is_of(&found, order) => Ok(()),
            _ => Err(Came::Ended(Ended::failed("exists", format!("{object} is there already, and is not this order's"), false))),
        }
    }

    /// A creation that was never answered may have happened.
    async fn stopped_unasked(&self, order: &ClaimedOrder, object: &ObjectRef, stop: Stop) -> Came {
        match stop {
            Stop::Lost => Came::Lost,
            Stop::Leave => Came::Left,
            Stop::Because(why) => {
                self.stop_build(order, object, &mut Sight::default()).await;
                Came::Stopped(why)
            }
        }
    }

    /// Looks again whenever something has changed, until the build has ended.
    async fn follow_build(
        &self,
        order: &ClaimedOrder,
        object: &ObjectRef,
        mind: &mut Mind,
        sight: &mut Sight,
    ) -> Result<Ended, Stop> {
        let mut changes = self.changes_of_build(order, object);
        let mut trouble = Trouble::default();
        loop {
            let ended = match self.look_at_build(object, sight).await {
                Ok(()) => self.judge_build(order, object, sight, &mut trouble),
                // What passes is looked at again.
                Err(failure) => Ended::of_refusal(&failure),
            };
            if let Some(ended) = ended {
                return Ok(ended);
            }
            tokio::select! {
                stop = mind.stop() => return Err(stop),
                () = changes.next() => {}
            }
        }
    }

    /// Changes of the `BuildRun`, and of what Shipwright and Tekton make for it.
    fn changes_of_build(&self, order: &ClaimedOrder, object: &ObjectRef) -> Changes {
        let (cluster, namespace) = (&self.workshop.cluster, &object.namespace);
        let made = vec![(build::task_runs(), namespace.clone()), (pods(), namespace.clone())];
        let made = Changes::labelled(cluster, &label(object), made);
        Changes::of(cluster, order.id, vec![(build::resource(), namespace.clone())]).and(made)
    }

    async fn look_at_build(&self, object: &ObjectRef, sight: &mut Sight) -> Result<(), KubeFailure> {
        let (cluster, namespace) = (&self.workshop.cluster, object.namespace.as_deref().unwrap_or_default());
        sight.run = cluster.get(&build::resource(), Some(namespace), &object.name).await?;
        let (label, list) = (label(object), Select::Labels);
        // Both only say more: who may not see them learns how the build ended from the `BuildRun`.
        let found = cluster.list_some(&build::task_runs(), namespace, list(&label), FEW).await.unwrap_or_default();
        if !found.is_empty() {
            sight.task_runs = found;
        }
        let found = cluster.list_some(&pods(), namespace, list(&label), FEW).await.unwrap_or_default();
        if !found.is_empty() {
            sight.pods = found;
        }
        Ok(())
    }

    fn judge_build(&self, order: &ClaimedOrder, object: &ObjectRef, sight: &Sight, trouble: &mut Trouble) -> Option<Ended> {
        if sight.run.is_none() {
            let message =
                format!("{object} is not there any more; somebody deleted it, or the agent ended before it had made it");
            return Some(Ended::failed("missing", message, false));
        }
        let verdict = match sight.verdict() {
            Verdict::GoesOn(progress) => match stuck(sight) {
                Some(assessment) => trouble.of_job(&assessment, false, Instant::now()),
                None => {
                    *trouble = Trouble::default();
                    Verdict::GoesOn(progress)
                }
            },
            ended @ Verdict::Ended(_) => ended,
        };
        match verdict {
            Verdict::Ended(ended) => Some(ended),
            Verdict::GoesOn(progress) => {
                self.progress(order.id, progress);
                None
            }
        }
    }

    /// Nothing of a build that is over may go on, and what is not to be kept goes at once.
    async fn let_go(&self, order: &ClaimedOrder, object: &ObjectRef, sight: &mut Sight) {
        if !sight.is_over() {
            self.stop_build(order, object, sight).await;
        } else if order.ttl_seconds == 0 {
            self.delete_build(order, object).await;
        }
    }

    /// Has Shipwright stop the build, deletes it, and waits until its pods are gone. Where Shipwright does not answer, the deletion alone
    /// stops it.
    async fn stop_build(&self, order: &ClaimedOrder, object: &ObjectRef, sight: &mut Sight) {
        self.progress(order.id, "stopping".to_owned());
        let mut changes = self.changes_of_build(order, object);
        let mut failures = 0;
        while let Err(failure) = self.cancel(object).await {
            if Ended::of_refusal(&failure).is_some() {
                warn!(work_order.id = %order.id, reason = failure.class.as_str(), detail = failure.message, "a build cannot be cancelled; it is deleted");
                break;
            }
            failures += 1;
            tokio::time::sleep(backoff(failures, self.ids.fraction())).await;
        }
        let stopped = async {
            while !(self.look_at_build(object, sight).await.is_ok() && sight.is_over()) {
                changes.next().await;
            }
        };
        if tokio::time::timeout(GOING, stopped).await.is_err() {
            warn!(work_order.id = %order.id, "Shipwright does not stop a build; it is deleted");
        }
        self.delete_build(order, object).await;
        let gone = async {
            let (label, namespace) = (label(object), object.namespace.as_deref().unwrap_or_default());
            while !self
                .workshop
                .cluster
                .list_some(&pods(), namespace, Select::Labels(&label), FEW)
                .await
                .is_ok_and(|left| left.is_empty())
            {
                changes.next().await;
            }
        };
        if tokio::time::timeout(GOING, gone).await.is_err() {
            warn!(work_order.id = %order.id, "pods of a stopped build take long to go");
        }
    }

    async fn cancel(&self, object: &ObjectRef) -> Result<(), KubeFailure> {
        let (resource, namespace) = (build::resource(), object.namespace.as_deref());
        let run = self.workshop.cluster.get(&resource, namespace, &object.name).await?;
        if (Sight { run, ..Sight::default() }).is_over() {
            return Ok(());
        }
        let patch = json!([{"op": "add", "path": "/spec/state", "value": "BuildRunCanceled"}]);
        match self.workshop.cluster.patch_json(&resource, namespace, &object.name, &patch).await {
            Err(failure) if failure.class == Class::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    async fn delete_build(&self, order: &ClaimedOrder, object: &ObjectRef) {
        let mut failures = 0;
        while let Err(failure) = self.try_to_delete(object).await {
            failures += 1;
            // Its controller writes its status in the meantime: then it is another version.
            if failure.class != Class::Conflict {
                warn!(work_order.id = %order.id, reason = failure.class.as_str(), detail = failure.message, "a build cannot be deleted; it is tried again");
            }
            tokio::time::sleep(backoff(failures, self.ids.fraction())).await;
        }
    }

    async fn try_to_delete(&self, object: &ObjectRef) -> Result<(), KubeFailure> {
        let (resource, namespace) = (build::resource(), object.namespace.as_deref());
        let Some(live) = self.workshop.cluster.look(&resource, namespace, &object.name).await? else { return Ok(()) };
        self.workshop.cluster.delete(&resource, namespace, &object.name, &live.uid, &live.resource_version).await
    }

    async fn log_of_build(&self, object: &ObjectRef, sight: &Sight) -> Option<String> {
        let secrets: Vec<_> = sight.pods.iter().filter_map(|pod| pod.get("spec")).flat_map(job::secrets_in).collect();
        let log = of_newest(&self.workshop, object.namespace.as_deref().unwrap_or_default(), &sight.pods, &secrets);
        // A node that does not answer must not hold the outcome back.
        tokio::time::timeout(LOG, log).await.ok().flatten()
    }
}

/// What keeps a pod of the build from going on, where Tekton waits with it.
fn stuck(sight: &Sight) -> Option<health::Assessment> {
    sight.pods.iter().find_map(|pod| {
        let mut pod = pod.clone();
        // What comes in a list does not say what it is.
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        Some(health::assess(&pod, &Rules::default())).filter(|found| found.status == HealthStatus::Degraded)
    })
}

fn with_last_lines(ended: Ended, log: Option<&str>) -> Ended {
    let tail = log.map(|log| last_lines(log, LINES)).filter(|tail| !tail.is_empty());
    match (ended, tail) {
        (Ended::Failed { reason, message, retry }, Some(tail)) => Ended::failed(&reason, format!("{message}: {tail}"), retry),
        (ended, _) => ended,
    }
}

fn pods() -> Resource {
    Resource::core("Pod", "pods", true)
}

fn label(object: &ObjectRef) -> String {
    format!("{BUILD_RUN}={}", object.name)
}
