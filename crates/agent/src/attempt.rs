//! One attempt at one revision of one deployment: content, observation, plan, action.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_api::{
    StackId,
    client::{Client, ClientError},
    desired_state::{Action, DesiredDeployment, DesiredState, Scope},
    reports::{Failure, Report},
};
use brokkr_telemetry::spans;
use tokio::sync::mpsc;

use crate::{
    act::{Actor, Done},
    applyset::{self, ApplySet, Epoch, Parent},
    bundle::Bundle,
    cluster::{Class, Cluster, KubeFailure, Resource, Resources},
    desired::Contents,
    drift::Contests,
    health::Rules,
    hold::{Hold, Stop},
    ledger::{self, Ledger},
    monitor::Monitor,
    object::ObjectId,
    observe,
    outcome::{finished, hindered},
    phases::Phases,
    plan::{Goal, Observed, Plan, Policy, Step, plan},
    schedule::{Due, Trigger},
    sight::Sight,
    slot::Slot,
    status::Status,
    trace::step,
};

/// What attempts share.
pub(crate) struct Workshop {
    pub(crate) client: Client,
    pub(crate) cluster: Cluster,
    pub(crate) resources: Resources,
    pub(crate) contents: Contents,
    pub(crate) ledger: Ledger,
    pub(crate) contests: Contests,
    pub(crate) approvals: Approvals,
    pub(crate) health: Monitor,
    pub(crate) phases: Phases,
    pub(crate) sight: Sight,
    /// Rung when a stack was applied, so that its health is looked at.
    pub(crate) applied: mpsc::UnboundedSender<()>,
    pub(crate) status: Arc<Status>,
    pub(crate) namespace: String,
    pub(crate) default_namespace: String,
    pub(crate) concurrency: usize,
}

/// What is to be done, and in whose name.
#[derive(Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) state: &'a DesiredState,
    pub(crate) deployment: &'a DesiredDeployment,
    pub(crate) due: Due,
    pub(crate) hold: &'a Hold,
    pub(crate) slot: &'a Slot,
    /// Told what is being waited for, when that takes a while.
    pub(crate) waiting: &'a mpsc::UnboundedSender<Failure>,
}

