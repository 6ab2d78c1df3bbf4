//! Calls to the Kubernetes API. Each one is a span with `traceparent` and `Audit-ID` on the wire, and has a time limit.

mod connection;
mod error;
mod layer;
mod lists;
mod members;
mod reach;
mod repeat;
mod resources;
mod send;
mod throttle;
mod whole;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_runtime::Ids;
use brokkr_telemetry::{AgentMetrics, metrics::KubeOperation};
use http::{
    Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use kube::{
    Client, Config,
    api::{Preconditions, PropagationPolicy},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tower::BoxError;

use crate::{config::KubernetesConfig, live::Live, standing::Standing};

pub(crate) use error::{Class, KubeFailure};
pub(crate) use layer::{CallLayer, KubeCall};
pub(crate) use lists::Select;
pub(crate) use members::{Seen, WatchEvent};
pub(crate) use reach::{STACK_RECORD, WORK_RECORD};
pub(crate) use resources::{Resource, Resources};
pub(crate) use throttle::Limits;

/// The one field manager.
pub(crate) const FIELD_MANAGER: &str = "brokkr-agent";

const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// A cluster.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    timeout: Duration,
    throttle: Arc<throttle::Throttle>,
    confined: Arc<reach::Confined>,
    identity: Option<Arc<reach::Identity>>,
    standing: Option<Standing>,
    ids: Arc<dyn Ids>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("no cluster: set kubernetes.kubeconfig, or KUBECONFIG, or run in a pod")]
    Infer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the client for the Kubernetes API cannot be set up")]
    Client(#[source] kube::Error),
    #[error("the proxy of the Kubernetes API cannot be used: write it as http://HOST:PORT")]
    Proxy,
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
    pub(crate) async fn new(settings: &KubernetesConfig, ids: Arc<dyn Ids>, metrics: AgentMetrics) -> Result<Self, SetupError> {
        let (kubeconfig, context) = (settings.kubeconfig.as_deref(), settings.context.as_deref());
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
        // Calls are made again here, within their time limit and with regard to all others.
        config.default_retry = false;
        let user_agent = http::HeaderValue::from_static(concat!("brokkr-agent/", env!("CARGO_PKG_VERSION")));
        config.headers.push((http::header::USER_AGENT, user_agent));
        let server = layer::Server::of(&config.cluster_url);
        let client = connection::client(config, &CallLayer::new(server, metrics))?;
        Ok(Self {
            client,
            timeout: Duration::from_secs(settings.call_timeout_seconds),
            throttle: Arc::new(throttle::Throttle::new(settings.limits(), Instant::now())),
            confined: Arc::new(reach::Confined::to(settings.namespaces.as_deref(), &settings.namespace)),
            identity: None,
            standing: None,
            ids,
        })
    }

    /// The same cluster, whose calls are refused unless the agent is in charge.
    pub(crate) fn guarded_by(&self, standing: Standing) -> Self {
        Self { standing: Some(standing), ..self.clone() }
    }

    /// The same cluster, where the calls of the work do not slow these down.
    pub(crate) fn apart(&self) -> Self {
        let limits = Limits { in_flight: 4, per_second: 20, burst: 20 };
        Self { throttle: Arc::new(throttle::Throttle::new(limits, Instant::now())), ..self.clone() }
    }

    /// The same cluster for the agent's own key, which may be in any namespace.
    pub(crate) fn unconfined(&self) -> Self {
        Self { confined: Arc::default(), ..self.clone() }
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
        self.remove(resource, namespace, name, preconditions, PropagationPolicy::Background).await
    }

    /// Reads a path that is no object: `/version`, discovery.
    pub(crate) async fn read(&self, verb: &'static str, path: &str) -> Result<Value, KubeFailure> {
        let request = Request::get(path).header(ACCEPT, "application/json").body(Vec::new());
        let call = KubeCall::of_path(verb, path);
        self.send(call, built(request)).await.map(|(_, answer)| answer)
    }
}

fn built(request: http::Result<Request<Vec<u8>>>) -> Result<Request<Vec<u8>>, kube::core::request::Error> {
    request.map_err(kube::core::request::Error::BuildRequest)
}
