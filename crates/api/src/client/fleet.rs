//! Identities: registration tokens, enrolment, rotation, deactivation, generators.

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

    /// Gets an agent its identity; the client's key is the registration token.
    ///
    /// # Errors
    /// As above; `unauthenticated` when the token is unknown, expired, used up or revoked, `name_taken` when another agent has the
    /// name.
    pub async fn enrol(&self, request: &Enrol) -> Result<Enrolled, ClientError> {
        self.send(Method::POST, routes::ENROLMENTS, &[], request).await
    }

    /// An agent takes a new key; its first use makes it the agent's.
    ///
    /// # Errors
    /// As above.
    pub async fn take_new_key(&self) -> Result<NewAgentKey, ClientError> {
        read(self.request(Method::POST, routes::AGENT_KEY, &[])?).await
    }

    /// Asks an agent to take a new key.
    ///
    /// # Errors
    /// As above.
    pub async fn rotate_agent_key(&self, agent: &Name) -> Result<Agent, ClientError> {
        read(self.request(Method::POST, routes::AGENT_KEY_ROTATION, &[agent.as_str()])?).await
    }

    /// Closes the broker to an agent, until somebody activates it.
    ///
    /// # Errors
    /// As above.
    pub async fn deactivate_agent(&self, agent: &Name) -> Result<Agent, ClientError> {
        read(self.request(Method::PUT, routes::AGENT_DEACTIVATION, &[agent.as_str()])?).await
    }

    /// Opens the broker to a deactivated agent.
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

    /// One generator.
    ///
    /// # Errors
    /// As above.
    pub async fn generator(&self, generator: &Name) -> Result<Generator, ClientError> {
        self.get(routes::GENERATOR, &[generator.as_str()]).await
    }

    /// Changes a generator.
    ///
    /// # Errors
    /// As above.
    pub async fn update_generator(&self, generator: &Name, request: &UpdateGenerator) -> Result<Generator, ClientError> {
        self.send(Method::PATCH, routes::GENERATOR, &[generator.as_str()], request).await
    }
}
