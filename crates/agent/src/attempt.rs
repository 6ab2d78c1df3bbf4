//! One attempt at one revision of one deployment: content, observation, plan, action.

use brokkr_api::{
    client::{Client, ClientError},
    desired_state::{Action, DesiredDeployment, Scope},
    reports::{Failure, MAX_MESSAGE, ObjectOutcome, ObjectReport, Report},
    rollouts::Phase,
};
use brokkr_telemetry::spans;

use crate::{
    act::{Actor, Done},
    applyset::{self, ApplySet, Epoch},
    cluster::{Class, Cluster, KubeFailure, Resource, Resources},
    desired::Contents,
    hold::Hold,
    object::{Manifest, ObjectId, reference},
    observe,
    plan::{Goal, Observed, Policy, plan},
    schedule::Due,
};

/// What attempts share.
pub(crate) struct Workshop {
    pub(crate) client: Client,
    pub(crate) cluster: Cluster,
    pub(crate) resources: Resources,
    pub(crate) contents: Contents,
    pub(crate) namespace: String,
    pub(crate) default_namespace: String,
    pub(crate) concurrency: usize,
}

/// Whose desired state it is.
pub(crate) struct Origin<'a> {
    pub(crate) installation: &'a str,
    pub(crate) epoch: &'a str,
}

/// Why an attempt came to no result.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    #[error("{0}")]
    Kube(#[from] KubeFailure),
    #[error("the content cannot be fetched from the broker")]
    Content(#[source] ClientError),
    #[error("the broker sent a deployment without content")]
    NoContent,
    #[error("held back before anything was changed")]
    HeldBack,
}

impl Obstacle {
    fn reason(&self) -> &'static str {
        match self {
            Self::Kube(failure) => failure.class.as_str(),
            Self::Content(_) => "broker_unreachable",
            Self::NoContent => "invalid",
            Self::HeldBack => "suspended",
        }
    }
}

impl Workshop {
    /// Carries a revision out, and tells what came of it; nothing when it was held back before anything was changed. Never fails: a
    /// failure is a result.
    pub(crate) async fn attempt(
        &self,
        deployment: &DesiredDeployment,
        due: Due,
        origin: &Origin<'_>,
        hold: &Hold,
    ) -> Option<Report> {
        let set = ApplySet::of(deployment.stack_id, &self.namespace);
        let result = match deployment.action {
            Action::Apply => self.apply(deployment, &set, origin, hold).await,
            Action::Delete | Action::Withdraw => self.remove(deployment, &set, origin, hold).await,
        };
        let empty = Report {
            health: None,
            stack_id: deployment.stack_id,
            revision: due.revision,
            phase: Phase::Failed,
            attempt: due.attempt,
            objects: Vec::new(),
            error: None,
            scope: None,
            held: None,
            drift: Vec::new(),
        };
        Some(match result {
            Ok((done, scope)) => Report { scope: Some(scope), ..finished(empty, deployment.action, done) },
            Err(Obstacle::HeldBack) => return None,
            Err(obstacle) => {
                let message = obstacle.to_string().chars().take(MAX_MESSAGE).collect();
                Report { error: Some(Failure { reason: obstacle.reason().to_owned(), message, object: None }), ..empty }
            }
        })
    }

