//! Calls to the Kubernetes API. Each one is a span with `traceparent` and `Audit-ID` on the wire, and has a time limit.

mod connection;
mod error;
mod layer;
mod lists;
mod members;
mod resources;

use std::{path::Path, time::Duration};

use brokkr_telemetry::{AgentMetrics, metrics::KubeOperation};
use http::{
    Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use kube::{
    Client, Config,
    api::{DeleteParams, ListParams, Preconditions, PropagationPolicy},
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tower::BoxError;

use crate::live::Live;

pub(crate) use error::{Class, KubeFailure};
pub(crate) use layer::{CallLayer, KubeCall};
pub(crate) use lists::Select;
pub(crate) use members::{Seen, WatchEvent};
pub(crate) use resources::{Resource, Resources};

/// The one field manager.
pub(crate) const FIELD_MANAGER: &str = "brokkr-agent";

const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// A cluster.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    timeout: Duration,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("no cluster: set kubernetes.kubeconfig, or KUBECONFIG, or run in a pod")]
    Infer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the client for the Kubernetes API cannot be set up")]
    Client(#[source] kube::Error),
}

/// What an apply did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Applied {
    pub(crate) created: bool,
    /// The object as it is now.
    pub(crate) live: Live,
}

/// Whether an apply takes fields that another manager has set to another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    /// A conflict is an error.
    No,
    Yes,
}

