//! Objects of a work order in the cluster: applied, watched until a condition is true, deleted after their time.

use std::collections::HashSet;

use brokkr_api::{
    policy::HealthRule,
    reports::ObjectRef,
    work_orders::{ApplyWork, ClaimedOrder},
};
use brokkr_telemetry::spans::{self, WaitReason};
use serde_json::{Map, Value, json};
use tracing::Instrument;

use super::{
    Workforce,
    cleanup::Record,
    job,
    made::expect_own,
    mind::{Came, Mind, Stop},
    order::Found,
    verdict::{Ended, Verdict, of_objects},
    watch::Changes,
};
use crate::{
    cluster::{Class, Force, KubeFailure, Resource},
    health::{self, Rules},
    object::GroupKind,
};

/// An object of the order, and where it is.
struct Member {
    resource: Resource,
    object: ObjectRef,
    manifest: Value,
}

/// The kind under which the conditions see all objects.
const LIST: &str = "List";

impl Workforce {
    /// Applies the objects, and waits for a condition.
    pub(super) async fn run_apply(&self, order: &ClaimedOrder, apply: &ApplyWork, mind: &mut Mind, found: &mut Found) -> Came {
        // What another attempt has left here would be judged in place of this one.
        if order.attempt > 1
            && !order.started
            && let Err(came) = self.take_away(order, mind).await
        {
            return came;
        }
        let mut failures = 0;
        let members = loop {
            let tried = self.put_there(order, apply).await;
            let failure = match tried {
                Ok(members) => break members,
                Err(failure) => failure,
            };
            if let Some(ended) = Ended::of_refusal(&failure) {
                return self.take_away(order, mind).await.err().unwrap_or(Came::Ended(ended));
            }
            failures += 1;
            if let Err(stop) = mind.unless_stopped(self.rest_within(failures)).await {
                return stop.came(self.take_away(order, mind)).await;
            }
        };
        found.object = members.first().map(|member| member.object.clone());
        match self.wait_for_condition(order, apply, &members, mind).await {
            Ok(ended) => {
                self.clean_up(order, order.ttl_seconds).await;
                Came::Ended(ended)
            }
            Err(stop) => stop.came(self.take_away(order, mind)).await,
        }
    }

    /// Applies what is not there yet. The record of what to clean up comes first, so that nothing outlives a process that is killed.
    async fn put_there(&self, order: &ClaimedOrder, apply: &ApplyWork) -> Result<Vec<Member>, KubeFailure> {
        let mut members = Vec::with_capacity(apply.objects.objects.len());
        for manifest in &apply.objects.objects {
            members.push(self.member(order, manifest).await?);
        }
        self.keep_record(order, &Record::of(order.token, members.iter().map(|member| &member.object))).await?;
        let mut missing = Vec::new();
        for member in &members {
            let there =
                self.workshop.cluster.get(&member.resource, member.object.namespace.as_deref(), &member.object.name).await?;
            match there {
                None => missing.push(member),
                // What came of it since is the business of those who work on it.
                Some(there) => expect_own(&there, order, &member.object)?,
            }
        }
        for member in missing {
            let (namespace, name) = (member.object.namespace.as_deref(), member.object.name.as_str());
            let body = member.manifest.to_string().into_bytes();
            self.workshop.cluster.apply(&member.resource, namespace, name, body, Force::No).await?;
        }
        Ok(members)
    }

    async fn member(&self, order: &ClaimedOrder, manifest: &Value) -> Result<Member, KubeFailure> {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("/apiVersion"), text("/kind"));
        let group_kind = GroupKind::of(api_version, kind);
        let resource = self.workshop.resources.of_manifest(&self.workshop.cluster, &group_kind, api_version).await?;
        let resource = resource
            .ok_or_else(|| KubeFailure::new(Class::MissingKind, format!("the cluster does not serve {kind} of {api_version}")))?;
        let namespace = Some(text("/metadata/namespace")).filter(|namespace| !namespace.is_empty());
        let namespace = resource.namespaced.then(|| namespace.unwrap_or(&self.workshop.default_namespace).to_owned());
        let object = ObjectRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace,
            name: text("/metadata/name").to_owned(),
        };
        let mut manifest = manifest.as_object().cloned().unwrap_or_default();
        let mut metadata = match manifest.remove("metadata") {
            Some(Value::Object(metadata)) => metadata,
            _ => Map::new(),
        };
        if let Some(namespace) = &object.namespace {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
        job::label(&mut metadata, order);
        manifest.insert("metadata".to_owned(), Value::Object(metadata));
        Ok(Member { resource, object, manifest: Value::Object(manifest) })
    }

    async fn wait_for_condition(
        &self,
        order: &ClaimedOrder,
        apply: &ApplyWork,
        members: &[Member],
        mind: &mut Mind,
    ) -> Result<Ended, Stop> {
        let rule =
            HealthRule { kind: LIST.to_owned(), healthy: apply.success.clone(), degraded: apply.failure.clone(), message: None };
        let rules = Rules::compile(&[rule]);
        let mut seen = HashSet::new();
        let places =
            members.iter().filter(|member| seen.insert((member.resource.qualified_name(), member.object.namespace.clone())));
        let places = places.map(|member| (member.resource.clone(), member.object.namespace.clone())).collect();
        let mut changes = Changes::of(&self.workshop.cluster, order.id, places);
        loop {
            match self.judge(members, &rules).await {
                Some(Verdict::Ended(ended)) => return Ok(ended),
                Some(Verdict::GoesOn(progress)) => self.progress(order.id, progress),
                None => {}
            }
            mind.unless_stopped(changes.next().instrument(spans::wait(WaitReason::Condition))).await?;
        }
    }

    /// What the conditions say now; nothing where an object cannot be read now.
    async fn judge(&self, members: &[Member], rules: &Rules) -> Option<Verdict> {
        let mut items = Vec::with_capacity(members.len());
        for member in members {
            let found =
                self.workshop.cluster.get(&member.resource, member.object.namespace.as_deref(), &member.object.name).await;
            match found {
                Ok(Some(found)) => items.push(found),
                Ok(None) => {
                    let message = format!("{} is not there any more", member.object);
                    return Some(Verdict::Ended(Ended::failed("missing", message, true)));
                }
                Err(failure) => return Ended::of_refusal(&failure).map(Verdict::Ended),
            }
        }
        let list = json!({"apiVersion": "v1", "kind": LIST, "items": items});
        Some(of_objects(&health::assess(&list, rules)))
    }
}
