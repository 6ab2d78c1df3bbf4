//! Properties of every life that an order can have, and single steps that deserve a sentence.

use std::collections::HashSet;

use brokkr_runtime::{Ids, SeededIds};
use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn terms(max_attempts: u32, on_agent_loss: OnAgentLoss) -> Terms {
    Terms { max_attempts, backoff_seconds: 10, on_agent_loss, deadline_seconds: Some(3_600), not_before: None }
}

fn agents() -> Vec<AgentId> {
    let ids = SeededIds::new(3);
    (0..3).map(|_| AgentId(ids.uuid(at(0)))).collect()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + seconds * 1_000_000)
}

fn outcome(reason: &str) -> Outcome {
    Outcome { reason: reason.to_owned(), message: String::new() }
}

fn step(standing: &Standing, terms: &Terms, event: Event, now: Timestamp) -> Standing {
    transition(standing, terms, event, now).unwrap().standing
}

/// An order that the first agent has claimed and started.
fn running(terms: &Terms) -> (Standing, Holder) {
    let agent = agents()[0];
    let claimed = step(&Standing::new(terms, at(0)), terms, Event::Claim { agent, until: at(60) }, at(0));
    let holder = Holder { agent, token: claimed.token };
    (step(&claimed, terms, Event::Start { holder, until: at(60) }, at(1)), holder)
}

#[test]
fn a_lease_lost_before_the_start_is_an_attempt_and_the_order_goes_on() {
    let terms = terms(2, OnAgentLoss::Unknown);
    let agent = agents()[0];
    let claimed = step(&Standing::new(&terms, at(0)), &terms, Event::Claim { agent, until: at(60) }, at(0));
    let waiting = transition(&claimed, &terms, Event::Time, at(60)).unwrap();
    assert_eq!((waiting.standing.state, waiting.standing.attempts, waiting.told), (WorkState::Waiting, 1, Some(Told::Queued)));
    let queued = step(&waiting.standing, &terms, Event::Time, at(70));
    assert_eq!(queued.state, WorkState::Queued);
    let second = step(&queued, &terms, Event::Claim { agent: agents()[1], until: at(130) }, at(70));
    let failed = step(&second, &terms, Event::Time, at(130));
    assert_eq!((failed.state, failed.attempts, failed.outcome.unwrap().reason), (WorkState::Failed, 2, "agent_lost".to_owned()));
}

#[test]
fn what_was_started_is_never_started_again_unless_the_order_says_so() {
    for (policy, state) in [(OnAgentLoss::Unknown, WorkState::Unknown), (OnAgentLoss::Retry, WorkState::Waiting)] {
        let terms = terms(3, policy);
        let (running, _) = running(&terms);
        assert_eq!(step(&running, &terms, Event::Time, at(61)).state, state, "{policy:?}");
    }
}

#[test]
fn a_former_holder_changes_nothing() {
    let terms = terms(3, OnAgentLoss::Retry);
    let (running, holder) = running(&terms);
    let lost = step(&running, &terms, Event::Time, at(61));
    let queued = step(&lost, &terms, Event::Time, at(100));
    let again = step(&queued, &terms, Event::Claim { agent: holder.agent, until: at(200) }, at(100));
    for event in [
        Event::Renew { holder, until: at(300) },
        Event::Start { holder, until: at(300) },
        Event::Succeed { holder },
        Event::Fail { holder, outcome: outcome("Late"), retry: true },
        Event::Stop { holder },
    ] {
        assert_eq!(transition(&again, &terms, event, at(101)), Err(Refusal::NotHolder), "the same agent, under an older token");
    }
}

