//! What can go wrong with a rollout and with telling others of it: for each fault the span that tells it, and a way to bring it about with real processes.
//!
//! [`ROWS`] is the table. [`FaultTable::bring_about`] makes one of its faults happen; what the daemons export then is looked at by
//! [`Row::judge`]. Whatever else observes the daemons can do so at [`Incident::daemons`].
#![expect(clippy::expect_used, reason = "a fault that cannot be brought about fails the test, and says where")]

mod api_server;
mod collector;
mod database;
mod gate;
mod processes;
mod rows;
mod verdict;
mod webhooks;
mod work;

pub use rows::{Fault, ROWS, Row};

use std::{any::Any, fmt};

use api_server::ApiServer;
use brokkr_api::{Name, client::Client};
use tokio::sync::OnceCell;
use work::Work;

use crate::{
    fleet::{Broker, borrowed},
    otlp::Receiver,
};

/// The span of the caller, parent of what the broker does for it.
const CALLER_SPAN: &str = "00f067aa0ba902b7";

/// Brings faults about, side by side.
#[derive(Debug)]
pub struct FaultTable<'a> {
    receiver: &'a Receiver,
    settings: Vec<(&'static str, String)>,
    /// Shared by the faults of the API server, which concern one call each.
    api_server: OnceCell<ApiServer>,
    /// Shared by the faults of work orders.
    work: OnceCell<Work>,
}

/// A fault that has happened, and whatever must live until it has been seen.
pub struct Incident {
    /// The trace that it is told in; nothing when it has one of its own.
    pub trace: Option<String>,
    /// `service.name` and address of each daemon that has to do with it.
    pub daemons: Vec<(&'static str, String)>,
    /// For more requests that meet it, where it lasts.
    pub admin: Option<Client>,
    _keep: Box<dyn Any + Send>,
}

impl<'a> FaultTable<'a> {
    /// All daemons send every span to this receiver, at once.
    pub fn new(receiver: &'a Receiver) -> Self {
        let settings = [
            ("BROKKR__TELEMETRY__ENABLED", "true"),
            ("BROKKR__TELEMETRY__SAMPLING_RATE", "1.0"),
            ("BROKKR__TELEMETRY__RATES__POLL", "1.0"),
            ("BROKKR__TELEMETRY__BATCH__DELAY", "100ms"),
            ("BROKKR__TELEMETRY__TIMEOUT", "1s"),
            ("BROKKR__TELEMETRY__ENDPOINT", &receiver.grpc_endpoint()),
        ];
        let settings = settings.map(|(key, value)| (key, value.to_owned())).to_vec();
        Self { receiver, settings, api_server: OnceCell::new(), work: OnceCell::new() }
    }

    /// Makes a fault happen.
    ///
    /// # Panics
    /// When it does not.
    pub async fn bring_about(&self, fault: Fault) -> Incident {
        match fault {
            Fault::ApiServerFails
            | Fault::ApiServerForbids
            | Fault::ApiServerConflicts
            | Fault::ApiServerSilent
            | Fault::UnknownKind
            | Fault::QuotaExceeded
            | Fault::InvalidManifest
            | Fault::BrokenManifest => {
                self.api_server.get_or_init(|| async { ApiServer::start(&self.with(&[])).await }).await.bring_about(fault).await
            }
            Fault::DatabaseSlow(engine) => database::slow(engine, &self.with(&[])).await,
            Fault::DatabaseDown => database::down(&self.with(&[])).await,
            Fault::AgentOffline => processes::agent_offline(&self.with(&[("BROKKR__AGENTS__ACTIVE_SECONDS", "1")])).await,
            Fault::BrokerRestarted => processes::broker_restarted(&self.with(&[])).await,
            Fault::WebhookRefused | Fault::WebhookSilent | Fault::WebhookBlocked => {
                webhooks::bring_about(fault, &self.with(&[])).await
            }
            Fault::WorkContainerFails
            | Fault::WorkRefused
            | Fault::WorkOverQuota
            | Fault::WorkWithoutImage
            | Fault::WorkTooLong
            | Fault::BuildFails => {
                self.work.get_or_init(|| async { Work::start(&self.with(&[])).await }).await.bring_about(fault).await
            }
            Fault::CollectorDead | Fault::CollectorSlow => collector::bring_about(fault, self.receiver, &self.with(&[])).await,
        }
    }

    fn with(&self, more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
        self.settings.iter().cloned().chain(more).collect()
    }
}

impl fmt::Debug for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incident").field("trace", &self.trace).field("daemons", &self.daemons).finish_non_exhaustive()
    }
}

impl Incident {
    fn of(fault: Fault, daemons: Vec<(&'static str, String)>, keep: impl Any + Send) -> Self {
        Self { trace: Some(trace_id(fault)), daemons, admin: None, _keep: Box::new(keep) }
    }

    fn lasting(self, admin: Client) -> Self {
        Self { admin: Some(admin), ..self }
    }

    /// One that no request is to blame for.
    fn without_trace(daemons: Vec<(&'static str, String)>, keep: impl Any + Send) -> Self {
        Self { trace: None, daemons, admin: None, _keep: Box::new(keep) }
    }
}

/// The trace of the request that meets this fault.
fn trace_id(fault: Fault) -> String {
    let row = ROWS.iter().position(|row| row.fault == fault).expect("every fault has a row");
    format!("fa017000000000000000000000{:06x}", row + 1)
}

/// The admin, in that trace.
fn caller(broker: &Broker, fault: Fault) -> Client {
    broker.traced(&format!("00-{}-{CALLER_SPAN}-01", trace_id(fault)))
}

/// Sends manifests in the fault's trace; whether they are accepted is the fault's business.
async fn send(broker: &Broker, fault: Fault, stack: &Name, manifests: &str) -> bool {
    caller(broker, fault).put_deployment_objects(stack, "application/yaml", manifests.as_bytes().to_vec()).await.is_ok()
}
