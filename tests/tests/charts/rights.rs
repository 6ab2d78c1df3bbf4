//! The agent's rights: those of the page, and enough for what the page promises.

use std::fs;

use brokkr_tests::{cluster::Cluster, fleet::LIMIT, lab::until};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, api::PostParams};
use serde_json::Value;

use crate::helm::{Helm, chart, objects, repository};

/// A service account of a release.
pub(crate) struct Account<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl Account<'_> {
    /// What the API server answers to: may it do this with every object of this kind (`secrets`, `deployments.apps`) there?
    pub(crate) async fn may(&self, verb: &str, kind: &str, namespace: &str) -> bool {
        self.asks(verb, kind, namespace, None).await
    }

    /// The same of one object.
    pub(crate) async fn may_with(&self, verb: &str, kind: &str, namespace: &str, name: &str) -> bool {
        self.asks(verb, kind, namespace, Some(name.to_owned())).await
    }

    async fn asks(&self, verb: &str, kind: &str, namespace: &str, name: Option<String>) -> bool {
        let (resource, group) = kind.split_once('.').unwrap_or((kind, ""));
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            namespace: Some(namespace.to_owned()),
            name,
            ..ResourceAttributes::default()
        };
        let user = Some(format!("system:serviceaccount:{}:{}", self.namespace, self.name));
        let spec = SubjectAccessReviewSpec { resource_attributes: Some(attributes), user, ..SubjectAccessReviewSpec::default() };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let api = Api::<SubjectAccessReview>::all(self.cluster.client().clone());
        api.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
    }
}

/// Kind, namespace and rules of each role, and what is bound to whom, in one order and without names of roles.
fn rights(objects: &[Value]) -> Vec<String> {
    let mut found: Vec<_> = objects
        .iter()
        .filter(|object| object["apiVersion"] == "rbac.authorization.k8s.io/v1")
        .map(|object| {
            let subjects = &object["subjects"];
            let role = if object["roleRef"]["name"] == "cluster-admin" { "cluster-admin" } else { "" };
            format!("{} {} {} {role} {subjects}", object["kind"], object["metadata"]["namespace"], rules(&object["rules"]))
        })
        .collect();
    found.sort();
    found
}

/// The rules in one order.
fn rules(rules: &Value) -> String {
    let mut lines: Vec<_> = rules.as_array().into_iter().flatten().map(ToString::to_string).collect();
    lines.sort();
    lines.join("\n")
}

/// What the page says for these profiles.
fn page(profiles: &[&str]) -> Vec<Value> {
    let page = fs::read_to_string(repository().join("docs/content/how-to/rights-of-the-agent.md")).unwrap();
    let block = |name: &&str| {
        let begin = format!("```yaml\n# {name}\n");
        page.split(&begin).nth(1).unwrap().split("```").next().unwrap().to_owned()
    };
    let text: Vec<_> = profiles.iter().map(block).collect();
    objects(&text.join("\n---\n").replace("NAMESPACE", "shop"))
}

#[tokio::test]
async fn each_profile_has_the_rules_of_the_page() {
    let helm = Helm::alone().await;
    let common = "fullnameOverride=brokkr-agent,key.existingSecret=brokkr-agent";
    let impersonation = "rbac.impersonate[0].namespace=shop,rbac.impersonate[0].name=deployer";
    let profiles: [(&[&str], String); 4] = [
        (&["namespaced", "key in a Secret"], format!("{common},rbac.namespaces={{shop}}")),
        (&["cluster", "key in a Secret"], format!("{common},rbac.profile=cluster")),
        (&["clusterAdmin", "key in a Secret"], format!("{common},rbac.profile=clusterAdmin")),
        (&["namespaced", "key in a Secret", "impersonation"], format!("{common},rbac.namespaces={{shop}},{impersonation}")),
    ];
    for (names, values) in profiles {
        let rendered = objects(&helm.template("agent", "brokkr-system", &["--set", &values]).unwrap());
        assert_eq!(rights(&rendered), rights(&page(names)), "{names:?}");
    }
}

#[tokio::test]
async fn without_rbac_nothing_is_granted() {
    let helm = Helm::alone().await;
    let rendered = objects(&helm.template("agent", "x", &["--set", "rbac.create=false"]).unwrap());
    assert_eq!(rights(&rendered), Vec::<String>::new());
}

/// Every kind that the agent delivers, with what whoever sent manifests could do there.
const DELIVERY: [(&str, &str); 6] = [
    ("get", "secrets"),
    ("list", "secrets"),
    ("create", "secrets"),
    ("create", "deployments.apps"),
    ("create", "jobs.batch"),
    ("patch", "serviceaccounts"),
];

#[tokio::test(flavor = "multi_thread")]
async fn in_the_namespace_of_its_release_the_agent_has_the_rights_it_needs_for_itself_until_that_is_named() {
    let cluster = Cluster::shared().await.unwrap();
    let helm = Helm::on(cluster.kubeconfig()).await;
    let namespace = cluster.create_namespace("own").await.unwrap();
    let ns = namespace.as_str();
    let account = Account { cluster: &cluster, namespace: ns, name: "brokkr-agent" };
    helm.run(["install", "brokkr-agent", &chart("agent"), "--namespace", ns]).unwrap();
    let look = || async {
        let needed = account.may_with("get", "secrets", ns, "brokkr-agent-key").await
            && account.may_with("patch", "secrets", ns, "brokkr-agent-key").await
            && account.may("update", "leases.coordination.k8s.io", ns).await
            && account.may("patch", "configmaps", ns).await;
        if needed { Ok(()) } else { Err("not yet".to_owned()) }
    };
    until("what the agent needs", LIMIT, look).await.unwrap();
    for (verb, kind) in DELIVERY {
        assert!(!account.may(verb, kind, ns).await, "{verb} {kind}");
    }
    for secret in ["brokkr-broker-admin", "brokkr-broker-encryption", "sh.helm.release.v1.brokkr-agent.v1"] {
        assert!(!account.may_with("get", "secrets", ns, secret).await, "{secret}");
    }
    for verb in ["create", "patch", "bind", "escalate"] {
        assert!(!account.may(verb, "roles.rbac.authorization.k8s.io", ns).await, "{verb} roles");
    }

    let named = format!("rbac.namespaces={{{ns}}}");
    helm.run(["upgrade", "brokkr-agent", &chart("agent"), "--namespace", ns, "--set", &named]).unwrap();
    let look = || async {
        for (verb, kind) in DELIVERY {
            if !account.may(verb, kind, ns).await {
                return Err(format!("{verb} {kind}"));
            }
        }
        Ok(())
    };
    until("the rights that come with the name", LIMIT, look).await.unwrap();
    helm.run(["uninstall", "brokkr-agent", "--namespace", ns]).unwrap();
    cluster.delete_namespace(ns).await.unwrap();
}
