//! When which stack is worked on. Pure: time and jitter are parameters.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use brokkr_api::{StackId, desired_state::DesiredState};
use brokkr_telemetry::spans::WaitReason;

/// First wait after a failure, before jitter.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest wait after failures, before jitter.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What the agent knows of its work on each stack since it started.
#[derive(Debug)]
pub(crate) struct Schedule {
    epoch: String,
    stacks: HashMap<StackId, Entry>,
    /// What the broker wants, and since when this agent knows.
    known: HashMap<StackId, Known>,
    /// How often a stack that is done is looked at again.
    resync: Duration,
}

#[derive(Debug, Clone)]
struct Entry {
    revision: u64,
    attempts: u32,
    state: State,
    /// When to look again at what is done; at once when something was seen.
    look_at: Instant,
    /// The approval that the last attempt knew.
    approved: Option<String>,
    /// When the last attempt ended.
    ended_at: Instant,
}

/// A revision that the broker wants.
#[derive(Debug, Clone, Copy)]
struct Known {
    revision: u64,
    since: Instant,
    /// Whether it was found suspended since it was worked on last.
    suspended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    RetryAt(Instant),
    /// Begun, and suspended before it was carried out.
    Held,
    Done,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The revision is carried out and the broker knows it.
    Done,
    /// It is to be tried again.
    Again,
    /// It was suspended on the way; what is left waits for somebody to resume it.
    Held,
}

/// Why a stack is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// Its revision is not carried out.
    Revision,
    /// Its revision is, and something may have changed in the cluster.
    Look,
}

/// A stack that is to be worked on now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) stack: StackId,
    pub(crate) revision: u64,
    /// 1 for the first attempt at this revision.
    pub(crate) attempt: u32,
    pub(crate) trigger: Trigger,
    /// What a revision has waited for in this agent, and since when.
    pub(crate) waited: Option<(WaitReason, Instant)>,
}

impl Schedule {
    pub(crate) fn new(resync: Duration) -> Self {
        Self { epoch: String::new(), stacks: HashMap::new(), known: HashMap::new(), resync }
    }

    /// Stacks to work on now; they count as running from here on. One stack is never worked on twice at once, and a stack that
    /// is suspended or that the desired state does not name is left alone.
    pub(crate) fn take_due(&mut self, desired: &DesiredState, now: Instant) -> Vec<Due> {
        if self.epoch != desired.epoch {
            // Revisions of another epoch say nothing about this one's.
            self.epoch.clone_from(&desired.epoch);
            self.known.clear();
            self.stacks.retain(|_, entry| entry.state == State::Running);
            for entry in self.stacks.values_mut() {
                entry.revision = 0;
            }
        }
        let is_desired = |stack: &StackId| desired.deployments.iter().any(|deployment| deployment.stack_id == *stack);
        self.stacks.retain(|stack, entry| entry.state == State::Running || is_desired(stack));
        self.known.retain(|stack, _| is_desired(stack));
        let mut due = Vec::new();
        for deployment in &desired.deployments {
            let (stack, revision) = (deployment.stack_id, deployment.revision);
            let fresh = Known { revision, since: now, suspended: false };
            let known = self.known.entry(stack).or_insert(fresh);
            if known.revision != revision {
                *known = fresh;
            }
            if deployment.suspended.is_some() {
                known.suspended = true;
                // A retry would only find it suspended; when it is resumed it is due at once.
                if let Some(entry) = self.stacks.get_mut(&stack).filter(|entry| matches!(entry.state, State::RetryAt(_))) {
                    entry.state = State::Held;
                }
                continue;
            }
            let first = (WaitReason::Queued, known.since);
            let again = |reason, entry: &Entry| Some((reason, entry.ended_at));
            let is_approved = |entry: &Entry| deployment.approved.is_some() && entry.approved != deployment.approved;
            let (attempt, trigger, waited) = match self.stacks.get(&stack) {
                Some(Entry { state: State::Running, .. }) => continue,
                Some(entry) if entry.revision != revision => (1, Trigger::Revision, Some(first)),
                Some(entry) if is_approved(entry) => (entry.attempts + 1, Trigger::Revision, again(WaitReason::Approval, entry)),
                Some(Entry { state: State::Done, look_at, .. }) if now < *look_at => continue,
                Some(entry @ Entry { state: State::Done, .. }) => (entry.attempts, Trigger::Look, None),
                Some(Entry { state: State::RetryAt(at), .. }) if now < *at => continue,
                Some(entry) => (entry.attempts + 1, Trigger::Revision, again(WaitReason::Retry, entry)),
                None => (1, Trigger::Revision, Some(first)),
            };
            // Whatever else it waited for ended with that.
            let waited = if std::mem::take(&mut known.suspended) {
                waited.map(|(_, since)| (WaitReason::Suspended, since))
            } else {
                waited
            };
            let (state, approved) = (State::Running, deployment.approved.clone());
            // What is seen while it is worked on is looked at afterwards.
            let look_at = now + self.resync;
            self.stacks.insert(stack, Entry { revision, attempts: attempt, state, look_at, approved, ended_at: now });
            due.push(Due { stack, revision, attempt, trigger, waited });
        }
        due
    }