impl Cluster {
    /// Connects to nothing yet.
    pub(crate) async fn new(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
        timeout: Duration,
        metrics: AgentMetrics,
    ) -> Result<Self, SetupError> {
        let infer = |source: BoxError| SetupError::Infer(source);
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        let mut config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|source| infer(source.into()))?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(|source| infer(source.into()))?
            }
            None if context.is_some() => Config::from_kubeconfig(&options).await.map_err(|source| infer(source.into()))?,
            None => Config::infer().await.map_err(|source| infer(source.into()))?,
        };
        config.connect_timeout = Some(Duration::from_secs(5));
        let user_agent = http::HeaderValue::from_static(concat!("brokkr-agent/", env!("CARGO_PKG_VERSION")));
        config.headers.push((http::header::USER_AGENT, user_agent));
        let server = layer::Server::of(&config.cluster_url);
        let client = connection::client(config, &CallLayer::new(server, metrics)).map_err(SetupError::Client)?;
        Ok(Self { client, timeout })
    }

    /// Server-side apply with our field manager. What is not in the kind's schema is an error.
    pub(crate) async fn apply(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        body: Vec<u8>,
        force: Force,
    ) -> Result<Applied, KubeFailure> {
        let force = if force == Force::Yes { "&force=true" } else { "" };
        let path = resource.path(namespace);
        let request = Request::patch(format!("{path}/{name}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict{force}"))
            .header(CONTENT_TYPE, "application/apply-patch+yaml")
            // The answer would repeat the whole object.
            .header(ACCEPT, METADATA_ONLY)
            .body(body);
        let call = KubeCall::new("apply", KubeOperation::Apply, resource, namespace, Some(name));
        let (status, answer) = self.send(call, built(request)).await?;
        let live = Live::read(resource, &answer);
        let live =
            live.ok_or_else(|| KubeFailure::new(Class::Transient, "the API server's answer to an apply has no metadata"))?;
        Ok(Applied { created: status == StatusCode::CREATED, live })
    }

    /// An object of the agent's own, or one that only it writes: every field in it is taken.
    pub(crate) async fn apply_own(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        body: &Value,
    ) -> Result<Applied, KubeFailure> {
        self.apply(resource, namespace, name, body.to_string().into_bytes(), Force::Yes).await
    }

    /// A JSON patch (RFC 6902); its `test` operations are its conditions.
    pub(crate) async fn patch_json(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        patch: &Value,
    ) -> Result<Option<Live>, KubeFailure> {
        let request = Request::patch(format!("{}/{name}?fieldManager={FIELD_MANAGER}", resource.path(namespace)))
            .header(CONTENT_TYPE, "application/json-patch+json")
            .header(ACCEPT, METADATA_ONLY)
            .body(patch.to_string().into_bytes());
        let call = KubeCall::new("patch", KubeOperation::Other, resource, namespace, Some(name));
        let (_, answer) = self.send(call, built(request)).await?;
        Ok(Live::read(resource, &answer))
    }

    /// Metadata of an object; `None` when there is none.
    pub(crate) async fn look(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Live>, KubeFailure> {
        let request = Request::get(format!("{}/{name}", resource.path(namespace))).header(ACCEPT, METADATA_ONLY).body(Vec::new());
        let call = KubeCall::new("get", KubeOperation::Get, resource, namespace, Some(name));
        match self.send(call, built(request)).await {
            Ok((_, object)) => Ok(Live::read(resource, &object)),
            Err(error) if error.class == Class::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Metadata of everything in one collection, from the API server's cache: what was written in the last moment may be missing.
    pub(crate) async fn look_around(&self, resource: &Resource, namespace: Option<&str>) -> Result<Vec<Live>, KubeFailure> {
        let request = Request::get(format!("{}?resourceVersion=0", resource.path(namespace)))
            .header(ACCEPT, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
            .body(Vec::new());
        let call = KubeCall::new("list", KubeOperation::List, resource, namespace, None);
        let (_, answer) = self.send(call, built(request)).await?;
        let items = answer.get("items").and_then(Value::as_array);
        Ok(items.into_iter().flatten().filter_map(|item| Live::read(resource, item)).collect())
    }

    /// The collections of a kind that the agent works in.
    #[expect(clippy::unused_self, reason = "the namespaces that the agent is confined to are the cluster's")]
    pub(crate) fn places(&self, _: &Resource) -> Vec<Option<String>> {
        vec![None]
    }

    /// An object; `None` when there is none.
    pub(crate) async fn get(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, KubeFailure> {
        let request = kube::core::Request::new(resource.path(namespace)).get(name, &kube::api::GetParams::default());
        let call = KubeCall::new("get", KubeOperation::Get, resource, namespace, Some(name));
        match self.send(call, request).await {
            Ok((_, object)) => Ok(Some(object)),
            Err(error) if error.class == Class::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Metadata of the objects with this label, in all namespaces.
    pub(crate) async fn list_metadata(&self, resource: &Resource, selector: &str) -> Result<Vec<Value>, KubeFailure> {
        let mut items = Vec::new();
        let mut params = ListParams::default().labels(selector).limit(500);
        loop {
            let request = kube::core::Request::new(resource.path(None)).list_metadata(&params);
            let call = KubeCall::new("list", KubeOperation::List, resource, None, None);
            let (_, mut page) = self.send(call, request).await?;
            if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
                items.extend(found);
            }
            match page.pointer("/metadata/continue").and_then(Value::as_str).filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(token),
                None => return Ok(items),
            }
        }
    }

    /// Deletes this very object: another one of the same name, or a changed one, is a conflict. Gone already is fine.
    pub(crate) async fn delete(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
        resource_version: &str,
    ) -> Result<(), KubeFailure> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: Some(resource_version.to_owned()) };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let request = kube::core::Request::new(resource.path(namespace)).delete(name, &params);
        let call = KubeCall::new("delete", KubeOperation::Delete, resource, namespace, Some(name));
        match self.send(call, request).await {
            Err(error) if error.class == Class::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    /// Reads a path that is no object: `/version`, discovery.
    pub(crate) async fn read(&self, verb: &'static str, path: &str) -> Result<Value, KubeFailure> {
        let request = Request::get(path).header(ACCEPT, "application/json").body(Vec::new());
        let call = KubeCall::of_path(verb, path);
        self.send(call, built(request)).await.map(|(_, answer)| answer)
    }

    async fn send(
        &self,
        call: KubeCall,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<(StatusCode, Value), KubeFailure> {
        let is_secret = call.is_secret();
        let mut request =
            request.map_err(|source| KubeFailure::of(kube::Error::BuildRequest(source), is_secret))?.map(Body::from);
        request.extensions_mut().insert(call);
        let exchange = async {
            let response = self.client.send(request).await.map_err(|source| KubeFailure::of(source, is_secret))?;
            let status = response.status();
            let bytes = response.into_body().collect_bytes().await.map_err(|source| KubeFailure::of(source, is_secret))?;
            if status.is_success() {
                let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                Ok((status, answer))
            } else {
                Err(KubeFailure::of_answer(status, &bytes, is_secret))
            }
        };
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or_else(|_| Err(KubeFailure::timeout(self.timeout)))
    }
}

fn built(request: http::Result<Request<Vec<u8>>>) -> Result<Request<Vec<u8>>, kube::core::request::Error> {
    request.map_err(kube::core::request::Error::BuildRequest)
}
