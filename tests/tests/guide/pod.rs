//! What Kubernetes would give a container: files, environment and addresses, here in a folder of this machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use brokkr_tests::{
    cluster::Cluster,
    lab::{Scratch, free_port},
};
use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec, Secret, Volume};
use kube::ResourceExt;

use crate::text::replace;

/// A pod of one container, and of containers that end before it.
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) spec: PodSpec,
    /// Ports of the container, and what they are here.
    pub(crate) ports: Vec<(u16, u16)>,
    root: Scratch,
    /// Text of the container, and what it is here.
    here: Vec<(String, String)>,
}

impl Pod {
    /// Writes its files; `addresses` are those of Services, and `claims` is where volumes are kept that outlive the pod.
    pub(crate) async fn lay_out(
        cluster: &Cluster,
        namespace: &str,
        name: &str,
        spec: &PodSpec,
        ports: Vec<(u16, u16)>,
        addresses: &[(String, String)],
        claims: &Path,
    ) -> Self {
        let root = Scratch::new("pod").unwrap();
        let mut here = addresses.to_vec();
        for (port, local) in &ports {
            let local_address = format!("127.0.0.1:{local}");
            here.push((format!("0.0.0.0:{port}"), local_address.clone()));
            here.push((format!("127.0.0.1:{port}"), local_address));
            // A port in a line of its own, as the collector has that of its metrics.
            here.push((format!("port: {port}\n"), format!("port: {local}\n")));
        }
        here.push(("host: 0.0.0.0".to_owned(), "host: 127.0.0.1".to_owned()));
        let container = &spec.containers[0];
        for mount in container.volume_mounts.iter().flatten() {
            here.push((mount.mount_path.clone(), inside(root.path(), &mount.mount_path).display().to_string()));
        }
        let pod = Self { namespace: namespace.to_owned(), name: name.to_owned(), spec: spec.clone(), ports, root, here };
        for mount in container.volume_mounts.iter().flatten() {
            let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name).unwrap();
            pod.mount(cluster, volume, &pod.path(&mount.mount_path), claims).await;
        }
        pod
    }

    async fn mount(&self, cluster: &Cluster, volume: &Volume, at: &Path, claims: &Path) {
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        if let Some(claim) = &volume.persistent_volume_claim {
            let kept = claims.join(&self.namespace).join(&claim.claim_name);
            fs::create_dir_all(&kept).unwrap();
            std::os::unix::fs::symlink(kept, at).unwrap();
            return;
        }
        fs::create_dir_all(at).unwrap();
        for (name, content) in files(cluster, &self.namespace, volume).await {
            let content = String::from_utf8(content).map(|text| self.here(&text)).unwrap();
            fs::write(at.join(name), content).unwrap();
        }
    }

    /// The place of a path of the container.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        inside(self.root.path(), path)
    }

    /// A text of the container with what is of this machine in it.
    pub(crate) fn here(&self, text: &str) -> String {
        replace(text, &self.here)
    }

    /// The environment of a container.
    pub(crate) async fn environment(&self, cluster: &Cluster, container: &Container) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for variable in container.env.iter().flatten() {
            let value = match (&variable.value, &variable.value_from) {
                (Some(value), _) => value.clone(),
                (None, Some(from)) => match (&from.field_ref, &from.secret_key_ref) {
                    (Some(field), _) => match field.field_path.as_str() {
                        "metadata.name" => self.name.clone(),
                        "metadata.namespace" => self.namespace.clone(),
                        // No API server made this pod, and no scheduler placed it.
                        "metadata.uid" => "11111111-2222-3333-4444-555555555555".to_owned(),
                        "spec.nodeName" => "this-machine".to_owned(),
                        other => panic!("{}: {other}", variable.name),
                    },
                    (None, Some(key)) => {
                        let secret = cluster.get::<Secret>(&self.namespace, &key.name).await.unwrap().unwrap();
                        String::from_utf8(secret.data.unwrap()[&key.key].0.clone()).unwrap()
                    }
                    _ => panic!("{}: from where?", variable.name),
                },
                (None, None) => String::new(),
            };
            found.push((variable.name.clone(), self.here(&value)));
        }
        found
    }

    /// What the kubelet asks to know whether the pod is ready.
    pub(crate) fn readiness(&self) -> Option<String> {
        let container = &self.spec.containers[0];
        let get = container.readiness_probe.as_ref()?.http_get.as_ref()?;
        let port = match &get.port {
            k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(port) => u16::try_from(*port).unwrap(),
            k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(name) => port_named(container, name),
        };
        Some(format!("http://127.0.0.1:{}{}", self.port(port), get.path.as_deref().unwrap_or("/")))
    }

    /// What a port of the container is here.
    pub(crate) fn port(&self, port: u16) -> u16 {
        self.ports.iter().find(|(theirs, _)| *theirs == port).map(|(_, ours)| *ours).unwrap()
    }
}

/// A free port for each port of the container.
pub(crate) fn ports(container: &Container) -> Vec<(u16, u16)> {
    let theirs = container.ports.iter().flatten().map(|port| u16::try_from(port.container_port).unwrap());
    theirs.map(|port| (port, free_port().unwrap())).collect()
}

/// The port of this name.
pub(crate) fn port_named(container: &Container, name: &str) -> u16 {
    let found = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
    u16::try_from(found.unwrap().container_port).unwrap()
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Files of a volume; one without a source has none.
async fn files(cluster: &Cluster, namespace: &str, volume: &Volume) -> Vec<(String, Vec<u8>)> {
    let (content, items): (Vec<(String, Vec<u8>)>, _) = if let Some(source) = &volume.config_map {
        let map = cluster.get::<ConfigMap>(namespace, &source.name).await.unwrap().unwrap();
        let name = map.name_any();
        let data = map.data.unwrap_or_else(|| panic!("ConfigMap {name} is empty"));
        (data.into_iter().map(|(key, text)| (key, text.into_bytes())).collect(), source.items.clone())
    } else if let Some(source) = &volume.secret {
        let secret = cluster.get::<Secret>(namespace, source.secret_name.as_deref().unwrap()).await.unwrap().unwrap();
        (secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect(), source.items.clone())
    } else {
        return Vec::new();
    };
    let Some(items) = items else { return content };
    let renamed = content.into_iter().filter_map(|(key, value)| {
        let item = items.iter().find(|item| item.key == key)?;
        Some((item.path.clone(), value))
    });
    renamed.collect()
}
