//! The life of a work order, as a pure function: where it stands, what happens, where it stands then.
//!
//! Two things hold whatever happens in whatever order: at most one agent has an order, and one that was started in a cluster is not
//! started in a second one unless it says so. A token proves who has it; every claim gives a higher one.

#[cfg(test)]
mod tests;

use std::time::Duration;

use brokkr_api::{
    AgentId, Timestamp,
    work_orders::{OnAgentLoss, WorkState},
};
use serde::{Deserialize, Serialize};

/// Longest wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(3_600);

/// What an order was given for its whole life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) max_attempts: u32,
    pub(crate) backoff_seconds: u32,
    pub(crate) on_agent_loss: OnAgentLoss,
    pub(crate) deadline_seconds: Option<u32>,
    pub(crate) not_before: Option<Timestamp>,
}

/// Where an order stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: WorkState,
    /// How often it was claimed.
    pub(crate) attempts: u32,
    /// How often it may still be claimed.
    pub(crate) attempts_left: u32,
    /// Nobody claims it earlier.
    pub(crate) ready_at: Timestamp,
    pub(crate) deadline_at: Option<Timestamp>,
    /// Who has it, or had it last.
    pub(crate) agent: Option<AgentId>,
    /// Of the last claim; 0 for none.
    pub(crate) token: u64,
    /// Until when the agent has it; nothing while nobody does.
    pub(crate) lease_until: Option<Timestamp>,
    /// Since when it should be stopped.
    pub(crate) cancel_wanted_at: Option<Timestamp>,
    pub(crate) claimed_at: Option<Timestamp>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) outcome: Option<Outcome>,
}

/// Why it stands where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// An agent with the token of its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) agent: AgentId,
    pub(crate) token: u64,
}

/// What happens to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// An agent claims it until then.
    #[cfg_attr(not(test), expect(dead_code, reason = "one guarded statement each in the store; tests compare both"))]
    Claim { agent: AgentId, until: Timestamp },
    /// An agent that has it begins anew, under a new token.
    #[cfg_attr(not(test), expect(dead_code, reason = "one guarded statement each in the store; tests compare both"))]
    Resume { agent: AgentId, until: Timestamp },
    /// Its holder is alive.
    #[cfg_attr(not(test), expect(dead_code, reason = "one guarded statement each in the store; tests compare both"))]
    Renew { holder: Holder, until: Timestamp },
    /// Its holder is about to start it in the cluster.
    Start { holder: Holder, until: Timestamp },
    /// Its holder has done it.
    Succeed { holder: Holder },
    /// Its holder has failed.
    Fail { holder: Holder, outcome: Outcome, retry: bool },
    /// Its holder has stopped it.
    Stop { holder: Holder },
    /// Somebody does not want it any more.
    Cancel,
    /// Somebody wants it once more.
    Retry,
    /// Time has passed: its turn comes, its lease ends, its deadline is over.
    Time,
}

/// Why something cannot happen to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it is not waiting for an agent")]
    NotQueued,
    #[error("the agent does not have it")]
    NotHolder,
    #[error("it was not started")]
    NotStarted,
    #[error("nobody wants it cancelled")]
    NotCancelled,
    #[error("it is finished")]
    Finished,
    #[error("it is not finished, or was done")]
    NotRetriable,
}

/// What the world is told of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Queued,
    Started,
    Succeeded,
    Failed,
    Cancelled,
    Unknown,
}

impl Told {
    /// The type of the event.
    pub(crate) fn event(self) -> &'static str {
        match self {
            Self::Queued => "work_order.queued",
            Self::Started => "work_order.started",
            Self::Succeeded => "work_order.succeeded",
            Self::Failed => "work_order.failed",
            Self::Cancelled => "work_order.cancelled",
            Self::Unknown => "work_order.unknown",
        }
    }
}

/// What becomes of an order, and what is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) standing: Standing,
    pub(crate) told: Option<Told>,
}

impl Standing {
    /// An order that was accepted just now.
    pub(crate) fn new(terms: &Terms, now: Timestamp) -> Self {
        let ready_at = terms.not_before.map_or(now, |at| at.max(now));
        Self {
            state: if ready_at > now { WorkState::Waiting } else { WorkState::Queued },
            attempts: 0,
            attempts_left: terms.max_attempts,
            ready_at,
            deadline_at: deadline(terms, now),
            agent: None,
            token: 0,
            lease_until: None,
            cancel_wanted_at: None,
            claimed_at: None,
            started_at: None,
            finished_at: None,
            outcome: None,
        }
    }

    fn is_held_by(&self, holder: Holder) -> bool {
        self.state.is_held() && self.agent == Some(holder.agent) && self.token == holder.token
    }

