//! One object.

use std::time::{Duration, Instant};

use brokkr_api::{policy::Conflicts, reports::ObjectOutcome};
use brokkr_telemetry::spans::{self, WaitReason};
use serde_json::Value;
use tracing::Instrument;

use super::{Actor, FIRST_LOOK, SLOWEST_LOOK, missing_kind, pause};
use crate::{
    adopt,
    cluster::{Applied, Class, Force, KubeFailure, Resource},
    footprint, ledger,
    object::{Manifest, ObjectId},
    plan::{Action, Step},
    pointer::unescape,
};

/// How long an object whose kind or namespace is of the same bundle is tried again.
const APPEARANCE: Duration = Duration::from_secs(30);
/// How long a CRD may take to be established.
const ESTABLISHED: Duration = Duration::from_secs(30);

impl Actor<'_> {
    pub(super) async fn apply(&self, action: &Action) -> Result<ObjectOutcome, KubeFailure> {
        let manifest = &*action.manifest;
        let before = self.ledger.get(&manifest.id);
        if action.step == Step::WaitUntilGone {
            self.until_gone(manifest).await?;
        }
        let applied = self.apply_when_possible(action).await?;
        let outcome = match &before {
            _ if applied.created => ObjectOutcome::Created,
            Some(before) if before.resource_version == applied.live.resource_version => ObjectOutcome::Unchanged,
            _ => ObjectOutcome::Configured,
        };
        self.ledger.record(&manifest.id, ledger::Applied::of(self.stack, &manifest.digest, &applied.live));
        Ok(outcome)
    }

    /// Applies; while the kind or the namespace that the bundle itself makes has not appeared yet, tries again for a while.
    async fn apply_when_possible(&self, action: &Action) -> Result<Applied, KubeFailure> {
        let manifest = &*action.manifest;
        let deadline = Instant::now() + APPEARANCE;
        let mut look = FIRST_LOOK;
        loop {
            let outcome = match self.resources.of_manifest(self.cluster, &manifest.id.kind, &manifest.api_version).await? {
                Some(resource) => self.apply_as(action, &resource).await,
                None => Err(missing_kind(&manifest.api_version, &manifest.id.kind.kind)),
            };
            let may_appear = matches!(&outcome, Err(failure) if matches!(failure.class, Class::NotFound | Class::MissingKind))
                && self.makes.needed_by(&manifest.id);
            if !may_appear || Instant::now() >= deadline || self.hold.stop().is_some() {
                return outcome;
            }
            pause(WaitReason::Retry, look).await;
            look = (look * 2).min(SLOWEST_LOOK);
        }
    }

    async fn apply_as(&self, action: &Action, resource: &Resource) -> Result<Applied, KubeFailure> {
        let manifest = &*action.manifest;
        let namespace = manifest.id.namespace.as_deref();
        if action.step == Step::Adopt {
            return adopt::take_over(self.cluster, resource, manifest).await;
        }
        let body = match manifest.ignored.as_slice() {
            [] => manifest.json.as_bytes().to_vec(),
            ignored => self.leaving_to_others(manifest, resource, ignored).await?,
        };
        let force = if self.conflicts == Conflicts::Force { Force::Yes } else { Force::No };
        let outcome = self.cluster.apply(resource, namespace, &manifest.id.name, body.clone(), force).await;
        match outcome {
            Err(failure) if self.was_all_ours(action, resource, &failure).await? => {
                self.cluster.apply(resource, namespace, &manifest.id.name, body, Force::Yes).await
            }
            other => other,
        }
    }

    /// Whether every field of this conflict was ours when we applied last: then somebody took it from us.
    async fn was_all_ours(&self, action: &Action, resource: &Resource, failure: &KubeFailure) -> Result<bool, KubeFailure> {
        if failure.class != Class::Conflict || failure.fields.is_empty() {
            return Ok(false);
        }
        // A repair is of the very manifest that was applied as a whole, and so were all its fields.
        if matches!(action.step, Step::Repair { .. }) {
            return Ok(true);
        }
        let id = &action.manifest.id;
        if let Some(applied) = self.ledger.get(id).filter(|applied| applied.stack == self.stack) {
            return Ok(applied.owned_all(&failure.fields));
        }
        // Applied before this process began: the object itself has a note of it.
        let object = self.cluster.get(resource, id.namespace.as_deref(), &id.name).await?;
        Ok(object.as_ref().and_then(footprint::of).is_some_and(|note| footprint::set_all(note, &failure.fields)))
    }

    /// The manifest with the ignored fields as the cluster has them where they are still ours, and without them where they are
    /// another's: left out while they are ours alone, they would be removed.
    async fn leaving_to_others(
        &self,
        manifest: &Manifest,
        resource: &Resource,
        ignored: &[String],
    ) -> Result<Vec<u8>, KubeFailure> {
        let Some(object) = self.cluster.get(resource, manifest.id.namespace.as_deref(), &manifest.id.name).await? else {
            return Ok(manifest.json.as_bytes().to_vec());
        };
        let ours = crate::live::Live::read(resource, &object).and_then(|live| live.ours);
        let mut body = manifest.body();
        for pointer in ignored {
            let kept = object.pointer(pointer).filter(|_| ours.as_ref().is_some_and(|ours| ours.owns(pointer)));
            leave(&mut body, pointer, kept.cloned());
        }
        Ok(body.to_string().into_bytes())
    }

    async fn until_gone(&self, manifest: &Manifest) -> Result<(), KubeFailure> {
        let resource = self.resources.of_manifest(self.cluster, &manifest.id.kind, &manifest.api_version).await?;
        let Some(resource) = resource else { return Ok(()) };
        if self.is_gone_in_time(&resource, &manifest.id, |live| live.is_terminating).await? {
            return Ok(());
        }
        Err(KubeFailure::new(Class::Terminating, "it is being deleted and does not go; a finalizer may hold it"))
    }

    pub(super) async fn wait_established(&self, definitions: &[&Action]) -> Result<(), (ObjectId, KubeFailure)> {
        for definition in definitions {
            // What was established is: a CRD that did not change need not be asked.
            if definition.step != Step::Nothing {
                let span = spans::wait(WaitReason::CrdEstablished);
                let waited = self.wait_for_definition(&definition.manifest).instrument(span.clone()).await;
                let waited = waited.inspect_err(|failure| spans::record_error(&span, failure.class.as_str()));
                waited.map_err(|failure| (definition.manifest.id.clone(), failure))?;
            }
            self.resources.learn_definition(&definition.manifest.body());
        }
        Ok(())
    }

    async fn wait_for_definition(&self, definition: &Manifest) -> Result<(), KubeFailure> {
        let resource = self.resources.of_manifest(self.cluster, &definition.id.kind, &definition.api_version).await?;
        let resource = resource.ok_or_else(|| missing_kind(&definition.api_version, &definition.id.kind.kind))?;
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
}

/// Sets the field at this pointer, or takes it out.
fn leave(body: &mut Value, pointer: &str, value: Option<Value>) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    let name = unescape(name);
    let Some(parent) = body.pointer_mut(parent) else { return };
    match (parent, value) {
        (Value::Object(map), Some(value)) => drop(map.insert(name, value)),
        (Value::Object(map), None) => drop(map.remove(&name)),
        (Value::Array(list), Some(value)) => {
            if let Some(item) = name.parse().ok().and_then(|index: usize| list.get_mut(index)) {
                *item = value;
            }
        }
        _ => {}
    }
}

fn is_established(definition: &Value) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        condition.get("type").and_then(Value::as_str) == Some("Established")
            && condition.get("status").and_then(Value::as_str) == Some("True")
    })
}
