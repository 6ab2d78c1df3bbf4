//! The phase of every deployment as this agent knows it: each change is told once, with where it came from and why.

use std::collections::HashMap;

use brokkr_api::{Name, StackId, rollouts::Phase};
use parking_lot::Mutex;
use tracing::info;

/// The phases.
#[derive(Debug, Default)]
pub(crate) struct Phases(Mutex<HashMap<StackId, Known>>);

#[derive(Debug, Clone, Copy)]
struct Known {
    revision: u64,
    phase: Phase,
}

/// Whose phase it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) stack: StackId,
    pub(crate) name: &'a Name,
    pub(crate) generation: u64,
    pub(crate) revision: u64,
}

impl Phases {
    /// The deployment is in this phase now. A record of the log when that is another than before, in the trace in which it happens.
    pub(crate) fn now(&self, of: Subject<'_>, phase: Phase, reason: Option<&str>) {
        let Some(from) = self.change(of, phase) else { return };
        info!(
            stack.id = %of.stack,
            stack.name = %of.name,
            generation = of.generation,
            revision = of.revision,
            from = from.as_str(),
            to = phase.as_str(),
            reason,
            "a deployment changed its phase"
        );
    }

    /// The phase before, where this is another. A new revision begins as pending.
    fn change(&self, of: Subject<'_>, phase: Phase) -> Option<Phase> {
        let known = Known { revision: of.revision, phase };
        let before = self.0.lock().insert(of.stack, known).filter(|before| before.revision == of.revision);
        let from = before.map_or(Phase::Pending, |before| before.phase);
        (from != phase).then_some(from)
    }

    pub(crate) fn keep_stacks(&self, is_there: impl Fn(StackId) -> bool) {
        self.0.lock().retain(|stack, _| is_there(*stack));
    }
}

#[cfg(test)]
mod tests {
    use brokkr_telemetry::capture::Capture;

    use super::*;

    #[test]
    fn each_change_is_told_once_with_where_it_came_from_and_why() {
        let capture = Capture::start();
        let _guard = capture.enter();
        let (phases, name) = (Phases::default(), "shop".parse().unwrap());
        let stack: StackId = "00000000-0000-7000-8000-000000000001".parse().unwrap();
        let of = |revision| Subject { stack, name: &name, generation: 1, revision };
        let span = brokkr_telemetry::spans::job("look");
        span.in_scope(|| {
            phases.now(of(1), Phase::Progressing, None);
            phases.now(of(1), Phase::Failed, Some("forbidden"));
            phases.now(of(1), Phase::Failed, Some("forbidden"));
            phases.now(of(2), Phase::Progressing, None);
        });
        let told: Vec<serde_json::Value> = capture.logs().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let change = |line: &serde_json::Value| {
            assert_eq!(line["trace_id"].as_str().map(str::len), Some(32), "{line}");
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", text("from"), text("to"), text("reason"))
        };
        let changes: Vec<_> = told.iter().map(change).collect();
        assert_eq!(changes, ["pending progressing ", "progressing failed forbidden", "pending progressing "]);
    }
}
