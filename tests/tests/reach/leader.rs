use brokkr_api::{Labels, TargetSelector, agents::CreateAgent, stacks::PutStack};
use brokkr_tests::{
    cluster::Cluster,
    control_plane::ControlPlane,
    fleet::{Broker, Engine, LIMIT, config_map, metric},
    lab::{Scratch, free_port},
    process::{Daemon, Process},
};

struct Replica {
    process: Process,
    base: String,
}

impl Replica {
    fn start(name: &str, broker: &Broker, cluster: &Cluster, key: &std::path::Path, namespace: &str) -> Self {
        let port = free_port().unwrap();
        let process = Daemon::new("brokkr-agent")
            .unwrap()
            .named(name)
            .args(["run"])
            .env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{port}"))
            .env("BROKKR__BROKER__URL", &broker.base)
            .env("BROKKR__BROKER__KEY_FILE", key)
            .env("BROKKR__KUBERNETES__KUBECONFIG", cluster.kubeconfig())
            .env("BROKKR__KUBERNETES__NAMESPACE", namespace)
            .env("BROKKR__LEADER_ELECTION__ENABLED", "true")
            .start()
            .unwrap();
        Self { process, base: format!("http://127.0.0.1:{port}") }
    }

    async fn says(&mut self, what: &str) {
        self.process.wait_for_line(what, LIMIT, |line| line.contains(what)).await.unwrap();
    }

    async fn applies(&self) -> f64 {
        metric(&self.base, "brokkr_agent_kubernetes_operations_total{operation=\"apply\",result=\"success\"}").await
    }
}

/// How often a config map was written, as the API server saw it.
fn writes(namespace: &str) -> usize {
    let events = ControlPlane::shared().audit_events().unwrap();
    let text =
        |event: &serde_json::Value, pointer: &str| event.pointer(pointer).and_then(|value| value.as_str()).map(str::to_owned);
    let is_write = |event: &&serde_json::Value| {
        text(event, "/objectRef/namespace").as_deref() == Some(namespace)
            && text(event, "/objectRef/name").as_deref() == Some("a")
            && text(event, "/verb").as_deref() == Some("patch")
    };
    events.iter().filter(is_write).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_agents_works_and_the_other_takes_over_when_it_is_killed_or_ends() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("leader").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let name: brokkr_api::Name = cluster.unique("leader").parse().unwrap();
    let request = CreateAgent { name: name.clone(), cluster: name.clone(), labels: Labels::default() };
    let created = broker.admin().create_agent(&request).await.unwrap();
    let scratch = Scratch::new("leader").unwrap();
    let key = scratch.write("agent.key", created.secret).unwrap();
    let own = format!("brokkr-{name}");

    let mut first = Replica::start("first", &broker, &cluster, &key, &own);
    first.says("this agent leads").await;
    let mut second = Replica::start("second", &broker, &cluster, &key, &own);
    second.says("this one stands by").await;
    let ready = second.process.wait_until_ok(&format!("{}/readyz", second.base), LIMIT).await.unwrap();
    assert!(ready.contains("standby, "), "{ready}");
    let leads = async |replica: &Replica| metric(&replica.base, "brokkr_agent_leader").await;
    assert_eq!((leads(&first).await, leads(&second).await), (1.0, 0.0));

    let put = PutStack { targets: TargetSelector { labels: None, names: vec![name] }, ..PutStack::default() };
    let stack: brokkr_api::Name = "shop".parse().unwrap();
    broker.admin().put_stack(&stack, &put).await.unwrap();
    broker.apply(&stack, &config_map(&namespace, "a", "1")).await;
    assert!(first.applies().await > 0.0);
    assert!(second.applies().await == 0.0, "who stands by does nothing");
    assert_eq!(metric(&second.base, "brokkr_agent_heartbeat_sent_total").await, 0.0);

    first.process.kill();
    broker.send(&stack, &config_map(&namespace, "a", "2")).await;
    second.says("this agent leads").await;
    assert!(broker.settle(&stack).await.done, "the other carries out what is next");
    assert_eq!(writes(&namespace), 2, "no object is applied by both");

    // Asked to end, a leader gives the lead back: the next one need not wait for it.
    let mut third = Replica::start("third", &broker, &cluster, &key, &own);
    third.says("this one stands by").await;
    assert!(second.process.terminate(LIMIT).await.unwrap().success());
    third.says("this agent leads").await;
    assert_eq!(leads(&third).await, 1.0);
    broker.apply(&stack, &config_map(&namespace, "a", "3")).await;
    assert_eq!(writes(&namespace), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_finds_another_in_its_lease_ends_with_an_error() {
    let cluster = Cluster::shared().await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let name: brokkr_api::Name = cluster.unique("usurped").parse().unwrap();
    let request = CreateAgent { name: name.clone(), cluster: name.clone(), labels: Labels::default() };
    let created = broker.admin().create_agent(&request).await.unwrap();
    let scratch = Scratch::new("usurped").unwrap();
    let key = scratch.write("agent.key", created.secret).unwrap();
    let own = format!("brokkr-{name}");
    let mut agent = Replica::start("usurped", &broker, &cluster, &key, &own);
    agent.says("the agent is connected").await;
    let usurp = r#"{"spec": {"holderIdentity": "another"}}"#;
    cluster.kubectl(&["patch", "lease", "brokkr-agent", "-n", &own, "--type=merge", "-p", usurp]).unwrap();
    agent.says("another agent leads").await;
    assert_eq!(agent.process.wait(LIMIT).await.unwrap().code(), Some(1));
}
