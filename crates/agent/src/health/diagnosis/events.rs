//! Reading events: the newest counts, because an event outlives the trouble that it tells of.

use serde_json::Value;

use crate::health::fields::text;

/// The newest event with one of these reasons; of several at the same time the one whose reason stands first.
pub(super) fn newest<'a>(events: &'a [Value], reasons: &[&str]) -> Option<&'a Value> {
    let rank = |event: &Value| reasons.iter().position(|reason| *reason == text(event, "/reason"));
    events
        .iter()
        .filter_map(|event| Some((at(event), std::cmp::Reverse(rank(event)?), event)))
        .max_by_key(|(at, rank, _)| (*at, *rank))
        .map(|(_, _, event)| event)
}

/// When it happened last, to the second: the API server writes times so that their order is that of the texts.
fn at(event: &Value) -> &str {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp", "/metadata/creationTimestamp"];
    let time = times.into_iter().map(|pointer| text(event, pointer)).find(|time| !time.is_empty()).unwrap_or_default();
    time.get(..19).unwrap_or(time)
}
