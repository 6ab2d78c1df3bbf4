//! Faults of the collector. They are told when it is back: before, nothing could be told.

use super::{
    Fault, Incident, borrowed, caller,
    gate::{Gate, Manner},
};
use crate::{
    fleet::{Broker, Engine, wait_for_metric},
    otlp::Receiver,
};

pub(super) async fn bring_about(fault: Fault, receiver: &Receiver, settings: &[(&'static str, String)]) -> Incident {
    let mut gate = Gate::before(receiver.grpc_address());
    gate.set(if fault == Fault::CollectorDead { Manner::Shut } else { Manner::Silent }).await;
    let endpoint = gate.endpoint();
    let mut settings = borrowed(settings);
    settings.retain(|(key, _)| *key != "BROKKR__TELEMETRY__ENDPOINT");
    settings.push(("BROKKR__TELEMETRY__ENDPOINT", &endpoint));
    let broker = Broker::start(Engine::Sqlite, &settings).await.expect("a broker that does not need the collector");
    broker.stack("unseen", &[]).await;
    wait_for_metric(&broker.base, r#"brokkr_telemetry_spans_total{result="failed"}"#, |failed| failed > 0.0).await;
    gate.set(Manner::Open).await;
    // Whatever is sent next tells that the collector is back.
    caller(&broker, fault).list_stacks(&brokkr_api::stacks::StacksQuery::default()).await.expect("the stacks");
    let daemons = vec![("brokkr-broker", broker.base.clone())];
    Incident::without_trace(daemons, (broker, gate))
}
