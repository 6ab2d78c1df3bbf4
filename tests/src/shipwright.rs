//! The real controllers of Shipwright and Tekton on the shared control plane, where KWOK ends the pods of builds.

use tokio::sync::OnceCell;

use crate::{
    cluster::Cluster,
    fleet::LIMIT,
    lab::{self, LabError, free_port, until},
    process::{Daemon, Process},
};

/// Where Tekton looks for its settings.
const TEKTON: &str = "tekton-pipelines";
/// Where Shipwright's controller has its lock.
const SHIPWRIGHT: &str = "shipwright-build";

/// Both controllers; they end with this process.
#[derive(Debug)]
pub struct Shipwright {
    _tekton: Process,
    _shipwright: Process,
}

impl Shipwright {
    /// Those that all tests of this process share, started by whoever asks first, with their CRDs in the shared control plane.
    ///
    /// # Panics
    /// When they do not start: no test of a build can say anything without them.
    #[expect(clippy::panic, reason = "a shared fixture that is missing fails every test that needs it, with the reason")]
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Result<Shipwright, String>> = OnceCell::const_new();
        match SHARED.get_or_init(async || Self::start().await.map_err(|error| error.to_string())).await {
            Ok(shipwright) => shipwright,
            Err(error) => panic!("no Shipwright: {error}"),
        }
    }

    async fn start() -> Result<Self, LabError> {
        let folder = lab::shipwright().await?;
        let cluster = Cluster::shared().await?;
        // Creating blocks for seconds, which the other tasks of the test's runtime must not feel.
        let (there, from) = (cluster.clone(), folder.clone());
        let created = tokio::task::spawn_blocking(move || {
            for manifests in ["tekton", "shipwright"] {
                there.kubectl(&["create", "-f", &from.join(manifests).display().to_string()])?;
            }
            there.kubectl(&["create", "namespace", SHIPWRIGHT])
        });
        created.await.map_err(|error| LabError::Refused(format!("create what Shipwright needs: {error}")))??;
        for kind in ["taskruns.tekton.dev", "buildruns.shipwright.io"] {
            until(&format!("{kind} to be served"), LIMIT, || async {
                let cluster = cluster.clone();
                let look = tokio::task::spawn_blocking(move || cluster.kubectl(&["get", kind, "--all-namespaces"]));
                look.await.map_err(|error| error.to_string())?.map(drop).map_err(|error| error.to_string())
            })
            .await?;
        }
        let port = || free_port().map_err(LabError::io("find a port")).map(|port| port.to_string());
        let images = [
            "entrypoint-image",
            "nop-image",
            "sidecarlogresults-image",
            "workingdirinit-image",
            "shell-image",
            "shell-image-win",
        ]
        .map(|flag| format!("-{flag}=example/{flag}:1"));
        let tekton = Daemon::at("tekton-controller", folder.join("bin/tekton-controller"))
            .args(["-disable-ha".to_owned(), format!("--kubeconfig={}", cluster.kubeconfig().display())])
            .args(images)
            .env("SYSTEM_NAMESPACE", TEKTON)
            .env("CONFIG_DEFAULTS_NAME", "config-defaults")
            .env("CONFIG_LOGGING_NAME", "config-logging")
            .env("CONFIG_OBSERVABILITY_NAME", "config-observability")
            .env("CONFIG_FEATURE_FLAGS_NAME", "feature-flags")
            .env("CONFIG_LEADERELECTION_NAME", "config-leader-election-controller")
            .env("CONFIG_SPIRE", "config-spire")
            .env("METRICS_DOMAIN", "tekton.dev/pipeline")
            .env("POD_NAME", "tekton-controller")
            .env("PROBES_PORT", port()?)
            .env("PROFILING_PORT", port()?)
            .env("METRICS_PROMETHEUS_PORT", port()?)
            .start()?;
        let shipwright = Daemon::at("shipwright-build-controller", folder.join("bin/shipwright-build-controller"))
            .env("KUBECONFIG", cluster.kubeconfig())
            .env("BUILD_CONTROLLER_LEADER_ELECTION_NAMESPACE", SHIPWRIGHT)
            .env("CONTROLLER_NAME", "shipwright-build")
            .env("GIT_CONTAINER_IMAGE", "example/git:1")
            .env("IMAGE_PROCESSING_CONTAINER_IMAGE", "example/image-processing:1")
            .env("BUNDLE_CONTAINER_IMAGE", "example/bundle:1")
            .env("WAITER_CONTAINER_IMAGE", "example/waiter:1")
            .start()?;
        Ok(Self { _tekton: tekton, _shipwright: shipwright })
    }
}
