//! The desired state as the agent holds it, and its content by digest.

use std::{collections::HashMap, sync::Arc};

use brokkr_api::{
    StackId,
    client::{Client, ClientError},
    desired_state::{DesiredDeployment, DesiredState},
};
use parking_lot::Mutex;

/// The newest desired state, shared between the poll and the workers.
pub(crate) type Desired = Arc<DesiredState>;

/// Content that was fetched, one per stack: content is immutable, so that the digest says whether it is current.
#[derive(Default)]
pub(crate) struct Contents(Mutex<HashMap<StackId, Digested>>);

/// A content and its digest.
type Digested = (String, Arc<[u8]>);

impl Contents {
    /// Takes the content that came with a poll, and drops that of stacks which are gone.
    pub(crate) fn take(&self, state: &mut DesiredState) {
        let mut contents = self.0.lock();
        contents.retain(|stack, _| state.deployments.iter().any(|deployment| deployment.stack_id == *stack));
        for deployment in &mut state.deployments {
            if let (Some(content), Some(digest)) = (deployment.content.take(), deployment.digest.clone())
                && let Ok(text) = serde_json::to_vec(&content)
            {
                contents.insert(deployment.stack_id, (digest, text.into()));
            }
        }
    }

    /// The content of a deployment, a JSON array of objects: remembered, or fetched.
    pub(crate) async fn get(
        &self,
        client: &Client,
        deployment: &DesiredDeployment,
        digest: &str,
    ) -> Result<Arc<[u8]>, ClientError> {
        if let Some((known, content)) = self.0.lock().get(&deployment.stack_id)
            && known == digest
        {
            return Ok(Arc::clone(content));
        }
        let content: Arc<[u8]> = client.content(deployment.stack_id, digest).await?.into();
        self.0.lock().insert(deployment.stack_id, (digest.to_owned(), Arc::clone(&content)));
        Ok(content)
    }
}
