//! What others change, and what comes of two who will not agree.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use brokkr_api::{
    policy::{Drift, DriftOutcome},
    reports::ObjectRef,
};
use parking_lot::Mutex;

use crate::{
    cluster::{Class, KubeFailure},
    object::ObjectId,
    plan::Refusal,
};

/// Most fields that one entry names.
const MAX_FIELDS: usize = 20;
/// Most managers that one entry names.
const MAX_MANAGERS: usize = 5;
/// So many repairs of one object are made at once; after that somebody else is at work against us.
const FREE_REPAIRS: u32 = 5;
/// Repairs this far apart do not count as a fight.
const QUIET: Duration = Duration::from_secs(120);
/// The first wait of a fight; it doubles with each repair.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// An entry of a report.
pub(crate) fn entry(object: &ObjectRef, fields: &[String], managers: &[String], outcome: DriftOutcome) -> Drift {
    Drift {
        object: object.clone(),
        fields: fields.iter().take(MAX_FIELDS).cloned().collect(),
        managers: managers.iter().take(MAX_MANAGERS).cloned().collect(),
        outcome,
    }
}

impl Refusal {
    pub(crate) fn failure(&self) -> KubeFailure {
        let managers = |managers: &[String]| match managers {
            [] => "somebody else".to_owned(),
            managers => managers.join(", "),
        };
        match self {
            Self::Invalid(message) => KubeFailure::new(Class::Invalid, message.clone()),
            Self::Unreadable(message) => KubeFailure::new(Class::Forbidden, message.clone()),
            Self::Exists { managers: others } => {
                let message = format!(
                    "it exists already and is managed by {}; to take it over set the stack's policy to adopt",
                    managers(others)
                );
                KubeFailure::new(Class::Exists, message)
            }
            Self::OwnedByStack(stack) => {
                KubeFailure::new(Class::Exists, format!("stack {stack} has it in its manifests; take it out there first"))
            }
            Self::Contested { fields, managers: others } => {
                let fields = if fields.is_empty() { "it".to_owned() } else { fields.join(", ") };
                let message = format!(
                    "{} keeps changing {fields}; the agent repairs it seldom now. List the fields in ignore_fields if they are not the stack's",
                    managers(others)
                );
                KubeFailure::new(Class::Contested, message)
            }
        }
    }

    pub(crate) fn drift(&self, object: &ObjectRef) -> Option<Drift> {
        match self {
            Self::Contested { fields, managers } => Some(entry(object, fields, managers, DriftOutcome::Contested)),
            _ => None,
        }
    }
}

/// Which objects others keep changing.
#[derive(Debug, Default)]
pub(crate) struct Contests(Mutex<HashMap<ObjectId, Contest>>);

#[derive(Debug, Clone, Copy)]
struct Contest {
    repairs: u32,
    last: Instant,
}

impl Contest {
    fn next(&self) -> Option<Instant> {
        let beyond = self.repairs.checked_sub(FREE_REPAIRS)?;
        let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(beyond.min(16))).min(LONGEST_WAIT);
        Some(self.last + wait)
    }
}

impl Contests {
    /// How many objects are left alone for a while now.
    pub(crate) fn contested(&self, now: Instant) -> usize {
        self.0.lock().values().filter(|contest| contest.next().is_some_and(|next| now < next)).count()
    }

    /// An object was repaired.
    pub(crate) fn repaired(&self, id: &ObjectId, now: Instant) {
        let mut contests = self.0.lock();
        let contest = contests.entry(id.clone()).or_insert(Contest { repairs: 0, last: now });
        let wait = contest.next().map_or(Duration::ZERO, |next| next.saturating_duration_since(contest.last));
        if now.saturating_duration_since(contest.last) > QUIET.max(wait * 2) {
            contest.repairs = 0;
        }
        contest.repairs += 1;
        contest.last = now;
    }

    /// Objects that are repaired later, and when.
    pub(crate) fn waiting(&self, now: Instant) -> HashMap<ObjectId, Instant> {
        let mut contests = self.0.lock();
        contests.retain(|_, contest| now.saturating_duration_since(contest.last) < LONGEST_WAIT * 3);
        let next = contests.iter().filter_map(|(id, contest)| Some((id.clone(), contest.next().filter(|next| now < *next)?)));
        next.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::GroupKind;

    #[test]
    fn a_few_repairs_are_made_at_once_and_a_fight_is_slowed_down() {
        let id = ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: None, name: "a".to_owned() };
        let (contests, start) = (Contests::default(), Instant::now());
        for repair in 1..FREE_REPAIRS {
            contests.repaired(&id, start + Duration::from_millis(u64::from(repair)));
            assert!(contests.waiting(start + Duration::from_secs(1)).is_empty());
        }
        contests.repaired(&id, start);
        let first = contests.waiting(start)[&id];
        assert_eq!(first, start + FIRST_WAIT);
        assert!(contests.waiting(first).is_empty(), "then it is tried once more");
        contests.repaired(&id, first);
        assert_eq!(contests.waiting(first)[&id], first + FIRST_WAIT * 2);
        let much_later = first + QUIET * 2;
        contests.repaired(&id, much_later);
        assert!(contests.waiting(much_later).is_empty(), "they came to terms");
    }
}
