//! Tracing at run time.

use reqwest::Method;

use super::{Client, ClientError, accept, read};
use crate::{
    Page,
    page::PageQuery,
    routes,
    tracing::{AgentTracing, ReportTracing, SetTracing, Tracing},
};

impl Client {
    /// What is set for everybody, and how the broker that answers fares.
    ///
    /// # Errors
    /// Every [`ClientError`]; likewise for all methods here.
    pub async fn tracing(&self) -> Result<Tracing, ClientError> {
        self.get(routes::TRACING, &[]).await
    }

    /// Sets tracing.
    ///
    /// # Errors
    /// As above; `invalid_field` when the endpoint is no address.
    pub async fn set_tracing(&self, request: &SetTracing) -> Result<Tracing, ClientError> {
        self.send(Method::PUT, routes::TRACING, &[], request).await
    }

    /// Takes everything back that was set: files and environments decide.
    ///
    /// # Errors
    /// As above.
    pub async fn reset_tracing(&self) -> Result<Tracing, ClientError> {
        read(self.request(Method::DELETE, routes::TRACING, &[])?).await
    }

    /// A page of how agents fare, by name.
    ///
    /// # Errors
    /// As above.
    pub async fn tracing_of_agents(&self, page: &PageQuery) -> Result<Page<AgentTracing>, ClientError> {
        read(self.request(Method::GET, routes::TRACING_AGENTS, &[])?.query(page)).await
    }

    /// An agent tells how it fares.
    ///
    /// # Errors
    /// As above.
    pub async fn report_tracing(&self, report: &ReportTracing) -> Result<(), ClientError> {
        let request = self.request(Method::PUT, routes::AGENT_TRACING, &[])?.json(report);
        accept(request.send().await?).await.map(drop)
    }
}
