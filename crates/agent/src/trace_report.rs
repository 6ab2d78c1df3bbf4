//! How the agent follows what is set of tracing, and tells how it fares: when something has changed, and of counts alone now and then.

use std::time::{Duration, Instant};

use brokkr_api::{
    client::{Client, ClientError},
    tracing::{ReportTracing, TraceOrder},
};
use brokkr_runtime::trace_settings;
use brokkr_telemetry::{Control, control::Pulse, spans};
use tracing::{Instrument, debug};

/// How often counts alone are told.
const COUNTS: Duration = Duration::from_secs(300);

/// What there is to tell, in a few numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct News {
    revision: u64,
    pulse: Pulse,
}

/// Follows, and remembers what was told.
pub(crate) struct TraceReporter {
    control: Control,
    revision: u64,
    told: Option<(News, Instant)>,
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
        let news = News { revision: self.revision, pulse: self.control.pulse() };
        let now = Instant::now();
        if !is_news(self.told.map(|(told, at)| (told, now.saturating_duration_since(at))), news) {
            return;
        }
        let report = ReportTracing { revision: self.revision, pipeline: trace_settings::pipeline(&self.control) };
        match client.report_tracing(&report).instrument(spans::job("trace-report")).await {
            Ok(()) => self.told = Some((news, now)),
            // A broker from before this agent: it need not be asked again and again.
            Err(ClientError::Problem(problem)) => {
                debug!(code = problem.code.as_str(), "the broker does not take what is told of tracing");
                self.told = Some((news, now));
            }
            Err(error) => debug!(%error, "what is told of tracing did not arrive; it is told again"),
        }
    }
}

/// Whether this is to be told, when that was told so long ago.
fn is_news(told: Option<(News, Duration)>, news: News) -> bool {
    let Some((told, ago)) = told else { return true };
    let without_counts = |news: News| News { pulse: Pulse { counts: [0; 3], ..news.pulse }, ..news };
    without_counts(told) != without_counts(news) || (ago >= COUNTS && told != news)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(exported: u64, failing: bool) -> News {
        let pulse = Pulse { changes: 1, failing, succeeded: exported > 0, counts: [exported, 0, 0] };
        News { revision: 1, pulse }
    }

    #[test]
    fn what_has_changed_is_told_at_once_and_counts_alone_seldom() {
        let soon = Duration::from_secs(30);
        let (first, more) = (news(1, false), news(2, false));
        assert!(is_news(None, first), "the first time");
        assert!(!is_news(Some((first, COUNTS)), first), "nothing new, however long ago");
        assert!(!is_news(Some((first, soon)), more));
        assert!(is_news(Some((first, COUNTS)), more));
        assert!(is_news(Some((first, soon)), news(1, true)));
        assert!(is_news(Some((news(0, false), soon)), first), "the first success is news");
        assert!(is_news(Some((first, soon)), News { revision: 2, ..first }));
    }
}