    /// An attempt ended. `jitter` is in `0.0..1.0`.
    pub(crate) fn ended(&mut self, due: Due, ended: Ended, now: Instant, jitter: f64) {
        let resync = self.resync.mul_f64(0.9 + jitter / 5.0);
        if let Some(entry) = self.stacks.get_mut(&due.stack) {
            entry.ended_at = now;
            entry.state = match ended {
                Ended::Done => State::Done,
                Ended::Again => State::RetryAt(now + backoff(due.attempt, jitter)),
                Ended::Held => State::Held,
            };
            // One that was asked for meanwhile comes sooner.
            entry.look_at = entry.look_at.min(now + resync);
        }
    }

    /// Something of this stack may have changed in the cluster: it is looked at, not before `at`.
    pub(crate) fn look(&mut self, stack: StackId, at: Instant) {
        if let Some(entry) = self.stacks.get_mut(&stack) {
            entry.look_at = entry.look_at.min(at);
        }
    }

    /// When the next retry or look is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let next = |entry: &Entry| match entry.state {
            State::RetryAt(at) => Some(at),
            State::Done => Some(entry.look_at),
            State::Running | State::Held => None,
        };
        self.stacks.values().filter_map(next).min()
    }

    /// How many stacks are neither done nor held.
    pub(crate) fn unfinished(&self) -> usize {
        self.stacks.values().filter(|entry| !matches!(entry.state, State::Done | State::Held)).count()
    }
}