/// Why an attempt came to no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Obstacle {
    #[error("{0}")]
    Kube(#[from] KubeFailure),
    #[error("the content cannot be fetched from the broker")]
    Content(#[source] ClientError),
    #[error("the broker sent a deployment without content")]
    NoContent,
    #[error("stopped before anything was changed")]
    Stopped(Stop),
    #[error("the broker is away: nothing is deleted until it is back")]
    BrokerAway,
}

/// How an attempt ended.
pub(crate) enum Attempted {
    /// To be told.
    Report(Box<Report>),
    /// It was only looked at, and everything is as it should be.
    AsItShouldBe,
    Stopped(Stop),
}

impl Workshop {
    /// Carries a revision out, and tells what came of it. Never fails: a failure is a result.
    pub(crate) async fn attempt(&self, order: Order<'_>) -> Attempted {
        let set = ApplySet::of(order.deployment.stack_id, &self.namespace);
        let result = match order.deployment.action {
            Action::Apply => self.apply(order, &set).await,
            Action::Delete | Action::Withdraw => self.remove(order, &set).await.map(Some),
        };
        match result {
            Ok(None) => Attempted::AsItShouldBe,
            Ok(Some((Done { stopped: Some(Stop::Superseded), .. }, _))) => Attempted::Stopped(Stop::Superseded),
            Ok(Some((done, scope))) => Attempted::Report(Box::new(finished(order.deployment, order.due, done, scope))),
            Err(Obstacle::Stopped(stop)) => Attempted::Stopped(stop),
            Err(obstacle) => Attempted::Report(Box::new(hindered(order.deployment, order.due, &obstacle))),
        }
    }

    async fn apply(&self, order: Order<'_>, set: &ApplySet) -> Result<Option<(Done, Scope)>, Obstacle> {
        let deployment = order.deployment;
        let prepare = spans::prepare();
        let bundle = step(prepare.clone(), self.bundle(deployment, set)).await?;
        spans::record_objects(&prepare, bundle.manifests.len());
        drop(prepare);
        let wanted = bundle.scope();
        let (parent, before, observed) = self.look(order, set, &bundle).await?;
        if let Some(stop) = order.hold.stop() {
            return Err(Obstacle::Stopped(stop));
        }
        let now = &order.state.epoch;
        let policy = self.policy(order, set, parent.as_ref());
        let manifests = bundle.manifests.clone();
        let plan_span = spans::plan();
        spans::record_objects(&plan_span, manifests.len());
        let plan = plan_span.in_scope(|| plan(&Goal::Apply(manifests), &observed, &policy, Instant::now()));
        drop(plan_span);
        self.remember(deployment, &plan, &observed);
        let widened = applyset::union(&before, &wanted);
        if plan.changes_nothing() && order.due.trigger == Trigger::Look && parent.is_some() && !has_news(&plan) {
            return Ok(None);
        }
        let is_of_another = parent.as_ref().is_some_and(|parent| parent.is_of_another(now));
        let kept = parent.as_ref().filter(|parent| parent.holds(now, deployment.revision));
        let epoch = kept.and_then(|parent| parent.epoch.as_deref()).map_or(Epoch::Now(now), |epoch| Epoch::Kept {
            epoch,
            now,
            revision: deployment.revision,
        });
        let is_told = kept.is_none_or(|parent| parent.held.as_ref().is_some_and(|(held, _)| held == now));
        if !is_told || !parent.as_ref().is_some_and(|parent| set.names_all(&parent.scope, &widened)) {
            self.write_parent(order, set, &widened, &epoch).await?;
        }
        let mut done = self.carry_out(order, &plan, &bundle).await?;
        // Narrowed only when nothing that should go is left: the parent must never name less than there is.
        if let (false, None) = (observed.complete, &done.failure) {
            done.failure = Some((set.parent_id(), unreadable(&observed)));
        }
        let clean = is_clean(&done, &plan);
        if clean && (!set.names_all(&wanted, &widened) || is_of_another) {
            self.write_parent(order, set, &wanted, &Epoch::Now(now)).await?;
        }
        Ok(Some((done, if clean { wanted } else { widened })))
    }

    async fn remove(&self, order: Order<'_>, set: &ApplySet) -> Result<(Done, Scope), Obstacle> {
        let (parent, scope, observed) = self.look(order, set, &Bundle::default()).await?;
        if let Some(stop) = order.hold.stop() {
            return Err(Obstacle::Stopped(stop));
        }
        let policy = self.policy(order, set, parent.as_ref());
        if policy.deletes_nothing {
            return Err(Obstacle::BrokerAway);
        }
        if !observed.complete {
            return Err(Obstacle::Kube(unreadable(&observed)));
        }
        let plan = spans::plan().in_scope(|| plan(&Goal::Remove, &observed, &policy, Instant::now()));
        self.remember(order.deployment, &plan, &observed);
        let mut done = self.carry_out(order, &plan, &Bundle::default()).await?;
        if is_clean(&done, &plan) {
            if let Err(failure) = self.delete_parent(set).await {
                done.failure = Some((set.parent_id(), failure));
            }
            return Ok((done, Scope::default()));
        }
        Ok((done, scope))
    }

    async fn bundle(&self, deployment: &DesiredDeployment, set: &ApplySet) -> Result<Bundle, Obstacle> {
        let digest = deployment.digest.as_deref().ok_or(Obstacle::NoContent)?;
        let content = self.contents.get(&self.client, deployment, digest).await.map_err(Obstacle::Content)?;
        let ignore = &deployment.policy.ignore_fields;
        Bundle::prepare(&content, &self.cluster, &self.resources, &self.default_namespace, &set.id, ignore).await
    }

    /// What the cluster holds of the stack: its parent, where its objects may be, and what is there.
    async fn look(
        &self,
        order: Order<'_>,
        set: &ApplySet,
        bundle: &Bundle,
    ) -> Result<(Option<Parent>, Scope, Observed), Obstacle> {
        let span = spans::observe();
        let look = async {
            let parent = observe::parent(&self.cluster, set).await?;
            let scope = observe::scope(parent.as_ref(), order.deployment.scope.as_ref());
            let observed = self.observe(order, set, bundle, parent.as_ref(), &scope).await?;
            Ok((parent, scope, observed))
        };
        let found = step(span.clone(), look).await?;
        spans::record_objects(&span, found.2.members.len() + found.2.strangers.len());
        Ok(found)
    }

    async fn observe(
        &self,
        order: Order<'_>,
        set: &ApplySet,
        bundle: &Bundle,
        parent: Option<&Parent>,
        scope: &Scope,
    ) -> Result<Observed, Obstacle> {
        let (cluster, resources) = (&self.cluster, &self.resources);
        // Without parent and without memory of the broker nothing was ever applied: there is nothing to look for.
        let members = if parent.is_none() && order.deployment.scope.is_none() {
            observe::Seen::default()
        } else {
            observe::members(cluster, resources, set, scope, self.concurrency).await?
        };
        let strangers = observe::strangers(cluster, resources, &bundle.manifests, &members.objects, self.concurrency).await?;
        let complete = members.unreadable.is_empty();
        let mut unreadable = members.unreadable;
        unreadable.extend(strangers.unreadable);
        let mut observed = Observed {
            complete,
            unreadable,
            applied: self.ledger.of(bundle.manifests.iter().map(|manifest| &manifest.id)),
            contested: self.contests.waiting(Instant::now()),
            approved: self.approvals.of(order.deployment),
            members: members.objects,
            strangers: strangers.objects,
            ..Observed::default()
        };
        self.look_at_other_stacks(order, set, bundle, &mut observed).await?;
        Ok(observed)
    }

    /// Objects move between stacks without being deleted in between: what one stack drops and another has in its manifests is left
    /// to that one.
    async fn look_at_other_stacks(
        &self,
        order: Order<'_>,
        set: &ApplySet,
        bundle: &Bundle,
        observed: &mut Observed,
    ) -> Result<(), Obstacle> {
        let wanted: HashSet<&ObjectId> = bundle.manifests.iter().map(|manifest| &manifest.id).collect();
        let surplus: HashSet<ObjectId> = observed
            .members
            .iter()
            .filter(|live| live.is_ours() && !wanted.contains(&live.id))
            .map(|live| live.id.clone())
            .collect();
        let elsewhere = |live: &&crate::live::Live| live.is_ours() && live.part_of.as_ref().is_some_and(|other| *other != set.id);
        let strangers: Vec<_> = observed.strangers.iter().filter(elsewhere).cloned().collect();
        if surplus.is_empty() && strangers.is_empty() {
            return Ok(());
        }
        for other in &order.state.deployments {
            if other.stack_id == order.deployment.stack_id {
                continue;
            }
            let their_set = ApplySet::of(other.stack_id, &self.namespace).id;
            let is_theirs = |live: &&crate::live::Live| live.part_of.as_ref() == Some(&their_set);
            let theirs: Vec<_> = strangers.iter().filter(is_theirs).collect();
            if surplus.is_empty() && theirs.is_empty() {
                continue;
            }
            let ids = match (other.action, &other.digest) {
                (Action::Apply, Some(digest)) => {
                    let content = self.contents.get(&self.client, other, digest).await.map_err(Obstacle::Content)?;
                    Bundle::identities(&content, &self.cluster, &self.resources, &self.default_namespace).await?
                }
                _ => HashSet::new(),
            };
            observed.wanted_elsewhere.extend(surplus.intersection(&ids).cloned());
            observed.other_stacks.extend(theirs.into_iter().map(|live| {
                let other = crate::plan::OtherStack { name: other.stack.to_string(), wants_it: ids.contains(&live.id) };
                (live.id.clone(), other)
            }));
        }
        Ok(())
    }

    fn policy(&self, order: Order<'_>, set: &ApplySet, parent: Option<&Parent>) -> Policy {
        let deployment = order.deployment;
        Policy {
            set: set.id.clone(),
            revision: deployment.revision,
            adoption: deployment.policy.adoption,
            delete_policy: deployment.policy.delete_policy,
            deletes_nothing: self.status.broker_is_away(),
            deletion_approved: deployment.action == Action::Delete,
            epoch_changed: parent.is_some_and(|parent| parent.holds(&order.state.epoch, deployment.revision)),
            approved: deployment.approved.clone(),
        }
    }

    /// What the plan tells about the time to come.
    fn remember(&self, deployment: &DesiredDeployment, plan: &Plan, observed: &Observed) {
        self.approvals.granted(deployment, plan);
        let live = observed.members.iter().map(|live| (&live.id, live)).collect::<std::collections::HashMap<_, _>>();
        for action in plan.actions().filter(|action| action.step == Step::Nothing) {
            // Found as it should be after a restart: from here on it is known.
            if let Some(live) = live.get(&action.manifest.id)
                && !observed.applied.get(&action.manifest.id).is_some_and(|applied| applied.agrees(live))
            {
                let applied = ledger::Applied::of(deployment.stack_id, &action.manifest.digest, live);
                self.ledger.record(&action.manifest.id, applied);
            }
        }
    }

    async fn carry_out(&self, order: Order<'_>, plan: &Plan, bundle: &Bundle) -> Result<Done, Obstacle> {
        let policy = &order.deployment.policy;
        let cluster = self.cluster.acting_as(policy.service_account.as_deref())?;
        let rules = Rules::compile(&policy.health);
        let actor = Actor {
            cluster: &cluster,
            resources: &self.resources,
            ledger: &self.ledger,
            contests: &self.contests,
            stack: order.deployment.stack_id,
            conflicts: policy.conflicts,
            rules: &rules,
            wave_timeout: Duration::from_secs(policy.wave_timeout_seconds.into()),
            concurrency: self.concurrency,
            hold: order.hold,
            slot: order.slot,
            waiting: order.waiting,
            makes: &bundle.makes,
        };
        Ok(actor.carry_out(plan).await)
    }

    /// Forgets what was known of stacks that the desired state no longer names.
    pub(crate) fn forget_all_but(&self, state: &DesiredState) {
        let is_there = |stack: StackId| state.deployments.iter().any(|deployment| deployment.stack_id == stack);
        self.ledger.keep_stacks(is_there);
        self.health.keep_stacks(is_there);
        self.phases.keep_stacks(is_there);
        self.approvals.0.lock().retain(|stack, _| is_there(*stack));
    }

    /// Makes the agent's own namespace when it is missing.
    pub(crate) async fn ensure_namespace(&self) -> Result<(), KubeFailure> {
        let namespaces = Resource::core("Namespace", "namespaces", false);
        if self.cluster.look(&namespaces, None, &self.namespace).await?.is_some() {
            return Ok(());
        }
        let namespace = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        self.cluster.apply_own(&namespaces, None, &self.namespace, &namespace).await.map(drop)
    }

    async fn write_parent(&self, order: Order<'_>, set: &ApplySet, scope: &Scope, epoch: &Epoch<'_>) -> Result<(), KubeFailure> {
        let body = set.parent(order.deployment.stack.as_str(), scope, &order.state.installation, epoch);
        let config_maps = Resource::core("ConfigMap", "configmaps", true);
        match self.cluster.apply_own(&config_maps, Some(&set.namespace), &set.name, &body).await {
            // The agent's own namespace was deleted since the agent started.
            Err(failure) if failure.class == Class::NotFound => {
                self.ensure_namespace().await?;
                self.cluster.apply_own(&config_maps, Some(&set.namespace), &set.name, &body).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    async fn delete_parent(&self, set: &ApplySet) -> Result<(), KubeFailure> {
        let config_maps = Resource::core("ConfigMap", "configmaps", true);
        let Some(live) = self.cluster.look(&config_maps, Some(&set.namespace), &set.name).await? else { return Ok(()) };
        self.cluster.delete(&config_maps, Some(&set.namespace), &set.name, &live.uid, &live.resource_version).await
    }
}

fn is_clean(done: &Done, plan: &Plan) -> bool {
    done.failure.is_none() && done.stopped.is_none() && done.still_there.is_empty() && plan.held.is_empty() && plan.postponed == 0
}

/// What cannot be seen may be something that should go: nothing is done until it can be.
fn unreadable(observed: &Observed) -> KubeFailure {
    KubeFailure::new(Class::Forbidden, observed.unreadable.values().next().cloned().unwrap_or_default())
}

/// Whether a plan that changes nothing is still worth a report: somebody has to look at it.
fn has_news(plan: &Plan) -> bool {
    plan.actions().any(|action| matches!(action.step, Step::Refuse(_)))
}

/// Deletions that were approved and are not finished: an approval names all of them, and some may be gone already.
#[derive(Debug, Default)]
pub(crate) struct Approvals(parking_lot::Mutex<std::collections::HashMap<StackId, (u64, HashSet<String>)>>);

impl Approvals {
    fn of(&self, deployment: &DesiredDeployment) -> HashSet<String> {
        let approvals = self.0.lock();
        let granted = approvals.get(&deployment.stack_id).filter(|(revision, _)| *revision == deployment.revision);
        granted.map(|(_, uids)| uids.clone()).unwrap_or_default()
    }

    fn granted(&self, deployment: &DesiredDeployment, plan: &Plan) {
        if deployment.approved.is_some() && plan.held_plan.is_none() {
            let uids = plan.delete.iter().flat_map(|stage| &stage.members).map(|member| member.uid.clone()).collect();
            self.0.lock().insert(deployment.stack_id, (deployment.revision, uids));
        }
    }
}
