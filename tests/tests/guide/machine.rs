//! The kubelet's part: what Kubernetes has decided runs here as processes, with the arguments, the environment and the files of the pods.
//!
//! Images cannot be pulled where this is tested. KWOK says of every pod that it is ready; here the same pod becomes a process, so that
//! the next command of a guide finds what it would find in a real cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use brokkr_tests::{cluster::Cluster, fleet::LIMIT, lab::Scratch, otlp::Receiver, zipkin::Zipkin};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{Container, PodSpec, Service},
};
use kube::{ResourceExt, api::ListParams};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    pod::{Pod, port_named, ports},
    programs::{Running, backend, process},
    text::replace,
};

/// Namespace and name.
type Key = (String, String);

/// One node of a cluster.
pub(crate) struct Machine {
    cluster: Cluster,
    namespaces: &'static [&'static str],
    /// Names that are none of Kubernetes', and where they lead.
    names: Vec<(String, String)>,
    claims: Scratch,
    ports: BTreeMap<Key, Vec<(u16, u16)>>,
    units: BTreeMap<Key, Unit>,
    jobs: BTreeSet<Key>,
    /// By the port that was asked for: the port that it is here, and what carries it.
    forwards: BTreeMap<u16, (u16, Option<Forward>)>,
}

struct Unit {
    template: serde_json::Value,
    pod: Pod,
    running: Running,
}

/// A `kubectl port-forward`; it ends with the pod that it leads to.
struct Forward {
    to: Key,
    task: JoinHandle<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Machine {
    pub(crate) fn new(cluster: Cluster, namespaces: &'static [&'static str], names: Vec<(String, String)>) -> Self {
        let claims = Scratch::new("claims").unwrap();
        let (ports, units, jobs, forwards) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { cluster, namespaces, names, claims, ports, units, jobs, forwards }
    }

