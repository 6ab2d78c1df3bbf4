//! How the agent follows what is set of tracing, and tells how it fares: when something has changed, and of counts alone now and then.

use std::time::{Duration, Instant};

use brokkr_api::{
    client::{Client, ClientError},
    tracing::{ReportTracing, TraceOrder, TracePipeline},
};
use brokkr_runtime::trace_settings;
use brokkr_telemetry::Control;
use tracing::debug;

/// How often counts alone are told.
const COUNTS: Duration = Duration::from_secs(300);

/// Follows, and remembers what was told.
pub(crate) struct TraceReporter {
    control: Control,
    revision: u64,
    told: Option<(ReportTracing, Instant)>,
}

impl TraceReporter {
    pub(crate) fn new(control: Control) -> Self {
        Self { control, revision: 0, told: None }
    }

    /// Puts what the broker says into effect. Without an order the agent's own configuration decides.
    pub(crate) fn follow(&mut self, order: Option<&TraceOrder>) {
        self.revision = order.map_or(0, |order| order.revision);
        self.control.apply(&order.map(|order| trace_settings::run_time(&order.settings)).unwrap_or_default());
    }

    /// Tells the broker when there is something to tell. What does not arrive is told after the next poll.
    pub(crate) async fn tell(&mut self, client: &Client) {
        let report = ReportTracing { revision: self.revision, pipeline: trace_settings::pipeline(&self.control) };
        let now = Instant::now();
        let told = self.told.as_ref().map(|(told, at)| (told, now.saturating_duration_since(*at)));
        if !is_news(told, &report) {
            return;
        }
        match client.report_tracing(&report).await {
            Ok(()) => self.told = Some((report, now)),
            // A broker from before this agent: it need not be asked again and again.
            Err(ClientError::Problem(problem)) => {
                debug!(code = problem.code.as_str(), "the broker does not take what is told of tracing");
                self.told = Some((report, now));
            }
            Err(error) => debug!(%error, "what is told of tracing did not arrive; it is told again"),
        }
    }
}

/// Whether this is to be told, when that was told so long ago.
fn is_news(told: Option<(&ReportTracing, Duration)>, report: &ReportTracing) -> bool {
    let Some((told, ago)) = told else { return true };
    let without_counts = |report: &ReportTracing| {
        let pipeline = TracePipeline { exported: 0, failed: 0, dropped: 0, last_success_at: None, ..report.pipeline.clone() };
        (report.revision, pipeline, report.pipeline.last_success_at.is_some())
    };
    without_counts(told) != without_counts(report) || (ago >= COUNTS && told != report)
}

#[cfg(test)]
mod tests {
    use brokkr_api::Timestamp;

    use super::*;

    fn report(exported: u64, error: Option<&str>) -> ReportTracing {
        let pipeline = TracePipeline {
            enabled: true,
            values: Vec::new(),
            exported,
            failed: 0,
            dropped: 0,
            last_success_at: (exported > 0).then(|| Timestamp::from_micros(i64::try_from(exported).unwrap())),
            last_error: error.map(str::to_owned),
        };
        ReportTracing { revision: 1, pipeline }
    }

    #[test]
    fn what_has_changed_is_told_at_once_and_counts_alone_seldom() {
        let soon = Duration::from_secs(30);
        let (first, more) = (report(1, None), report(2, None));
        assert!(is_news(None, &first), "the first time");
        assert!(!is_news(Some((&first, COUNTS)), &first), "nothing new, however long ago");
        assert!(!is_news(Some((&first, soon)), &more));
        assert!(is_news(Some((&first, COUNTS)), &more));
        assert!(is_news(Some((&first, soon)), &report(1, Some("no route"))));
        assert!(is_news(Some((&report(0, None), soon)), &first), "the first success is news");
        assert!(is_news(Some((&first, soon)), &ReportTracing { revision: 2, ..first.clone() }));
    }
}
