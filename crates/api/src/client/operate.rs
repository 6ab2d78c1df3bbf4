//! What operators ask of the broker: holding back, bringing back, looking closely, conditional changes.

use reqwest::{
    Method,
    header::{CONTENT_TYPE, ETAG, IF_MATCH},
};
use reqwest_middleware::RequestBuilder;
use serde::de::DeserializeOwned;

use super::{Client, ClientError, accept, read};
use crate::{
    IDEMPOTENCY_HEADER, Name, Page, TargetSelector,
    agents::{AbandonAgent, AbandonedAgent, Agent},
    audit::{AuditEntry, AuditQuery},
    deployment_objects::{AcceptedDeploymentObject, Rollback},
    events::{Events, EventsQuery},
    policy::Approve,
    rollouts::{Deployment, DeploymentsQuery},
    routes,
    stacks::{PreviewTargets, PutStack, Stack, TargetsPreview},
    suspension::{Fleet, Suspend},
};

/// What a change is conditional on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Only while the resource's tag is this one.
    pub if_match: Option<String>,
    /// The same key again is answered with what the first request did.
    pub idempotency_key: Option<String>,
}

impl Conditions {
    fn on(&self, mut request: RequestBuilder) -> RequestBuilder {
        if let Some(tag) = &self.if_match {
            request = request.header(IF_MATCH, tag);
        }
        if let Some(key) = &self.idempotency_key {
            request = request.header(IDEMPOTENCY_HEADER, key);
        }
        request
    }
}

/// A resource and the tag of what was read, for [`Conditions::if_match`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged<T> {
    /// The resource.
    pub value: T,
    /// Its tag; absent when the broker sent none.
    pub tag: Option<String>,
}

async fn read_tagged<T: DeserializeOwned>(request: RequestBuilder) -> Result<Tagged<T>, ClientError> {
    let response = accept(request.send().await?).await?;
    let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    let value = response.json().await.map_err(|source| ClientError::Answer(Box::new(source)))?;
    Ok(Tagged { value, tag })
}

impl Client {
    /// The fleet as a whole.
    ///
    /// # Errors
    /// Every [`ClientError`]; likewise for all methods here.
    pub async fn fleet(&self) -> Result<Fleet, ClientError> {
        self.get(routes::FLEET, &[]).await
    }

    /// Holds everything back.
    ///
    /// # Errors
    /// As above.
    pub async fn suspend_fleet(&self, request: &Suspend) -> Result<Fleet, ClientError> {
        self.send(Method::PUT, routes::FLEET_SUSPENSION, &[], request).await
    }

    /// Ends the suspension of the fleet.
    ///
    /// # Errors
    /// As above.
    pub async fn resume_fleet(&self) -> Result<Fleet, ClientError> {
        read(self.request(Method::DELETE, routes::FLEET_SUSPENSION, &[])?).await
    }

    /// Holds an agent back.
    ///
    /// # Errors
    /// As above.
    pub async fn suspend_agent(&self, agent: &Name, request: &Suspend) -> Result<Agent, ClientError> {
        self.send(Method::PUT, routes::AGENT_SUSPENSION, &[agent.as_str()], request).await
    }

    /// Ends the suspension of an agent.
    ///
    /// # Errors
    /// As above.
    pub async fn resume_agent(&self, agent: &Name) -> Result<Agent, ClientError> {
        read(self.request(Method::DELETE, routes::AGENT_SUSPENSION, &[agent.as_str()])?).await
    }

    /// Holds a stack back on all its agents.
    ///
    /// # Errors
    /// As above.
    pub async fn suspend_stack(&self, stack: &Name, request: &Suspend) -> Result<Stack, ClientError> {
        self.send(Method::PUT, routes::STACK_SUSPENSION, &[stack.as_str()], request).await
    }

    /// Ends the suspension of a stack.
    ///
    /// # Errors
    /// As above.
    pub async fn resume_stack(&self, stack: &Name) -> Result<Stack, ClientError> {
        read(self.request(Method::DELETE, routes::STACK_SUSPENSION, &[stack.as_str()])?).await
    }

    /// Says that an agent is gone for ever.
    ///
    /// # Errors
    /// As above.
    pub async fn abandon_agent(&self, agent: &Name) -> Result<AbandonedAgent, ClientError> {
        self.send(Method::POST, routes::ABANDON_AGENT, &[], &AbandonAgent { agent: agent.clone() }).await
    }

