use std::fs;

use brokkr_tests::{
    cluster::Cluster,
    control_plane::ControlPlane,
    fleet::{Agent, Broker, Engine, LIMIT, config_map, wait_for_metric},
    lab::{Scratch, free_port, until},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A door between an agent and somebody that can be shut: connections end and new ones are refused.
struct Door {
    port: u16,
    to: String,
    open: Option<JoinHandle<()>>,
}

impl Door {
    async fn open(to: &str) -> Self {
        let mut door = Self { port: free_port().unwrap(), to: to.to_owned(), open: None };
        door.reopen().await;
        door
    }

    async fn reopen(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let to = self.to.clone();
        self.open = Some(tokio::spawn(async move {
            // Dropped with the task, and with it every connection.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut inside, _)) = listener.accept().await {
                let to = to.clone();
                connections.spawn(async move {
                    if let Ok(mut outside) = TcpStream::connect(to).await {
                        drop(copy_bidirectional(&mut inside, &mut outside).await);
                    }
                });
            }
        }));
    }

    async fn shut(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
            drop(open.await);
        }
    }
}

fn said(agent: &Agent, words: &str) -> usize {
    agent.process.output().lines().iter().filter(|line| line.contains(words)).count()
}

async fn wait_for(agent: &mut Agent, words: &str) -> String {
    agent.process.wait_for_line(words, LIMIT, |line| line.contains(words)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_broker_is_told_once_with_a_reason_and_the_agent_recovers_by_itself() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("partition").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let mut door = Door::open(broker.base.trim_start_matches("http://")).await;
    let url = format!("http://127.0.0.1:{}", door.port);
    let settings = [("BROKKR__BROKER__URL", url.as_str()), ("BROKKR__BROKER__WAIT_SECONDS", "1")];
    let mut agent = broker.agent(&cluster.unique("cut-off"), &settings).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    broker.apply(&stack, &config_map(&namespace, "a", "1")).await;

    door.shut().await;
    let line = wait_for(&mut agent, "the broker does not answer").await;
    assert!(line.contains("reason="), "{line}");
    let away = "brokkr_agent_poll_requests_total{result=\"error\"}";
    wait_for_metric(&agent.base, away, |errors| errors >= 4.0).await;
    assert_eq!(said(&agent, "the broker does not answer"), 1, "said once, although it tried four times");
    let ready = agent.process.wait_until_ok(&format!("{}/readyz", agent.base), LIMIT).await.unwrap();
    assert!(ready.contains(r#""broker":{"ok":false"#), "it stays ready and tells: {ready}");

    door.reopen().await;
    wait_for(&mut agent, "the broker answers again").await;
    broker.apply(&stack, &config_map(&namespace, "a", "2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_api_server_is_told_once_with_a_reason_and_the_agent_recovers_by_itself() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("headless").await.unwrap();
    let server = ControlPlane::shared().description().server.clone();
    let mut door = Door::open(server.trim_start_matches("https://")).await;
    let scratch = Scratch::new("kubeconfig").unwrap();
    let kubeconfig =
        fs::read_to_string(cluster.kubeconfig()).unwrap().replace(&server, &format!("https://127.0.0.1:{}", door.port));
    let kubeconfig = scratch.write("kubeconfig", kubeconfig).unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let mut agent = broker.unconnected_agent(&cluster.unique("headless"), &kubeconfig, &[]).await.unwrap();
    wait_for(&mut agent, "the agent is connected").await;
    let stack = broker.stack("shop", &[&agent]).await;
    broker.apply(&stack, &config_map(&namespace, "a", "1")).await;

    door.shut().await;
    broker.send(&stack, &config_map(&namespace, "a", "2")).await;
    let line = wait_for(&mut agent, "the Kubernetes API does not answer").await;
    assert!(line.contains("unreachable"), "{line}");
    let tried = || async {
        let deployment = broker.settle(&stack).await.deployments.remove(0);
        assert_eq!(
            deployment.error.as_ref().map(|error| error.reason.as_str()),
            Some("unreachable"),
            "the broker knows the reason"
        );
        let third = deployment.waiting_for.as_ref().is_some_and(|text| text.contains("attempt 3"));
        if third { Ok(()) } else { Err(format!("{deployment:?}")) }
    };
    until("the third attempt", LIMIT, tried).await.unwrap();
    assert_eq!(said(&agent, "the Kubernetes API does not answer"), 1, "said once, although it tried three times");

    door.reopen().await;
    wait_for(&mut agent, "the Kubernetes API answers again").await;
    let applied = || async {
        let rollout = broker.settle(&stack).await;
        if rollout.done { Ok(()) } else { Err(format!("{rollout:?}")) }
    };
    until("the change in the cluster", LIMIT, applied).await.unwrap();
}
