//! Acting: a walk over the plan.

mod apply;
mod delete;
mod gate;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use brokkr_api::{
    StackId,
    policy::{Conflicts, Drift, DriftOutcome, HeldPlan},
    reports::{Failure, ObjectOutcome, ObjectRef, ObjectReport},
};
use brokkr_telemetry::spans::{self, ObjectAction, ObjectSpan, WaitReason};
use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tracing::{Instrument, Span};

use crate::{
    cluster::{Class, Cluster, KubeFailure, Resources},
    drift::{self, Contests},
    health::Rules,
    hold::{Hold, Stop},
    ledger::Ledger,
    object::{GroupKind, ObjectId, reference},
    plan::{Action, ApplyStage, Plan, Step, Wave},
    slot::Slot,
};

const FIRST_LOOK: Duration = Duration::from_millis(20);
const SLOWEST_LOOK: Duration = Duration::from_secs(1);

/// What was done, object by object.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) objects: Vec<ObjectReport>,
    /// The first failure, with its object.
    pub(crate) failure: Option<(ObjectId, KubeFailure)>,
    /// Objects whose deletion is under way.
    pub(crate) still_there: Vec<ObjectId>,
    /// Why something was left.
    pub(crate) stopped: Option<Stop>,
    /// What others had changed.
    pub(crate) drift: Vec<Drift>,
    /// How many objects should go, and stay until the broker is back.
    pub(crate) postponed: usize,
    /// The deletions that wait for an approval.
    pub(crate) held_plan: Option<HeldPlan>,
}

/// How one action ended.
struct Outcome {
    report: ObjectReport,
    failure: Option<KubeFailure>,
    drift: Option<Drift>,
    stopped: Option<Stop>,
}

/// Carries plans out in one cluster.
pub(crate) struct Actor<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) resources: &'a Resources,
    pub(crate) ledger: &'a Ledger,
    pub(crate) contests: &'a Contests,
    pub(crate) stack: StackId,
    pub(crate) conflicts: Conflicts,
    pub(crate) rules: &'a Rules,
    pub(crate) wave_timeout: Duration,
    pub(crate) concurrency: usize,
    pub(crate) hold: &'a Hold,
    pub(crate) slot: &'a Slot,
    /// Told what is being waited for, when that takes a while.
    pub(crate) waiting: &'a mpsc::UnboundedSender<Failure>,
    /// Namespaces and kinds that the bundle makes: what needs them may have to wait for them.
    pub(crate) makes: &'a Makes,
}

/// What a bundle makes that other objects of it need.
#[derive(Debug, Default)]
pub(crate) struct Makes {
    pub(crate) namespaces: BTreeSet<String>,
    pub(crate) groups: BTreeSet<String>,
}

impl Makes {
    fn needed_by(&self, id: &ObjectId) -> bool {
        id.namespace.as_ref().is_some_and(|namespace| self.namespaces.contains(namespace)) || self.groups.contains(&id.kind.group)
    }
}

