//! Identities: registration tokens, enrolment, keys of agents, generators.

use reqwest::Method;

use super::{Client, ClientError, accept, read};
use crate::{
    Name, Page, RegistrationTokenId,
    agents::{Agent, NewAgentKey},
    enrolment::{CreateRegistrationToken, CreatedRegistrationToken, Enrol, Enrolled, RegistrationToken},
    generators::{Generator, UpdateGenerator},
    page::PageQuery,
    routes,
};

impl Client {
    /// Makes a registration token; the answer is the one time that it is shown.
    ///
    /// # Errors
    /// Every [`ClientError`]; likewise for all methods here.
    pub async fn create_registration_token(
        &self,
        request: &CreateRegistrationToken,
    ) -> Result<CreatedRegistrationToken, ClientError> {
        self.send(Method::POST, routes::REGISTRATION_TOKENS, &[], request).await
    }

    /// A page of registration tokens.
    ///
    /// # Errors
    /// As above.
    pub async fn list_registration_tokens(&self, page: &PageQuery) -> Result<Page<RegistrationToken>, ClientError> {
        read(self.request(Method::GET, routes::REGISTRATION_TOKENS, &[])?.query(page)).await
    }

    /// Revokes a registration token.
    ///
    /// # Errors
    /// As above.
    pub async fn revoke_registration_token(&self, token: RegistrationTokenId) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, routes::REGISTRATION_TOKEN, &[&token.to_string()])?;
        accept(request.send().await?).await.map(drop)
    }

    /// Asks for an identity; this client's key is the registration token.
    ///
    /// # Errors
    /// `unauthenticated` when the token enrols nobody, `name_taken` when another agent has the name.
    pub async fn enrol(&self, request: &Enrol) -> Result<Enrolled, ClientError> {
        self.send(Method::POST, routes::ENROLMENTS, &[], request).await
    }

    /// Takes a new key for the agent whose key this client has. The first use of the new one makes it the agent's key.
    ///
    /// # Errors
    /// As above.
    pub async fn take_agent_key(&self) -> Result<NewAgentKey, ClientError> {
        read(self.request(Method::POST, routes::AGENT_KEY, &[])?).await
    }

    /// Asks an agent to take a new key.
    ///
    /// # Errors
    /// As above.
    pub async fn rotate_agent_key(&self, agent: &Name) -> Result<Agent, ClientError> {
        read(self.request(Method::POST, routes::AGENT_KEY_ROTATION, &[agent.as_str()])?).await
    }

    /// Deactivates an agent: its keys open nothing.
    ///
    /// # Errors
    /// As above.
    pub async fn deactivate_agent(&self, agent: &Name) -> Result<Agent, ClientError> {
        read(self.request(Method::PUT, routes::AGENT_DEACTIVATION, &[agent.as_str()])?).await
    }

    /// Activates an agent.
    ///
    /// # Errors
    /// As above.
    pub async fn activate_agent(&self, agent: &Name) -> Result<Agent, ClientError> {
        read(self.request(Method::DELETE, routes::AGENT_DEACTIVATION, &[agent.as_str()])?).await
    }

    /// A page of generators.
    ///
    /// # Errors
    /// As above.
    pub async fn list_generators(&self, page: &PageQuery) -> Result<Page<Generator>, ClientError> {
        read(self.request(Method::GET, routes::GENERATORS, &[])?.query(page)).await
    }

    /// Changes what a generator may use.
    ///
    /// # Errors
    /// As above.
    pub async fn update_generator(&self, generator: &Name, request: &UpdateGenerator) -> Result<Generator, ClientError> {
        self.send(Method::PATCH, routes::GENERATOR, &[generator.as_str()], request).await
    }
}