    /// Whether the holder's work is over, and this was its end: the same report came twice.
    fn ended_by(&self, holder: Holder, state: WorkState) -> bool {
        self.state == state && self.agent == Some(holder.agent) && self.token == holder.token
    }

    fn deadline_is_over(&self, now: Timestamp) -> bool {
        self.deadline_at.is_some_and(|at| at <= now)
    }

    fn finish(mut self, state: WorkState, now: Timestamp) -> Self {
        self.state = state;
        self.lease_until = None;
        self.finished_at = Some(now);
        self
    }

    /// What becomes of it after an attempt that came to nothing.
    fn again(mut self, terms: &Terms, outcome: Outcome, now: Timestamp) -> Next {
        self.lease_until = None;
        self.outcome = Some(outcome);
        if self.attempts_left == 0 {
            return told(self.finish(WorkState::Failed, now), Told::Failed);
        }
        let wait = backoff(terms, terms.max_attempts.saturating_sub(self.attempts_left));
        self.ready_at = now.after(wait);
        if self.deadline_is_over(self.ready_at) {
            self.outcome = Some(over());
            return told(self.finish(WorkState::Failed, now), Told::Failed);
        }
        self.started_at = None;
        self.state = if wait.is_zero() { WorkState::Queued } else { WorkState::Waiting };
        told(self, Told::Queued)
    }
}

fn deadline(terms: &Terms, now: Timestamp) -> Option<Timestamp> {
    terms.deadline_seconds.map(|seconds| now.after(Duration::from_secs(u64::from(seconds))))
}

/// The wait after so many attempts: twice as long each time.
fn backoff(terms: &Terms, attempts: u32) -> Duration {
    let seconds = u64::from(terms.backoff_seconds).saturating_mul(1 << attempts.saturating_sub(1).min(12));
    Duration::from_secs(seconds).min(MAX_BACKOFF)
}

fn over() -> Outcome {
    Outcome { reason: "deadline_exceeded".to_owned(), message: "its deadline was over before it was done".to_owned() }
}

fn told(standing: Standing, told: Told) -> Next {
    Next { standing, told: Some(told) }
}

fn untold(standing: Standing) -> Next {
    Next { standing, told: None }
}

/// What becomes of an order.
///
/// # Errors
/// Why the event cannot happen to it; it stays as it is.
pub(crate) fn transition(standing: &Standing, terms: &Terms, event: Event, now: Timestamp) -> Result<Next, Refusal> {
    let mut next = standing.clone();
    match event {
        Event::Claim { agent, until } => {
            if standing.state != WorkState::Queued {
                return Err(Refusal::NotQueued);
            }
            next.state = WorkState::Claimed;
            next.attempts += 1;
            next.attempts_left = next.attempts_left.saturating_sub(1);
            next.agent = Some(agent);
            next.token += 1;
            next.lease_until = Some(until);
            next.claimed_at = Some(now);
            next.started_at = None;
            Ok(untold(next))
        }
        Event::Resume { agent, until } => {
            if !standing.state.is_held() || standing.agent != Some(agent) {
                return Err(Refusal::NotHolder);
            }
            next.token += 1;
            next.lease_until = Some(until);
            Ok(untold(next))
        }
        Event::Renew { holder, until } => {
            if !standing.is_held_by(holder) {
                return Err(Refusal::NotHolder);
            }
            next.lease_until = Some(until);
            Ok(untold(next))
        }
        Event::Start { holder, until } => {
            if !standing.is_held_by(holder) {
                return Err(Refusal::NotHolder);
            }
            next.lease_until = Some(until);
            if standing.state == WorkState::Running {
                return Ok(untold(next));
            }
            next.state = WorkState::Running;
            next.started_at = Some(now);
            Ok(told(next, Told::Started))
        }
        Event::Succeed { holder } => {
            if standing.ended_by(holder, WorkState::Succeeded) {
                return Ok(untold(next));
            }
            if !standing.is_held_by(holder) {
                return Err(Refusal::NotHolder);
            }
            if standing.state != WorkState::Running {
                return Err(Refusal::NotStarted);
            }
            next.outcome = None;
            Ok(told(next.finish(WorkState::Succeeded, now), Told::Succeeded))
        }
        Event::Fail { holder, outcome, retry } => fail(standing, terms, holder, outcome, retry, now),
        Event::Stop { holder } => {
            if standing.ended_by(holder, WorkState::Cancelled) {
                return Ok(untold(next));
            }
            if !standing.is_held_by(holder) {
                return Err(Refusal::NotHolder);
            }
            if standing.cancel_wanted_at.is_none() {
                return Err(Refusal::NotCancelled);
            }
            next.outcome = Some(cancelled("somebody cancelled it; it was stopped in the cluster"));
            Ok(told(next.finish(WorkState::Cancelled, now), Told::Cancelled))
        }
        Event::Cancel => {
            if standing.state.is_finished() {
                return Err(Refusal::Finished);
            }
            if standing.state == WorkState::Running {
                // Only its agent can say that nothing of it runs any more.
                next.cancel_wanted_at.get_or_insert(now);
                return Ok(untold(next));
            }
            next.cancel_wanted_at = Some(now);
            next.outcome = Some(cancelled("somebody cancelled it before it was started"));
            Ok(told(next.finish(WorkState::Cancelled, now), Told::Cancelled))
        }
        Event::Retry => {
            if !standing.state.is_finished() || standing.state == WorkState::Succeeded {
                return Err(Refusal::NotRetriable);
            }
            let fresh = Standing::new(&Terms { not_before: None, ..terms.clone() }, now);
            Ok(told(Standing { attempts: standing.attempts, token: standing.token, ..fresh }, Told::Queued))
        }
        Event::Time => Ok(time(standing, terms, now)),
    }
}

