//! What the agent knows of itself, for `/readyz` and for spans.

use std::{collections::BTreeMap, sync::Arc};

use brokkr_api::{agents::Welcome, readiness::Check};
use brokkr_runtime::server::{Probe, telemetry_check};
use brokkr_telemetry::StatusHandle;
use parking_lot::RwLock;

use crate::trouble::Trouble;

/// The agent's state of affairs.
#[derive(Debug, Default)]
pub(crate) struct Status(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    identity: Option<(String, String)>,
    broker: Option<Trouble>,
    kubernetes: Option<String>,
    unfinished: usize,
    suspended: usize,
}

impl Status {
    pub(crate) fn welcomed(&self, welcome: &Welcome) {
        self.0.write().identity = Some((welcome.agent.to_string(), welcome.cluster.to_string()));
    }

    /// Names of agent and cluster; empty before the broker has told them.
    pub(crate) fn identity(&self) -> (String, String) {
        self.0.read().identity.clone().unwrap_or_default()
    }

    /// What is wrong with the broker, if anything is. Tells whether that is news: trouble of another kind is.
    pub(crate) fn broker(&self, trouble: Option<Trouble>) -> bool {
        let mut inner = self.0.write();
        let kind = |trouble: &Option<Trouble>| trouble.as_ref().map(|trouble| trouble.kind);
        let news = kind(&inner.broker) != kind(&trouble);
        inner.broker = trouble;
        news
    }

    /// Whether the broker gives no answers: what the agent knows of its wishes may be old.
    pub(crate) fn broker_is_away(&self) -> bool {
        self.0.read().broker.is_some()
    }

    /// What is wrong with the Kubernetes API, if anything is. Tells whether that is news.
    pub(crate) fn kubernetes(&self, trouble: Option<String>) -> bool {
        let mut inner = self.0.write();
        let news = inner.kubernetes.is_some() != trouble.is_some();
        inner.kubernetes = trouble;
        news
    }

    /// How many stacks are not carried out, and how many are suspended.
    pub(crate) fn stacks(&self, unfinished: usize, suspended: usize) {
        let mut inner = self.0.write();
        (inner.unfinished, inner.suspended) = (unfinished, suspended);
    }
}

/// What `/readyz` tells: the agent's state of affairs, and what became of the spans.
pub(crate) struct AgentProbe {
    pub(crate) status: Arc<Status>,
    pub(crate) spans: StatusHandle,
}

impl Probe for AgentProbe {
    fn checks(&self) -> BTreeMap<String, Check> {
        let inner = self.status.0.read();
        let check = |trouble: Option<&String>| trouble.map_or_else(|| Check::ok(""), Check::failing);
        let broker = match &inner.identity {
            None if inner.broker.is_none() => Check::failing("not connected yet"),
            _ => check(inner.broker.as_ref().map(|trouble| &trouble.text)),
        };
        BTreeMap::from([
            ("broker".to_owned(), broker),
            ("kubernetes".to_owned(), check(inner.kubernetes.as_ref())),
            ("stacks".to_owned(), Check::ok(format!("{} not carried out yet, {} suspended", inner.unfinished, inner.suspended))),
            ("telemetry".to_owned(), telemetry_check(&self.spans.status())),
        ])
    }
}
