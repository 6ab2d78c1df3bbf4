//! What an agent gets of what is due: one of each webhook in turn, those first that have waited longest for an agent, and of none more than
//! its receiver may have at once.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use brokkr_api::{Timestamp, WebhookId};

use super::depot::Berth;
use crate::store::DueDelivery;

/// What was chosen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) chosen: Vec<DueDelivery>,
    /// Webhooks of which something is due that was not chosen, or may be.
    pub(crate) left: HashSet<WebhookId>,
    /// After how long there may be more for the same agent, where it has a hand free for it.
    pub(crate) again_after: Option<Duration>,
}

/// Chooses at most `limit`, and counts what it chooses as begun. `each` is how many of each webhook were looked at.
pub(super) fn choose(
    berths: &mut HashMap<WebhookId, Berth>,
    due: Vec<DueDelivery>,
    each: u32,
    limit: u32,
    claims: u64,
    now: Timestamp,
) -> Choice {
    let mut of_webhook: HashMap<WebhookId, VecDeque<DueDelivery>> = HashMap::new();
    for delivery in due {
        of_webhook.entry(delivery.webhook).or_default().push_back(delivery);
    }
    let mut choice = Choice::default();
    let mut turns: Vec<_> = of_webhook.into_iter().collect();
    for (webhook, waiting) in &mut turns {
        waiting.make_contiguous().sort_unstable_by_key(|delivery| (delivery.position, delivery.id));
        if waiting.len() >= each as usize {
            choice.left.insert(*webhook);
        }
    }
    turns.sort_unstable_by_key(|(webhook, _)| (berths.get(webhook).map(|berth| berth.served), *webhook));
    let limit = limit as usize;
    let mut goes_on = true;
    while goes_on && choice.chosen.len() < limit {
        goes_on = false;
        for (webhook, waiting) in &mut turns {
            let Some(berth) = berths.get_mut(webhook) else { continue };
            // How many run beside them is the agent's affair.
            if waiting.is_empty() || choice.chosen.len() == limit || !berth.lane.may_start(now, 0, usize::MAX) {
                continue;
            }
            berth.lane.started(now);
            berth.served = claims;
            choice.chosen.extend(waiting.pop_front());
            goes_on = true;
        }
    }
    let has_hands = choice.chosen.len() < limit;
    for (webhook, waiting) in turns {
        let Some(berth) = berths.get(&webhook) else { continue };
        if !waiting.is_empty() {
            choice.left.insert(webhook);
        }
        if has_hands && choice.left.contains(&webhook) {
            let wait = if berth.lane.may_start(now, 0, usize::MAX) { Some(Duration::ZERO) } else { berth.lane.waits_for(now) };
            choice.again_after = choice.again_after.into_iter().chain(wait).min();
        }
    }
    choice
}
