//! What one object needs.

use std::{collections::HashMap, time::Instant};

use brokkr_api::policy::Adoption;
use serde::Serialize;

use super::{Observed, Policy};
use crate::{
    live::Live,
    object::{Manifest, ObjectId},
};

/// What to do about one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// There is none.
    Create,
    /// It is another manifest's result.
    Change,
    /// It is this manifest's result, and somebody changed it.
    Repair {
        /// What is no longer as it was applied.
        fields: Vec<String>,
        managers: Vec<String>,
    },
    /// It belongs to nobody, and the stack says that it may be taken over.
    Adopt,
    /// It is as it should be.
    Nothing,
    /// It is being deleted; it is made anew when it is gone.
    WaitUntilGone,
    /// It is left alone.
    Refuse(Refusal),
}

/// Why an object is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refusal {
    /// The manifest is wrong.
    Invalid(String),
    /// The agent may not see what is there.
    Unreadable(String),
    /// Somebody else has made it.
    Exists { managers: Vec<String> },
    /// Another stack has it in its manifests.
    OwnedByStack(String),
    /// Somebody else sets the same fields again and again.
    Contested { fields: Vec<String>, managers: Vec<String> },
}

impl Step {
    pub(crate) fn changes_something(&self) -> bool {
        !matches!(self, Self::Nothing | Self::Refuse(_))
    }
}

/// What is known of the objects, by their identity.
pub(super) struct Look<'a> {
    observed: &'a Observed,
    policy: &'a Policy,
    now: Instant,
    members: HashMap<&'a ObjectId, &'a Live>,
    strangers: HashMap<&'a ObjectId, &'a Live>,
}

impl<'a> Look<'a> {
    pub(super) fn new(observed: &'a Observed, policy: &'a Policy, now: Instant) -> Self {
        let members = observed.members.iter().map(|live| (&live.id, live)).collect();
        let strangers = observed.strangers.iter().map(|live| (&live.id, live)).collect();
        Self { observed, policy, now, members, strangers }
    }

    pub(super) fn step(&self, manifest: &Manifest) -> Step {
        if let Some(problem) = &manifest.problem {
            return Step::Refuse(Refusal::Invalid(problem.clone()));
        }
        if let Some(message) = self.observed.unreadable.get(&manifest.id.kind) {
            return Step::Refuse(Refusal::Unreadable(message.clone()));
        }
        let live = self.members.get(&manifest.id).or_else(|| self.strangers.get(&manifest.id));
        match live {
            None if self.was_applied(manifest) => self.repair(manifest, Vec::new(), Vec::new()),
            None => Step::Create,
            Some(live) if live.is_terminating => Step::WaitUntilGone,
            Some(live) => self.existing(manifest, live),
        }
    }

    fn existing(&self, manifest: &Manifest, live: &Live) -> Step {
        // A label can be copied by anybody: only what we applied is ours.
        let Some(ours) = &live.ours else { return self.foreign(live) };
        match self.observed.other_stacks.get(&manifest.id) {
            Some(other) if other.wants_it => return Step::Refuse(Refusal::OwnedByStack(other.name.clone())),
            // It moves here.
            Some(_) => return Step::Change,
            // Of a stack that nobody knows of here: another installation's, perhaps.
            None if live.part_of.as_ref().is_some_and(|set| *set != self.policy.set) => return self.foreign(live),
            None => {}
        }
        let known = self.observed.applied.get(&manifest.id).filter(|applied| applied.digest == manifest.digest);
        if known.is_some_and(|applied| applied.agrees(live)) && live.part_of.as_ref() == Some(&self.policy.set) {
            return Step::Nothing;
        }
        let is_of_this = live.digest.as_ref() == Some(&manifest.digest) || known.is_some();
        if !is_of_this {
            return Step::Change;
        }
        let missing = if ours.api_version == manifest.api_version {
            ours.missing(&manifest.body(), &manifest.ignored)
        } else {
            // Fields of one version cannot be compared with those of another; applying again tells.
            return Step::Change;
        };
        match missing.is_empty() {
            true if live.part_of.as_ref() == Some(&self.policy.set) => Step::Nothing,
            _ => self.repair(manifest, missing, live.managers.clone()),
        }
    }

    fn foreign(&self, live: &Live) -> Step {
        match self.policy.adoption {
            Adoption::Adopt => Step::Adopt,
            Adoption::Report => Step::Refuse(Refusal::Exists { managers: live.managers.clone() }),
        }
    }

    fn was_applied(&self, manifest: &Manifest) -> bool {
        self.observed.applied.get(&manifest.id).is_some_and(|applied| applied.digest == manifest.digest)
    }

    fn repair(&self, manifest: &Manifest, fields: Vec<String>, managers: Vec<String>) -> Step {
        match self.observed.contested.get(&manifest.id) {
            Some(next) if self.now < *next => Step::Refuse(Refusal::Contested { fields, managers }),
            _ => Step::Repair { fields, managers },
        }
    }
}
