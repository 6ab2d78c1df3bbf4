//! Somebody is not there.

use brokkr_api::{
    Labels, Name,
    agents::CreateAgent,
    webhooks::WebhookSettings,
    work_orders::{ClaimWork, CreateWorkOrder, ReportWork, WorkKind, WorkOutcome},
};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT, borrowed},
    receiver::Receiver,
};
use serde_json::json;

use crate::world::{of_agent, of_broker, watch, while_doing};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_gone_is_told_by_its_absence_and_by_the_agent_that_misses_it() {
    let cluster = Cluster::shared().await.unwrap();
    let mut broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("lonely"), &[("BROKKR__BROKER__WAIT_SECONDS", "1")]).await.unwrap();
    let prometheus = watch(&[of_broker(&broker), of_agent(&agent)]).await;

    broker.process.kill();
    let gone = prometheus.fires("BrokkrNoBroker", LIMIT).await.unwrap();
    assert_eq!(gone.labels["severity"], "critical");
    assert!(gone.annotations["description"].contains("lab/brokkr"), "{}", gone.say());
    let down = prometheus.fires("BrokkrTargetDown", LIMIT).await.unwrap();
    assert_eq!(down.labels["job"], "brokkr-broker");
    let missing = prometheus.fires("BrokkrAgentNotPolling", LIMIT).await.unwrap();
    assert!(agent.base.ends_with(&missing.labels["instance"]), "{}", missing.say());

    broker.again().await.unwrap();
    for alert in ["BrokkrNoBroker", "BrokkrTargetDown", "BrokkrAgentNotPolling"] {
        prometheus.resolves(alert, LIMIT).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_gone_is_missed_by_the_broker_and_one_that_does_not_stay_is_told() {
    let cluster = Cluster::shared().await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[("BROKKR__AGENTS__ACTIVE_SECONDS", "2")]).await.unwrap();
    let mut agent = broker.agent(&cluster.unique("fickle"), &[("BROKKR__BROKER__WAIT_SECONDS", "1")]).await.unwrap();
    let prometheus = watch(&[of_broker(&broker), of_agent(&agent)]).await;

    agent.process.kill();
    let offline = prometheus.fires("BrokkrAgentsOffline", LIMIT).await.unwrap();
    assert!(offline.annotations["description"].starts_with("1 agents"), "{}", offline.say());
    agent.process.start().unwrap();
    prometheus.resolves("BrokkrAgentsOffline", LIMIT).await.unwrap();

    let health = format!("{}/healthz", agent.base);
    let restarting = while_doing(prometheus.fires("BrokkrRestarting", LIMIT), async |_| {
        agent.process.kill();
        agent.process.start().unwrap();
        agent.process.wait_until_ok(&health, LIMIT).await.unwrap();
        // A start that no scrape saw is none.
        let started = format!("process_start_time_seconds{{job=\"brokkr-agent\"}} > {}", now(&prometheus).await - 3.0);
        prometheus.wait_for(&started, LIMIT, |answer| !answer.is_empty()).await.unwrap();
    })
    .await;
    assert_eq!(restarting.unwrap().labels["job"], "brokkr-agent");
}

async fn now(prometheus: &brokkr_tests::prometheus::Prometheus) -> f64 {
    prometheus.query("time()").await.unwrap().scalar().unwrap()
}

/// A Job for this agent.
fn order(agent: &Name) -> CreateWorkOrder {
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}});
    serde_json::from_value(json!({"name": "a", "targets": {"names": [agent]}, "work": {"job": {"manifest": job}}})).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_nobody_claims_is_told_and_work_whose_agent_is_lost() {
    let broker = Broker::start(Engine::Sqlite, &[("BROKKR__WORK_ORDERS__LEASE_SECONDS", "5")]).await.unwrap();
    let name: Name = "absent".parse().unwrap();
    let request = CreateAgent { name: name.clone(), cluster: name.clone(), labels: Labels::default() };
    let agent = broker.client(&broker.admin().create_agent(&request).await.unwrap().secret);
    let prometheus = watch(&[of_broker(&broker)]).await;

    broker.admin().create_work_order(&order(&name), None).await.unwrap();
    let age = prometheus.fires("BrokkrQueueAge", LIMIT).await.unwrap();
    assert_eq!(age.labels["queue"], "work_orders");

    let claim = ClaimWork { kinds: WorkKind::ALL.to_vec(), resume: false };
    let claimed = agent.claim_work(&claim).await.unwrap().orders.pop().unwrap();
    let started = ReportWork {
        id: claimed.id,
        token: claimed.token,
        outcome: WorkOutcome::Started,
        reason: None,
        message: None,
        retry: false,
        object: None,
        log: None,
    };
    agent.report_work(&started).await.unwrap();
    let unknown = prometheus.fires("BrokkrWorkOrderUnknown", LIMIT).await.unwrap();
    assert_eq!(unknown.labels["kind"], "job");
    prometheus.resolves("BrokkrQueueAge", LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_receiver_is_gone_is_told() {
    let receiver = Receiver::start().await.unwrap();
    receiver.answer("/gone", &[410]);
    let broker = Broker::start(Engine::Sqlite, &borrowed(&receiver.settings(Engine::Sqlite))).await.unwrap();
    let prometheus = watch(&[of_broker(&broker)]).await;
    let of_new_stacks = WebhookSettings { events: vec!["stack.created".to_owned()], ..WebhookSettings::default() };
    let create = receiver.webhook("gone".parse().unwrap(), "/gone", of_new_stacks);
    broker.admin().create_webhook(&create).await.unwrap();
    broker.stack("told", &[]).await;
    let disabled = prometheus.fires("BrokkrWebhookDisabled", LIMIT).await.unwrap();
    assert!(disabled.annotations["description"].contains("receivers are gone"), "{}", disabled.say());
}