    /// One stack, with the tag that conditional changes name.
    ///
    /// # Errors
    /// As above.
    pub async fn tagged_stack(&self, stack: &Name) -> Result<Tagged<Stack>, ClientError> {
        read_tagged(self.request(Method::GET, routes::STACK, &[stack.as_str()])?).await
    }

    /// Creates a stack or replaces its settings, under conditions.
    ///
    /// # Errors
    /// As above; `precondition_failed` when the stack has changed, `preview_required` when many agents would lose it.
    pub async fn put_stack_if(
        &self,
        stack: &Name,
        request: &PutStack,
        conditions: &Conditions,
    ) -> Result<Tagged<Stack>, ClientError> {
        let put = self.request(Method::PUT, routes::STACK, &[stack.as_str()])?.json(request);
        read_tagged(conditions.on(put)).await
    }

    /// Who would gain and lose a stack with these targets.
    ///
    /// # Errors
    /// As above.
    pub async fn preview_targets(&self, stack: &Name, targets: &TargetSelector) -> Result<TargetsPreview, ClientError> {
        let request = PreviewTargets { targets: targets.clone() };
        self.send(Method::POST, routes::TARGETS_PREVIEW, &[stack.as_str()], &request).await
    }

    /// Sends manifests under conditions.
    ///
    /// # Errors
    /// As above.
    pub async fn put_deployment_objects_if(
        &self,
        stack: &Name,
        content_type: &'static str,
        manifests: Vec<u8>,
        conditions: &Conditions,
    ) -> Result<AcceptedDeploymentObject, ClientError> {
        let request = self.request(Method::PUT, routes::DEPLOYMENT_OBJECTS, &[stack.as_str()])?;
        read(conditions.on(request.header(CONTENT_TYPE, content_type).body(manifests))).await
    }

    /// Brings old content back as a new generation: that of `generation`, else of the one before the newest.
    ///
    /// # Errors
    /// As above.
    pub async fn rollback(
        &self,
        stack: &Name,
        generation: Option<u64>,
        conditions: &Conditions,
    ) -> Result<AcceptedDeploymentObject, ClientError> {
        let request = self.request(Method::POST, routes::ROLLBACK, &[stack.as_str()])?.json(&Rollback { generation });
        read(conditions.on(request)).await
    }

    /// Approves deletions that an agent holds back.
    ///
    /// # Errors
    /// As above.
    pub async fn approve(&self, stack: &Name, request: &Approve) -> Result<Deployment, ClientError> {
        self.send(Method::POST, routes::STACK_APPROVALS, &[stack.as_str()], request).await
    }

    /// A page of where a stack stands.
    ///
    /// # Errors
    /// As above.
    pub async fn deployments_of_stack(&self, stack: &Name, query: &DeploymentsQuery) -> Result<Page<Deployment>, ClientError> {
        read(self.request(Method::GET, routes::DEPLOYMENTS, &[stack.as_str()])?.query(query)).await
    }

    /// A page of what an agent has to do.
    ///
    /// # Errors
    /// As above.
    pub async fn deployments_of_agent(&self, agent: &Name, query: &DeploymentsQuery) -> Result<Page<Deployment>, ClientError> {
        read(self.request(Method::GET, routes::AGENT_DEPLOYMENTS, &[agent.as_str()])?.query(query)).await
    }

    /// Where a stack stands on one agent, object by object.
    ///
    /// # Errors
    /// As above.
    pub async fn deployment(&self, stack: &Name, agent: &Name) -> Result<Deployment, ClientError> {
        self.get(routes::DEPLOYMENT, &[stack.as_str(), agent.as_str()]).await
    }

    /// A page of events, the oldest first.
    ///
    /// # Errors
    /// As above.
    pub async fn events(&self, query: &EventsQuery) -> Result<Events, ClientError> {
        read(self.request(Method::GET, routes::EVENTS, &[])?.query(query)).await
    }

    /// A page of the audit log, the newest first.
    ///
    /// # Errors
    /// As above.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Page<AuditEntry>, ClientError> {
        read(self.request(Method::GET, routes::AUDIT, &[])?.query(query)).await
    }
}
