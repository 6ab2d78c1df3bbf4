//! The agent's rights: those of the page, and enough for what the page promises.

use std::fs;

use serde_json::Value;

use crate::helm::{Helm, objects, repository};

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
