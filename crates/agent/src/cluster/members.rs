//! Lists and watches of members, by label and on metadata only.

use brokkr_telemetry::metrics::KubeOperation;
use futures::{Stream, StreamExt};
use http::{Request, header::ACCEPT};
use kube::core::{DynamicObject, WatchEvent as KubeEvent};
use serde_json::Value;

use super::{Class, Cluster, KubeCall, KubeFailure, Resource};
use crate::live::Live;

/// Seconds after which the API server ends a watch, so that a silent connection does not stay unnoticed for ever.
const WATCH_SECONDS: u32 = 290;

/// Members and the version at which they were so.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) objects: Vec<Live>,
    /// The oldest, where several collections were listed.
    pub(crate) resource_version: String,
}

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum WatchEvent {
    Seen(Box<Live>),
    Gone(Box<Live>),
    Bookmark(String),
}

impl Cluster {
    /// Metadata of everything of a kind that this label selector selects, wherever the agent works.
    pub(crate) async fn list_members(&self, resource: &Resource, selector: &str) -> Result<Seen, KubeFailure> {
        let (mut seen, selector) = (Seen::default(), selector.replace('=', "%3D"));
        for place in self.places(resource) {
            let mut next = String::new();
            loop {
                let page = if next.is_empty() { String::new() } else { format!("&continue={next}") };
                let request =
                    Request::get(format!("{}?labelSelector={selector}&limit=500{page}", resource.path(place.as_deref())))
                        .header(ACCEPT, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
                        .body(Vec::new());
                let call = KubeCall::new("list", KubeOperation::List, resource, place.as_deref(), None);
                let (_, answer) = self.send(call, super::built(request)).await?;
                let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
                let items = answer.get("items").and_then(Value::as_array);
                seen.objects.extend(items.into_iter().flatten().filter_map(|item| Live::read(resource, item)));
                let version = text("/metadata/resourceVersion");
                let number = |version: &str| version.parse::<u64>().unwrap_or(u64::MAX);
                if seen.resource_version.is_empty() || number(&version) < number(&seen.resource_version) {
                    seen.resource_version = version;
                }
                next = text("/metadata/continue");
                if next.is_empty() {
                    break;
                }
            }
        }
        Ok(seen)
    }

    /// What happens to objects of a kind with this label after this version, until the server ends the watch.
    pub(crate) async fn watch_members(
        &self,
        resource: &Resource,
        place: Option<&str>,
        label: &str,
        from: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent, KubeFailure>> + use<>, KubeFailure> {
        let path = resource.path(place);
        let query = format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&labelSelector={label}");
        let mut request = Request::get(format!("{path}?{query}&resourceVersion={from}"))
            .header(ACCEPT, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
            .body(Vec::new())
            .map_err(|source| KubeFailure::new(Class::Invalid, source.to_string()))?;
        let call = KubeCall::new("watch", KubeOperation::Watch, resource, place, None);
        drop(self.begin(&call).await?);
        request.extensions_mut().insert(call.standing_here());
        let events =
            self.client.request_events::<DynamicObject>(request).await.map_err(|source| KubeFailure::of(source, false))?;
        let resource = resource.clone();
        Ok(events.filter_map(move |event| {
            let read = event_of(&resource, event);
            async move { read }
        }))
    }
}

fn event_of(
    resource: &Resource,
    event: Result<KubeEvent<DynamicObject>, kube::Error>,
) -> Option<Result<WatchEvent, KubeFailure>> {
    let live =
        |object: DynamicObject| serde_json::to_value(object).ok().and_then(|object| Live::read(resource, &object)).map(Box::new);
    match event {
        Ok(KubeEvent::Added(object) | KubeEvent::Modified(object)) => live(object).map(WatchEvent::Seen).map(Ok),
        Ok(KubeEvent::Deleted(object)) => live(object).map(WatchEvent::Gone).map(Ok),
        Ok(KubeEvent::Bookmark(bookmark)) => Some(Ok(WatchEvent::Bookmark(bookmark.metadata.resource_version))),
        Ok(KubeEvent::Error(status)) => Some(Err(KubeFailure::of(kube::Error::Api(status), false))),
        Err(source) => Some(Err(KubeFailure::of(source, false))),
    }
}
