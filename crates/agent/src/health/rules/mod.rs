//! The stack's own rules, in CEL over `object`, for kinds that say in their own way when they are healthy.

mod budget;
mod compile;
mod program;
mod stack;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use brokkr_api::policy::HealthRule;
use serde_json::Value;

use super::{Assessment, HealthReason};
use crate::object::GroupKind;
use budget::Budget;
use program::{Outcome, Program};
use stack::with_room;

/// Compiled rules, one per kind. Those that do not compile are kept as what is wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Rules(HashMap<GroupKind, Result<Rule, String>>);

#[derive(Debug)]
pub(super) struct Rule {
    healthy: Program,
    degraded: Option<Program>,
    message: Option<Program>,
}

impl Rules {
    /// Of several rules for a kind the first counts.
    pub(crate) fn compile(rules: &[HealthRule]) -> Self {
        let mut compiled = HashMap::new();
        for rule in rules {
            if let Some(kind) = GroupKind::parse(&rule.kind) {
                compiled.entry(kind).or_insert_with_key(|kind| {
                    with_room(|| Rule::compile(rule, kind)).unwrap_or_else(|| Err("it cannot be compiled".to_owned()))
                });
            }
        }
        Self(compiled)
    }

    /// Whether there is a rule for this kind.
    pub(super) fn names(&self, kind: &GroupKind) -> bool {
        self.0.contains_key(kind)
    }

    /// How an object of this kind is by its rule; nothing when there is none.
    pub(super) fn assess(&self, kind: &GroupKind, object: &Value) -> Option<Assessment> {
        Some(match self.0.get(kind)? {
            Ok(rule) => with_room(|| rule.assess(object)).unwrap_or_else(too_costly),
            Err(problem) => Assessment::unknown(HealthReason::RuleInvalid, problem),
        })
    }
}

impl Rule {
    fn compile(rule: &HealthRule, kind: &GroupKind) -> Result<Self, String> {
        let compiled = |what: &str, source: &String| Program::compile(source).map_err(|problem| format!("{what}: {problem}"));
        // What these hold belongs in no message.
        let is_confidential = kind.is("", "Secret") || kind.is("", "ConfigMap");
        Ok(Self {
            healthy: compiled("healthy", &rule.healthy)?,
            degraded: rule.degraded.as_ref().map(|source| compiled("degraded", source)).transpose()?,
            message: rule.message.as_ref().filter(|_| !is_confidential).map(|source| compiled("message", source)).transpose()?,
        })
    }

    fn assess(&self, object: &Value) -> Assessment {
        let budget = Budget::new();
        let Some(context) = budget.context(object) else { return too_costly() };
        match self.healthy.run(&context, &budget) {
            Outcome::True => return Assessment::healthy(),
            Outcome::TooCostly => return too_costly(),
            Outcome::Other(kind) => return not_boolean("healthy", kind),
            Outcome::NotTrue | Outcome::Text(_) => {}
        }
        let is_degraded = match self.degraded.as_ref().map(|program| program.run(&context, &budget)) {
            Some(Outcome::True) => true,
            Some(Outcome::TooCostly) => return too_costly(),
            Some(Outcome::Other(kind)) => return not_boolean("degraded", kind),
            Some(Outcome::NotTrue | Outcome::Text(_)) | None => false,
        };
        let message = match self.message.as_ref().map(|program| program.text(&context, &budget)) {
            Some(Outcome::Text(text)) => text,
            Some(Outcome::TooCostly) => return too_costly(),
            _ => String::new(),
        };
        if is_degraded {
            Assessment::degraded(HealthReason::Stalled, message)
        } else {
            Assessment::progressing(HealthReason::NotReady, message)
        }
    }
}

fn too_costly() -> Assessment {
    Assessment::unknown(HealthReason::RuleTooCostly, "the rule takes too many steps over this object")
}

fn not_boolean(what: &str, kind: &str) -> Assessment {
    Assessment::unknown(HealthReason::RuleInvalid, format!("{what}: gives a value of type {kind}, not true or false"))
}