#[test]
fn a_cancelled_order_that_runs_is_cancelled_when_its_agent_says_so_and_no_earlier() {
    let terms = terms(3, OnAgentLoss::Unknown);
    let (running, holder) = running(&terms);
    assert_eq!(transition(&running, &terms, Event::Stop { holder }, at(2)), Err(Refusal::NotCancelled));
    let stopping = transition(&running, &terms, Event::Cancel, at(2)).unwrap();
    assert_eq!((stopping.standing.state, stopping.told), (WorkState::Running, None));
    let stopped = transition(&stopping.standing, &terms, Event::Stop { holder }, at(3)).unwrap();
    assert_eq!((stopped.standing.state, stopped.told), (WorkState::Cancelled, Some(Told::Cancelled)));
    let lost = step(&stopping.standing, &terms, Event::Time, at(61));
    assert_eq!(lost.state, WorkState::Unknown, "nobody knows whether it was stopped");
}

#[test]
fn the_same_report_twice_is_one() {
    let terms = terms(2, OnAgentLoss::Unknown);
    let (running, holder) = running(&terms);
    for event in [
        Event::Succeed { holder },
        Event::Fail { holder, outcome: outcome("Oops"), retry: false },
        Event::Fail { holder, outcome: outcome("Oops"), retry: true },
        Event::Start { holder, until: at(70) },
    ] {
        let once = transition(&running, &terms, event.clone(), at(5)).unwrap().standing;
        let twice = transition(&once, &terms, event.clone(), at(5)).unwrap();
        assert_eq!((&twice.standing, twice.told), (&once, None), "{event:?}");
    }
}

#[test]
fn each_wait_is_twice_the_one_before_and_an_hour_at_most() {
    let terms = Terms { backoff_seconds: 10, ..terms(20, OnAgentLoss::Unknown) };
    let seconds: Vec<_> = [1, 2, 3, 9, 10, 20].map(|attempts| backoff(&terms, attempts).as_secs()).into();
    assert_eq!(seconds, [10, 20, 40, 2_560, 3_600, 3_600]);
}

#[test]
fn a_deadline_fails_what_is_not_running_and_no_attempt_begins_after_it() {
    let terms = terms(3, OnAgentLoss::Unknown);
    let queued = Standing::new(&terms, at(0));
    assert_eq!(step(&queued, &terms, Event::Time, at(3_600)).outcome, Some(over()));
    let (running, holder) = running(&terms);
    let kept = step(&running, &terms, Event::Renew { holder, until: at(9_000) }, at(3_000));
    assert_eq!(step(&kept, &terms, Event::Time, at(3_600)), kept, "its agent stops it");
    let fail = Event::Fail { holder, outcome: outcome("Oops"), retry: true };
    assert_eq!(step(&kept, &terms, fail, at(3_595)).outcome, Some(over()), "the next attempt would begin too late");
}

#[test]
fn what_a_person_retries_has_all_its_attempts_again_and_keeps_count() {
    let terms = terms(1, OnAgentLoss::Unknown);
    let (running, holder) = running(&terms);
    assert_eq!(transition(&running, &terms, Event::Retry, at(2)), Err(Refusal::NotRetriable));
    let failed = step(&running, &terms, Event::Fail { holder, outcome: outcome("Oops"), retry: true }, at(2));
    assert_eq!(failed.state, WorkState::Failed);
    let again = step(&failed, &terms, Event::Retry, at(3));
    assert_eq!((again.state, again.attempts, again.attempts_left, again.outcome), (WorkState::Queued, 1, 1, None));
    let done = step(&running, &terms, Event::Succeed { holder }, at(2));
    assert_eq!(transition(&done, &terms, Event::Retry, at(3)), Err(Refusal::NotRetriable), "what is done is done");
}

/// Something that one of several agents or a person tries, with whatever token of the past.
#[derive(Debug, Clone)]
enum Try {
    Claim(usize),
    Resume(usize),
    Renew(usize, u64),
    Start(usize, u64),
    Succeed(usize, u64),
    Fail(usize, u64, bool),
    Stop(usize, u64),
    Cancel,
    Retry,
    Pass(i64),
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let by = || (0..3_usize, 0..3_u64);
    let one = prop_oneof![
        4 => (0..3_usize).prop_map(Try::Claim),
        1 => (0..3_usize).prop_map(Try::Resume),
        2 => by().prop_map(|(agent, back)| Try::Renew(agent, back)),
        4 => by().prop_map(|(agent, back)| Try::Start(agent, back)),
        2 => by().prop_map(|(agent, back)| Try::Succeed(agent, back)),
        2 => (by(), any::<bool>()).prop_map(|((agent, back), retry)| Try::Fail(agent, back, retry)),
        1 => by().prop_map(|(agent, back)| Try::Stop(agent, back)),
        1 => Just(Try::Cancel),
        1 => Just(Try::Retry),
        4 => (1..90_i64).prop_map(Try::Pass),
    ];
    prop::collection::vec(one, 1..60)
}

