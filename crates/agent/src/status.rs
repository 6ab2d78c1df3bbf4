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
    leadership: Leadership,
}

/// Whether this agent leads.
#[derive(Debug, Default, PartialEq, Eq)]
enum Leadership {
    /// Nobody else is to.
    #[default]
    Alone,
    Leads,
    /// Another one does; its name is empty before it is known.
    StandsBy(String),
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

    /// Whether this agent may act: it leads, or needs no election.
    pub(crate) fn may_act(&self) -> bool {
        !matches!(self.0.read().leadership, Leadership::StandsBy(_))
    }

    /// This agent leads.
    pub(crate) fn leads(&self) {
        self.0.write().leadership = Leadership::Leads;
    }

    /// Another agent leads; an empty name before it is known. Tells whether that is news.
    pub(crate) fn stands_by(&self, leader: &str) -> bool {
        let mut inner = self.0.write();
        let leadership = Leadership::StandsBy(leader.to_owned());
        let news = inner.leadership != leadership;
        inner.leadership = leadership;
        news
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
            None if matches!(inner.leadership, Leadership::StandsBy(_)) => Check::ok("not asked while standing by"),
            None if inner.broker.is_none() => Check::failing("not connected yet"),
            _ => check(inner.broker.as_ref().map(|trouble| &trouble.text)),
        };
        let leader = match &inner.leadership {
            Leadership::Alone => "no election".to_owned(),
            Leadership::Leads => "this agent leads".to_owned(),
            Leadership::StandsBy(leader) if leader.is_empty() => "standby, the leader is not known yet".to_owned(),
            Leadership::StandsBy(leader) => format!("standby, {leader} leads"),
        };
        BTreeMap::from([
            ("broker".to_owned(), broker),
            ("kubernetes".to_owned(), check(inner.kubernetes.as_ref())),
            ("leader".to_owned(), Check::ok(leader)),
            ("stacks".to_owned(), Check::ok(format!("{} not carried out yet, {} suspended", inner.unfinished, inner.suspended))),
            ("telemetry".to_owned(), telemetry_check(&self.spans.status())),
        ])
    }
}
