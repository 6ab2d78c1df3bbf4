//! Work orders: claimed when the broker says that there are some, carried out side by side, renewed while they last.
//!
//! Nothing is touched in the cluster before the broker has agreed to the start. What was started by a process that is gone is found again
//! under its name; it is never started a second time.

mod apply;
mod build;
mod build_past;
mod build_run;
mod build_status;
mod build_stop;
mod cleanup;
mod job;
mod log;
mod made;
mod mind;
mod order;
mod past;
mod pods;
mod run;
mod verdict;
mod watch;

use std::{collections::HashMap, sync::Arc, time::Duration};

use brokkr_api::{
    WorkOrderId,
    work_orders::{ClaimWork, ClaimedOrder, RenewWork, Renewal, WorkKind},
};
use brokkr_runtime::{Clock, Ids, Lifecycle};
use brokkr_telemetry::spans::{self, WaitReason};
use parking_lot::Mutex;
use tokio::sync::watch as channel;
use tokio::time::Instant;
use tracing::{Instrument, info, warn};

use crate::{attempt::Workshop, hands::Hands, schedule::backoff, status::Status};

/// The label of everything that stands for a work order in the cluster; its value is the order's id.
pub(crate) const WORK_ORDER: &str = "brokkr.io/work-order";
/// How often leases are renewed, as a part of their length.
const RENEWALS: u32 = 4;
/// How long a lease holds before the broker has said it.
const FIRST_LEASE: Duration = Duration::from_secs(60);

/// What those who carry an order out are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Signal {
    #[default]
    Go,
    /// Somebody does not want it any more.
    Cancel,
    /// The agent does not have it any more.
    Lost,
}

/// Carries work orders out.
pub(crate) struct Workforce {
    pub(crate) workshop: Arc<Workshop>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) status: Arc<Status>,
    pub(crate) hands: Arc<Hands>,
    /// How long something that does not get there by itself may last before the attempt is given up.
    pub(crate) patience: Duration,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) held: Mutex<HashMap<WorkOrderId, Held>>,
}

/// An order that this process carries out.
pub(crate) struct Held {
    token: u64,
    progress: Option<String>,
    signal: channel::Sender<Signal>,
}

impl Workforce {
    /// Works until the lifecycle stops.
    pub(crate) async fn run(self: Arc<Self>) {
        let stopping = self.lifecycle.stopping().clone();
        tokio::select! {
            () = stopping.cancelled() => {}
            () = self.work() => {}
        }
    }

    async fn work(self: &Arc<Self>) {
        if self.hands.number() == 0 {
            // A task that ends by itself is a crash.
            return std::future::pending().await;
        }
        // The first answer of the broker says that this agent may work.
        self.hands.rung().await;
        let mut lease = self.resume().await;
        let mut failures = 0;
        self.spawn_cleanup();
        loop {
            if self.hands.may_be_work() || failures > 0 {
                match self.claim_all(&mut lease).await {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        failures += 1;
                        let cause: &(dyn std::error::Error + 'static) = &error;
                        tracing::debug!(error = cause, "work orders cannot be claimed");
                    }
                }
            }
            let pause = if failures > 0 { backoff(failures, self.ids.fraction()) } else { lease / RENEWALS };
            tokio::select! {
                () = self.hands.rung() => {}
                () = tokio::time::sleep(pause.min(lease / RENEWALS)) => {}
            }
            self.renew().instrument(spans::job("work-renewal")).await;
        }
    }

    /// Takes up what a process before this one has left.
    async fn resume(self: &Arc<Self>) -> Duration {
        let mut failures = 0;
        loop {
            let claim = ClaimWork { kinds: Vec::new(), resume: true };
            match self.workshop.client.claim_work(&claim).instrument(spans::job("work-resume")).await {
                Ok(claimed) => {
                    for order in claimed.orders {
                        info!(work_order.id = %order.id, attempt = order.attempt, started = order.started, "a work order goes on");
                        self.start(order);
                    }
                    return Duration::from_secs(claimed.lease_seconds.max(1));
                }
                Err(_) => {
                    failures += 1;
                    self.rest(failures).await;
                }
            }
        }
    }

    async fn claim_all(self: &Arc<Self>, lease: &mut Duration) -> Result<(), brokkr_api::client::ClientError> {
        while self.hands.free() > 0 {
            let claim = ClaimWork { kinds: WorkKind::ALL.to_vec(), resume: false };
            let claimed = self.workshop.client.claim_work(&claim).instrument(spans::job("work-claim")).await?;
            *lease = Duration::from_secs(claimed.lease_seconds.max(1)).min(FIRST_LEASE * 60);
            let Some(order) = claimed.orders.into_iter().next() else { break };
            self.start(order);
        }
        Ok(())
    }

    fn start(self: &Arc<Self>, order: ClaimedOrder) {
        let signal = if order.cancel { Signal::Cancel } else { Signal::Go };
        let (sender, receiver) = channel::channel(signal);
        let (id, token) = (order.id, order.token);
        self.held.lock().insert(id, Held { token, progress: None, signal: sender });
        self.hands.take();
        let this = Arc::clone(self);
        let claimed = Instant::now();
        self.lifecycle.spawn_work(async move {
            this.carry_out(order, receiver, claimed).await;
            this.held.lock().retain(|known, held| *known != id || held.token != token);
            this.hands.give_back();
        });
    }

    /// Waits before the next try after so many failures.
    async fn rest(&self, failures: u32) {
        tokio::time::sleep(backoff(failures, self.ids.fraction())).await;
    }

    /// The same, as a wait in the trace of an order.
    async fn rest_within(&self, failures: u32) {
        self.rest(failures).instrument(spans::wait(WaitReason::Retry)).await;
    }

    /// Says what is being done; the broker hears of it with the next renewal.
    pub(super) fn progress(&self, id: WorkOrderId, progress: String) {
        if let Some(held) = self.held.lock().get_mut(&id) {
            held.progress = Some(progress);
        }
    }

    /// Renews every lease, and tells those who carry orders out what the broker says.
    async fn renew(&self) {
        let orders: Vec<_> = {
            let held = self.held.lock();
            held.iter().map(|(id, held)| Renewal { id: *id, token: held.token, progress: held.progress.clone() }).collect()
        };
        if orders.is_empty() {
            return;
        }
        match self.workshop.client.renew_work(&RenewWork { orders }).await {
            Ok(answer) => {
                let held = self.held.lock();
                for renewed in answer.orders {
                    let Some(held) = held.get(&renewed.id) else { continue };
                    let signal = match (renewed.held, renewed.cancel) {
                        (false, _) => Signal::Lost,
                        (true, true) => Signal::Cancel,
                        (true, false) => Signal::Go,
                    };
                    held.signal.send_if_modified(|known| std::mem::replace(known, signal) != signal);
                }
            }
            Err(error) => {
                let cause: &(dyn std::error::Error + 'static) = &error;
                warn!(error = cause, "the leases of work orders cannot be renewed; it is tried again");
            }
        }
    }
}
