//! What an agent asks of the broker.

use std::time::Duration;

use reqwest::{
    Method, StatusCode,
    header::{ETAG, HeaderMap, IF_NONE_MATCH},
};

use super::{Client, ClientError, REQUEST_TIMEOUT, accept};
use crate::{
    DELIVERIES_HEADER, StackId, WORK_HEADER,
    agents::{Hello, Welcome},
    deliveries::{ClaimDeliveries, ClaimedDeliveries, ReportDeliveries, ReportedDeliveries},
    desired_state::{DesiredState, DesiredStateQuery},
    reports::{ReportResults, Reports},
    routes,
    wait::Wait,
};

/// What an agent could take now beside its desired state. A poll that names something ends early when there is some of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FreeHands {
    /// So many work orders.
    pub work_orders: Option<u32>,
    /// So many deliveries of webhooks.
    pub deliveries: Option<u32>,
}

/// The answer to a poll, and for how long the broker parked it.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedPoll {
    /// The answer.
    pub polled: Polled,
    /// The time in which the broker had nothing to tell; nothing where it does not say.
    pub parked: Duration,
    /// Whether there is a work order that this agent may claim.
    pub work: bool,
    /// Whether there are deliveries that this agent may claim.
    pub deliveries: bool,
}

/// The answer to a poll.
#[derive(Debug, Clone, PartialEq)]
pub enum Polled {
    /// Nothing changed within the wait.
    Unchanged,
    /// The whole desired state, and the tag to send with the next poll.
    Changed {
        /// For `If-None-Match` of the next poll.
        etag: String,
        /// Everything that the agent has to do.
        state: DesiredState,
    },
}

impl Client {
    /// Says what this agent is and which cluster it works in.
    ///
    /// # Errors
    /// `cluster_mismatch` when the key belongs to another cluster.
    pub async fn hello(&self, hello: &Hello) -> Result<Welcome, ClientError> {
        self.send(Method::PUT, routes::AGENT_CLUSTER, &[], hello).await
    }

    /// Polls for the desired state; returns when it differs from `etag` or after `wait`.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn desired_state(&self, etag: Option<&str>, wait: Duration) -> Result<Polled, ClientError> {
        Ok(self.timed_desired_state(etag, wait).await?.polled)
    }

    /// The same, with the time for which the broker parked the poll.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn timed_desired_state(&self, etag: Option<&str>, wait: Duration) -> Result<TimedPoll, ClientError> {
        self.desired_state_or_work(etag, wait, FreeHands::default()).await
    }

    /// The same for an agent with free hands: returns early when there is something for them, and tells whether there is.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn desired_state_or_work(
        &self,
        etag: Option<&str>,
        wait: Duration,
        free: FreeHands,
    ) -> Result<TimedPoll, ClientError> {
        let query = DesiredStateQuery {
            wait: Some(Wait::from(wait)),
            work_orders: free.work_orders,
            webhook_deliveries: free.deliveries,
        };
        let mut request = self.request(Method::GET, routes::DESIRED_STATE, &[])?.query(&query).timeout(wait + REQUEST_TIMEOUT);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = accept(request.send().await?).await?;
        let has = |name| response.headers().contains_key(name);
        let (parked, work, deliveries) = (parked(response.headers()), has(WORK_HEADER), has(DELIVERIES_HEADER));
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(TimedPoll { polled: Polled::Unchanged, parked, work, deliveries });
        }
        let etag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
        let state = response.json().await.map_err(|source| ClientError::Answer(Box::new(source)))?;
        Ok(TimedPoll { polled: Polled::Changed { etag, state }, parked, work, deliveries })
    }

    /// The content of a deployment of this agent: a JSON array of objects. As text, because a tree of values takes several times the
    /// room.
    ///
    /// # Errors
    /// `not_found` when no deployment of this agent has that digest any more.
    pub async fn content(&self, stack: StackId, digest: &str) -> Result<Vec<u8>, ClientError> {
        let response = accept(self.request(Method::GET, routes::CONTENT, &[&stack.to_string(), digest])?.send().await?).await?;
        let bytes = response.bytes().await.map_err(|source| ClientError::Answer(Box::new(source)))?;
        Ok(bytes.into())
    }

    /// Reports outcomes.
    ///
    /// # Errors
    /// `epoch_changed` when the desired state must be read again first.
    pub async fn report(&self, reports: &Reports) -> Result<ReportResults, ClientError> {
        self.send(Method::POST, routes::REPORTS, &[], reports).await
    }

    /// Asks for deliveries of webhooks to send.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn claim_deliveries(&self, claim: ClaimDeliveries) -> Result<ClaimedDeliveries, ClientError> {
        self.send(Method::POST, routes::CLAIM_DELIVERIES, &[], &claim).await
    }

    /// Reports how attempts went.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn report_deliveries(&self, report: &ReportDeliveries) -> Result<ReportedDeliveries, ClientError> {
        self.send(Method::POST, routes::REPORT_DELIVERIES, &[], report).await
    }
}

/// For how long the broker parked the request, by its `Server-Timing` header: `parked;dur=29983.2`, in milliseconds.
fn parked(headers: &HeaderMap) -> Duration {
    let entries =
        headers.get_all("server-timing").iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let of = |entry: &str| entry.trim().strip_prefix("parked;dur=")?.trim().parse::<f64>().ok();
    let millis = entries.filter_map(of).find(|millis| millis.is_finite() && *millis >= 0.0);
    millis.and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parked_time_is_read_from_the_header_and_nonsense_is_none() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("server-timing", value.parse().unwrap());
            parked(&headers)
        };
        assert_eq!(of("parked;dur=29983.250"), Duration::from_micros(29_983_250));
        assert_eq!(of("cache;dur=5, parked;dur=7"), Duration::from_millis(7));
        for value in ["", "parked", "parked;dur=", "parked;dur=-1", "parked;dur=NaN", "parked;dur=1e400", "dur=5"] {
            assert_eq!(of(value), Duration::ZERO, "{value}");
        }
        assert_eq!(parked(&HeaderMap::new()), Duration::ZERO);
    }
}
