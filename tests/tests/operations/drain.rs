use brokkr_api::{Labels, agents::CreateAgent};
use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT, config_map},
    http::client,
    lab::until,
};
use reqwest::{Response, StatusCode, header};
use rustix::process::Signal;

async fn get(broker: &Broker, path: &str) -> Response {
    client().unwrap().get(format!("{}{path}", broker.base)).bearer_auth(broker.key()).send().await.unwrap()
}

/// Waits until the broker says that it is not ready.
async fn drains(broker: &Broker) {
    let look = || async {
        match get(broker, "/readyz").await.status() {
            StatusCode::SERVICE_UNAVAILABLE => Ok(()),
            other => Err(other.to_string()),
        }
    };
    until("the broker to drain", LIMIT, look).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_asked_to_end_says_so_and_serves_until_the_load_balancer_has_noticed() {
    for engine in Engine::ALL {
        let settings = [("BROKKR__SERVER__DRAIN_DELAY_SECONDS", "600"), ("BROKKR__TELEMETRY__LOG__LEVEL", "debug")];
        let mut broker = Broker::start(engine, &settings).await.unwrap();
        let name: brokkr_api::Name = "edge".parse().unwrap();
        let request = CreateAgent { name: name.clone(), cluster: name, labels: Labels::default() };
        let key = broker.admin().create_agent(&request).await.unwrap().secret;
        let stack: brokkr_api::Name = "shop".parse().unwrap();
        broker.admin().put_stack(&stack, &put_for("edge")).await.unwrap();
        broker.send(&stack, &config_map("shop", "a", "1")).await;
        let poll = |etag: &str| {
            // Longer than the client waits: a poll that is not let go fails.
            let url = format!("{}/api/v1/agent/desired-state?wait=60s", broker.base);
            let protocol = brokkr_api::PROTOCOL_VERSION.to_string();
            let request = client().unwrap().get(url).bearer_auth(&key).header(brokkr_api::PROTOCOL_HEADER, protocol);
            request.header(header::IF_NONE_MATCH, etag).send()
        };
        let tag = |answer: &Response| answer.headers()[header::ETAG].to_str().unwrap().to_owned();
        let etag = tag(&poll("").await.unwrap());
        let parked = tokio::spawn(poll(&etag));
        pass(&broker).await;
        broker.process.signal(Signal::TERM);
        drains(&broker).await;

        let answer = parked.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{engine:?}");
        let stacks = get(&broker, "/api/v1/stacks").await;
        assert_eq!(stacks.status(), StatusCode::OK, "it still serves");
        assert_eq!(stacks.headers()[header::CONNECTION], "close", "and sends its callers elsewhere");
        let waits = tokio::spawn(poll(&etag));
        pass(&broker).await;
        broker.send(&stack, &config_map("shop", "a", "2")).await;
        let changed = waits.await.unwrap().unwrap();
        assert_eq!(changed.status(), StatusCode::OK, "{engine:?}: a poll that comes back waits, and hears of changes");

        let last = tokio::spawn(poll(&tag(&changed)));
        pass(&broker).await;
        // A second signal ends the delay.
        assert!(broker.process.terminate(LIMIT).await.unwrap().success(), "{engine:?}");
        assert_eq!(last.await.unwrap().unwrap().status(), StatusCode::NOT_MODIFIED, "{engine:?}: it is answered at the end");
        let lines = broker.process.output().lines();
        assert!(!lines.iter().any(|line| line.contains("did not finish in time")), "{lines:#?}");
    }
}

/// Requests that come after a poll, each on a connection of its own: when they are answered it is parked.
async fn pass(broker: &Broker) {
    for _ in 0..20 {
        get(broker, "/healthz").await;
    }
}

fn put_for(agent: &str) -> brokkr_api::stacks::PutStack {
    let targets = brokkr_api::TargetSelector { labels: None, names: vec![agent.parse().unwrap()] };
    brokkr_api::stacks::PutStack { targets, ..brokkr_api::stacks::PutStack::default() }
}
