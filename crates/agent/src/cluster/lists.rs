//! Short lists of whole objects.

use brokkr_telemetry::metrics::KubeOperation;
use kube::api::ListParams;
use serde_json::Value;

use super::{Cluster, KubeCall, KubeFailure, Resource};

/// Which objects a short list is to have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Select<'a> {
    Labels(&'a str),
    Fields(&'a str),
}

impl Cluster {
    /// The first objects of a namespace that match, at most `limit`.
    pub(crate) async fn list_some(
        &self,
        resource: &Resource,
        namespace: &str,
        select: Select<'_>,
        limit: u32,
    ) -> Result<Vec<Value>, KubeFailure> {
        let params = ListParams::default().limit(limit);
        let params = match select {
            Select::Labels(selector) => params.labels(selector),
            Select::Fields(selector) => params.fields(selector),
        };
        let request = kube::core::Request::new(resource.path(Some(namespace))).list(&params);
        let call = KubeCall::new("list", KubeOperation::List, resource, Some(namespace), None);
        let (_, mut answer) = self.send(call, request).await?;
        match answer.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }
}
