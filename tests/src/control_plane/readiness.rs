use crate::lab::{LabError, until};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::{Api, Client, api::PostParams};
use serde_json::json;
use std::{path::Path, time::Duration};

const LIMIT: Duration = Duration::from_secs(90);
const NODE: &str = "kwok-1";

/// A client of the control plane for a kubeconfig file.
pub(crate) async fn client(kubeconfig: &Path) -> Result<Client, LabError> {
    use kube::config::{Config, KubeConfigOptions, Kubeconfig};
    crate::http::install_tls();
    let refused = |error: &dyn std::fmt::Display| LabError::Refused(format!("{}: {error}", kubeconfig.display()));
    let file = Kubeconfig::read_from(kubeconfig).map_err(|error| refused(&error))?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(|error| refused(&error))?;
    Ok(Client::try_from(config)?)
}

/// Base URL and authority file of a kubeconfig's current context, to make another kubeconfig for the same cluster.
pub(crate) fn server_of(kubeconfig: &Path) -> Result<(String, std::path::PathBuf), LabError> {
    let unusable = |what: &str| LabError::Refused(format!("{}: no {what}", kubeconfig.display()));
    let file = kube::config::Kubeconfig::read_from(kubeconfig).map_err(|error| unusable(&format!("kubeconfig: {error}")))?;
    let named = |name: &Option<String>, other: &str| name.as_deref() == Some(other);
    let context = file.contexts.iter().find(|context| named(&file.current_context, &context.name));
    let context = context.and_then(|context| context.context.as_ref()).ok_or_else(|| unusable("current context"))?;
    let cluster = file.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.and_then(|cluster| cluster.cluster.as_ref()).ok_or_else(|| unusable("cluster"))?;
    let server = cluster.server.clone().ok_or_else(|| unusable("server"))?;
    let authority = cluster.certificate_authority.clone().ok_or_else(|| unusable("certificate-authority file"))?;
    Ok((server, authority.into()))
}

/// Waits until the API server says that it is ready.
pub(super) async fn apiserver(client: &Client) -> Result<(), LabError> {
    until("kube-apiserver to be ready", LIMIT, || async {
        let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
        client.request_text(request).await.map(drop).map_err(|error| error.to_string())
    })
    .await
}

/// Makes the fake node that KWOK plays.
pub(super) async fn add_node(client: &Client) -> Result<(), LabError> {
    let node: Node = serde_json::from_value(json!({
        "metadata": {
            "name": NODE,
            "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {
                "kubernetes.io/hostname": NODE,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "node-role.kubernetes.io/agent": "",
            },
        },
    }))
    .map_err(|error| LabError::Refused(format!("the fake node: {error}")))?;
    let nodes: Api<Node> = Api::all(client.clone());
    until("the fake node to be accepted", LIMIT, || async {
        match nodes.create(&PostParams::default(), &node).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

/// Waits until pods can run: the node is ready and untainted, and the default service account exists.
pub(super) async fn workloads(client: &Client) -> Result<(), LabError> {
    let nodes: Api<Node> = Api::all(client.clone());
    until("KWOK to play a ready node", LIMIT, || async {
        let node = nodes.get(NODE).await.map_err(|error| error.to_string())?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        if ready && taints.is_empty() { Ok(()) } else { Err(format!("ready: {ready}, taints: {}", taints.len())) }
    })
    .await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    until("the default service account", LIMIT, || async {
        accounts.get("default").await.map(drop).map_err(|error| error.to_string())
    })
    .await
}
