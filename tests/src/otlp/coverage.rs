use super::{Span, paint::duration};
use std::fmt;

/// How much of a stretch of time spans cover, and where they leave gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Parts of a thousand of the whole that some span covers.
    pub per_mille: u64,
    /// What no span covers, longest first.
    pub gaps: Vec<Gap>,
}

/// Time that no span covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Its length in nanoseconds.
    pub nanos: u64,
    /// The span that ended where it begins; none at the start.
    pub after: Option<String>,
    /// The span that began where it ends; none at the end.
    pub before: Option<String>,
}

impl Coverage {
    /// Of the time between two moments, by the union of these spans.
    pub fn of<'a>(spans: impl IntoIterator<Item = &'a Span>, from: u64, to: u64) -> Self {
        let mut spans: Vec<&Span> = spans.into_iter().filter(|span| span.end_nanos > from && span.start_nanos < to).collect();
        spans.sort_by_key(|span| (span.start_nanos, span.end_nanos));
        let (mut until, mut after, mut gaps) = (from, None, Vec::new());
        for span in spans {
            if span.start_nanos > until {
                gaps.push(Gap { nanos: span.start_nanos - until, after: after.clone(), before: Some(span.name.clone()) });
            }
            if span.end_nanos > until {
                until = span.end_nanos;
                after = Some(span.name.clone());
            }
        }
        if until < to {
            gaps.push(Gap { nanos: to - until, after, before: None });
        }
        let (whole, open) = (to.saturating_sub(from), gaps.iter().map(|gap| gap.nanos).sum::<u64>());
        gaps.sort_by_key(|gap| std::cmp::Reverse(gap.nanos));
        let per_mille = u128::from(whole - open) * 1000 / u128::from(whole.max(1));
        Self { per_mille: u64::try_from(per_mille).unwrap_or(0), gaps }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} % covered", self.per_mille / 10, self.per_mille % 10)?;
        for gap in self.gaps.iter().take(5) {
            let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "the edge".to_owned());
            write!(f, "; {} between {} and {}", duration(gap.nanos), name(&gap.after), name(&gap.before))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::{Kind, Status};

    fn span(name: &str, start_nanos: u64, end_nanos: u64) -> Span {
        Span {
            service: String::new(),
            trace_id: String::new(),
            span_id: String::new(),
            parent: None,
            trace_state: String::new(),
            name: name.to_owned(),
            kind: Kind::Internal,
            start_nanos,
            end_nanos,
            attributes: Default::default(),
            resource: Default::default(),
            links: Vec::new(),
            events: Vec::new(),
            status: Status::Unset,
            bytes: 0,
        }
    }

    #[test]
    fn the_union_counts_and_what_is_left_is_a_gap_between_its_neighbours() {
        let spans = [span("a", 0, 40), span("b", 20, 30), span("c", 60, 90), span("late", 200, 300)];
        let found = Coverage::of(&spans, 0, 100);
        assert_eq!(found.per_mille, 700);
        let gap = |nanos, after: &str, before: Option<&str>| Gap {
            nanos,
            after: Some(after.to_owned()),
            before: before.map(str::to_owned),
        };
        assert_eq!(found.gaps, [gap(20, "a", Some("c")), gap(10, "c", None)]);
    }

    #[test]
    fn nothing_covers_nothing_and_what_is_longer_covers_all() {
        assert_eq!(Coverage::of([], 0, 100).per_mille, 0);
        assert_eq!(Coverage::of(&[span("whole", 0, 500)], 100, 200), Coverage { per_mille: 1000, gaps: Vec::new() });
    }
}
