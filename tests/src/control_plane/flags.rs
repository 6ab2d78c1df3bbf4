use super::{Component, files::Files};
use crate::lab::{Death, LabError, Spec, free_port};
use std::{ffi::OsString, fs, path::Path};

/// Where the programs listen.
pub(super) struct Ports {
    pub(super) etcd: u16,
    pub(super) etcd_peers: u16,
    pub(super) apiserver: u16,
    /// Where KWOK answers for the kubelet of its node.
    pub(super) kubelet: u16,
}

impl Ports {
    pub(super) fn choose() -> Result<Self, LabError> {
        let port = || free_port().map_err(LabError::io("choose a port"));
        Ok(Self { etcd: port()?, etcd_peers: port()?, apiserver: port()?, kubelet: port()? })
    }

    pub(super) fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd)
    }

    pub(super) fn server_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.apiserver)
    }
}

/// How each program is called.
pub(super) struct Flags<'a> {
    pub(super) directory: &'a Path,
    pub(super) programs: &'a Path,
    pub(super) ports: &'a Ports,
    pub(super) files: &'a Files,
}

impl Flags<'_> {
    fn spec(&self, component: Component, args: Vec<OsString>) -> Spec {
        let name = component.name();
        Spec {
            name,
            path: self.programs.join("bin").join(name),
            args,
            log: self.directory.join(format!("{name}.log")),
            user: None,
            death: Death::Kill,
        }
    }

    pub(super) fn etcd(&self) -> Spec {
        let peers = format!("http://127.0.0.1:{}", self.ports.etcd_peers);
        let url = self.ports.etcd_url();
        let args = vec![
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
            flag("data-dir", self.directory.join("etcd")),
            flag("listen-client-urls", &url),
            flag("advertise-client-urls", &url),
            flag("listen-peer-urls", &peers),
            flag("initial-advertise-peer-urls", &peers),
            flag("initial-cluster", format!("default={peers}")),
        ];
        self.spec(Component::Etcd, args)
    }

    pub(super) fn apiserver(&self) -> Spec {
        let files = self.files;
        let mut args = vec![
            flag("etcd-servers", self.ports.etcd_url()),
            flag("secure-port", self.ports.apiserver.to_string()),
            "--bind-address=127.0.0.1".into(),
            "--advertise-address=127.0.0.1".into(),
            flag("tls-cert-file", &files.serving),
            flag("tls-private-key-file", &files.serving_key),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            flag("service-account-key-file", &files.tokens_public),
            flag("service-account-signing-key-file", &files.tokens_key),
            flag("token-auth-file", &files.tokens),
            "--authorization-mode=RBAC".into(),
            "--allow-privileged".into(),
            flag("audit-policy-file", &files.audit_policy),
            flag("audit-log-path", self.audit_log()),
        ];
        if let Some(tracing) = &files.tracing {
            args.push(flag("tracing-config-file", tracing));
        }
        self.spec(Component::ApiServer, args)
    }

    pub(super) fn audit_log(&self) -> std::path::PathBuf {
        self.directory.join("audit.log")
    }

    pub(super) fn controller_manager(&self) -> Spec {
        let mut args = self.controller_flags();
        args.extend([
            flag("service-account-private-key-file", &self.files.tokens_key),
            flag("root-ca-file", &self.files.authority),
            "--kube-api-qps=200".into(),
            "--kube-api-burst=400".into(),
        ]);
        self.spec(Component::ControllerManager, args)
    }

    pub(super) fn scheduler(&self) -> Spec {
        self.spec(Component::Scheduler, self.controller_flags())
    }

    fn controller_flags(&self) -> Vec<OsString> {
        let kubeconfig = &self.files.controllers_kubeconfig;
        vec![
            flag("kubeconfig", kubeconfig),
            flag("authentication-kubeconfig", kubeconfig),
            flag("authorization-kubeconfig", kubeconfig),
            "--secure-port=0".into(),
            "--leader-elect=false".into(),
        ]
    }

    /// KWOK, as the kubelet of its node too, with the stages of its own module and ours, which make a pod fail where its annotations say so.
    pub(super) fn kwok(&self) -> Result<Spec, LabError> {
        let mut args = vec![
            "--manage-all-nodes".into(),
            flag("kubeconfig", &self.files.controllers_kubeconfig),
            // Pod addresses; the default of KWOK ends after 254 pods.
            "--cidr=10.128.0.0/9".into(),
            "--node-lease-duration-seconds=40".into(),
            "--node-ip=127.0.0.1".into(),
            flag("node-port", self.ports.kubelet.to_string()),
            flag("server-address", format!("127.0.0.1:{}", self.ports.kubelet)),
            flag("tls-cert-file", &self.files.serving),
            flag("tls-private-key-file", &self.files.serving_key),
            flag("config", &self.files.logs),
        ];
        let theirs = self.programs.join("stages");
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/stages");
        for folder in [
            theirs.join("node/fast"),
            theirs.join("node/heartbeat-with-lease"),
            theirs.join("pod/fast"),
            theirs.join("pod/chaos"),
            ours,
        ] {
            args.extend(stages(&folder)?.into_iter().map(|stage| flag("config", stage)));
        }
        Ok(self.spec(Component::Kwok, args))
    }
}

fn stages(folder: &Path) -> Result<Vec<std::path::PathBuf>, LabError> {
    let failed = || LabError::io(format!("stages of KWOK in {}", folder.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let path = entry.map_err(failed())?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") && !path.ends_with("kustomization.yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn flag(name: &str, value: impl AsRef<std::ffi::OsStr>) -> OsString {
    let mut flag = OsString::from(format!("--{name}="));
    flag.push(value.as_ref());
    flag
}
