//! What handlers share.

use std::{sync::Arc, time::Duration};

use brokkr_api::{Timestamp, agents::Agent};
use brokkr_runtime::{Clock, Ids};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{cors::Origin, limits::SharedLimits};
use crate::{
    domain::handoff::Handoff,
    feed::Feed,
    presence::Presence,
    store::{AgentRow, Db, Installation},
};

/// Handles, cheap to clone.
#[derive(Clone)]
pub(crate) struct AppState {
    pub(crate) db: Db,
    pub(crate) feed: Arc<Feed>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) installation: Arc<Installation>,
    pub(crate) settings: Settings,
    pub(crate) limits: SharedLimits,
    /// Woken when totals change.
    pub(crate) totals_changed: Arc<Notify>,
    pub(crate) stopping: CancellationToken,
}

/// Configuration that handlers need.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) handoff: Handoff,
    pub(crate) active: Duration,
    pub(crate) allowed_origins: Arc<[Origin]>,
}

impl AppState {
    pub(crate) fn is_online(&self, last_seen_at: Option<Timestamp>) -> bool {
        last_seen_at.is_some_and(|at| self.clock.now().since(at) < self.settings.active)
    }

    pub(crate) fn agent_to_api(&self, row: AgentRow) -> Agent {
        let online = self.is_online(row.last_seen_at);
        Agent {
            id: row.id,
            name: row.name,
            cluster: row.cluster,
            labels: row.labels,
            cluster_uid: row.cluster_uid,
            version: row.version,
            kubernetes_version: row.kubernetes_version,
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
            online,
        }
    }

    /// After a commit that changed desired state, keys or totals.
    pub(crate) fn changed(&self) {
        self.feed.nudge();
        self.totals_changed.notify_one();
    }
}
