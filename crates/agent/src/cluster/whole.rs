//! Writing whole objects: creation, replacement of exactly the version that was read, deletion with all that belongs to it.

use brokkr_telemetry::metrics::KubeOperation;
use http::{Request, header::CONTENT_TYPE};
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};
use serde_json::Value;

use super::{Class, Cluster, KubeCall, KubeFailure, Resource};

impl Cluster {
    /// Creates an object. One of the same name is a conflict.
    pub(crate) async fn create(&self, resource: &Resource, namespace: Option<&str>, body: &Value) -> Result<Value, KubeFailure> {
        let request = Request::post(resource.path(namespace)).header(CONTENT_TYPE, "application/json");
        let request = request.body(body.to_string().into_bytes()).map_err(kube::core::request::Error::BuildRequest);
        let call = KubeCall::new("create", KubeOperation::Create, resource, namespace, None);
        self.send(call, request).await.map(|(_, answer)| answer)
    }

    /// Deletes this very object, which goes only when everything that it owns is gone. Gone already is fine.
    pub(crate) async fn delete_whole(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
    ) -> Result<(), KubeFailure> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        self.remove(resource, namespace, name, preconditions, PropagationPolicy::Foreground).await
    }

    /// Deletes what meets the preconditions. Gone already is fine.
    pub(super) async fn remove(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        preconditions: Preconditions,
        propagation: PropagationPolicy,
    ) -> Result<(), KubeFailure> {
        let params =
            DeleteParams { preconditions: Some(preconditions), propagation_policy: Some(propagation), ..DeleteParams::default() };
        let request = kube::core::Request::new(resource.path(namespace)).delete(name, &params);
        let call = KubeCall::new("delete", KubeOperation::Delete, resource, namespace, Some(name));
        match self.send(call, request).await {
            Err(error) if error.class == Class::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    /// Replaces an object. One that is no longer of the body's `resourceVersion` is a conflict.
    pub(crate) async fn replace(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        body: &Value,
    ) -> Result<Value, KubeFailure> {
        let request = Request::put(format!("{}/{name}", resource.path(namespace))).header(CONTENT_TYPE, "application/json");
        let request = request.body(body.to_string().into_bytes()).map_err(kube::core::request::Error::BuildRequest);
        let call = KubeCall::new("replace", KubeOperation::Other, resource, namespace, Some(name));
        self.send(call, request).await.map(|(_, answer)| answer)
    }
}
