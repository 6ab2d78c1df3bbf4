//! A broker that may send to one receiver.

use brokkr_api::{
    DeliveryId, Labels, Name, TargetSelector,
    stacks::{PutStack, Stack},
    webhooks::{Delivery, PayloadFormat, WebhookSettings, WebhookWithSecret},
};
use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT, borrowed},
    lab::until,
    receiver::Receiver,
};

pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) receiver: Receiver,
}

/// Starts a broker that may send to this receiver.
pub(crate) async fn broker(engine: Engine, receiver: &Receiver) -> Broker {
    Broker::start(engine, &borrowed(&settings(engine, receiver))).await.unwrap()
}

/// Settings of such a broker, that answers one caller as often as that asks.
pub(crate) fn settings(engine: Engine, receiver: &Receiver) -> Vec<(&'static str, String)> {
    let mut settings = receiver.settings(engine);
    settings.push(("BROKKR__LIMITS__REQUESTS_PER_SECOND", "0".to_owned()));
    settings
}

impl World {
    pub(crate) async fn start(engine: Engine) -> Self {
        let receiver = Receiver::start().await.unwrap();
        Self { broker: broker(engine, &receiver).await, receiver }
    }

    /// Runs a test on both engines.
    pub(crate) async fn each(test: impl AsyncFn(Self)) {
        for engine in Engine::ALL {
            eprintln!("on {engine:?}");
            Box::pin(test(Self::start(engine).await)).await;
        }
    }

    pub(crate) async fn webhook(&self, name: &str, path: &str, settings: WebhookSettings) -> WebhookWithSecret {
        let mut create = self.receiver.webhook(name.parse().unwrap(), path, settings);
        create.headers.insert("authorization".to_owned(), "Bearer hunter2".to_owned());
        self.broker.admin().create_webhook(&create).await.expect("a webhook")
    }

    /// Something that is told.
    pub(crate) async fn stack(&self, name: &str) -> Stack {
        stack(&self.broker, name).await
    }

    pub(crate) async fn deliveries(&self, webhook: &str) -> Vec<Delivery> {
        self.broker.admin().deliveries(&name(webhook), &brokkr_api::webhooks::DeliveriesQuery::default()).await.unwrap().items
    }

    pub(crate) async fn delivery(&self, webhook: &str, id: DeliveryId) -> Delivery {
        self.broker.admin().delivery(&name(webhook), id).await.unwrap()
    }

    /// Waits until the newest delivery of a webhook has this many attempts behind it.
    pub(crate) async fn attempted(&self, webhook: &str, attempts: usize) -> Delivery {
        let look = || async {
            let newest = self.deliveries(webhook).await.into_iter().next().ok_or("no delivery")?;
            let shown = self.delivery(webhook, newest.id).await;
            if shown.log.len() >= attempts { Ok(shown) } else { Err(format!("{shown:?}")) }
        };
        until("an attempt", LIMIT, look).await.unwrap()
    }
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) async fn stack(broker: &Broker, stack: &str) -> Stack {
    let put = PutStack { labels: Labels::default(), targets: TargetSelector::default(), ..PutStack::default() };
    broker.admin().put_stack(&name(stack), &put).await.expect("a stack")
}

/// Events about stacks alone.
pub(crate) fn of_stacks() -> WebhookSettings {
    WebhookSettings { events: vec!["stack.*".to_owned()], format: PayloadFormat::Standard, ..WebhookSettings::default() }
}
