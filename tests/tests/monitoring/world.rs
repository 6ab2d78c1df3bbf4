//! A Prometheus beside the daemons, with our rules in a world where a minute is a second.

use std::{future::Future, time::Duration};

use brokkr_tests::{
    fleet::{Agent, Broker},
    http,
    prometheus::{Prometheus, RuleFile, Target},
};
use futures::{StreamExt, stream::FuturesUnordered};

/// A request every so often is more than a request a second, which counts as busy.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(100);

/// Starts a Prometheus that has scraped everything once.
pub(crate) async fn watch(targets: &[Target]) -> Prometheus {
    let prometheus = Prometheus::start(targets, &RuleFile::ours().unwrap().in_a_hurry()).await.unwrap();
    prometheus.scraped().await.unwrap();
    prometheus
}

pub(crate) fn of_broker(broker: &Broker) -> Target {
    Target { authority: broker.certificate_file(), ..Target::new("brokkr-broker", &broker.base) }
}

pub(crate) fn of_agent(agent: &Agent) -> Target {
    Target::new("brokkr-agent", &agent.base)
}

/// Does something again and again until something else has happened.
pub(crate) async fn while_doing<T>(happened: impl Future<Output = T>, mut does: impl AsyncFnMut(usize)) -> T {
    tokio::pin!(happened);
    for round in 0.. {
        let work = does(round);
        tokio::select! {
            biased;
            outcome = &mut happened => return outcome,
            () = work => {}
        }
    }
    happened.await
}

/// One request for the list of stacks by the admin, whatever is answered, if anything is.
async fn ask(broker: &Broker, key: &str) {
    let request = http::client().unwrap().get(format!("{}/api/v1/stacks", broker.base)).bearer_auth(key);
    drop(request.send().await);
}

/// A steady flow of requests until something has happened, whether or not those before are answered.
pub(crate) async fn while_busy<T>(broker: &Broker, happened: impl Future<Output = T>) -> T {
    let key = broker.key();
    while_asking(happened, || ask(broker, &key)).await
}

/// The same with requests of one's own.
pub(crate) async fn while_asking<T, A: Future<Output = ()>>(happened: impl Future<Output = T>, ask: impl Fn() -> A) -> T {
    let mut pace = tokio::time::interval(BETWEEN_REQUESTS);
    let mut asked = FuturesUnordered::new();
    tokio::pin!(happened);
    loop {
        tokio::select! {
            biased;
            outcome = &mut happened => return outcome,
            _ = pace.tick() => asked.push(ask()),
            Some(()) = asked.next() => {}
        }
    }
}
