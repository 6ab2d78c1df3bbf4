//! Looks again when something of an order changes in the cluster: watches by the order's label, on metadata only. What they tell is that
//! something has changed; what it is like is asked.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use brokkr_api::WorkOrderId;
use futures::{Stream, StreamExt, stream};

use super::WORK_ORDER;
use crate::cluster::{Cluster, Resource};

/// How long a watch that could not begin, or broke off, waits before it begins again.
const AGAIN: Duration = Duration::from_secs(2);
/// How long nothing may be heard before it is looked again all the same: a watch may be silent for a reason.
const SILENCE: Duration = Duration::from_secs(60);

/// Changes of an order's objects.
pub(super) struct Changes(Pin<Box<dyn Stream<Item = ()> + Send>>);

impl Changes {
    /// Of these kinds, each in its namespace or in the whole cluster.
    pub(super) fn of(cluster: &Cluster, order: WorkOrderId, places: Vec<(Resource, Option<String>)>) -> Self {
        Self::labelled(cluster, &format!("{WORK_ORDER}={order}"), places)
    }

    /// Of what has this label, as `KEY=VALUE`.
    pub(super) fn labelled(cluster: &Cluster, label: &str, places: Vec<(Resource, Option<String>)>) -> Self {
        let one = |(resource, namespace): (Resource, Option<String>)| {
            let (cluster, label) = (cluster.clone(), label.replace('=', "%3D"));
            stream::unfold((), move |()| {
                let (cluster, resource, namespace, label) = (cluster.clone(), resource.clone(), namespace.clone(), label.clone());
                async move {
                    // Version 0: what is there is told first, so that nothing is missed between a look and a watch.
                    let watch = cluster.watch_members(&resource, namespace.as_deref(), &label, "0").await;
                    let events = match watch {
                        Ok(events) => events.take_while(|event| std::future::ready(event.is_ok())).map(drop).left_stream(),
                        Err(_) => stream::empty().right_stream(),
                    };
                    let pause = stream::once(tokio::time::sleep(AGAIN)).filter(|()| std::future::ready(false));
                    Some((events.chain(pause), ()))
                }
            })
            .flatten()
            .boxed()
        };
        Self(Box::pin(stream::select_all(places.into_iter().map(one))))
    }

    /// Of nothing.
    pub(super) fn none() -> Self {
        Self(Box::pin(stream::pending()))
    }

    /// Both.
    pub(super) fn and(self, other: Self) -> Self {
        Self(Box::pin(stream::select(self.0, other.0)))
    }

    /// Waits for the next change, or until it is time to look all the same.
    pub(super) async fn next(&mut self) {
        drop(tokio::time::timeout(SILENCE, self.0.next()).await);
    }

    /// The same, but not longer than until then.
    pub(super) async fn next_until(&mut self, at: Option<Instant>) {
        match at {
            Some(at) => drop(tokio::time::timeout_at(at.into(), self.next()).await),
            None => self.next().await,
        }
    }
}
