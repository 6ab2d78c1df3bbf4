//! Faults of a webhook's receiver.

use brokkr_api::webhooks::WebhookSettings;

use super::{Fault, Incident, borrowed, caller};
use crate::{
    fleet::{Broker, Engine},
    receiver::Receiver,
};

pub(super) async fn bring_about(fault: Fault, settings: &[(&'static str, String)]) -> Incident {
    let receiver = Receiver::start().await.expect("a receiver");
    let mut settings = settings.to_vec();
    settings.extend(receiver.settings(Engine::Sqlite));
    let fails = WebhookSettings { events: vec!["stack.created".to_owned()], timeout_seconds: 1, ..WebhookSettings::default() };
    let mut create = receiver.webhook("failing".parse().expect("a name"), "/failing", fails);
    match fault {
        Fault::WebhookSilent => create.url = receiver.url("/hang"),
        Fault::WebhookBlocked => {
            // Its number would be refused at once; what its name means is seen when it is connected to.
            settings.retain(|(key, _)| *key != "BROKKR__WEBHOOKS__ALLOWED_NETWORKS");
            create.url = format!("http://localhost:{}/", receiver.address.port());
        }
        _ => {}
    }
    receiver.answer("/failing", &[500]);
    let broker = Broker::start(Engine::Sqlite, &borrowed(&settings)).await.expect("a broker");
    broker.admin().create_webhook(&create).await.expect("a webhook");
    let stack = "told".parse().expect("a name");
    caller(&broker, fault).put_stack(&stack, &brokkr_api::stacks::PutStack::default()).await.expect("a stack");
    let daemons = vec![("brokkr-broker", broker.base.clone())];
    Incident::of(fault, daemons, (broker, receiver))
}