fn cancelled(message: &str) -> Outcome {
    Outcome { reason: "cancelled".to_owned(), message: message.to_owned() }
}

fn fail(
    standing: &Standing,
    terms: &Terms,
    holder: Holder,
    outcome: Outcome,
    retry: bool,
    now: Timestamp,
) -> Result<Next, Refusal> {
    if standing.ended_by(holder, WorkState::Failed) {
        return Ok(untold(standing.clone()));
    }
    // The same report came twice, and another attempt is due.
    let is_due_again = standing.ended_by(holder, WorkState::Waiting) || standing.ended_by(holder, WorkState::Queued);
    if is_due_again && standing.outcome.as_ref() == Some(&outcome) {
        return Ok(untold(standing.clone()));
    }
    if !standing.is_held_by(holder) {
        return Err(Refusal::NotHolder);
    }
    let mut next = standing.clone();
    if standing.cancel_wanted_at.is_some() {
        next.outcome = Some(outcome);
        return Ok(told(next.finish(WorkState::Cancelled, now), Told::Cancelled));
    }
    if retry {
        return Ok(next.again(terms, outcome, now));
    }
    next.outcome = Some(outcome);
    Ok(told(next.finish(WorkState::Failed, now), Told::Failed))
}

/// What time alone does. Where several things are due they happen one after the other, each by a call of its own.
fn time(standing: &Standing, terms: &Terms, now: Timestamp) -> Next {
    let mut next = standing.clone();
    // Who runs it minds the deadline itself, because only it can stop the work.
    if !standing.state.is_finished() && standing.state != WorkState::Running && standing.deadline_is_over(now) {
        next.outcome = Some(over());
        return told(next.finish(WorkState::Failed, now), Told::Failed);
    }
    if standing.state == WorkState::Waiting && standing.ready_at <= now {
        next.state = WorkState::Queued;
        return untold(next);
    }
    if standing.lease_until.is_none_or(|until| until > now) {
        return untold(next);
    }
    if standing.state == WorkState::Claimed {
        let message = "its agent was lost before it started it".to_owned();
        return next.again(terms, Outcome { reason: "agent_lost".to_owned(), message }, now);
    }
    let message = "its agent was lost after it had started it".to_owned();
    let outcome = Outcome { reason: "agent_lost".to_owned(), message };
    if terms.on_agent_loss == OnAgentLoss::Retry && standing.cancel_wanted_at.is_none() {
        return next.again(terms, outcome, now);
    }
    next.outcome = Some(Outcome { message: format!("{}: nobody knows how it ended", outcome.message), ..outcome });
    told(next.finish(WorkState::Unknown, now), Told::Unknown)
}

/// What an order waits for, in words.
pub(crate) fn waiting_for(standing: &Standing, agent: Option<&str>) -> Option<String> {
    let agent = agent.unwrap_or("its agent");
    Some(match standing.state {
        WorkState::Waiting if standing.attempts > 0 => {
            format!("attempt {} at {}", standing.attempts + 1, standing.ready_at)
        }
        WorkState::Waiting => format!("its time, {}", standing.ready_at),
        WorkState::Queued => "an agent that matches and has a free hand".to_owned(),
        WorkState::Claimed => format!("agent {agent} to start it"),
        WorkState::Running if standing.cancel_wanted_at.is_some() => format!("agent {agent} to stop it"),
        WorkState::Running => format!("agent {agent} to finish it"),
        _ => return None,
    })
}
