//! A look into the shared control plane, for assertions.

use crate::{
    control_plane::{self, ControlPlane, USE_KUBECONFIG},
    lab::{LabError, Scratch},
};
use futures::StreamExt;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::{Namespace, ServiceAccount},
    },
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ObjectMeta, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use std::{
    fmt::Debug,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A client with full rights, and a name for each namespace that nobody else has.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
}

impl Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("kubeconfig", &self.kubeconfig).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster that all tests of this process share.
    ///
    /// # Errors
    /// When its kubeconfig cannot be used.
    pub async fn shared() -> Result<Self, LabError> {
        // Starting blocks for seconds, which the other tasks of the test's runtime must not feel.
        let control_plane = tokio::task::spawn_blocking(ControlPlane::shared).await;
        let control_plane = control_plane.map_err(|error| LabError::Refused(format!("{USE_KUBECONFIG} or our own: {error}")))?;
        Self::of(control_plane).await
    }

    /// A control plane that the test started itself.
    ///
    /// # Errors
    /// When its kubeconfig cannot be used.
    pub async fn of(control_plane: &ControlPlane) -> Result<Self, LabError> {
        let kubeconfig = control_plane.kubeconfig().to_owned();
        let client = control_plane::client(&kubeconfig).await?;
        Ok(Self { client, kubeconfig, kubectl: control_plane.description().kubectl.clone() })
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Kubeconfig with full rights.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A name for a namespace, or for anything else, that nobody has used; nothing is created.
    pub fn unique(&self, prefix: &str) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        format!("{prefix}-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// Creates a namespace with a unique name.
    ///
    /// # Errors
    /// What the API server answers.
    pub async fn create_namespace(&self, prefix: &str) -> Result<String, LabError> {
        let name = self.unique(prefix);
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(name)
    }

    /// Deletes a namespace with all that is in it; returns when the deletion has been accepted.
    ///
    /// # Errors
    /// What the API server answers.
    pub async fn delete_namespace(&self, name: &str) -> Result<(), LabError> {
        Api::<Namespace>::all(self.client.clone()).delete(name, &DeleteParams::background()).await?;
        Ok(())
    }

    /// The objects of one kind in a namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// One object, or nothing.
    ///
    /// # Errors
    /// What the API server answers, other than that there is none.
    pub async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, LabError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        Ok(self.api::<K>(namespace).get_opt(name).await?)
    }

    /// Watches one object until `wanted` holds of it (`None` while it does not exist), and returns it then.
    ///
    /// # Errors
    /// After `limit`, with the object's last state.
    pub async fn wait_until<K>(
        api: &Api<K>,
        name: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(Option<&K>) -> bool,
    ) -> Result<Option<K>, LabError>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let mut last = None;
        let watched = async {
            // The watcher starts again by itself after errors, for instance while the API server is away.
            let mut states = Box::pin(watcher::watch_object(api.clone(), name).default_backoff());
            while let Some(state) = states.next().await {
                let Ok(state) = state else { continue };
                if wanted(state.as_ref()) {
                    return Some(state);
                }
                last = state;
            }
            None
        };
        match tokio::time::timeout(limit, watched).await {
            Ok(Some(state)) => Ok(state),
            Ok(None) | Err(_) => Err(LabError::Late { what: format!("{what} of {name}"), limit, seen: format!("{last:?}") }),
        }
    }

    /// A kubeconfig file for a service account that this makes, without any rights: bind roles to
    /// `system:serviceaccount:NAMESPACE:NAME`. Such a caller's `traceparent` is linked by the API server, not continued.
    ///
    /// # Errors
    /// What the API server answers, or when the file cannot be written.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str, into: &Scratch) -> Result<PathBuf, LabError> {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        self.api::<ServiceAccount>(namespace).create(&PostParams::default(), &account).await?;
        self.kubeconfig_of(namespace, name, into).await
    }

    /// A kubeconfig file for a service account that is there.
    ///
    /// # Errors
    /// What the API server answers, or when the file cannot be written.
    pub async fn kubeconfig_of(&self, namespace: &str, account: &str, into: &Scratch) -> Result<PathBuf, LabError> {
        let accounts: Api<ServiceAccount> = self.api(namespace);
        let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
        let token = answer.status.map(|status| status.token).unwrap_or_default();
        let (server, authority) = control_plane::server_of(&self.kubeconfig)?;
        into.write(&format!("{namespace}-{account}.kubeconfig"), control_plane::kubeconfig(&server, &authority, &token))
    }

    /// Runs `kubectl` against this cluster and returns what it prints. Blocks.
    ///
    /// # Errors
    /// What it prints on stderr when it fails.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, LabError> {
        let output = Command::new(&self.kubectl)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(args)
            .output()
            .map_err(LabError::io("kubectl"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(LabError::Refused(format!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim())))
    }
}
