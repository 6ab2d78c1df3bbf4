//! A time in which the collector took nothing: a span tells of it afterwards.

use std::time::SystemTime;

use crate::spans::{ExportOutage, record_export_outage};

/// Since the first failed export after one that succeeded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outage {
    since: SystemTime,
    lost_before: u64,
    error_type: &'static str,
}

impl Outage {
    /// `lost` counts the spans that had failed or were dropped before.
    pub(super) fn begin(since: SystemTime, lost: u64, error: &str) -> Self {
        Self { since, lost_before: lost, error_type: error_type(error) }
    }

    /// Tells of it. `lost` counts as at the beginning.
    pub(super) fn end(self, until: SystemTime, lost: u64) {
        let Self { since, lost_before, error_type } = self;
        record_export_outage(ExportOutage { since, until, error_type, lost: lost.saturating_sub(lost_before) });
    }
}

/// A word of a closed set for the exporter's words, which name codes and causes.
fn error_type(error: &str) -> &'static str {
    let error = error.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| error.contains(word));
    if says(&["timeout", "timed out", "deadline"]) {
        "timeout"
    } else if says(&["unauthenticated", "permissiondenied", "status code: 401", "status code: 403"]) {
        "refused"
    } else if says(&["unavailable", "connect", "network", "transport", "sending request"]) {
        "unreachable"
    } else {
        "export_failed"
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        Service,
        capture::{Capture, options},
        spans::SPANS,
    };

    #[test]
    fn a_span_tells_how_long_it_was_and_what_is_lost_however_little_is_sampled() {
        let mut rarely = options(Service::Agent);
        rarely.telemetry.sampling_rate = 0.0;
        let capture = Capture::with(rarely).unwrap();
        let _here = capture.enter();
        let since = SystemTime::UNIX_EPOCH;
        Outage::begin(since, 3, "TonicTracesClient export failed with gRPC code: Unavailable")
            .end(since + Duration::from_secs(60), 45);
        let span = capture.span("export spans");
        assert!(span.is_error() && span.is_sampled());
        assert_eq!(span.times(), (since, since + Duration::from_secs(60)));
        let attribute = |name| span.attribute(name).unwrap();
        assert_eq!((attribute("error.type"), attribute("brokkr.spans.lost")), ("unreachable".to_owned(), "42".to_owned()));
        let row = SPANS.iter().find(|row| row.name == "export spans").unwrap();
        let known = |name: &String| name == "error.type" || row.attributes.contains(&name.as_str());
        assert!(span.attribute_names().iter().all(known), "{span:?}");
    }

    #[test]
    fn the_exporters_words_become_a_word_of_a_closed_set() {
        for (error, word) in [
            ("TonicTracesClient export failed with gRPC code: Unavailable: transport error: Connection refused", "unreachable"),
            ("TonicTracesClient export failed with gRPC code: Cancelled: Timeout expired", "timeout"),
            ("TonicTracesClient export failed with gRPC code: DeadlineExceeded", "timeout"),
            ("TonicTracesClient export failed with gRPC code: Unauthenticated", "refused"),
            ("TonicTracesClient export failed with gRPC code: Internal", "export_failed"),
        ] {
            assert_eq!(error_type(error), word, "{error}");
        }
    }
}
