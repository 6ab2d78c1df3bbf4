//! Writing whole objects: creation, and replacement of exactly the version that was read.

use brokkr_telemetry::metrics::KubeOperation;
use http::{Request, header::CONTENT_TYPE};
use serde_json::Value;

use super::{Cluster, KubeCall, KubeFailure, Resource};

impl Cluster {
    /// Creates an object. One of the same name is a conflict.
    pub(crate) async fn create(&self, resource: &Resource, namespace: Option<&str>, body: &Value) -> Result<Value, KubeFailure> {
        let request = Request::post(resource.path(namespace)).header(CONTENT_TYPE, "application/json");
        let request = request.body(body.to_string().into_bytes()).map_err(kube::core::request::Error::BuildRequest);
        let call = KubeCall::new("create", KubeOperation::Create, resource, namespace, None);
        self.send(call, request).await.map(|(_, answer)| answer)
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
