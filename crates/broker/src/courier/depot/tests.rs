//! Who is told, and what is chosen, without a database.

use std::collections::BTreeMap;

use brokkr_api::{
    Labels, Name, TargetSelector,
    webhooks::{WebhookSettings, WebhookState},
};
use brokkr_runtime::{Ids, SeededIds};
use futures::FutureExt;

use super::*;
use crate::{courier::endpoint::seal, domain::webhook::sealed::Sealed};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(0).after(Duration::from_secs(seconds))
}

struct Ground {
    depot: Arc<Depot>,
    ids: SeededIds,
    keyring: Keyring,
    rows: Vec<WebhookRow>,
}

impl Ground {
    fn new() -> Self {
        let keyring = Keyring::parse(&Keyring::new_line("test", &SeededIds::new(9))).unwrap();
        Self { depot: Arc::default(), ids: SeededIds::new(1), keyring, rows: Vec::new() }
    }

    /// A webhook that the agents of this name send.
    fn webhook(&mut self, agent: &str, concurrency: u32) -> WebhookId {
        let id = WebhookId(self.ids.uuid(at(0)));
        let plain = Sealed {
            url: "http://receiver.tools.svc/".to_owned(),
            headers: BTreeMap::new(),
            secret: String::new(),
            former: None,
        };
        let (sealed_key, sealed) = seal(id, &plain, &self.keyring, &self.ids).unwrap();
        let by = TargetSelector { labels: None, names: vec![agent.parse().unwrap()] };
        self.rows.push(WebhookRow {
            id,
            name: "chat".parse().unwrap(),
            generator: None,
            settings: WebhookSettings { deliver_by: Some(by), concurrency, ..WebhookSettings::default() },
            sealed,
            sealed_key,
            state: WebhookState::Enabled,
            disabled_reason: None,
            failing_since: None,
            version: 1,
            created_at: at(0),
            updated_at: at(0),
        });
        self.depot.learn(self.rows.clone(), &self.keyring, 1);
        id
    }

    /// An agent that the depot knows.
    fn agent(&self, name: &str) -> AgentId {
        let id = AgentId(self.ids.uuid(at(0)));
        self.depot.inner.lock().roster.learn(vec![(id, claimant(name), at(0))]);
        id
    }

    fn due(&self, webhook: WebhookId, number: i64) -> Vec<DueDelivery> {
        let due = |position| DueDelivery { id: DeliveryId(self.ids.uuid(at(1))), webhook, position: Some(position) };
        (0..number).map(due).collect()
    }

    /// How many of each webhook an agent gets of what is due; all of it counts as on its way.
    fn choose(&self, agent: AgentId, due: Vec<DueDelivery>, limit: u32) -> (Vec<WebhookId>, Option<Duration>) {
        let asked: Vec<_> = due.iter().map(|due| due.webhook).collect();
        let reserved = self.depot.choose(&asked, due, EACH, limit, at(1));
        let chosen = reserved.choice.chosen.iter().map(|due| due.webhook).collect();
        let mut choice = std::mem::take(&mut { reserved }.choice);
        let again = choice.again_after.take();
        self.depot.inner.lock().told.remove(&agent);
        (chosen, again)
    }
}

fn claimant(name: &str) -> Claimant {
    Claimant { name: name.parse::<Name>().unwrap(), labels: Labels::default(), suspended: false }
}

/// How many of those that wait were told.
fn told(waiting: &[Waiting]) -> usize {
    waiting.iter().filter(|one| one.told().now_or_never().is_some()).count()
}

#[tokio::test]
async fn one_of_those_who_may_send_is_told_and_nobody_else() {
    let mut ground = Ground::new();
    let webhook = ground.webhook("edge", 8);
    let agents = [ground.agent("other"), ground.agent("edge"), ground.agent("edge")];
    let waiting: Vec<_> = agents.iter().map(|agent| ground.depot.wait(*agent)).collect();
    ground.depot.hint(&[webhook]);
    ground.depot.hint(&[webhook]);
    assert_eq!([told(&waiting[..1]), told(&waiting[1..])], [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn when_who_was_told_does_not_come_another_is() {
    let mut ground = Ground::new();
    let webhook = ground.webhook("edge", 8);
    let waiting = [(); 2].map(|()| ground.depot.wait(ground.agent("edge")));
    ground.depot.hint(&[webhook]);
    assert_eq!(told(&waiting), 1);
    tokio::time::advance(PATIENCE).await;
    ground.depot.hint(&[webhook]);
    assert_eq!(told(&waiting), 1);
}

#[tokio::test]
async fn who_comes_late_is_told_of_what_nobody_was_there_for() {
    let mut ground = Ground::new();
    let webhook = ground.webhook("edge", 8);
    ground.depot.hint(&[webhook]);
    let agent = ground.agent("edge");
    assert_eq!(told(&[ground.depot.wait(agent)]), 1);
    let second = ground.agent("edge");
    assert_eq!(told(&[ground.depot.wait(second)]), 0, "somebody is on the way");
}

#[tokio::test]
async fn what_is_left_is_offered_to_others_at_once() {
    let mut ground = Ground::new();
    let webhook = ground.webhook("edge", 8);
    let (first, second) = (ground.agent("edge"), ground.agent("edge"));
    let waiting = [ground.depot.wait(first), ground.depot.wait(second)];
    ground.depot.hint(&[webhook]);
    assert_eq!(told(&waiting), 1);
    let reserved = ground.depot.choose(&[webhook], ground.due(webhook, 3), EACH, 1, at(1));
    assert_eq!(reserved.chosen().len(), 1);
    reserved.claimed(first, &[], at(1), at(61));
    assert_eq!(told(&waiting), 1, "of what is left");
}

#[test]
fn each_webhook_gets_its_turn_and_none_more_than_its_receiver_has_earned() {
    let mut ground = Ground::new();
    let (busy, calm) = (ground.webhook("edge", 8), ground.webhook("edge", 8));
    let agent = ground.agent("edge");
    let mut due = ground.due(busy, 10);
    due.extend(ground.due(calm, 1));
    let (chosen, again) = ground.choose(agent, due, 10);
    assert_eq!(chosen.iter().filter(|webhook| **webhook == busy).count(), 1, "one until it has answered well");
    assert_eq!((chosen.len(), again), (2, None), "it is told when there is more");
    let mut fresh = Ground::new();
    let webhooks: Vec<_> = (0..5).map(|_| fresh.webhook("edge", 8)).collect();
    let agent = fresh.agent("edge");
    let mut seen = HashSet::new();
    for _ in 0..3 {
        let due: Vec<_> = webhooks.iter().flat_map(|webhook| fresh.due(*webhook, 1)).collect();
        seen.extend(fresh.choose(agent, due, 2).0);
    }
    assert_eq!(seen.len(), 5, "whoever has waited longest comes first");
}

#[test]
fn what_was_chosen_and_not_claimed_is_free_again() {
    let mut ground = Ground::new();
    let webhook = ground.webhook("edge", 8);
    let agent = ground.agent("edge");
    drop(ground.depot.choose(&[webhook], ground.due(webhook, 1), EACH, 4, at(1)));
    let reserved = ground.depot.choose(&[webhook], ground.due(webhook, 1), EACH, 4, at(1));
    assert_eq!(reserved.chosen().len(), 1);
    reserved.claimed(agent, &[], at(1), at(61));
    assert_eq!(ground.depot.open_to(&claimant("edge"), 4, at(1)).0, [webhook]);
    assert_eq!(ground.depot.open_to(&claimant("other"), 4, at(1)).0, []);
}
