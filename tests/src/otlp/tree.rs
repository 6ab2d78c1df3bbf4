use super::{Kind, Link, Paint, Span, Status, Trace, paint::duration};
use std::collections::{BTreeSet, HashMap, HashSet};

const BAR: u64 = 24;
const SERVICE: usize = 14;

/// Draws a trace: offset, duration, a bar of when it ran, the service, and the indented name.
pub(super) fn draw(trace: &Trace, paint: Paint) -> String {
    let all: Vec<&Span> = trace.spans.iter().chain(&trace.linked).collect();
    let start = all.iter().map(|span| span.start_nanos).min().unwrap_or(0);
    let end = all.iter().map(|span| span.end_nanos).max().unwrap_or(0);
    let mut canvas =
        Canvas { text: String::new(), paint, start, length: end.saturating_sub(start).max(1), forest: Forest::of(&all) };
    canvas.heading(trace);
    let roots = canvas.forest.roots.clone();
    for root in roots {
        canvas.branch(root, "", "", "");
    }
    canvas.text
}

/// Who hangs below whom: by parent, or, for a root with a link, below the linked span.
struct Forest<'a> {
    roots: Vec<&'a Span>,
    children: HashMap<(&'a str, &'a str), Vec<&'a Span>>,
    known: HashMap<(&'a str, &'a str), &'a Span>,
}

impl<'a> Forest<'a> {
    fn of(all: &[&'a Span]) -> Self {
        let known: HashMap<_, _> = all.iter().map(|span| (key(span), *span)).collect();
        let mut children: HashMap<_, Vec<&'a Span>> = HashMap::new();
        let mut roots = Vec::new();
        for span in all {
            match above(span).find(|cause| known.contains_key(cause)) {
                Some(cause) => children.entry(cause).or_default().push(*span),
                None => roots.push(*span),
            }
        }
        for list in children.values_mut() {
            list.sort_by_key(|span| span.start_nanos);
        }
        Self { roots, children, known }
    }
}

fn key(span: &Span) -> (&str, &str) {
    (&span.trace_id, &span.span_id)
}

fn above(span: &Span) -> impl Iterator<Item = (&str, &str)> {
    let parent = span.parent.as_deref().map(|parent| (span.trace_id.as_str(), parent));
    let links = span.links.iter().filter(move |_| span.parent.is_none());
    parent.into_iter().chain(links.map(|link| (link.trace_id.as_str(), link.span_id.as_str())))
}

struct Canvas<'a> {
    text: String,
    paint: Paint,
    start: u64,
    length: u64,
    forest: Forest<'a>,
}

impl<'a> Canvas<'a> {
    fn heading(&mut self, trace: &Trace) {
        let services: BTreeSet<&str> = trace.spans.iter().map(|span| span.service.as_str()).collect();
        let failed = trace.spans.iter().filter(|span| matches!(span.status, Status::Error(_))).count();
        let traces: HashSet<&str> = trace.linked.iter().map(|span| span.trace_id.as_str()).collect();
        let mut facts = vec![
            duration(trace.nanos()),
            format!("{} spans", trace.spans.len()),
            services.into_iter().collect::<Vec<_>>().join(", "),
        ];
        if !traces.is_empty() {
            facts.push(format!("{} linked traces", traces.len()));
        }
        if failed > 0 {
            facts.push(self.paint.error(&format!("{failed} failed")));
        }
        self.text.push_str(&format!("{} {}  {}\n", self.paint.bold("trace"), self.paint.bold(&trace.id), facts.join(" · ")));
        let columns = format!("{:>9}  {:>9}  {:24}  {:SERVICE$}  span", "offset", "duration", "", "service");
        self.text.push_str(&self.paint.dim(&columns));
        self.text.push('\n');
    }

    fn branch(&mut self, span: &'a Span, lead: &str, twig: &str, below: &str) {
        self.line(span, &format!("{lead}{twig}"));
        // Each span is drawn once, so a trace whose parents form a ring cannot recurse for ever.
        let children = self.forest.children.remove(&key(span)).unwrap_or_default();
        let lead = format!("{lead}{below}");
        let last = children.len().saturating_sub(1);
        for (index, child) in children.into_iter().enumerate() {
            let linked = child.parent.is_none();
            let (twig, below) = match (index == last, linked) {
                (false, false) => ("├─ ", "│  "),
                (true, false) => ("└─ ", "   "),
                (false, true) => ("├┄▸ ", "│   "),
                (true, true) => ("└┄▸ ", "    "),
            };
            self.branch(child, &lead, twig, below);
        }
    }

    fn line(&mut self, span: &Span, lead: &str) {
        let paint = self.paint;
        let offset = span.start_nanos.saturating_sub(self.start);
        let service: String = span.service.strip_prefix("brokkr-").unwrap_or(&span.service).chars().take(SERVICE).collect();
        let name = match &span.status {
            Status::Error(_) => paint.error(&span.name),
            Status::Unset | Status::Ok if span.is_wait() => paint.dim(&span.name),
            Status::Unset | Status::Ok => span.name.clone(),
        };
        let line = format!(
            "{:>9}  {:>9}  {}  {}  {}{name}{}",
            duration(offset),
            duration(span.nanos()),
            paint.named(&span.service, &self.bar(offset, span.nanos())),
            paint.named(&span.service, &format!("{service:SERVICE$}")),
            paint.dim(lead),
            self.remarks(span),
        );
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Position and length on the trace's time line; the shortest span still shows.
    fn bar(&self, offset: u64, nanos: u64) -> String {
        let scale = |value: u64| usize::try_from(u128::from(value) * u128::from(BAR) / u128::from(self.length)).unwrap_or(0);
        let width = usize::try_from(BAR).unwrap_or(0);
        let from = scale(offset).min(width - 1);
        let to = scale(offset.saturating_add(nanos)).clamp(from + 1, width);
        let body = if nanos.saturating_mul(BAR * 2) < self.length { "▏" } else { "█" };
        format!("{}{}{}", "·".repeat(from), body.repeat(to - from), "·".repeat(width - to))
    }

    fn remarks(&self, span: &Span) -> String {
        let mut remarks = String::new();
        if span.kind != Kind::Internal {
            remarks.push_str(&self.paint.dim(&format!("  [{}]", span.kind.name())));
        }
        for link in span.links.iter().filter(|link| !self.is_obvious(span, link)) {
            let target = self.forest.known.get(&(link.trace_id.as_str(), link.span_id.as_str()));
            let target = target.map_or_else(|| format!("{}/{}", link.trace_id, link.span_id), |target| target.name.clone());
            remarks.push_str(&self.paint.dim(&format!("  ↗ {target}")));
        }
        if let Status::Error(reason) = &span.status {
            remarks.push_str(&self.paint.error(&format!("  ✗ {reason}")));
        }
        remarks
    }

    /// A link to the span right above is drawn by the place in the tree.
    fn is_obvious(&self, span: &Span, link: &Link) -> bool {
        above(span).find(|cause| self.forest.known.contains_key(cause)) == Some((&link.trace_id, &link.span_id))
    }
}

#[cfg(test)]
mod tests;
