//! The stack's own rules for custom resources.

use super::world::{World, assert_tells};
use brokkr_api::{
    policy::{HealthRule, StackPolicy},
    reports::HealthStatus,
    selector::TargetSelector,
    stacks::PutStack,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::json;

const GROUP: &str = "rules.example.com";

const MANIFESTS: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gauges.rules.example.com}
spec:
  group: rules.example.com
  scope: Namespaced
  names: {kind: Gauge, plural: gauges}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
---
apiVersion: rules.example.com/v1
kind: Gauge
metadata: {name: oil, namespace: NS}
spec: {wanted: 3}
";

impl World {
    async fn set_rule(&self, healthy: &str) {
        let rule = HealthRule {
            kind: format!("Gauge.{GROUP}"),
            healthy: healthy.to_owned(),
            degraded: Some("object.status.phase == 'Broken'".to_owned()),
            message: Some("'the gauge says: ' + object.status.says".to_owned()),
        };
        let stack = self.broker.admin().stack(&self.stack).await.unwrap();
        let put = PutStack {
            targets: TargetSelector { labels: None, names: stack.targets.names },
            policy: StackPolicy { health: vec![rule], ..StackPolicy::default() },
            ..PutStack::default()
        };
        self.broker.admin().put_stack(&self.stack, &put).await.unwrap();
    }

    async fn set_status(&self, status: serde_json::Value) {
        let resource = ApiResource {
            group: GROUP.to_owned(),
            version: "v1".to_owned(),
            api_version: format!("{GROUP}/v1"),
            kind: "Gauge".to_owned(),
            plural: "gauges".to_owned(),
        };
        let gauges: Api<DynamicObject> = Api::namespaced_with(self.cluster.client().clone(), &self.namespace, &resource);
        gauges.patch("oil", &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.unwrap();
    }

    async fn is_told(&self, status: HealthStatus, reason: &str) -> brokkr_api::reports::Health {
        let wanted = |deployment: &brokkr_api::rollouts::Deployment| {
            let health = deployment.health.as_ref();
            health.is_some_and(|health| health.status == status && health.reason.as_deref() == Some(reason))
        };
        self.becomes(reason, wanted).await.health.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_resource_is_as_healthy_as_the_rule_of_its_stack_says() {
    let world = World::new("rule").await;
    world.set_rule("object.status.level >= object.spec.wanted").await;
    world.send(MANIFESTS).await;
    world.is_told(HealthStatus::Progressing, "not_ready").await;

    world.set_status(json!({"phase": "Broken", "says": "no oil", "level": 0})).await;
    let health = world.is_told(HealthStatus::Degraded, "stalled").await;
    assert_tells(&health, &format!("Gauge {}/oil", world.namespace), "the gauge says: no oil");

    world.set_status(json!({"phase": "Fine", "level": 3})).await;
    world.becomes_healthy().await;
}
