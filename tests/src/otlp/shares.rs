use super::{Paint, Span, paint::duration};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// A component's part of a trace's time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// "broker", "agent", "SQL", "Kubernetes API", "waiting", or "no span" for a gap that no span explains.
    pub component: String,
    /// Time in nanoseconds.
    pub nanos: u64,
    /// The same in parts of a thousand of the whole.
    pub per_mille: u64,
}

const GAP: &str = "no span";

/// Gives every moment of a trace to who was at work then: to the innermost spans that were open, in equal parts.
/// A wait gets only the moments in which nothing but waits was open.
pub(super) fn of(spans: &[Span]) -> Vec<Share> {
    let mut moments: Vec<u64> = spans.iter().flat_map(|span| [span.start_nanos, span.end_nanos.max(span.start_nanos)]).collect();
    moments.sort_unstable();
    moments.dedup();
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    let mut whole = 0;
    for window in moments.windows(2) {
        let (from, to) = (window[0], window[1]);
        whole += to - from;
        let working = at_work(spans, from, to);
        let parts = u64::try_from(working.len()).unwrap_or(u64::MAX).max(1);
        let mut rest = to - from;
        for span in &working {
            let part = (to - from) / parts;
            rest -= part;
            *totals.entry(span.component()).or_default() += part;
        }
        let remainder = working.first().map_or_else(|| GAP.to_owned(), |span| span.component());
        *totals.entry(remainder).or_default() += rest;
    }
    let mut shares: Vec<Share> = totals
        .into_iter()
        .filter(|(_, nanos)| *nanos > 0)
        .map(|(component, nanos)| Share { component, nanos, per_mille: per_mille(nanos, whole) })
        .collect();
    shares.sort_by(|a, b| b.nanos.cmp(&a.nanos).then_with(|| a.component.cmp(&b.component)));
    shares
}

fn at_work(spans: &[Span], from: u64, to: u64) -> Vec<&Span> {
    let open: Vec<&Span> = spans.iter().filter(|span| span.start_nanos <= from && span.end_nanos >= to).collect();
    let is_wait = |span: &&&Span| span.is_wait();
    let parents: HashSet<&str> = open.iter().filter(|span| !is_wait(span)).filter_map(|span| span.parent.as_deref()).collect();
    let innermost = |span: &&&Span| !parents.contains(span.span_id.as_str());
    let busy: Vec<&Span> = open.iter().filter(|span| !is_wait(span)).filter(innermost).copied().collect();
    let waits: Vec<&Span> = open.iter().filter(is_wait).copied().collect();
    // A span that has an open wait below it and no other work is waiting itself.
    let waiting_for: HashSet<&str> = waits.iter().filter_map(|span| span.parent.as_deref()).collect();
    let really_busy: Vec<&Span> = busy.into_iter().filter(|span| !waiting_for.contains(span.span_id.as_str())).collect();
    if really_busy.is_empty() { waits } else { really_busy }
}

fn per_mille(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 1_000 / u128::from(whole.max(1))).unwrap_or(1_000)
}

/// The shares as a table with bars.
pub fn share_table(shares: &[Share], paint: Paint) -> String {
    let mut table = String::new();
    for Share { component, nanos, per_mille } in shares {
        let bar = "█".repeat(usize::try_from(per_mille / 25).unwrap_or(0));
        let percent = format!("{}.{} %", per_mille / 10, per_mille % 10);
        let line = format!("{component:18}  {percent:>7}  {:>9}  {}", duration(*nanos), paint.named(component, &bar));
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests;
