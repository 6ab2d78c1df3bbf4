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
    use super::*;

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