/// Until then; for ever when nothing is due.
pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Doubles from [`FIRST_RETRY`] to [`LAST_RETRY`], between half and all of it by jitter.
pub(crate) fn backoff(attempt: u32, jitter: f64) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1).min(16)));
    doubled.min(LAST_RETRY).mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use brokkr_api::{
        Timestamp,
        desired_state::{Action, DesiredDeployment},
        policy::StackPolicy,
        suspension::{Suspension, SuspensionScope},
    };

    use super::*;

    const RESYNC: Duration = Duration::from_secs(600);

    fn desired(epoch: &str, revisions: &[u64]) -> DesiredState {
        let deployment = |(index, revision): (usize, &u64)| DesiredDeployment {
            stack_id: format!("00000000-0000-7000-8000-00000000000{index}").parse().unwrap(),
            stack: "s".parse().unwrap(),
            revision: *revision,
            action: Action::Apply,
            generation: 1,
            digest: None,
            suspended: None,
            policy: StackPolicy::default(),
            approved: None,
            trace: None,
            scope: None,
            content: None,
        };
        DesiredState {
            protocol: 1,
            installation: "i".to_owned(),
            epoch: epoch.to_owned(),
            rotate_key: false,
            tracing: None,
            deployments: revisions.iter().enumerate().map(deployment).collect(),
        }
    }

    fn suspended(mut state: DesiredState) -> DesiredState {
        for deployment in &mut state.deployments {
            deployment.suspended = Some(Suspension {
                scope: SuspensionScope::Stack,
                reason: "audit".to_owned(),
                by: "ann".to_owned(),
                since: Timestamp::from_micros(0),
            });
        }
        state
    }

    #[test]
    fn a_revision_is_carried_out_once_and_a_newer_one_at_once() {
        let (mut schedule, now) = (Schedule::new(RESYNC), Instant::now());
        let due = schedule.take_due(&desired("e", &[1]), now);
        assert_eq!(due.len(), 1);
        assert!(schedule.take_due(&desired("e", &[2]), now).is_empty(), "while it runs it is not begun again");
        schedule.ended(due[0], Ended::Done, now, 0.0);
        assert!(schedule.take_due(&desired("e", &[1]), now).is_empty());
        assert_eq!(schedule.take_due(&desired("e", &[2]), now)[0].attempt, 1);
    }

    #[test]
    fn a_failure_is_tried_again_after_its_wait_and_not_before() {
        let (mut schedule, now) = (Schedule::new(RESYNC), Instant::now());
        let due = schedule.take_due(&desired("e", &[1]), now)[0];
        schedule.ended(due, Ended::Again, now, 0.5);
        let at = schedule.next_due().unwrap();
        assert!(schedule.take_due(&desired("e", &[1]), now).is_empty());
        assert_eq!(schedule.take_due(&desired("e", &[1]), at)[0].attempt, 2);
    }

    #[test]
    fn a_stack_that_is_absent_is_left_alone_and_forgotten() {
        let (mut schedule, now) = (Schedule::new(RESYNC), Instant::now());
        let due = schedule.take_due(&desired("e", &[1, 1]), now);
        schedule.ended(due[0], Ended::Done, now, 0.0);
        schedule.ended(due[1], Ended::Again, now, 0.0);
        assert!(schedule.take_due(&desired("e", &[]), now).is_empty());
        assert_eq!((schedule.unfinished(), schedule.next_due()), (0, None));
    }

    #[test]
    fn what_is_suspended_is_not_begun_and_is_due_at_once_when_resumed() {
        let (mut schedule, now) = (Schedule::new(RESYNC), Instant::now());
        assert!(schedule.take_due(&suspended(desired("e", &[1])), now).is_empty());
        assert_eq!((schedule.unfinished(), schedule.next_due()), (0, None));
        assert_eq!(schedule.take_due(&desired("e", &[1]), now)[0].attempt, 1);
    }

    #[test]
    fn a_suspended_stack_is_not_tried_again_until_it_is_resumed_and_then_without_its_wait() {
        let (mut schedule, now) = (Schedule::new(RESYNC), Instant::now());
        let due = schedule.take_due(&desired("e", &[1]), now)[0];
        schedule.ended(due, Ended::Again, now, 0.5);
        let at = schedule.next_due().unwrap();
        assert!(schedule.take_due(&suspended(desired("e", &[1])), at).is_empty());
        assert_eq!((schedule.unfinished(), schedule.next_due()), (0, None), "no busy retry");
        assert_eq!(schedule.take_due(&desired("e", &[1]), now)[0].attempt, 2);
    }

    #[test]
    fn work_that_was_suspended_half_way_goes_on_when_it_is_resumed_and_a_finished_one_is_not_done_again() {
        let (mut schedule, now) = (Schedule::new(RESYNC), Instant::now());
        let due = schedule.take_due(&desired("e", &[1, 1]), now);
        schedule.ended(due[0], Ended::Held, now, 0.0);
        schedule.ended(due[1], Ended::Done, now, 0.0);
        assert!(schedule.take_due(&suspended(desired("e", &[1, 1])), now).is_empty());
        let resumed = schedule.take_due(&desired("e", &[1, 1]), now);
        assert_eq!(resumed, [Due { attempt: 2, waited: Some((WaitReason::Suspended, now)), ..due[0] }]);
    }

    #[test]
    fn what_a_revision_has_waited_for_is_known_when_it_is_begun() {
        let (mut schedule, start) = (Schedule::new(RESYNC), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = schedule.take_due(&desired("e", &[1]), start)[0];
        assert_eq!(first.waited, Some((WaitReason::Queued, start)));
        assert!(schedule.take_due(&desired("e", &[2]), at(2)).is_empty(), "the older one is being worked on");
        schedule.ended(first, Ended::Held, at(5), 0.0);
        let second = schedule.take_due(&desired("e", &[2]), at(5))[0];
        assert_eq!(second.waited, Some((WaitReason::Queued, at(2))), "since it was known");
        schedule.ended(second, Ended::Again, at(6), 0.0);
        let third = schedule.take_due(&desired("e", &[2]), at(8))[0];
        assert_eq!(third.waited, Some((WaitReason::Retry, at(6))));
        schedule.ended(third, Ended::Again, at(9), 0.0);
        assert!(schedule.take_due(&suspended(desired("e", &[2])), at(10)).is_empty());
        let resumed = schedule.take_due(&desired("e", &[2]), at(60))[0];
        assert_eq!(resumed.waited, Some((WaitReason::Suspended, at(9))));
        schedule.ended(resumed, Ended::Done, at(61), 0.0);
        let look = schedule.take_due(&desired("e", &[2]), at(10_000))[0];
        assert_eq!((look.trigger, look.waited), (Trigger::Look, None));
    }

    #[test]
    fn another_epoch_makes_everything_due_again() {
        let (mut schedule, now) = (Schedule::new(RESYNC), Instant::now());
        let due = schedule.take_due(&desired("e", &[1]), now)[0];
        schedule.ended(due, Ended::Done, now, 0.0);
        assert_eq!(schedule.take_due(&desired("f", &[1]), now).len(), 1);
    }

    #[test]
    fn waits_double_up_to_a_minute_and_jitter_never_lengthens_them() {
        assert_eq!(backoff(1, 0.0), Duration::from_millis(250));
        assert!(backoff(1, 0.999) <= Duration::from_millis(500));
        assert_eq!(backoff(100, 0.0), Duration::from_secs(30));
        assert!((1..100).all(|attempt| backoff(attempt, 0.5) <= LAST_RETRY));
    }
}
