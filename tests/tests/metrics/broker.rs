//! The broker's metrics, against its database.

use std::time::Duration;

use brokkr_api::{
    Labels, Name, Timestamp,
    agents::CreateAgent,
    client::{Client, Polled},
    desired_state::DesiredState,
    keys::{CreateKey, Role},
    reports::{Report, Reports},
    rollouts::Phase,
    work_orders::{ClaimWork, ClaimedOrder, CreateWorkOrder, ReportWork, WorkKind, WorkOutcome},
};
use brokkr_tests::fleet::{Broker, Engine, config_map, metric, wait_for_metric};

use super::truth::{agrees, agrees_at, count_series, scrape};

const STACKS: &str = "SELECT count(*) FROM stacks WHERE deleted_at IS NULL";
const OBJECTS: &str = "SELECT count(*) FROM deployment_objects";

/// An agent that polls and reports when the test says so.
struct Played {
    client: Client,
    name: Name,
}

impl Played {
    async fn new(broker: &Broker, name: &str) -> Self {
        let name: Name = name.parse().unwrap();
        let request = CreateAgent { name: name.clone(), cluster: name.clone(), labels: Labels::default() };
        let created = broker.admin().create_agent(&request).await.unwrap();
        Self { client: broker.client(&created.secret), name }
    }

    async fn desired(&self) -> (String, DesiredState) {
        match self.client.desired_state(None, Duration::ZERO).await.unwrap() {
            Polled::Changed { etag, state } => (etag, state),
            Polled::Unchanged => unreachable!("nothing was known"),
        }
    }

    async fn report(&self, phase: Phase) {
        let (_, state) = self.desired().await;
        let of = |deployment: &brokkr_api::desired_state::DesiredDeployment| Report {
            stack_id: deployment.stack_id,
            revision: deployment.revision,
            phase,
            attempt: 1,
            objects: Vec::new(),
            error: None,
            health: None,
            scope: None,
            held: None,
            drift: Vec::new(),
        };
        let reports = state.deployments.iter().map(of).collect();
        self.client.report(&Reports { epoch: state.epoch, reports }).await.unwrap();
    }
}

async fn send(broker: &Broker, agents: &[&Played], value: &str) -> Name {
    let stack: Name = "shop".parse().unwrap();
    let names = agents.iter().map(|agent| agent.name.clone()).collect();
    let targets = brokkr_api::TargetSelector { labels: None, names };
    let put = brokkr_api::stacks::PutStack { targets, ..Default::default() };
    broker.admin().put_stack(&stack, &put).await.unwrap();
    broker.send(&stack, &config_map("shop", "a", value)).await;
    stack
}

