//! The programs of the images that charts and examples name.

use brokkr_tests::{
    lab::{self, on_path},
    otlp::{Receiver, Where},
    process::{Daemon, Process},
    zipkin::Zipkin,
};

use crate::pod::Pod;

/// What runs in the place of a container.
pub(crate) enum Running {
    Process(Box<Process>),
    /// No Jaeger can be had as a package: at its ports are a receiver of ours for OTLP, and a real Zipkin that shows what came.
    Backend {
        receiver: Receiver,
        zipkin: Box<Zipkin>,
    },
}

/// The executable of an image, or nothing for a backend of traces.
pub(crate) async fn daemon(image: &str) -> Option<Daemon> {
    let name = image.rsplit('/').next().unwrap().split([':', '@']).next().unwrap();
    match name {
        "brokkr-broker" | "brokkr-agent" => Some(Daemon::new(name).unwrap()),
        "opentelemetry-collector-k8s" => Some(Daemon::at("collector", lab::collector().await.unwrap())),
        "prometheus" => Some(Daemon::at("prometheus", on_path("prometheus").unwrap())),
        "jaeger" => None,
        other => panic!("nobody knows what runs in an image {other}"),
    }
}

/// A backend of traces at the ports of Jaeger's pod.
pub(crate) async fn backend(pod: &Pod) -> Running {
    let receiver = Receiver::start(Where { grpc_port: pod.port(4317), http_port: 0 }).unwrap();
    Running::Backend { receiver, zipkin: Box::new(Zipkin::start(pod.port(16686)).await.unwrap()) }
}