    /// Ends what Kubernetes no longer wants, starts what it wants, and returns when all of it is ready.
    pub(crate) fn settle(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.settled())
    }

    async fn settled(&mut self) {
        let wanted = self.wanted().await;
        let gone: Vec<Key> = self.units.keys().filter(|key| !wanted.contains_key(key)).cloned().collect();
        for key in gone {
            self.stop(&key).await;
        }
        for (key, deployment) in &wanted {
            let spec = &deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
            self.ports.entry(key.clone()).or_insert_with(|| ports(&spec.containers[0]));
        }
        let addresses = self.addresses(&wanted).await;
        for (key, deployment) in wanted {
            let template = deployment.spec.unwrap().template;
            let (text, spec) = (serde_json::to_value(&template).unwrap(), template.spec.unwrap());
            if self.units.get(&key).is_some_and(|unit| unit.template == text) {
                continue;
            }
            self.stop(&key).await;
            let pod = self.pod(&key, &spec, &addresses).await;
            let running = self.start(&pod).await;
            self.units.insert(key, Unit { template: text, pod, running });
        }
        for namespace in self.namespaces {
            let jobs = self.cluster.api::<Job>(namespace).list(&ListParams::default()).await.unwrap();
            for job in jobs {
                let key = (namespace.to_string(), job.name_any());
                if self.jobs.insert(key.clone()) {
                    let pod = self.pod(&key, &job.spec.unwrap().template.spec.unwrap(), &addresses).await;
                    self.finish(&pod, &pod.spec.containers[0]).await;
                }
            }
        }
    }

    /// The Deployments that are to run.
    async fn wanted(&self) -> BTreeMap<Key, Deployment> {
        let mut found = BTreeMap::new();
        for namespace in self.namespaces {
            let deployments = self.cluster.api::<Deployment>(namespace).list(&ListParams::default()).await.unwrap();
            let runs = |deployment: &Deployment| deployment.spec.as_ref().unwrap().replicas != Some(0);
            for deployment in deployments.into_iter().filter(runs) {
                found.insert((namespace.to_string(), deployment.name_any()), deployment);
            }
        }
        found
    }

    /// Where each port of each Service leads.
    async fn addresses(&self, wanted: &BTreeMap<Key, Deployment>) -> Vec<(String, String)> {
        let mut found = self.names.clone();
        for namespace in self.namespaces {
            for service in self.cluster.api::<Service>(namespace).list(&ListParams::default()).await.unwrap() {
                let name = service.name_any();
                for (port, key, target) in ports_of(&service, namespace, wanted) {
                    let local = self.ports[&key].iter().find(|(theirs, _)| *theirs == target).unwrap().1;
                    found.push((format!("{name}.{namespace}:{port}"), format!("127.0.0.1:{local}")));
                }
            }
        }
        found
    }

    async fn pod(&self, (namespace, name): &Key, spec: &PodSpec, addresses: &[(String, String)]) -> Pod {
        let ports = self.ports.get(&(namespace.clone(), name.clone())).cloned().unwrap_or_default();
        Pod::lay_out(&self.cluster, namespace, name, spec, ports, addresses, self.claims.path()).await
    }

    async fn start(&self, pod: &Pod) -> Running {
        for container in pod.spec.init_containers.iter().flatten() {
            self.finish(pod, container).await;
        }
        let container = &pod.spec.containers[0];
        let Some(mut process) = process(&self.cluster, pod, container, &self.claims).await else { return backend(pod).await };
        if let Some(url) = pod.readiness() {
            process.wait_until_ok(&url, LIMIT).await.unwrap();
        }
        Running::Process(Box::new(process))
    }

    /// Runs a container that ends by itself.
    async fn finish(&self, pod: &Pod, container: &Container) {
        let mut process = process(&self.cluster, pod, container, &self.claims).await.unwrap();
        let status = process.wait(LIMIT).await.unwrap();
        assert!(status.success(), "{} of {}: {:#?}", container.name, pod.name, process.output().lines());
    }

    async fn stop(&mut self, key: &Key) {
        let Some(unit) = self.units.remove(key) else { return };
        for (_, forward) in self.forwards.values_mut() {
            forward.take_if(|forward| forward.to == *key);
        }
        if let Running::Process(mut process) = unit.running {
            let status = process.terminate(LIMIT).await.unwrap();
            assert!(status.success(), "{key:?} ended with {status}: {:#?}", process.output().lines());
        }
    }

    /// What `kubectl port-forward … service/NAME LOCAL:PORT &` does: a port here leads to the pod, as long as that lives.
    pub(crate) async fn forward(&mut self, namespace: &str, service: &str, local: u16, port: u16) {
        let found = self.cluster.get::<Service>(namespace, service).await.unwrap().unwrap();
        let wanted = self.wanted().await;
        let (_, to, target) = ports_of(&found, namespace, &wanted).into_iter().find(|(theirs, ..)| *theirs == port).unwrap();
        let target = self.units[&to].pod.port(target);
        let known = self.forwards.get(&local).map_or(0, |(ours, _)| *ours);
        assert!(self.forwards.get(&local).is_none_or(|(_, forward)| forward.is_none()), "port {local} is forwarded already");
        let listener = TcpListener::bind(("127.0.0.1", known)).await.unwrap();
        let ours = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(("127.0.0.1", target)).await {
                        // Either end may break the connection off.
                        drop(copy_bidirectional(&mut near, &mut far).await);
                    }
                });
            }
        });
        self.forwards.insert(local, (ours, Some(Forward { to, task })));
    }

    /// Whether a port leads to a pod that lives.
    pub(crate) fn is_forwarded(&self, local: u16) -> bool {
        self.forwards.get(&local).is_some_and(|(_, forward)| forward.is_some())
    }

    /// A command with the ports of this machine in the place of those that were forwarded.
    pub(crate) fn here(&self, command: &str) -> String {
        let pairs = self.forwards.iter().map(|(local, (ours, _))| (format!("localhost:{local}"), format!("127.0.0.1:{ours}")));
        replace(command, &pairs.collect::<Vec<_>>())
    }

    /// The backend of traces that runs in the place of this Deployment.
    pub(crate) fn backend(&self, namespace: &str, name: &str) -> (&Receiver, &Zipkin) {
        match &self.units[&(namespace.to_owned(), name.to_owned())].running {
            Running::Backend { receiver, zipkin, .. } => (receiver, zipkin),
            Running::Process(_) => panic!("{name} is no backend of traces"),
        }
    }

    /// Where a port of a Deployment is here.
    pub(crate) fn address(&self, namespace: &str, name: &str, port: u16) -> String {
        format!("127.0.0.1:{}", self.units[&(namespace.to_owned(), name.to_owned())].pod.port(port))
    }

    /// What runs.
    pub(crate) fn running(&self) -> Vec<&str> {
        self.units.keys().map(|(_, name)| name.as_str()).collect()
    }

    /// The folder of a volume that outlives its pods.
    pub(crate) fn claim(&self, namespace: &str, name: &str) -> std::path::PathBuf {
        Path::new(self.claims.path()).join(namespace).join(name)
    }
}

/// Port of the Service, Deployment that it leads to, and port of the container there.
fn ports_of(service: &Service, namespace: &str, wanted: &BTreeMap<Key, Deployment>) -> Vec<(u16, Key, u16)> {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    let spec = service.spec.as_ref().unwrap();
    let Some(selector) = &spec.selector else { return Vec::new() };
    let is_selected = |(key, deployment): &(&Key, &Deployment)| {
        let labels = deployment.spec.as_ref().unwrap().template.metadata.as_ref().unwrap().labels.clone().unwrap_or_default();
        key.0 == namespace && selector.iter().all(|(label, value)| labels.get(label) == Some(value))
    };
    let Some((key, deployment)) = wanted.iter().find(is_selected) else { return Vec::new() };
    let container = &deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0];
    let ports = spec.ports.iter().flatten().map(|port| {
        let number = u16::try_from(port.port).unwrap();
        let target = match port.target_port.as_ref().unwrap() {
            IntOrString::Int(target) => u16::try_from(*target).unwrap(),
            IntOrString::String(name) => port_named(container, name),
        };
        (number, key.clone(), target)
    });
    ports.collect()
}
