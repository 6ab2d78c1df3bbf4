//! The desired state as the agent holds it, and its content by digest.

use std::{collections::HashMap, sync::Arc};

use brokkr_api::{
    StackId,
    client::{Client, ClientError},
    desired_state::{Content, DesiredDeployment, DesiredState},
};
use parking_lot::Mutex;

/// The newest desired state, shared between the poll and the workers.
pub(crate) type Desired = Arc<DesiredState>;

/// Content that was fetched, one per stack: content is immutable, so that the digest says whether it is current.
#[derive(Default)]
pub(crate) struct Contents(Mutex<HashMap<StackId, (String, Arc<Content>)>>);

impl Contents {
    /// Takes the content that came with a poll, and drops that of stacks which are gone.
    pub(crate) fn take(&self, state: &mut DesiredState) {
        let mut contents = self.0.lock();
        contents.retain(|stack, _| state.deployments.iter().any(|deployment| deployment.stack_id == *stack));
        for deployment in &mut state.deployments {
            if let (Some(content), Some(digest)) = (deployment.content.take(), deployment.digest.clone()) {
                contents.insert(deployment.stack_id, (digest, Arc::new(content)));
            }
        }
    }

    /// The content of a deployment: remembered, or fetched.
    pub(crate) async fn get(
        &self,
        client: &Client,
        deployment: &DesiredDeployment,
        digest: &str,
    ) -> Result<Arc<Content>, ClientError> {
        if let Some((known, content)) = self.0.lock().get(&deployment.stack_id)
            && known == digest
        {
            return Ok(Arc::clone(content));
        }
        let content = Arc::new(client.content(deployment.stack_id, digest).await?);
        self.0.lock().insert(deployment.stack_id, (digest.to_owned(), Arc::clone(&content)));
        Ok(content)
    }
}
