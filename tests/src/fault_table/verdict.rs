//! Whether exported spans tell a fault.

use crate::otlp::{Kind, Span, Status};

use super::{CALLER_SPAN, Incident, Row};

impl Row {
    /// Whether these spans name the fault's component, operation and reason, with an error on every span from the root to the cause.
    ///
    /// # Errors
    /// What is missing, with the spans that come closest.
    pub fn judge(&self, incident: &Incident, spans: &[Span]) -> Result<(), String> {
        let in_trace = |span: &&Span| incident.trace.as_ref().is_none_or(|trace| span.trace_id == *trace);
        let spans: Vec<&Span> = spans.iter().filter(in_trace).collect();
        let is_cause = |span: &&&Span| {
            span.service == self.service && span.name == self.span && span.text("error.type") == Some(self.error_type)
        };
        let mut why = None;
        for cause in spans.iter().filter(is_cause) {
            match self.follow(cause, &spans) {
                Ok(()) => return Ok(()),
                Err(missing) => why = Some(missing),
            }
        }
        Err(why.unwrap_or_else(|| format!("no span that went wrong like that among {:#?}", troubled(&spans))))
    }

    /// From the cause to the root, or to where the work was handed over: what handed it over was done by then.
    fn follow(&self, cause: &Span, spans: &[&Span]) -> Result<(), String> {
        let mut reason = None;
        let mut at = cause;
        loop {
            if !is_told(at) {
                return Err(format!("{} above {} is no error: {at:#?}", at.name, cause.name));
            }
            reason = reason.or_else(|| at.text("brokkr.reason"));
            let above = match &at.parent {
                Some(parent) if at.kind != Kind::Consumer && at.name != "send webhook" && parent != CALLER_SPAN => parent,
                _ => break,
            };
            at = spans
                .iter()
                .find(|span| span.span_id == *above)
                .ok_or_else(|| format!("the parent of {} has not arrived", at.name))?;
        }
        if reason == Some(self.reason) { Ok(()) } else { Err(format!("the reason is {reason:?} at {cause:#?}")) }
    }
}

/// By the conventions a server leaves the mistakes of its callers without status: the answer's says it.
fn is_told(span: &Span) -> bool {
    let answer = span.attributes.get("http.response.status_code").and_then(serde_json::Value::as_i64);
    let is_callers = span.kind == Kind::Server && answer.is_some_and(|status| (400..500).contains(&status));
    is_callers || matches!(span.status, Status::Error(_))
}

/// What went wrong at all, one line each.
fn troubled(spans: &[&Span]) -> Vec<String> {
    let wrong = spans.iter().filter(|span| span.attributes.contains_key("error.type"));
    let line = |span: &&&Span| {
        let word = |key| span.text(key).unwrap_or("-");
        format!("{} {}: {} ({})", span.service, span.name, word("error.type"), word("brokkr.reason"))
    };
    wrong.map(|span| line(&span)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fault_table::Fault;

    fn span(id: &str, parent: Option<&str>, name: &str, attributes: &[(&str, &str)]) -> Span {
        Span {
            trace_id: "1".to_owned(),
            span_id: id.to_owned(),
            parent: parent.map(str::to_owned),
            trace_state: String::new(),
            name: name.to_owned(),
            kind: Kind::Internal,
            service: "s".to_owned(),
            start_nanos: 0,
            end_nanos: 1,
            attributes: attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect(),
            links: Vec::new(),
            events: Vec::new(),
            status: Status::Error(String::new()),
            resource: BTreeMap::new(),
            bytes: 0,
        }
    }

    fn judge(spans: &[Span]) -> Result<(), String> {
        let row = Row { fault: Fault::DatabaseDown, service: "s", span: "cause", error_type: "e", reason: "r" };
        row.judge(&Incident::without_trace(Vec::new(), ()), spans)
    }

    #[test]
    fn a_path_of_errors_with_a_reason_tells_a_fault() {
        let cause = span("2", Some("1"), "cause", &[("error.type", "e")]);
        let root = span("1", None, "root", &[("brokkr.reason", "r")]);
        assert_eq!(judge(&[cause.clone(), root.clone()]), Ok(()));
        assert!(judge(std::slice::from_ref(&root)).is_err(), "no cause");
        assert!(judge(std::slice::from_ref(&cause)).is_err(), "no root");
        let well = Span { status: Status::Unset, ..root.clone() };
        assert!(judge(&[cause.clone(), well.clone()]).is_err(), "a gap on the way");
        let silent = Span { attributes: BTreeMap::new(), ..root };
        assert!(judge(&[cause.clone(), silent]).is_err(), "no reason");
        let other = span("2", Some("1"), "cause", &[("error.type", "another")]);
        assert!(judge(&[other, well]).is_err(), "another error");
    }
}