    async fn apply(
        &self,
        deployment: &DesiredDeployment,
        set: &ApplySet,
        origin: &Origin<'_>,
        hold: &Hold,
    ) -> Result<(Done, Scope), Obstacle> {
        let digest = deployment.digest.as_deref().ok_or(Obstacle::NoContent)?;
        let content = self.contents.get(&self.client, deployment, digest).await.map_err(Obstacle::Content)?;
        let manifests = self.prepare(content.objects.iter().cloned().filter_map(Manifest::new).collect(), set).await?;
        let wanted = applyset::scope_of(&manifests);
        let parent = observe::parent(&self.cluster, set).await?;
        let before = observe::scope(parent.as_ref(), deployment.scope.as_ref());
        // Without parent and without memory of the broker nothing was ever applied: there is nothing to look for.
        let observed = if parent.is_none() && deployment.scope.is_none() {
            Observed { complete: true, members: Vec::new() }
        } else {
            observe::members(&self.cluster, &self.resources, set, &before, self.concurrency).await?
        };
        if hold.is_on() {
            return Err(Obstacle::HeldBack);
        }
        let widened = applyset::union(&before, &wanted);
        let is_of_another = parent.as_ref().is_some_and(|parent| parent.is_of_another(origin.epoch));
        let kept = parent.as_ref().filter(|parent| parent.holds(origin.epoch, deployment.revision));
        let epoch_changed = kept.is_some();
        let now = Epoch::Now(origin.epoch);
        let epoch = kept.and_then(|parent| parent.epoch.as_deref()).map_or(now, |epoch| Epoch::Kept {
            epoch,
            now: origin.epoch,
            revision: deployment.revision,
        });
        let is_told = kept.is_none_or(|parent| parent.held.as_ref().is_some_and(|(held, _)| held == origin.epoch));
        if !is_told || !parent.as_ref().is_some_and(|parent| set.names_all(&parent.scope, &widened)) {
            self.write_parent(set, deployment, &widened, origin, &epoch).await?;
        }
        let policy = Policy { deletion_approved: false, epoch_changed };
        let plan = spans::plan().in_scope(|| plan(Goal::Apply(manifests), &observed, &policy));
        let done = self.actor(hold).carry_out(&plan, &observed).await;
        // Narrowed only when nothing that should go is left: the parent must never name less than there is.
        let clean = done.failure.is_none() && !done.held_back && done.still_there.is_empty() && plan.held.is_empty();
        if clean && (!set.names_all(&wanted, &widened) || is_of_another) {
            self.write_parent(set, deployment, &wanted, origin, &Epoch::Now(origin.epoch)).await?;
        }
        Ok((done, if clean { wanted } else { widened }))
    }

    async fn remove(
        &self,
        deployment: &DesiredDeployment,
        set: &ApplySet,
        origin: &Origin<'_>,
        hold: &Hold,
    ) -> Result<(Done, Scope), Obstacle> {
        let parent = observe::parent(&self.cluster, set).await?;
        let scope = observe::scope(parent.as_ref(), deployment.scope.as_ref());
        let observed = observe::members(&self.cluster, &self.resources, set, &scope, self.concurrency).await?;
        if hold.is_on() {
            return Err(Obstacle::HeldBack);
        }
        let policy = Policy {
            deletion_approved: deployment.action == Action::Delete,
            epoch_changed: parent.as_ref().is_some_and(|parent| parent.holds(origin.epoch, deployment.revision)),
        };
        let plan = spans::plan().in_scope(|| plan(Goal::Remove, &observed, &policy));
        let mut done = self.actor(hold).carry_out(&plan, &observed).await;
        if done.failure.is_none() && !done.held_back && done.still_there.is_empty() && plan.held.is_empty() {
            if let Err(failure) = self.delete_parent(set).await {
                done.failure = Some((set.parent_id(), failure));
            }
            return Ok((done, Scope::default()));
        }
        Ok((done, scope))
    }

    fn actor<'a>(&'a self, hold: &'a Hold) -> Actor<'a> {
        Actor { cluster: &self.cluster, resources: &self.resources, concurrency: self.concurrency, hold }
    }

