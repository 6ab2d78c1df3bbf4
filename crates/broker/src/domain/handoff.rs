//! How an agent's spans relate to the trace of the change that they carry out.

use std::time::Duration;

use brokkr_api::Relation;
use brokkr_telemetry::config::Handoff;

/// Most agents whose work joins the trace of the change: a thousand agents in one trace is more than any backend takes.
pub(crate) const MAX_FAN_OUT: u64 = 10;
/// Oldest context that work still joins; backends assemble a trace within minutes.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(15 * 60);

/// Decides the relation that is sent with the work.
pub(crate) fn relation(knob: Handoff, first_attempt: bool, fan_out: u64, age: Duration) -> Relation {
    let joins = first_attempt && fan_out <= MAX_FAN_OUT && age < MAX_AGE;
    match knob {
        Handoff::Parent => Relation::Parent,
        Handoff::Link => Relation::Link,
        Handoff::Auto => {
            if joins {
                Relation::Parent
            } else {
                Relation::Link
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_attempt_of_a_small_and_recent_change_joins_its_trace() {
        let second = Duration::from_secs(1);
        assert_eq!(relation(Handoff::Auto, true, 10, second), Relation::Parent);
        assert_eq!(relation(Handoff::Auto, false, 10, second), Relation::Link);
        assert_eq!(relation(Handoff::Auto, true, 11, second), Relation::Link);
        assert_eq!(relation(Handoff::Auto, true, 1, MAX_AGE), Relation::Link);
        assert_eq!(relation(Handoff::Parent, false, 1_000, MAX_AGE), Relation::Parent);
        assert_eq!(relation(Handoff::Link, true, 1, second), Relation::Link);
    }
}
