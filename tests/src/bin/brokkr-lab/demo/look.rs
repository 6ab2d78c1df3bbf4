use super::command::{Shell, Typed};
use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
pub(super) const NAMESPACE: &str = "forge";
pub(super) const DEPLOYMENT: &str = "deployment/smith";
const LABEL: &str = "applyset.kubernetes.io/part-of";
/// Every object of `examples/`, as `kubectl get -o name` names them.
const OBJECTS: [&str; 6] = [
    "namespace/forge",
    "configmap/bellows",
    "deployment.apps/smith",
    "service/smith",
    "customresourcedefinition.apiextensions.k8s.io/commissions.smithy.example",
    "commission.smithy.example/mjolnir",
];

/// Verifies by the cluster's own words what Brokkr says it did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a>(pub(super) &'a Shell);

impl Look<'_> {
    /// What a person looks at while the stack is there.
    pub(super) fn at_the_stack() -> Typed {
        let kinds = "ns,cm,deploy,svc,crd,commissions";
        Typed::new(["kubectl", "get", kinds, "-n", NAMESPACE, "-l", LABEL])
    }

    /// What a person looks at when the stack is gone; a kind that is gone with its definition cannot be asked for.
    pub(super) fn after_the_stack() -> Typed {
        let kinds = "ns,cm,deploy,svc,crd";
        Typed::new(["kubectl", "get", kinds, "-A", "-l", LABEL])
    }

    /// That nobody else's objects have our names. Matters on a person's cluster.
    pub(super) async fn is_free(self) -> anyhow::Result<()> {
        let found = self.get(&["namespace/forge", "customresourcedefinition/commissions.smithy.example"]).await?;
        ensure!(
            found.is_empty(),
            "the cluster has {} already, and the demo touches nothing that it did not make",
            found.join(" and ")
        );
        Ok(())
    }

    /// That all objects are there and of the stack; returns the label that says so.
    pub(super) async fn all_there(self) -> anyhow::Result<String> {
        let found = self.get(&OBJECTS).await?;
        let missing: Vec<&str> = OBJECTS.into_iter().filter(|object| !found.iter().any(|name| name == object)).collect();
        ensure!(missing.is_empty(), "not in the cluster: {}", missing.join(", "));
        let mut labels = Vec::new();
        for object in OBJECTS {
            let value = self.json(object).await?;
            labels.push(
                value
                    .pointer("/metadata/labels")
                    .and_then(|all| all.get(LABEL))
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
        labels.dedup();
        match &labels[..] {
            [label] if !label.is_empty() => Ok(label.clone()),
            _ => bail!("the objects do not all have the stack's label {LABEL}: {labels:?}"),
        }
    }

    /// That as many pods are ready as the Deployment wants; returns how many.
    pub(super) async fn ready_pods(self) -> anyhow::Result<usize> {
        let wanted = self
            .json(DEPLOYMENT)
            .await?
            .pointer("/spec/replicas")
            .and_then(Value::as_u64)
            .context("the Deployment has no replicas")?;
        let pods = self.json("pods").await?;
        let items = pods.get("items").and_then(Value::as_array).context("no list of pods")?;
        let is_ready = |pod: &&Value| {
            let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
            conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
        };
        let ready = items.iter().filter(is_ready).count();
        ensure!(u64::try_from(ready)? == wanted, "{ready} of {wanted} pods are ready");
        Ok(ready)
    }

    /// One object, or one kind's list, as it is in the cluster.
    pub(super) async fn json(self, what: &str) -> anyhow::Result<Value> {
        let typed = Typed::new(["kubectl", "get", what, "-n", NAMESPACE, "-o", "json"]);
        serde_json::from_str(&self.0.run(&typed, LIMIT).await?.out).with_context(|| format!("`{}`", typed.text()))
    }

    /// That no object of any kind that can be listed has the stack's label any more; returns how many kinds were looked through.
    pub(super) async fn nothing_left(self, label: &str) -> anyhow::Result<usize> {
        let typed = Typed::new(["kubectl", "api-resources", "--verbs=list", "-o", "name"]);
        let kinds: Vec<String> = self.0.run(&typed, LIMIT).await?.out.split_whitespace().map(str::to_owned).collect();
        ensure!(kinds.iter().any(|kind| kind == "namespaces"), "no list of kinds: {kinds:?}");
        ensure!(!kinds.iter().any(|kind| kind == "commissions.smithy.example"), "the API server still serves commissions");
        let selector = format!("{LABEL}={label}");
        let typed = Typed::new(["kubectl", "get", &kinds.join(","), "-A", "-l", &selector, "-o", "name", "--ignore-not-found"]);
        let found = self.0.run(&typed, LIMIT).await?.out;
        ensure!(found.trim().is_empty(), "still in the cluster:\n{found}");
        let found = self.get(&OBJECTS[..5]).await?;
        ensure!(found.is_empty(), "still in the cluster: {}", found.join(", "));
        Ok(kinds.len())
    }

    /// The names of those objects that are there.
    async fn get(self, objects: &[&str]) -> anyhow::Result<Vec<String>> {
        let options = ["-n", NAMESPACE, "-o", "name", "--ignore-not-found"];
        let typed = Typed::new(["kubectl", "get"].iter().chain(objects).chain(&options).copied());
        Ok(self.0.run(&typed, LIMIT).await?.out.lines().map(str::to_owned).collect())
    }
}
