//! Objects that the cluster cannot take: each is told with its reason, and the rest of the bundle is not held up.

use brokkr_api::{Name, reports::ObjectOutcome, rollouts::Rollout};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT, config_map},
    lab::until,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use serde_json::json;

struct Ground {
    cluster: Cluster,
    namespace: String,
    broker: Broker,
    stack: Name,
    _agent: Agent,
}

impl Ground {
    async fn start(name: &str) -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace(name).await.unwrap();
        let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
        let agent = broker.agent(&cluster.unique(name), &[]).await.unwrap();
        let stack = broker.stack("shop", &[&agent]).await;
        Self { cluster, namespace, broker, stack, _agent: agent }
    }

    /// Waits until the object's outcome is told with this reason, and returns the message.
    async fn told(&self, kind: &str, object: &str, outcome: ObjectOutcome, reason: &str) -> String {
        let admin = self.broker.admin();
        let look = || async {
            let rollout: Rollout = admin.rollout(&self.stack, None).await.map_err(|error| format!("{error:?}"))?;
            let reports = rollout.deployments.iter().flat_map(|deployment| &deployment.objects);
            let found = reports.clone().find(|report| {
                report.object.kind == kind
                    && report.object.name == object
                    && report.outcome == outcome
                    && report.reason.as_deref() == Some(reason)
            });
            found.map(|report| report.message.clone().unwrap_or_default()).ok_or_else(|| format!("{rollout:#?}"))
        };
        until(&format!("{kind} {object} to be told as {reason}"), LIMIT, look).await.unwrap()
    }

    /// Waits until a config map has this value.
    async fn has(&self, name: &str, value: &str) {
        let look = || async {
            let found: Option<ConfigMap> = self.cluster.get(&self.namespace, name).await.map_err(|error| error.to_string())?;
            let is = found.as_ref().and_then(|found| found.data.as_ref()?.get("value").cloned());
            if is.as_deref() == Some(value) { Ok(()) } else { Err(format!("{is:?}")) }
        };
        until(&format!("{name} to be {value}"), LIMIT, look).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_cannot_take_is_told_object_by_object_and_the_rest_arrives() {
    let ground = Ground::start("unfit").await;
    let namespace = &ground.namespace;
    let role = |role: &str| {
        format!(
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: bound, namespace: {namespace}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {role}}}\nsubjects: []\n"
        )
    };
    // Its role cannot be changed once it is there.
    ground.broker.apply(&ground.stack, &role("one")).await;

    let large = config_map(namespace, "large", &"x".repeat(1_600_000));
    // Nothing limits a Role but the store itself.
    let names: Vec<_> = (0..50_000).map(|index| format!("a-name-of-forty-characters-all-told-{index}")).collect();
    let huge = format!(
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: huge, namespace: {namespace}}}\n\
         rules: [{{apiGroups: [''], resources: [pods], verbs: [get], resourceNames: [{}]}}]\n",
        names.join(", ")
    );
    let bundle = [
        config_map(namespace, "before", "1"),
        format!("---\napiVersion: example.org/v1\nkind: Nobody\nmetadata: {{name: a, namespace: {namespace}}}\n"),
        config_map("there-is-no-such-namespace", "lost", "1"),
        format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: wrong, namespace: {namespace}}}\ndata: {{a: [b]}}\n"),
        large,
        huge,
        role("two"),
        config_map(namespace, "zulu", "1"),
    ];
    ground.broker.send(&ground.stack, &bundle.concat()).await;
    ground.has("before", "1").await;
    ground.has("zulu", "1").await;
    let failed = ObjectOutcome::Failed;
    for (kind, object, reason) in [
        ("ConfigMap", "wrong", "invalid"),
        ("RoleBinding", "bound", "invalid"),
        ("ConfigMap", "large", "invalid"),
        ("Role", "huge", "too_large"),
    ] {
        let message = ground.told(kind, object, failed, reason).await;
        assert!(!message.is_empty(), "{kind} {object} is told without a word");
    }
    assert!(ground.told("Nobody", "a", failed, "missing_kind").await.contains("Nobody"));
    let message = ground.told("ConfigMap", "lost", failed, "not_found").await;
    assert!(message.contains("there-is-no-such-namespace"), "{message}");

    // The next generation is without them, and all is well.
    let rollout = {
        ground
            .broker
            .send(&ground.stack, &(config_map(namespace, "before", "2") + &config_map(namespace, "zulu", "2") + &role("one")))
            .await;
        let admin = ground.broker.admin();
        let look = || async {
            let rollout = admin.rollout(&ground.stack, None).await.map_err(|error| format!("{error:?}"))?;
            if rollout.done { Ok(rollout) } else { Err(format!("{rollout:#?}")) }
        };
        until("the good generation", LIMIT, look).await.unwrap()
    };
    assert_eq!(rollout.failed, 0, "{rollout:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_that_never_finishes_is_told_and_holds_up_nothing_else() {
    let ground = Ground::start("stuck").await;
    let namespace = &ground.namespace;
    let both = config_map(namespace, "kept", "1") + &config_map(namespace, "stuck", "1");
    ground.broker.apply(&ground.stack, &both).await;
    let maps = ground.cluster.api::<ConfigMap>(namespace);
    let finalizers = |finalizers: serde_json::Value| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    maps.patch("stuck", &PatchParams::default(), &finalizers(json!(["example.org/never"]))).await.unwrap();

    ground.broker.send(&ground.stack, &config_map(namespace, "kept", "2")).await;
    ground.has("kept", "2").await;
    ground.told("ConfigMap", "stuck", ObjectOutcome::Skipped, "terminating").await;
    // A new generation does not wait for it either.
    ground.broker.send(&ground.stack, &config_map(namespace, "kept", "3")).await;
    ground.has("kept", "3").await;

    maps.patch("stuck", &PatchParams::default(), &finalizers(json!(null))).await.unwrap();
    let admin = ground.broker.admin();
    let look = || async {
        let rollout = admin.rollout(&ground.stack, None).await.map_err(|error| format!("{error:?}"))?;
        if rollout.done && rollout.failed == 0 { Ok(()) } else { Err(format!("{rollout:#?}")) }
    };
    until("the deletion to be over", LIMIT, look).await.unwrap();
    assert!(maps.get_opt("stuck").await.unwrap().is_none());
}