/// Whether the gauges of a replica are what the database of the broker holds.
async fn check(base: &str, broker: &Broker) {
    let agrees = async |series: &str, sql: &str| agrees_at(base, broker, series, sql).await;
    assert_eq!(agrees("brokkr_stacks_total", STACKS).await, 1.0);
    assert_eq!(agrees("brokkr_deployment_objects_total", OBJECTS).await, 1.0);
    // Who was seen is written a moment later.
    wait_for_metric(base, "brokkr_active_agents", |agents| agents == 1.0).await;
    assert_eq!(agrees("brokkr_active_agents", "SELECT count(*) FROM presence").await, 1.0);
    agrees("brokkr_agents{state=\"online\"}", "SELECT count(*) FROM presence").await;
    let absent = "SELECT count(*) FROM agents WHERE id NOT IN (SELECT agent_id FROM presence)";
    assert_eq!(agrees("brokkr_agents{state=\"offline\"}", absent).await, 1.0);
    for phase in ["pending", "applied", "healthy", "failed"] {
        let sql = format!("SELECT count(*) FROM deployments WHERE phase = '{phase}'");
        agrees(&format!("brokkr_deployments{{phase=\"{phase}\"}}"), &sql).await;
    }
    assert_eq!(metric(base, "brokkr_deployments{phase=\"applied\"}").await, 1.0);
    let waiting = "SELECT count(*) FROM outbox WHERE state = 'pending'";
    agrees("brokkr_queue_depth{queue=\"deliveries\"}", waiting).await;
    assert_eq!(metric(base, "brokkr_queue_oldest_age_seconds{queue=\"deliveries\"}").await, 0.0);
    let next = "SELECT min(expires_at) / 1000000 FROM api_keys";
    assert_eq!(agrees("brokkr_key_next_expiry_timestamp_seconds", next).await, 4e9);
    let (median, max) =
        ("brokkr_agent_heartbeat_age_seconds{stat=\"median\"}", "brokkr_agent_heartbeat_age_seconds{stat=\"max\"}");
    wait_for_metric(base, max, |age| age > 0.0).await;
    assert!(metric(base, median).await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gauges_are_what_the_database_holds_on_every_replica_and_after_a_restart() {
    for engine in Engine::ALL {
        let mut broker = Broker::start(engine, &[]).await.unwrap();
        let (one, _never_seen) = (Played::new(&broker, "one").await, Played::new(&broker, "two").await);
        send(&broker, &[&one], "1").await;
        one.report(Phase::Applied).await;
        let expires_at = Some(Timestamp::from_micros(4_000_000_000_000_000));
        let key = CreateKey {
            name: "short".parse().unwrap(),
            role: Role::Viewer,
            generator: None,
            agent: None,
            scopes: Vec::new(),
            expires_at,
        };
        broker.admin().create_key(&key).await.unwrap();

        check(&broker.base, &broker).await;
        if engine == Engine::Postgres {
            check(&broker.beside().await.unwrap().base, &broker).await;
        }
        broker.process.restart(brokkr_tests::fleet::LIMIT).await.unwrap();
        broker.process.wait_until_ok(&format!("{}/readyz", broker.base), brokkr_tests::fleet::LIMIT).await.unwrap();
        check(&broker.base, &broker).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_followed_from_its_acceptance_to_its_application() {
    for engine in Engine::ALL {
        let broker = Broker::start(engine, &[]).await.unwrap();
        let agent = Played::new(&broker, "one").await;
        send(&broker, &[&agent], "1").await;
        agent.report(Phase::Applied).await;
        let (mut etag, _) = agent.desired().await;
        for (changes, value) in [(1.0, "2"), (2.0, "3")] {
            let poll = tokio::spawn({
                let (client, etag) = (agent.client.clone(), etag.clone());
                async move { client.desired_state(Some(&etag), Duration::from_secs(50)).await.unwrap() }
            });
            wait_for_metric(&broker.base, "brokkr_poll_waiters", |waiters| waiters == 1.0).await;
            send(&broker, &[&agent], value).await;
            let Polled::Changed { etag: newer, .. } = poll.await.unwrap() else { unreachable!("it was changed") };
            etag = newer;
            assert_eq!(metric(&broker.base, "brokkr_poll_waiters").await, 0.0);
            assert_eq!(metric(&broker.base, "brokkr_wakeup_lag_seconds_count").await, changes, "{engine:?}");
            assert_eq!(
                metric(&broker.base, "brokkr_poll_wait_seconds_count").await,
                metric(&broker.base, POLLS).await,
                "each poll once"
            );
            // Nobody reports: it is late, and later every moment.
            wait_for_metric(&broker.base, "brokkr_rollout_oldest_unsettled_seconds", |age| age > 0.0).await;
            agent.report(Phase::Applied).await;
            wait_for_metric(&broker.base, "brokkr_rollout_oldest_unsettled_seconds", |age| age == 0.0).await;
            let applied = "SELECT count(*) FROM events WHERE type = 'deployment.applied'";
            assert_eq!(agrees(&broker, "brokkr_rollout_duration_seconds_count", applied).await, changes + 1.0);
        }
    }
}

impl Played {
    async fn claim(&self) -> Option<ClaimedOrder> {
        let claim = ClaimWork { kinds: WorkKind::ALL.to_vec(), resume: false };
        self.client.claim_work(&claim).await.unwrap().orders.pop()
    }

    async fn tell(&self, order: &ClaimedOrder, outcome: WorkOutcome, reason: Option<&str>) {
        let report = ReportWork {
            id: order.id,
            token: order.token,
            outcome,
            reason: reason.map(str::to_owned),
            message: None,
            retry: false,
            object: None,
            log: None,
        };
        self.client.report_work(&report).await.unwrap();
    }
}

fn order(agent: &Played) -> CreateWorkOrder {
    let job = serde_json::json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}});
    let order = serde_json::json!({"name": "a", "targets": {"names": [agent.name]}, "work": {"job": {"manifest": job}}});
    serde_json::from_value(order).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn work_orders_are_counted_where_they_stand_when_they_are_claimed_and_how_they_end() {
    for engine in Engine::ALL {
        let broker = Broker::start(engine, &[]).await.unwrap();
        let (one, idle) = (Played::new(&broker, "one").await, Played::new(&broker, "idle").await);
        for _ in 0..4 {
            broker.admin().create_work_order(&order(&one), None).await.unwrap();
        }
        assert!(idle.claim().await.is_none());
        let (first, second) = (one.claim().await.unwrap(), one.claim().await.unwrap());
        for order in [&first, &second] {
            one.tell(order, WorkOutcome::Started, None).await;
        }
        one.tell(&first, WorkOutcome::Succeeded, None).await;
        one.tell(&second, WorkOutcome::Failed, Some("out_of_memory")).await;
        one.claim().await.unwrap();

        for (state, orders) in [("queued", 1.0), ("claimed", 1.0), ("running", 0.0), ("waiting", 0.0)] {
            let sql = format!("SELECT count(*) FROM work_orders WHERE state = '{state}'");
            assert_eq!(agrees(&broker, &format!("brokkr_work_orders{{state=\"{state}\"}}"), &sql).await, orders, "{state}");
        }
        let queued = "SELECT count(*) FROM work_orders WHERE state = 'queued'";
        agrees(&broker, "brokkr_queue_depth{queue=\"work_orders\"}", queued).await;
        wait_for_metric(&broker.base, "brokkr_queue_oldest_age_seconds{queue=\"work_orders\"}", |age| age > 0.0).await;
        let counted = async |series: &str| metric(&broker.base, series).await;
        assert_eq!(counted("brokkr_work_order_claims_total{kind=\"job\",result=\"claimed\"}").await, 3.0);
        assert_eq!(counted("brokkr_work_order_outcomes_total{class=\"succeeded\",kind=\"job\"}").await, 1.0);
        assert_eq!(counted("brokkr_work_order_outcomes_total{class=\"out_of_memory\",kind=\"job\"}").await, 1.0);
        assert_eq!(
            counted("brokkr_work_order_outcomes_total{class=\"unknown\",kind=\"job\"}").await,
            0.0,
            "known from the start"
        );
        assert_eq!(counted("brokkr_work_order_duration_seconds_count{kind=\"job\"}").await, 2.0);
    }
}

/// Every answered poll.
const POLLS: &str = "brokkr_http_requests_total{endpoint=\"/api/v1/agent/desired-state\",method=\"GET\",status=\"200\"}";

#[tokio::test(flavor = "multi_thread")]
async fn requests_statements_connections_and_jobs_are_counted_as_they_happen() {
    for engine in Engine::ALL {
        let broker = Broker::start(engine, &[("BROKKR__DATABASE__MAX_CONNECTIONS", "5")]).await.unwrap();
        let agent = Played::new(&broker, "one").await;
        for value in ["1", "2", "3"] {
            send(&broker, &[&agent], value).await;
        }
        let of = "endpoint=\"/api/v1/stacks/{stack}/deployment-objects\",method=\"PUT\"";
        let made = broker.query(OBJECTS).unwrap()[0].parse::<f64>().unwrap();
        assert_eq!(metric(&broker.base, &format!("brokkr_http_requests_total{{{of},status=\"201\"}}")).await, made);
        assert_eq!(metric(&broker.base, &format!("brokkr_http_request_duration_seconds_count{{{of}}}")).await, made);
        for operation in ["select", "insert", "update"] {
            let counted = metric(&broker.base, &format!("brokkr_database_queries_total{{operation=\"{operation}\"}}")).await;
            assert!(counted >= 3.0, "{operation} {counted}");
            let timed = format!("brokkr_database_query_duration_seconds_count{{operation=\"{operation}\"}}");
            assert!(metric(&broker.base, &timed).await >= counted);
        }
        let most = if engine == Engine::Sqlite { 6.0 } else { 5.0 };
        assert_eq!(metric(&broker.base, "brokkr_database_connections_max").await, most, "SQLite has one that writes as well");
        let idle = metric(&broker.base, "brokkr_database_connections{state=\"idle\"}").await;
        let used = metric(&broker.base, "brokkr_database_connections{state=\"used\"}").await;
        assert!(idle + used >= 1.0 && idle <= most && used <= most, "{idle} {used}");
        // The first round of a job is at once; its lease is in the database.
        agrees(
            &broker,
            "brokkr_job_runs_total{name=\"retention\",result=\"success\"}",
            "SELECT count(*) FROM leases WHERE name = 'retention'",
        )
        .await;
        assert_eq!(metric(&broker.base, "brokkr_job_duration_seconds_count{name=\"retention\"}").await, 1.0);
        assert_eq!(metric(&broker.base, "brokkr_job_runs_total{name=\"retention\",result=\"error\"}").await, 0.0);
        let version = env!("CARGO_PKG_VERSION");
        let text = scrape(&broker.base, "text/plain").await;
        assert!(text.lines().any(|line| line.starts_with("brokkr_build_info{commit=")
            && line.contains(&format!("version=\"{version}\""))
            && line.ends_with(" 1")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_that_is_served_says_when_it_expires_and_without_one_nothing_is_said() {
    let broker = Broker::start_with_tls(Engine::Sqlite, &[]).await.unwrap();
    // The certificates of the tests hold until the year 4096 begins.
    wait_for_metric(&broker.base, "brokkr_certificate_expiry_timestamp_seconds", |at| at == 67_090_118_400.0).await;
    let plain = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let text = scrape(&plain.base, "text/plain").await;
    assert!(text.contains("# TYPE brokkr_certificate_expiry_timestamp_seconds gauge\n"));
    assert!(!text.contains("\nbrokkr_certificate_expiry_timestamp_seconds "));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_broker_has_fewer_than_400_series() {
    for engine in Engine::ALL {
        let broker = Broker::start(engine, &[]).await.unwrap();
        agrees(&broker, "brokkr_stacks_total", STACKS).await;
        for _ in 0..2 {
            scrape(&broker.base, "application/openmetrics-text; version=1.0.0").await;
        }
        let text = scrape(&broker.base, "text/plain").await;
        assert!(count_series(&text) < 400, "{} series", count_series(&text));
    }
}
