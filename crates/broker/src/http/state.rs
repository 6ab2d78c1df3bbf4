//! What handlers share.

use std::{ops::Deref, sync::Arc, time::Duration};

use brokkr_api::{ErrorCode, Problem, StackId, Timestamp, agents::Agent, suspension::SuspensionScope};
use brokkr_runtime::{Clock, Ids};
use brokkr_telemetry::{Control, config::Handoff};
use brokkr_webhooks::Guard;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{cors::Origin, error::Failure, limits::SharedLimits};
use crate::{
    board::Board,
    courier::depot::Depot,
    domain::seal::Keyring,
    feed::Feed,
    presence::Presence,
    store::{AgentRow, Db, StoredContent, widest},
};

/// What handlers share, behind one pointer: every request carries copies of it, and so does every one that waits.
#[derive(Clone)]
pub(crate) struct AppState(Arc<Shared>);

/// Handles and settings.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) db: Db,
    pub(crate) feed: Arc<Feed>,
    pub(crate) presence: Arc<Presence>,
    /// Who waits for work orders.
    pub(crate) board: Arc<Board>,
    /// Who waits for deliveries of webhooks.
    pub(crate) depot: Arc<Depot>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) keyring: Arc<Keyring>,
    /// Where webhooks may lead.
    pub(crate) guard: Arc<Guard>,
    /// Woken when a webhook has changed, or one of its deliveries is due.
    pub(crate) webhooks_changed: Arc<Notify>,
    pub(crate) settings: Settings,
    pub(crate) limits: SharedLimits,
    /// How this broker traces.
    pub(crate) tracing: Control,
    /// Woken when totals change.
    pub(crate) totals_changed: Arc<Notify>,
    /// The broker was asked to end, and still serves: whoever waits is answered.
    pub(crate) draining: CancellationToken,
    /// Nothing more may wait.
    pub(crate) stopping: CancellationToken,
}

/// What a request may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLimits {
    /// Most bytes of a body.
    pub(crate) body: usize,
    /// Time beyond the longest wait.
    pub(crate) time: Duration,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { body: brokkr_api::MAX_BODY_BYTES, time: Duration::from_secs(30) }
    }
}

/// Configuration that handlers need.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) handoff: Handoff,
    pub(crate) active: Duration,
    /// How long an agent has a work order without renewing it.
    pub(crate) lease: Duration,
    pub(crate) requests: RequestLimits,
    pub(crate) allowed_origins: Arc<[Origin]>,
    /// Where metrics are served.
    pub(crate) metrics_path: Arc<str>,
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl AppState {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// Another state for a router that is made anew.
    #[cfg(test)]
    pub(crate) fn shared_mut(&mut self) -> &mut Shared {
        Arc::make_mut(&mut self.0)
    }

    /// Who was seen then or later counts as active.
    pub(crate) fn active_since(&self) -> Timestamp {
        self.clock.now().before(self.settings.active)
    }

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
            protocol: row.protocol,
            capabilities: row.capabilities,
            suspended: widest([(SuspensionScope::Fleet, row.fleet), (SuspensionScope::Agent, row.suspension)]),
            deactivated_at: row.deactivated_at,
            offline_since: row.offline_since,
            key_rotation_wanted: row.rotation_wanted,
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
            online,
        }
    }

    /// Plain content, whether it was sealed or not.
    pub(crate) fn open_content(&self, stack: StackId, digest: &str, content: StoredContent) -> Result<Vec<u8>, Failure> {
        if content.encryption_key.is_none() {
            return Ok(content.body);
        }
        self.keyring.open(stack, digest, &content.body).map_err(|cause| {
            let detail = "the content is encrypted with a key that this broker does not have; its log says with which";
            Failure::with_cause(Problem::new(ErrorCode::Internal, detail), cause)
        })
    }

    /// Cancelled when a request that begins to wait now should wait no longer. While the broker drains, who comes back at once
    /// waits until it stops: answered at once again, and again, it would ask as fast as it can.
    pub(crate) fn ending(&self) -> CancellationToken {
        if self.draining.is_cancelled() { self.stopping.clone() } else { self.draining.clone() }
    }

    /// After a commit that changed desired state, keys or totals.
    pub(crate) fn changed(&self) {
        self.feed.nudge();
        self.totals_changed.notify_one();
    }

    /// After a commit that changed a work order.
    pub(crate) fn work_changed(&self) {
        self.board.nudge();
        self.totals_changed.notify_one();
    }
}
