//! What people and pipelines ask of the broker.

use std::time::Duration;

use reqwest::{Method, header::CONTENT_TYPE};

use super::{Client, ClientError, REQUEST_TIMEOUT, accept, read};
use crate::{
    KeyId, Name, Page,
    agents::{Agent, AgentsQuery, CreateAgent, CreatedAgent, UpdateAgent},
    deployment_objects::{AcceptedDeploymentObject, DeploymentObject},
    desired_state::Content,
    generators::{CreateGenerator, Generator},
    keys::{CreateKey, CreatedKey, Key},
    page::PageQuery,
    readiness::Readiness,
    rollouts::{Rollout, RolloutQuery},
    routes,
    stacks::{PutStack, Stack, StacksQuery},
    wait::Wait,
};

impl Client {
    /// Makes a key; the answer is the one time that it is shown.
    ///
    /// # Errors
    /// Every [`ClientError`]; likewise for all methods here.
    pub async fn create_key(&self, request: &CreateKey) -> Result<CreatedKey, ClientError> {
        self.send(Method::POST, routes::KEYS, &[], request).await
    }

    /// A page of keys.
    ///
    /// # Errors
    /// As above.
    pub async fn list_keys(&self, page: &PageQuery) -> Result<Page<Key>, ClientError> {
        read(self.request(Method::GET, routes::KEYS, &[])?.query(page)).await
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// As above.
    pub async fn revoke_key(&self, key: KeyId) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, routes::KEY, &[&key.to_string()])?;
        accept(request.send().await?).await.map(drop)
    }

    /// Makes a generator.
    ///
    /// # Errors
    /// As above.
    pub async fn create_generator(&self, request: &CreateGenerator) -> Result<Generator, ClientError> {
        self.send(Method::POST, routes::GENERATORS, &[], request).await
    }

    /// Makes an agent; the answer is the one time that its key is shown.
    ///
    /// # Errors
    /// As above.
    pub async fn create_agent(&self, request: &CreateAgent) -> Result<CreatedAgent, ClientError> {
        self.send(Method::POST, routes::AGENTS, &[], request).await
    }

    /// A page of agents.
    ///
    /// # Errors
    /// As above.
    pub async fn list_agents(&self, page: &AgentsQuery) -> Result<Page<Agent>, ClientError> {
        read(self.request(Method::GET, routes::AGENTS, &[])?.query(page)).await
    }

    /// One agent.
    ///
    /// # Errors
    /// As above.
    pub async fn agent(&self, agent: &Name) -> Result<Agent, ClientError> {
        self.get(routes::AGENT, &[agent.as_str()]).await
    }

    /// Changes an agent.
    ///
    /// # Errors
    /// As above.
    pub async fn update_agent(&self, agent: &Name, request: &UpdateAgent) -> Result<Agent, ClientError> {
        self.send(Method::PATCH, routes::AGENT, &[agent.as_str()], request).await
    }

    /// Creates a stack or replaces its settings.
    ///
    /// # Errors
    /// As above.
    pub async fn put_stack(&self, stack: &Name, request: &PutStack) -> Result<Stack, ClientError> {
        self.send(Method::PUT, routes::STACK, &[stack.as_str()], request).await
    }

    /// A page of stacks.
    ///
    /// # Errors
    /// As above.
    pub async fn list_stacks(&self, page: &StacksQuery) -> Result<Page<Stack>, ClientError> {
        read(self.request(Method::GET, routes::STACKS, &[])?.query(page)).await
    }

    /// One stack.
    ///
    /// # Errors
    /// As above.
    pub async fn stack(&self, stack: &Name) -> Result<Stack, ClientError> {
        self.get(routes::STACK, &[stack.as_str()]).await
    }

    /// Asks for the deletion of a stack and everything it delivered.
    ///
    /// # Errors
    /// As above.
    pub async fn delete_stack(&self, stack: &Name) -> Result<Stack, ClientError> {
        read(self.request(Method::DELETE, routes::STACK, &[stack.as_str()])?).await
    }

    /// Sends manifests: `content_type` is `application/yaml` or `application/json`.
    ///
    /// # Errors
    /// As above.
    pub async fn put_deployment_objects(
        &self,
        stack: &Name,
        content_type: &'static str,
        manifests: Vec<u8>,
    ) -> Result<AcceptedDeploymentObject, ClientError> {
        let request = self.request(Method::PUT, routes::DEPLOYMENT_OBJECTS, &[stack.as_str()])?;
        read(request.header(CONTENT_TYPE, content_type).body(manifests)).await
    }

    /// A page of a stack's generations, the newest first.
    ///
    /// # Errors
    /// As above.
    pub async fn list_deployment_objects(&self, stack: &Name, page: &PageQuery) -> Result<Page<DeploymentObject>, ClientError> {
        read(self.request(Method::GET, routes::DEPLOYMENT_OBJECTS, &[stack.as_str()])?.query(page)).await
    }

    /// The content of one generation.
    ///
    /// # Errors
    /// As above.
    pub async fn deployment_object(&self, stack: &Name, generation: u64) -> Result<Content, ClientError> {
        self.get(routes::DEPLOYMENT_OBJECT, &[stack.as_str(), &generation.to_string()]).await
    }

    /// How far a stack's newest generation has come; returns when it is done or has failed, or after `wait`.
    ///
    /// # Errors
    /// As above.
    pub async fn rollout(&self, stack: &Name, wait: Option<Duration>) -> Result<Rollout, ClientError> {
        let query = RolloutQuery { wait: wait.map(Wait::from) };
        let request = self.request(Method::GET, routes::ROLLOUT, &[stack.as_str()])?.query(&query);
        read(request.timeout(wait.unwrap_or_default() + REQUEST_TIMEOUT)).await
    }

    /// Whether the broker takes work, and how its parts are.
    ///
    /// # Errors
    /// As above; `Status(503)` while it is not ready.
    pub async fn readiness(&self) -> Result<Readiness, ClientError> {
        self.get(routes::READYZ, &[]).await
    }
}
