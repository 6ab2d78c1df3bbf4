//! Who leads, from what the Lease says. Pure: time is a parameter, and it is this machine's alone. The times in a Lease are those of
//! another machine's clock; they only tell one renewal from the next.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a Lease holds without a renewal.
pub(super) const DURATION: Duration = Duration::from_secs(15);

/// What the candidate has seen of the Lease.
#[derive(Debug)]
pub(super) struct Election {
    me: String,
    seen: Option<Seen>,
}

/// A renewal of somebody else, and when it was first seen here.
#[derive(Debug)]
struct Seen {
    holder: String,
    renewal: Value,
    transitions: u64,
    at: Instant,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// There is no Lease: make it.
    Create,
    /// It is free, or ours: write it.
    Take,
    /// Somebody else leads.
    StandBy(String),
}

impl Election {
    pub(super) fn new(me: String) -> Self {
        Self { me, seen: None }
    }

    /// What to do about the Lease as it is.
    pub(super) fn step(&mut self, lease: Option<&Value>, now: Instant) -> Step {
        let Some(lease) = lease else { return Step::Create };
        let holder = holder(lease);
        if holder.is_empty() || holder == self.me {
            return Step::Take;
        }
        let renewal = lease.pointer("/spec/renewTime").cloned().unwrap_or_default();
        let (transitions, duration) = (transitions(lease), duration(lease));
        let at = match &self.seen {
            Some(seen) if seen.holder == holder && seen.renewal == renewal && seen.transitions == transitions => seen.at,
            _ => now,
        };
        self.seen = Some(Seen { holder: holder.to_owned(), renewal, transitions, at });
        if now.saturating_duration_since(at) >= duration { Step::Take } else { Step::StandBy(holder.to_owned()) }
    }

    /// The Lease as this candidate holds it; `now` is written for people to read. A Lease that was read keeps its version, so that the
    /// write fails when it has changed since.
    pub(super) fn held(&self, namespace: &str, name: &str, lease: Option<&Value>, now: &str) -> Value {
        let is_mine = lease.is_some_and(|lease| holder(lease) == self.me);
        let acquired = lease.filter(|_| is_mine).and_then(|lease| lease.pointer("/spec/acquireTime")).cloned();
        let before = lease.map_or(0, transitions);
        let transitions = if is_mine || lease.is_none() { before } else { before + 1 };
        let mut metadata = json!({"name": name, "namespace": namespace});
        if let Some(kept) = lease.and_then(|lease| lease.get("metadata")) {
            metadata.clone_from(kept);
        }
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": self.me,
                "leaseDurationSeconds": DURATION.as_secs(),
                "acquireTime": acquired.unwrap_or_else(|| now.into()),
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        })
    }

    /// The Lease as nobody holds it; nothing when it is not ours to give.
    pub(super) fn released(&self, lease: &Value, now: &str) -> Option<Value> {
        if holder(lease) != self.me {
            return None;
        }
        let mut released = lease.clone();
        released["spec"] = json!({
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "renewTime": now,
            "leaseTransitions": transitions(lease),
        });
        Some(released)
    }
}

fn holder(lease: &Value) -> &str {
    lease.pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default()
}

fn transitions(lease: &Value) -> u64 {
    lease.pointer("/spec/leaseTransitions").and_then(Value::as_u64).unwrap_or(0)
}

/// How long the holder said that it leads without a renewal.
fn duration(lease: &Value) -> Duration {
    lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_u64).map_or(DURATION, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAST: &str = "1999-01-01T00:00:00.000000Z";
    const FUTURE: &str = "2999-01-01T00:00:00.000000Z";

    fn lease_of(holder: &str, renewed: &str) -> Value {
        let mut lease = Election::new(holder.to_owned()).held("brokkr-system", "brokkr-agent", None, renewed);
        lease["metadata"]["resourceVersion"] = "7".into();
        lease
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_that_is_missing_is_made_and_a_free_one_is_taken_at_once() {
        let (mut election, now) = (Election::new("a".to_owned()), Instant::now());
        assert_eq!(election.step(None, now), Step::Create);
        assert_eq!(election.step(Some(&lease_of("", PAST)), now), Step::Take);
        assert_eq!(election.step(Some(&lease_of("a", PAST)), now), Step::Take);
    }

    #[test]
    fn a_leader_whose_clock_is_wrong_by_years_is_believed_as_long_as_it_renews() {
        let now = Instant::now();
        for skewed in [PAST, FUTURE] {
            let mut election = Election::new("a".to_owned());
            assert_eq!(election.step(Some(&lease_of("b", skewed)), now), Step::StandBy("b".to_owned()), "never seen before");
            assert_eq!(election.step(Some(&lease_of("b", skewed)), now + seconds(14)), Step::StandBy("b".to_owned()));
            assert_eq!(election.step(Some(&lease_of("b", skewed)), now + seconds(15)), Step::Take, "seen unchanged for its time");
        }
    }

    #[test]
    fn every_renewal_seen_begins_the_wait_anew_even_if_its_time_goes_backwards() {
        let (mut election, now) = (Election::new("a".to_owned()), Instant::now());
        for (at, renewed) in [(0, FUTURE), (10, PAST), (20, FUTURE), (30, PAST)] {
            assert_eq!(election.step(Some(&lease_of("b", renewed)), now + seconds(at)), Step::StandBy("b".to_owned()), "{at}");
        }
        assert_eq!(election.step(Some(&lease_of("c", PAST)), now + seconds(45)), Step::StandBy("c".to_owned()), "another leader");
        assert_eq!(election.step(Some(&lease_of("c", PAST)), now + seconds(60)), Step::Take);
    }

    #[test]
    fn a_lease_is_written_over_the_version_that_was_read_and_counts_its_holders() {
        let election = Election::new("a".to_owned());
        let taken = election.held("brokkr-system", "brokkr-agent", Some(&lease_of("b", PAST)), FUTURE);
        assert_eq!(taken["metadata"]["resourceVersion"], "7");
        assert_eq!((&taken["spec"]["leaseTransitions"], &taken["spec"]["acquireTime"]), (&json!(1), &json!(FUTURE)));
        let renewed = election.held("brokkr-system", "brokkr-agent", Some(&taken), PAST);
        assert_eq!((&renewed["spec"]["leaseTransitions"], &renewed["spec"]["acquireTime"]), (&json!(1), &json!(FUTURE)));
        assert_eq!(renewed["spec"]["renewTime"], PAST);
    }

    #[test]
    fn only_the_holder_releases_and_then_anybody_may_take_it_at_once() {
        let (election, now) = (Election::new("a".to_owned()), Instant::now());
        assert_eq!(election.released(&lease_of("b", PAST), FUTURE), None);
        let released = election.released(&lease_of("a", PAST), FUTURE).unwrap();
        assert_eq!(released["metadata"]["resourceVersion"], "7");
        assert_eq!(Election::new("b".to_owned()).step(Some(&released), now), Step::Take);
    }
}