impl Actor<'_> {
    /// Applies wave by wave, then deletes stage by stage. A failure holds up later waves and not the rest of its own; nothing is
    /// deleted after a failed apply: the old may still be needed. When the work has to stop, no further object is begun.
    pub(crate) async fn carry_out(&self, plan: &Plan) -> Done {
        let mut done = Done { postponed: plan.postponed, held_plan: plan.held_plan.clone(), ..Done::default() };
        let last = plan.waves.len().saturating_sub(1);
        for (index, wave) in plan.waves.iter().enumerate() {
            if done.failure.is_some() || done.stopped.is_some() {
                done.skip(wave.stages.iter().flat_map(|stage| &stage.actions));
                continue;
            }
            for stage in &wave.stages {
                self.apply_stage(stage, &mut done).await;
            }
            if index < last && done.failure.is_none() && done.stopped.is_none() {
                self.wait_for_wave(wave, &mut done).await;
            }
        }
        self.delete_and_release(plan, &mut done).await;
        let held = plan.held.iter().map(|held| ObjectReport {
            object: reference(&held.member.id, &held.member.api_version),
            outcome: ObjectOutcome::Held,
            reason: Some(held.reason.as_str().to_owned()),
            message: Some(held.reason.explain().to_owned()),
        });
        done.objects.extend(held);
        done
    }

    async fn wait_for_wave(&self, wave: &Wave, done: &mut Done) {
        let span = spans::wait(WaitReason::EarlierWave);
        match self.slot.yielded(self.until_healthy(wave).instrument(span.clone())).await {
            Ok(stopped) => done.stopped = stopped,
            Err((id, failure)) => {
                spans::record_error(&span, failure.class.as_str());
                done.failure = Some((id, failure));
            }
        }
    }

    async fn apply_stage(&self, stage: &ApplyStage, done: &mut Done) {
        if let Some(stop) = done.stopped {
            done.objects.extend(stage.actions.iter().map(|action| stopped(action.manifest.reference(), stop)));
            return;
        }
        // In order of the manifests in the report, whatever is finished first.
        let work: Vec<_> =
            stage.actions.iter().enumerate().map(|(index, action)| async move { (index, self.act(action).await) }).collect();
        let mut outcomes: Vec<_> = stream::iter(work).buffer_unordered(self.concurrency).collect().await;
        outcomes.sort_by_key(|(index, _)| *index);
        for ((_, outcome), action) in outcomes.into_iter().zip(&stage.actions) {
            done.objects.push(outcome.report);
            done.drift.extend(outcome.drift);
            done.stopped = done.stopped.or(outcome.stopped);
            if let Some(failure) = outcome.failure {
                done.failure.get_or_insert((action.manifest.id.clone(), failure));
            }
        }
        if stage.wait_established && done.stopped.is_none() {
            let failed: BTreeSet<_> = done
                .objects
                .iter()
                .filter(|report| report.outcome == ObjectOutcome::Failed)
                .map(|report| &report.object.name)
                .collect();
            let applied: Vec<_> = stage.actions.iter().filter(|action| !failed.contains(&action.manifest.id.name)).collect();
            if let Err((id, failure)) = self.wait_established(&applied).await {
                done.failure.get_or_insert((id, failure));
            }
        }
    }

    async fn act(&self, action: &Action) -> Outcome {
        if let Some(stop) = self.hold.stop().filter(|_| action.step.changes_something()) {
            let report = stopped(action.manifest.reference(), stop);
            return Outcome { report, failure: None, drift: None, stopped: Some(stop) };
        }
        let object = action.manifest.reference();
        let (result, drift) = match &action.step {
            Step::Nothing => (Ok(ObjectOutcome::Unchanged), None),
            Step::Refuse(refusal) => (Err(refusal.failure()), refusal.drift(&object)),
            step => {
                let span = object_span(ObjectAction::Apply, &action.manifest.id, action.manifest.wave);
                let result = self.apply(action).instrument(span.clone()).await;
                if let Err(failure) = &result {
                    spans::record_failure(&span, failure.class.as_str());
                }
                let drift = step.drift(&object, &result);
                if drift.as_ref().is_some_and(|drift| drift.outcome == DriftOutcome::Repaired) {
                    self.contests.repaired(&action.manifest.id, Instant::now());
                }
                (result, drift)
            }
        };
        let (report, failure) = match result {
            Ok(outcome) => (ObjectReport { object, outcome, reason: None, message: None }, None),
            Err(failure) => (failed(object, &failure), Some(failure)),
        };
        Outcome { report, failure, drift, stopped: None }
    }
}

impl Done {
    fn skip<'a>(&mut self, actions: impl Iterator<Item = &'a Action>) {
        let stop = self.stopped;
        self.objects.extend(actions.map(|action| match stop {
            Some(stop) => stopped(action.manifest.reference(), stop),
            None => skipped(action.manifest.reference()),
        }));
    }
}

impl Step {
    /// What a repair tells of somebody else's change; one that found nothing to change tells nothing.
    fn drift(&self, object: &ObjectRef, result: &Result<ObjectOutcome, KubeFailure>) -> Option<Drift> {
        let Self::Repair { fields, managers } = self else { return None };
        let outcome = match result {
            Ok(ObjectOutcome::Unchanged) => return None,
            Ok(_) => DriftOutcome::Repaired,
            Err(_) => DriftOutcome::Failed,
        };
        Some(drift::entry(object, fields, managers, outcome))
    }
}

async fn pause(reason: WaitReason, time: Duration) {
    tokio::time::sleep(time).instrument(spans::wait(reason)).await;
}

fn object_span(action: ObjectAction, id: &ObjectId, wave: i32) -> Span {
    let group_kind = id.kind.to_string();
    let (namespace, wave) = (id.namespace.as_deref(), i64::from(wave));
    spans::object(ObjectSpan { action, group_kind: &group_kind, namespace, name: &id.name, wave })
}

fn is_definition(kind: &GroupKind) -> bool {
    kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
}

fn failed(object: ObjectRef, failure: &KubeFailure) -> ObjectReport {
    let reason = Some(failure.class.as_str().to_owned());
    ObjectReport { object, outcome: ObjectOutcome::Failed, reason, message: Some(failure.message.clone()) }
}

fn stopped(object: ObjectRef, stop: Stop) -> ObjectReport {
    let (reason, message) = match stop {
        Stop::Suspended => ("suspended", "left as it is until somebody resumes it"),
        Stop::Superseded => ("superseded", "left to the newer revision"),
    };
    ObjectReport { object, outcome: ObjectOutcome::Skipped, reason: Some(reason.to_owned()), message: Some(message.to_owned()) }
}

fn skipped(object: ObjectRef) -> ObjectReport {
    let message = Some("something before it has to be done first".to_owned());
    ObjectReport { object, outcome: ObjectOutcome::Skipped, reason: Some("earlier_stage".to_owned()), message }
}

/// The failure of something that the cluster does not serve.
fn missing_kind(api_version: &str, kind: &str) -> KubeFailure {
    KubeFailure::new(Class::MissingKind, format!("the cluster does not serve {api_version} {kind}"))
}
