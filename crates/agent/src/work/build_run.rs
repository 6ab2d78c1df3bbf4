//! A build of a work order in the cluster: asked for, watched, stopped.

use std::time::Instant;

use brokkr_api::{builds::BuildWork, reports::ObjectRef, work_orders::ClaimedOrder};
use tracing::Span;

use super::{
    Workforce,
    build::{self, BUILD_RUN},
    build_past,
    build_status::Sight,
    job, log,
    made::{Over, come_of},
    mind::{Came, Mind, Stop},
    order::{Found, place},
    pods,
    verdict::{Ended, Trouble, Verdict},
    watch::Changes,
};
use crate::cluster::{Class, KubeFailure, Select};

/// Pods and `TaskRun`s of one attempt that are looked at.
pub(super) const FEW: u32 = 20;

impl Workforce {
    /// Runs a build until it has ended, or should not go on.
    pub(super) async fn run_build(&self, order: &ClaimedOrder, build: &BuildWork, mind: &mut Mind, found: &mut Found) -> Came {
        let object = build::object(order, build, &self.workshop.default_namespace);
        found.object = Some(object.clone());
        if !order.started {
            let manifest = build::manifest(order, build, &object, place(order).as_ref());
            match self.create(order, &build::resource(), &object, &manifest, mind, not_asked).await {
                Ok(None) => {}
                Ok(Some(refused)) => return Came::Ended(refused),
                // A creation that was never answered may have happened.
                Err(stop) => return stop.came(Box::pin(self.stop_build(order, &object, mind, &mut Sight::default()))).await,
            }
        }
        let mut sight = Sight::default();
        let over = self.follow_build(order, &object, mind, &mut sight).await;
        if matches!(over, Err(Stop::Leave)) {
            return Came::Left;
        }
        // Before anything is stopped: the log goes with the pod.
        found.log = self.log_of_build(&object, &sight).await;
        let stopping = Box::pin(self.stop_build(order, &object, mind, &mut sight));
        let came = come_of(over, found.log.as_deref(), stopping).await;
        build_past::record(&Span::current(), &sight);
        came
    }

    /// Looks again whenever something has changed, until the build is over.
    async fn follow_build(
        &self,
        order: &ClaimedOrder,
        object: &ObjectRef,
        mind: &mut Mind,
        sight: &mut Sight,
    ) -> Result<Over, Stop> {
        let mut changes = self.changes_of_build(order, object);
        let mut trouble = Trouble::new(self.patience);
        loop {
            let over = match self.look_at_build(object, sight).await {
                Ok(()) => self.judge_build(order, object, sight, &mut trouble),
                // What passes is looked at again.
                Err(failure) => Ended::of_refusal(&failure).map(Over::hopeless),
            };
            if let Some(over) = over {
                return Ok(over);
            }
            mind.unless_stopped(changes.next_until(trouble.ends())).await?;
        }
    }

    /// Changes of the `BuildRun`, and of what Shipwright and Tekton make for it.
    pub(super) fn changes_of_build(&self, order: &ClaimedOrder, object: &ObjectRef) -> Changes {
        let (cluster, namespace) = (&self.workshop.cluster, &object.namespace);
        let made = vec![(build::task_runs(), namespace.clone()), (pods::resource(), namespace.clone())];
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
        let found = cluster.list_some(&pods::resource(), namespace, list(&label), FEW).await.unwrap_or_default();
        if !found.is_empty() {
            sight.pods = found;
        }
        Ok(())
    }

    fn judge_build(&self, order: &ClaimedOrder, object: &ObjectRef, sight: &Sight, trouble: &mut Trouble) -> Option<Over> {
        if sight.run.is_none() {
            return Some(Over::hopeless(Ended::missing(order, object)));
        }
        let verdict = match sight.verdict() {
            Verdict::Ended(ended) => return Some(Over::by_itself(ended)),
            // What keeps a pod from going on, where Tekton waits with it.
            Verdict::GoesOn(progress) => match pods::degraded(&sight.pods) {
                Some(assessment) => trouble.of_job(&assessment, false, Instant::now()),
                None => {
                    *trouble = Trouble::new(self.patience);
                    Verdict::GoesOn(progress)
                }
            },
        };
        match verdict {
            Verdict::Ended(ended) => Some(Over::hopeless(ended)),
            Verdict::GoesOn(progress) => {
                self.progress(order.id, progress);
                None
            }
        }
    }

    async fn log_of_build(&self, object: &ObjectRef, sight: &Sight) -> Option<String> {
        let secrets: Vec<_> = sight.pods.iter().filter_map(|pod| pod.get("spec")).flat_map(job::secrets_in).collect();
        let namespace = object.namespace.as_deref().unwrap_or_default();
        log::in_time(log::of_newest(&self.workshop, namespace, &sight.pods, &secrets)).await
    }
}

/// Why the build cannot even be asked for; nothing where that may pass.
fn not_asked(failure: &KubeFailure) -> Option<Ended> {
    match failure.class {
        Class::MissingKind => {
            let message = "this cluster has no Shipwright: it does not serve BuildRun of shipwright.io/v1beta1";
            Some(Ended::failed("shipwright_missing", message, false))
        }
        _ => Ended::of_refusal(failure),
    }
}

/// What selects what Shipwright and Tekton make for a `BuildRun`.
pub(super) fn label(object: &ObjectRef) -> String {
    format!("{BUILD_RUN}={}", object.name)
}
