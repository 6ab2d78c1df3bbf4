//! A build of a work order in the cluster: asked for, watched, stopped.

use std::time::{Duration, Instant};

use brokkr_api::{
    builds::BuildWork,
    reports::{HealthStatus, ObjectRef},
    work_orders::{ClaimedOrder, OnAgentLoss},
};
use brokkr_telemetry::TraceContext;
use serde_json::{Value, json};
use tracing::Span;

use super::{
    Workforce,
    build::{self, BUILD_RUN},
    build_past,
    build_status::Sight,
    job,
    log::{last_lines, of_newest},
    order::{Came, Found, Mind, Stop, is_of},
    run::Seen,
    verdict::{Ended, Trouble, Verdict, progress},
    watch::Changes,
};
use crate::{
    cluster::{Class, KubeFailure, Resource, Select},
    health::{self, Rules},
    schedule::backoff,
};

/// Pods and `TaskRun`s of one attempt that are looked at.
pub(super) const FEW: u32 = 20;
/// How long the log is asked for.
const LOG: Duration = Duration::from_secs(5);
/// Lines of the log in a message.
const LINES: usize = 3;

impl Workforce {
    /// Runs a build until it has ended, or should not go on.
    pub(super) async fn run_build(&self, order: &ClaimedOrder, build: &BuildWork, mind: &mut Mind, found: &mut Found) -> Came {
        let object = build::object(order, build, &self.workshop.default_namespace);
        found.object = Some(object.clone());
        if !order.started
            && let Err(came) = self.ask(order, build, &object, mind).await
        {
            return came;
        }
        let mut sight = Sight::default();
        let ended = self.follow_build(order, &object, mind, &mut sight).await;
        if ended == Err(Stop::Leave) {
            return Came::Left;
        }
        // Before anything is stopped: the log goes with the pod.
        found.log = self.log_of_build(&object, &sight).await;
        let came = match ended {
            Ok((ended, is_over)) => {
                let stopped = if is_over { Ok(()) } else { self.stop_build(order, &object, mind, &mut sight).await };
                stopped.map_or_else(|came| came, |()| Came::Ended(with_last_lines(ended, found.log.as_deref())))
            }
            Err(Stop::Lost) => Came::Lost,
            Err(Stop::Leave) => Came::Left,
            Err(Stop::Because(why)) => {
                let stopped = self.stop_build(order, &object, mind, &mut sight).await;
                stopped.map_or_else(|came| came, |()| Came::Stopped(why))
            }
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
        let mut failures = 0;
        loop {
            let Err(failure) = self.ask_once(order, object, &manifest).await else { return Ok(()) };
            if let Some(ended) = not_asked(&failure) {
                return Err(Came::Ended(ended));
            }
            failures += 1;
            self.progress(order.id, progress(&failure.message));
            tokio::select! {
                stop = mind.stop() => return Err(match stop {
                    Stop::Lost => Came::Lost,
                    Stop::Leave => Came::Left,
                    // A creation that was never answered may have happened.
                    Stop::Because(why) => {
                        let stopped = self.stop_build(order, object, mind, &mut Sight::default()).await;
                        stopped.map_or_else(|came| came, |()| Came::Stopped(why))
                    }
                }),
                () = tokio::time::sleep(backoff(failures, self.ids.fraction())) => {}
            }
        }
    }

    /// What is there under the name already is this attempt's, or somebody else's.
    async fn ask_once(&self, order: &ClaimedOrder, object: &ObjectRef, manifest: &Value) -> Result<(), KubeFailure> {
        let (resource, namespace) = (build::resource(), object.namespace.as_deref());
        let Err(failure) = self.workshop.cluster.create(&resource, namespace, manifest).await else { return Ok(()) };
        if failure.class != Class::Conflict {
            return Err(failure);
        }
        let found = self.workshop.cluster.get(&resource, namespace, &object.name).await?.ok_or(failure)?;
        if is_of(&found, order) {
            return Ok(());
        }
        Err(KubeFailure::new(Class::Exists, format!("{object} is there already, and is not this order's")))
    }

    /// Looks again whenever something has changed, until the build has ended by itself or is given up; tells which.
    async fn follow_build(
        &self,
        order: &ClaimedOrder,
        object: &ObjectRef,
        mind: &mut Mind,
        sight: &mut Sight,
    ) -> Result<(Ended, bool), Stop> {
        let mut changes = self.changes_of_build(order, object);
        let mut trouble = Trouble::new(self.patience);
        loop {
            let seen = match self.look_at_build(object, sight).await {
                Ok(()) => self.judge_build(order, object, sight, &mut trouble),
                // What passes is looked at again.
                Err(failure) => Ended::of_refusal(&failure).map_or(Seen::GoesOn, Seen::Hopeless),
            };
            match seen {
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

    /// Changes of the `BuildRun`, and of what Shipwright and Tekton make for it.
    pub(super) fn changes_of_build(&self, order: &ClaimedOrder, object: &ObjectRef) -> Changes {
        let (cluster, namespace) = (&self.workshop.cluster, &object.namespace);
        let made = vec![(build::task_runs(), namespace.clone()), (pods(), namespace.clone())];
        let made = Changes::labelled(cluster, &label(object), made);
        Changes::of(cluster, order.id, vec![(build::resource(), namespace.clone())]).and(made)
    }

    pub(super) async fn look_at_build(&self, object: &ObjectRef, sight: &mut Sight) -> Result<(), KubeFailure> {
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

    fn judge_build(&self, order: &ClaimedOrder, object: &ObjectRef, sight: &Sight, trouble: &mut Trouble) -> Seen {
        if sight.run.is_none() {
            let message =
                format!("{object} is not there any more; somebody deleted it, or the agent ended before it had made it");
            // It may have been done before it was deleted.
            let again = order.on_agent_loss == OnAgentLoss::Retry;
            return Seen::Hopeless(Ended::failed("missing", message, again));
        }
        let verdict = match sight.verdict() {
            Verdict::Ended(ended) => return Seen::Over(ended),
            Verdict::GoesOn(progress) => match stuck(sight) {
                Some(assessment) => trouble.of_job(&assessment, false, Instant::now()),
                None => {
                    *trouble = Trouble::new(self.patience);
                    Verdict::GoesOn(progress)
                }
            },
        };
        match verdict {
            Verdict::Ended(ended) => Seen::Hopeless(ended),
            Verdict::GoesOn(progress) => {
                self.progress(order.id, progress);
                Seen::GoesOn
            }
        }
    }

    async fn log_of_build(&self, object: &ObjectRef, sight: &Sight) -> Option<String> {
        let secrets: Vec<_> = sight.pods.iter().filter_map(|pod| pod.get("spec")).flat_map(job::secrets_in).collect();
        let log = of_newest(&self.workshop, object.namespace.as_deref().unwrap_or_default(), &sight.pods, &secrets);
        // A node that does not answer must not hold the outcome back.
        tokio::time::timeout(LOG, log).await.ok().flatten()
    }
}

/// Why the build cannot even be asked for; nothing where that may pass.
fn not_asked(failure: &KubeFailure) -> Option<Ended> {
    match failure.class {
        Class::MissingKind => {
            let message = "this cluster has no Shipwright: it does not serve BuildRun of shipwright.io/v1beta1";
            Some(Ended::failed("shipwright_missing", message, false))
        }
        // Over something else than the name, as of quotas that are counted at the same time.
        Class::Conflict => None,
        _ => Ended::of_refusal(failure),
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

pub(super) fn pods() -> Resource {
    Resource::core("Pod", "pods", true)
}

/// What selects what Shipwright and Tekton make for a `BuildRun`.
pub(super) fn label(object: &ObjectRef) -> String {
    format!("{BUILD_RUN}={}", object.name)
}
