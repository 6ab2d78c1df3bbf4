//! The programs of the images that charts and examples name.

use brokkr_tests::{
    cluster::Cluster,
    collector::Collector,
    lab::{self, Scratch, on_path},
    otlp::{Receiver, Where},
    process::{Daemon, Process},
    zipkin::Zipkin,
};

use k8s_openapi::api::core::v1::Container;

use crate::pod::Pod;

/// What runs in the place of a container.
pub(crate) enum Running {
    Process(Box<Process>),
    /// No Jaeger can be had as a package: at its ports are a real collector for OTLP, and a real Zipkin that it sends to and that shows
    /// what came. A receiver gets the same.
    Backend {
        receiver: Receiver,
        zipkin: Box<Zipkin>,
        _collector: Box<Collector>,
    },
}

/// The executable of an image, or nothing for a backend of traces.
async fn daemon(image: &str) -> Option<Daemon> {
    let name = image.rsplit('/').next().unwrap().split([':', '@']).next().unwrap();
    match name {
        "brokkr-broker" | "brokkr-agent" => Some(Daemon::new(name).unwrap()),
        "opentelemetry-collector-k8s" => Some(Daemon::at("collector", lab::collector().await.unwrap())),
        "prometheus" => Some(Daemon::at("prometheus", on_path("prometheus").unwrap())),
        "jaeger" => None,
        other => panic!("nobody knows what runs in an image {other}"),
    }
}

/// A container of a pod as a process, or nothing for a backend of traces; kubeconfigs of service accounts are kept in `accounts`.
pub(crate) async fn process(cluster: &Cluster, pod: &Pod, container: &Container, accounts: &Scratch) -> Option<Process> {
    let mut daemon = daemon(container.image.as_deref().unwrap()).await?;
    daemon = daemon.args(container.args.iter().flatten().map(|argument| pod.here(argument)));
    for (name, value) in pod.environment(cluster, container).await {
        daemon = daemon.env(name, value);
    }
    // The token that Kubernetes would mount, in the form that a process outside of a pod takes it.
    if pod.spec.automount_service_account_token == Some(true) {
        let account = pod.spec.service_account_name.as_deref().unwrap();
        let kubeconfig = cluster.kubeconfig_of(&pod.namespace, account, accounts).await.unwrap();
        daemon = daemon.env("BROKKR__KUBERNETES__KUBECONFIG", kubeconfig);
    }
    Some(daemon.start().unwrap())
}

/// A backend of traces at the ports of Jaeger's pod.
pub(crate) async fn backend(pod: &Pod) -> Running {
    let receiver = Receiver::start(Where::default()).unwrap();
    let zipkin = Zipkin::start(pod.port(16686)).await.unwrap();
    let collector = Collector::before_zipkin(pod.port(4317), &receiver.grpc_address().to_string(), &zipkin).await.unwrap();
    Running::Backend { receiver, zipkin: Box::new(zipkin), _collector: Box::new(collector) }
}
