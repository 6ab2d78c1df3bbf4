//! What an agent asks of the broker.

use std::time::Duration;

use reqwest::{
    Method, StatusCode,
    header::{ETAG, IF_NONE_MATCH},
};

use super::{Client, ClientError, REQUEST_TIMEOUT, accept};
use crate::{
    StackId, WORK_HEADER,
    agents::{Hello, Welcome},
    desired_state::{DesiredState, DesiredStateQuery},
    reports::{ReportResults, Reports},
    routes,
    wait::Wait,
};

/// The answer to a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        Ok(self.desired_state_or_work(etag, wait, None).await?.0)
    }

    /// The same for an agent that could take so many work orders: returns early when there is one for it, and tells whether there is.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn desired_state_or_work(
        &self,
        etag: Option<&str>,
        wait: Duration,
        work_orders: Option<u32>,
    ) -> Result<(Polled, bool), ClientError> {
        let query = DesiredStateQuery { wait: Some(Wait::from(wait)), work_orders };
        let mut request = self.request(Method::GET, routes::DESIRED_STATE, &[])?.query(&query).timeout(wait + REQUEST_TIMEOUT);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = accept(request.send().await?).await?;
        let work = response.headers().contains_key(WORK_HEADER);
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok((Polled::Unchanged, work));
        }
        let etag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
        let state = response.json().await.map_err(|source| ClientError::Answer(Box::new(source)))?;
        Ok((Polled::Changed { etag, state }, work))
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
}
