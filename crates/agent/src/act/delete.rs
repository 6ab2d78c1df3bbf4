//! Deletions, and members that are let go.

use std::time::{Duration, Instant};

use brokkr_api::reports::{ObjectOutcome, ObjectReport};
use brokkr_telemetry::spans::{self, ObjectAction, WaitReason};
use futures::{StreamExt, stream};
use tracing::Instrument;

use super::{Actor, Done, FIRST_LOOK, SLOWEST_LOOK, failed, is_definition, object_span, pause, skipped, stopped};
use crate::{
    adopt,
    applyset::PART_OF,
    cluster::{Class, KubeFailure, Resource},
    hold::Stop,
    live::{DIGEST, FIELDS, Live},
    object::{ObjectId, reference},
    plan::{DeleteStage, Plan},
};

/// How long one attempt waits for deleted objects to be gone; a later attempt goes on waiting.
const GONE: Duration = Duration::from_secs(20);

/// How often an object that keeps changing is looked at again to be deleted.
const LOOKS: usize = 5;

/// How the deletion of one member ended.
enum Deleted {
    Gone,
    /// A finalizer holds it.
    UnderWay,
    Stopped(Stop),
}

impl Actor<'_> {
    pub(super) async fn delete_and_release(&self, plan: &Plan, done: &mut Done) {
        for stage in &plan.delete {
            if done.failure.is_some() || done.stopped.is_some() || !done.still_there.is_empty() {
                done.objects.extend(stage.members.iter().map(|member| skipped(reference(&member.id, &member.api_version))));
            } else {
                // Mostly it is waiting for finalizers.
                self.slot.yielded(self.delete_stage(stage, done)).await;
            }
        }
        for member in &plan.release {
            if done.failure.is_some() || done.stopped.is_some() {
                done.objects.push(skipped(reference(&member.id, &member.api_version)));
                continue;
            }
            let object = reference(&member.id, &member.api_version);
            match self.release(member).await {
                Ok(()) => {
                    self.ledger.forget(&member.id, self.stack);
                    let message = Some("it stays in the cluster and no longer belongs to the stack".to_owned());
                    let reason = Some("orphaned".to_owned());
                    done.objects.push(ObjectReport { object, outcome: ObjectOutcome::Deleted, reason, message });
                }
                Err(failure) => {
                    done.objects.push(failed(object, &failure));
                    done.failure = Some((member.id.clone(), failure));
                }
            }
        }
    }

    async fn release(&self, member: &Live) -> Result<(), KubeFailure> {
        let Some(resource) = self.resources.of_kind(self.cluster, &member.id.kind).await? else { return Ok(()) };
        let namespace = member.id.namespace.as_deref();
        let Some(object) = self.cluster.get(&resource, namespace, &member.id.name).await? else { return Ok(()) };
        let Some(patch) = adopt::release(&object, PART_OF, &[DIGEST, FIELDS]) else { return Ok(()) };
        self.cluster.patch_json(&resource, namespace, &member.id.name, &patch).await.map(drop)
    }

    async fn delete_stage(&self, stage: &DeleteStage, done: &mut Done) {
        let deletes: Vec<_> = stage.members.iter().map(|member| self.delete_member(member)).collect();
        let outcomes: Vec<_> = stream::iter(deletes).buffered(self.concurrency).collect().await;
        for (member, outcome) in stage.members.iter().zip(outcomes) {
            let object = reference(&member.id, &member.api_version);
            match outcome {
                Ok(Deleted::Gone) => {
                    self.ledger.forget(&member.id, self.stack);
                    done.objects.push(ObjectReport { object, outcome: ObjectOutcome::Deleted, reason: None, message: None });
                }
                Ok(Deleted::UnderWay) => {
                    let message = "its deletion is under way; a finalizer may hold it".to_owned();
                    let reason = Some("terminating".to_owned());
                    done.objects.push(ObjectReport { object, outcome: ObjectOutcome::Skipped, reason, message: Some(message) });
                    done.still_there.push(member.id.clone());
                }
                Ok(Deleted::Stopped(stop)) => {
                    done.stopped = Some(stop);
                    done.objects.push(stopped(object, stop));
                }
                Err(failure) => {
                    done.objects.push(failed(object, &failure));
                    done.failure.get_or_insert((member.id.clone(), failure));
                }
            }
            if is_definition(&member.id.kind)
                && let Some((_, group)) = member.id.name.split_once('.')
            {
                self.resources.forget_group(group);
            }
        }
    }

    /// Deletes, unless the work has to stop, and waits for the object to be gone.
    async fn delete_member(&self, member: &Live) -> Result<Deleted, KubeFailure> {
        if let Some(stop) = self.hold.stop() {
            return Ok(Deleted::Stopped(stop));
        }
        let span = object_span(ObjectAction::Delete, &member.id, 0);
        let result = self.delete_and_wait(member).instrument(span.clone()).await;
        if let Err(failure) = &result {
            spans::record_failure(&span, failure.class.as_str());
        }
        result
    }

    /// Asks for the deletion of exactly this object. One that changes meanwhile, because a controller writes its status, is looked at
    /// again and deleted as it is then, as long as it is still the stack's. Tells whether it may still be there.
    async fn begin_deletion(&self, resource: &Resource, member: &Live) -> Result<bool, KubeFailure> {
        let mut current = member.clone();
        let namespace = member.id.namespace.as_deref();
        for _ in 0..LOOKS {
            if current.is_terminating {
                return Ok(true);
            }
            match self.cluster.delete(resource, namespace, &member.id.name, &current.uid, &current.resource_version).await {
                Err(failure) if failure.class == Class::Conflict => {}
                other => return other.map(|()| true),
            }
            match self.cluster.look(resource, namespace, &member.id.name).await? {
                Some(now) if now.uid == member.uid => current = now,
                // Gone, or another object of the same name, which is somebody else's.
                _ => return Ok(false),
            }
            let is_still_ours = current.is_ours() && current.part_of == member.part_of && !current.has_owner;
            if !is_still_ours || current.keep != member.keep {
                break;
            }
        }
        Err(KubeFailure::new(Class::Transient, "it changed while it was to be deleted; the agent looks again"))
    }

    async fn delete_and_wait(&self, member: &Live) -> Result<Deleted, KubeFailure> {
        let Some(resource) = self.resources.of_kind(self.cluster, &member.id.kind).await? else { return Ok(Deleted::Gone) };
        if !self.begin_deletion(&resource, member).await? {
            return Ok(Deleted::Gone);
        }
        // Another object of the same name is somebody else's.
        let is_gone = self.is_gone_in_time(&resource, &member.id, |live| live.uid == member.uid).await?;
        Ok(if is_gone { Deleted::Gone } else { Deleted::UnderWay })
    }

    /// Waits for an object to be gone, or for another in its place. Not for longer than an attempt may wait, nor when it has to stop.
    pub(super) async fn is_gone_in_time(
        &self,
        resource: &Resource,
        id: &ObjectId,
        is_it: impl Fn(&Live) -> bool,
    ) -> Result<bool, KubeFailure> {
        let deadline = Instant::now() + GONE;
        let mut look = FIRST_LOOK;
        while self.cluster.look(resource, id.namespace.as_deref(), &id.name).await?.is_some_and(|live| is_it(&live)) {
            if Instant::now() >= deadline || self.hold.stop().is_some() {
                return Ok(false);
            }
            pause(WaitReason::Gone, look).await;
            look = (look * 2).min(SLOWEST_LOOK);
        }
        Ok(true)
    }
}
