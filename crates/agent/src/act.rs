//! Acting: a walk over the plan.

use std::time::{Duration, Instant};

use brokkr_api::reports::{ObjectOutcome, ObjectReport};
use brokkr_telemetry::spans::{self, ObjectAction, ObjectSpan, WaitReason};
use futures::{StreamExt, stream};
use serde_json::Value;
use tracing::{Instrument, Span};

use crate::{
    cluster::{Class, Cluster, KubeFailure, Resources},
    hold::Hold,
    object::{Manifest, ObjectId, reference},
    plan::{ApplyStage, DeleteStage, Member, Observed, Plan},
};

/// How long an object whose kind or namespace is not there yet is tried again.
const APPEARANCE: Duration = Duration::from_secs(30);
/// How long a CRD may take to be established.
const ESTABLISHED: Duration = Duration::from_secs(30);
/// How long one attempt waits for deleted objects to be gone; a later attempt goes on waiting.
const GONE: Duration = Duration::from_secs(20);
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
    /// Whether something was left because the stack is held back.
    pub(crate) held_back: bool,
}

/// Carries plans out in one cluster.
pub(crate) struct Actor<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) resources: &'a Resources,
    pub(crate) concurrency: usize,
    pub(crate) hold: &'a Hold,
}

impl Actor<'_> {
    /// Applies stage by stage, then deletes stage by stage. What comes after a failed stage is skipped, and nothing is deleted
    /// after a failed apply: the old may still be needed. When the stack is held back meanwhile, no further object is begun.
    pub(crate) async fn carry_out(&self, plan: &Plan, observed: &Observed) -> Done {
        let mut done = Done::default();
        for stage in &plan.apply {
            if done.failure.is_some() || done.held_back {
                done.objects.extend(stage.objects.iter().map(|manifest| skipped(manifest.reference())));
            } else {
                self.apply_stage(stage, observed, &mut done).await;
            }
        }
        for stage in &plan.delete {
            if done.failure.is_some() || done.held_back || !done.still_there.is_empty() {
                done.objects.extend(stage.members.iter().map(|member| skipped(reference(&member.id, &member.api_version))));
            } else {
                self.delete_stage(stage, &mut done).await;
            }
        }
        let held = plan.held.iter().map(|held| ObjectReport {
            object: reference(&held.member.id, &held.member.api_version),
            outcome: ObjectOutcome::Held,
            reason: Some(held.reason.as_str().to_owned()),
            message: Some(held.reason.explain().to_owned()),
        });
        done.objects.extend(held);
        done
    }

    async fn apply_stage(&self, stage: &ApplyStage, observed: &Observed, done: &mut Done) {
        let applies: Vec<_> = stage.objects.iter().map(|manifest| self.apply_object(manifest, observed)).collect();
        let outcomes: Vec<_> = stream::iter(applies).buffered(self.concurrency).collect().await;
        for (manifest, outcome) in stage.objects.iter().zip(outcomes) {
            let Some(outcome) = outcome else {
                done.held_back = true;
                done.objects.push(suspended(manifest.reference()));
                continue;
            };
            done.objects.push(report(manifest, &outcome));
            if let Err(failure) = outcome {
                done.failure.get_or_insert((manifest.id.clone(), failure));
            }
        }
        if stage.wait_established
            && done.failure.is_none()
            && !done.held_back
            && let Err((id, failure)) = self.wait_established(&stage.objects).await
        {
            done.failure = Some((id, failure));
        }
    }

    /// Applies, unless the stack is held back.
    async fn apply_object(&self, manifest: &Manifest, observed: &Observed) -> Option<Result<ObjectOutcome, KubeFailure>> {
        if self.hold.is_on() {
            return None;
        }
        let span = object_span(ObjectAction::Apply, &manifest.id);
        let work = async {
            let result = self.apply_when_possible(manifest).await;
            result.map(|applied| {
                let before = observed.members.iter().find(|member| member.id == manifest.id);
                match before {
                    _ if applied.created => ObjectOutcome::Created,
                    Some(member) if member.resource_version == applied.resource_version => ObjectOutcome::Unchanged,
                    _ => ObjectOutcome::Configured,
                }
            })
        };
        let result = work.instrument(span.clone()).await;
        if let Err(failure) = &result {
            spans::record_error(&span, failure.class.as_str());
        }
        Some(result)
    }

    /// Applies; while the kind or the namespace has not appeared yet, tries again for a while.
    async fn apply_when_possible(&self, manifest: &Manifest) -> Result<crate::cluster::Applied, KubeFailure> {
        let deadline = Instant::now() + APPEARANCE;
        let mut look = FIRST_LOOK;
        loop {
            let outcome = match self.resources.of_manifest(self.cluster, manifest).await? {
                Some(resource) => {
                    self.cluster.apply(&resource, manifest.id.namespace.as_deref(), &manifest.id.name, &manifest.body).await
                }
                None => Err(KubeFailure::new(
                    Class::MissingKind,
                    format!("the cluster does not serve {} {}", manifest.api_version, manifest.id.kind.kind),
                )),
            };
            let may_appear = matches!(&outcome, Err(failure) if failure.class == Class::NotFound);
            if !may_appear || Instant::now() >= deadline || self.hold.is_on() {
                return outcome;
            }
            pause(WaitReason::Retry, look).await;
            look = (look * 2).min(SLOWEST_LOOK);
        }
    }

    async fn wait_established(&self, definitions: &[Manifest]) -> Result<(), (ObjectId, KubeFailure)> {
        for definition in definitions {
            let span = spans::wait(WaitReason::CrdEstablished);
            self.wait_for_definition(definition).instrument(span).await.map_err(|failure| (definition.id.clone(), failure))?;
            self.resources.learn_definition(&definition.body);
        }
        Ok(())
    }

    async fn wait_for_definition(&self, definition: &Manifest) -> Result<(), KubeFailure> {
        let resource = self.resources.of_manifest(self.cluster, definition).await?;
        let resource = resource.ok_or_else(|| KubeFailure::new(Class::MissingKind, "the cluster does not serve CRDs"))?;
        let deadline = Instant::now() + ESTABLISHED;
        let mut look = FIRST_LOOK;
        loop {
            let object = self.cluster.get(&resource, None, &definition.id.name).await?;
            if object.as_ref().is_some_and(is_established) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(KubeFailure::new(Class::Timeout, "the CRD was not established in time"));
            }
            tokio::time::sleep(look).await;
            look = (look * 2).min(SLOWEST_LOOK);
        }
    }

    async fn delete_stage(&self, stage: &DeleteStage, done: &mut Done) {
        let deletes: Vec<_> = stage.members.iter().map(|member| self.delete_member(member)).collect();
        let outcomes: Vec<_> = stream::iter(deletes).buffered(self.concurrency).collect().await;
        for (member, outcome) in stage.members.iter().zip(outcomes) {
            let object = reference(&member.id, &member.api_version);
            let Some(outcome) = outcome else {
                done.held_back = true;
                done.objects.push(suspended(object));
                continue;
            };
            match outcome {
                Ok(true) => {
                    done.objects.push(ObjectReport { object, outcome: ObjectOutcome::Deleted, reason: None, message: None });
                }
                Ok(false) => {
                    let message = "its deletion is under way; a finalizer may hold it".to_owned();
                    let reason = Some("terminating".to_owned());
                    done.objects.push(ObjectReport { object, outcome: ObjectOutcome::Skipped, reason, message: Some(message) });
                    done.still_there.push(member.id.clone());
                }
                Err(failure) => {
                    done.objects.push(failed(object, &failure));
                    done.failure.get_or_insert((member.id.clone(), failure));
                }
            }
            if member.id.kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
                && let Some((_, group)) = member.id.name.split_once('.')
            {
                self.resources.forget_group(group);
            }
        }
    }

    /// Deletes, unless the stack is held back, and waits for the object to be gone. Tells whether it is.
    async fn delete_member(&self, member: &Member) -> Option<Result<bool, KubeFailure>> {
        if self.hold.is_on() {
            return None;
        }
        let span = object_span(ObjectAction::Delete, &member.id);
        let result = self.delete_and_wait(member).instrument(span.clone()).await;
        if let Err(failure) = &result {
            spans::record_error(&span, failure.class.as_str());
        }
        Some(result)
    }

    async fn delete_and_wait(&self, member: &Member) -> Result<bool, KubeFailure> {
        let Some(resource) = self.resources.of_kind(self.cluster, &member.id.kind).await? else { return Ok(true) };
        let namespace = member.id.namespace.as_deref();
        if !member.is_terminating {
            self.cluster.delete(&resource, namespace, &member.id.name, &member.uid, &member.resource_version).await?;
        }
        let deadline = Instant::now() + GONE;
        let mut look = FIRST_LOOK;
        loop {
            let found = self.cluster.get(&resource, namespace, &member.id.name).await?;
            let uid = found.as_ref().and_then(|object| object.pointer("/metadata/uid")).and_then(Value::as_str);
            // Another object of the same name is somebody else's.
            if uid != Some(member.uid.as_str()) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            pause(WaitReason::Gone, look).await;
            look = (look * 2).min(SLOWEST_LOOK);
        }
    }
}

