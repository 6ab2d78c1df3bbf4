//! Agents as those know them who choose whom to wake: names, labels, and whether they are suspended. What an agent may claim is decided
//! in the database.

use std::{collections::HashMap, time::Duration};

use brokkr_api::{AgentId, Timestamp};

use crate::store::Claimant;

/// Clocks of two brokers may disagree by so much.
pub(crate) const SKEW: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Default)]
pub(crate) struct Roster {
    agents: HashMap<AgentId, Claimant>,
    newest: Option<Timestamp>,
}

impl Roster {
    pub(crate) fn get(&self, agent: AgentId) -> Option<&Claimant> {
        self.agents.get(&agent)
    }

    /// Since when changes have to be read to know all agents.
    pub(crate) fn known_until(&self) -> Timestamp {
        self.newest.map_or(Timestamp::from_micros(0), |at| at.before(SKEW))
    }

    /// Learns what has changed; tells whether anything had.
    pub(crate) fn learn(&mut self, changed: Vec<(AgentId, Claimant, Timestamp)>) -> bool {
        let mut is_news = false;
        for (id, claimant, at) in changed {
            self.newest = self.newest.max(Some(at));
            is_news |= self.agents.get(&id) != Some(&claimant);
            self.agents.insert(id, claimant);
        }
        is_news
    }
}