proptest! {
    #[test]
    fn whatever_is_tried_there_is_one_holder_attempts_are_counted_and_nothing_is_started_twice(
        tries in tries(), attempts in 1..4_u32, retry in any::<bool>(),
    ) {
        let policy = if retry { OnAgentLoss::Retry } else { OnAgentLoss::Unknown };
        let terms = Terms { deadline_seconds: None, ..terms(attempts, policy) };
        let (agents, mut now) = (agents(), at(0));
        let mut standing = Standing::new(&terms, now);
        let (mut claims, mut tokens, mut starts, mut retries) = (0, HashSet::new(), 0, 0);
        let mut failed_after_start = false;
        for attempt in tries {
            let holder = |agent: usize, back: u64| Holder { agent: agents[agent], token: standing.token.saturating_sub(back) };
            let until = now.after(MINUTE);
            let event = match attempt {
                Try::Claim(agent) => Event::Claim { agent: agents[agent], until },
                Try::Resume(agent) => Event::Resume { agent: agents[agent], until },
                Try::Renew(agent, back) => Event::Renew { holder: holder(agent, back), until },
                Try::Start(agent, back) => Event::Start { holder: holder(agent, back), until },
                Try::Succeed(agent, back) => Event::Succeed { holder: holder(agent, back) },
                Try::Fail(agent, back, retry) => Event::Fail { holder: holder(agent, back), outcome: outcome("Oops"), retry },
                Try::Stop(agent, back) => Event::Stop { holder: holder(agent, back) },
                Try::Cancel => Event::Cancel,
                Try::Retry => Event::Retry,
                Try::Pass(seconds) => {
                    now = now.after(Duration::from_secs(seconds.unsigned_abs()));
                    Event::Time
                }
            };
            let before = standing.clone();
            let Ok(next) = transition(&standing, &terms, event.clone(), now) else { continue };
            standing = next.standing;
            match event {
                Event::Claim { .. } => {
                    claims += 1;
                    prop_assert_eq!(before.state, WorkState::Queued);
                    prop_assert!(tokens.insert(standing.token), "a token is given once");
                }
                Event::Resume { .. } => prop_assert!(tokens.insert(standing.token)),
                Event::Start { .. } if next.told == Some(Told::Started) => {
                    starts += 1;
                    prop_assert!(retry || failed_after_start || starts == 1 + retries, "started twice");
                    failed_after_start = false;
                }
                Event::Fail { .. } if before.state == WorkState::Running => failed_after_start = true,
                Event::Retry => {
                    retries += 1;
                    // A person said that it may be started once more.
                    failed_after_start = true;
                }
                _ => {}
            }
            prop_assert_eq!(standing.attempts, claims);
            prop_assert!(standing.attempts_left <= attempts);
            prop_assert!(claims <= attempts * (1 + retries), "more attempts than it has");
            prop_assert_eq!(standing.state.is_held(), standing.lease_until.is_some());
            prop_assert_eq!(standing.state.is_finished(), standing.finished_at.is_some());
            prop_assert!(!before.state.is_finished() || next.told.is_none() || matches!(next.told, Some(Told::Queued)));
        }
        // Nothing is lost: with time alone every order comes to rest, or waits for an agent.
        for _ in 0..3 {
            now = now.after(MINUTE * 120);
            standing = transition(&standing, &terms, Event::Time, now).unwrap().standing;
        }
        prop_assert!(standing.state.is_finished() || standing.state == WorkState::Queued, "{:?}", standing.state);
    }
}