    /// Gives every manifest its namespace and the set's label. Kinds that a CRD of the same content defines are known by that.
    async fn prepare(&self, mut manifests: Vec<Manifest>, set: &ApplySet) -> Result<Vec<Manifest>, Obstacle> {
        for manifest in &manifests {
            if manifest.id.kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
                self.resources.learn_definition(&manifest.body);
            }
        }
        for manifest in &mut manifests {
            if let Some(resource) = self.resources.of_manifest(&self.cluster, manifest).await? {
                let named = || manifest.id.namespace.clone().unwrap_or_else(|| self.default_namespace.clone());
                let namespace = resource.namespaced.then(named);
                manifest.set_namespace(namespace);
            }
            manifest.set_label(applyset::PART_OF, &set.id);
        }
        Ok(manifests)
    }

    /// Makes the agent's own namespace when it is missing.
    pub(crate) async fn ensure_namespace(&self) -> Result<(), KubeFailure> {
        let namespaces = Resource::core("Namespace", "namespaces", false);
        if self.cluster.get(&namespaces, None, &self.namespace).await?.is_some() {
            return Ok(());
        }
        let namespace = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        self.cluster.apply(&namespaces, None, &self.namespace, &namespace).await.map(drop)
    }

    async fn write_parent(
        &self,
        set: &ApplySet,
        deployment: &DesiredDeployment,
        scope: &Scope,
        origin: &Origin<'_>,
        epoch: &Epoch<'_>,
    ) -> Result<(), KubeFailure> {
        let body = set.parent(deployment.stack.as_str(), scope, origin.installation, epoch);
        let config_maps = Resource::core("ConfigMap", "configmaps", true);
        match self.cluster.apply(&config_maps, Some(&set.namespace), &set.name, &body).await {
            // The agent's own namespace was deleted since the agent started.
            Err(failure) if failure.class == Class::NotFound => {
                self.ensure_namespace().await?;
                self.cluster.apply(&config_maps, Some(&set.namespace), &set.name, &body).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    async fn delete_parent(&self, set: &ApplySet) -> Result<(), KubeFailure> {
        let config_maps = Resource::core("ConfigMap", "configmaps", true);
        let Some(object) = self.cluster.get(&config_maps, Some(&set.namespace), &set.name).await? else { return Ok(()) };
        let text = |pointer: &str| object.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default();
        self.cluster
            .delete(&config_maps, Some(&set.namespace), &set.name, text("/metadata/uid"), text("/metadata/resourceVersion"))
            .await
    }
}

/// The report of what was done.
fn finished(report: Report, action: Action, done: Done) -> Report {
    let held = done.objects.iter().filter(|object| object.outcome == ObjectOutcome::Held).count();
    let failure = done.failure.as_ref().map(|(id, failure)| Failure {
        reason: failure.class.as_str().to_owned(),
        message: failure.message.clone(),
        object: Some(reference(id, "")),
    });
    let (phase, error) = match (action, failure) {
        (_, Some(failure)) => (Phase::Failed, Some(failure)),
        (_, None) if done.held_back => (unfinished(action), Some(suspended(&done.objects))),
        (_, None) if !done.still_there.is_empty() => (unfinished(action), Some(terminating(&done.still_there))),
        (Action::Apply, None) => (Phase::Applied, None),
        (_, None) if held > 0 => {
            let message = format!("{held} objects wait for an approval of their deletion");
            (Phase::Deleting, Some(Failure { reason: "approval_required".to_owned(), message, object: None }))
        }
        (_, None) => (Phase::Deleted, None),
    };
    Report { phase, error, objects: done.objects, ..report }
}

fn unfinished(action: Action) -> Phase {
    if action == Action::Apply { Phase::Progressing } else { Phase::Deleting }
}

fn suspended(objects: &[ObjectReport]) -> Failure {
    let left = objects.iter().filter(|object| object.outcome == ObjectOutcome::Skipped).count();
    let message = format!("suspended on the way: {left} of {} objects are left until somebody resumes it", objects.len());
    Failure { reason: "suspended".to_owned(), message, object: None }
}

fn terminating(objects: &[ObjectId]) -> Failure {
    let message = format!("waiting for {} objects to be gone; a finalizer may hold them", objects.len());
    Failure { reason: "terminating".to_owned(), message, object: objects.first().map(|id| reference(id, "")) }
}