async fn pause(reason: WaitReason, time: Duration) {
    tokio::time::sleep(time).instrument(spans::wait(reason)).await;
}

fn object_span(action: ObjectAction, id: &ObjectId) -> Span {
    let group_kind = id.kind.to_string();
    spans::object(ObjectSpan { action, group_kind: &group_kind, namespace: id.namespace.as_deref(), name: &id.name, wave: 0 })
}

fn is_established(definition: &Value) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        condition.get("type").and_then(Value::as_str) == Some("Established")
            && condition.get("status").and_then(Value::as_str) == Some("True")
    })
}

fn report(manifest: &Manifest, outcome: &Result<ObjectOutcome, KubeFailure>) -> ObjectReport {
    match outcome {
        Ok(outcome) => ObjectReport { object: manifest.reference(), outcome: *outcome, reason: None, message: None },
        Err(failure) => failed(manifest.reference(), failure),
    }
}

fn failed(object: brokkr_api::reports::ObjectRef, failure: &KubeFailure) -> ObjectReport {
    let reason = Some(failure.class.as_str().to_owned());
    ObjectReport { object, outcome: ObjectOutcome::Failed, reason, message: Some(failure.message.clone()) }
}

fn suspended(object: brokkr_api::reports::ObjectRef) -> ObjectReport {
    let message = Some("left as it is until somebody resumes it".to_owned());
    ObjectReport { object, outcome: ObjectOutcome::Skipped, reason: Some("suspended".to_owned()), message }
}

fn skipped(object: brokkr_api::reports::ObjectRef) -> ObjectReport {
    let message = Some("something before it has to be done first".to_owned());
    ObjectReport { object, outcome: ObjectOutcome::Skipped, reason: Some("earlier_stage".to_owned()), message }
}
