use std::{fs, path::Path};

use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT, config_map},
    lab::{Scratch, free_port},
    process::{Daemon, Process},
};
use k8s_openapi::api::core::v1::ConfigMap;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// The child of this name that a process has.
fn child_of(parent: u32, name: &str) -> Option<Pid> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok()).find_map(|stat| {
        // pid (name) state parent …
        let (pid, rest) = stat.split_once(" (")?;
        let (comm, rest) = rest.rsplit_once(") ")?;
        let its_parent: u32 = rest.split(' ').nth(1)?.parse().ok()?;
        (comm == name && its_parent == parent).then(|| Pid::from_raw(pid.parse().ok()?))?
    })
}

async fn dev(cluster: &Cluster, folder: &Path) -> Process {
    let (broker_port, agent_port) = (free_port().unwrap(), free_port().unwrap());
    let listen = [format!("127.0.0.1:{broker_port}"), format!("127.0.0.1:{agent_port}")];
    let name = cluster.unique("watched");
    let args = ["dev", "--listen", &listen[0], "--agent-listen", &listen[1], "--agent", &name];
    let daemon = Daemon::new("brokkr").unwrap().args(args).env("KUBECONFIG", cluster.kubeconfig()).directory(folder);
    let mut dev = daemon.start().unwrap();
    dev.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await.unwrap();
    dev
}

#[tokio::test(flavor = "multi_thread")]
async fn brokkr_dev_ends_with_an_error_when_either_of_its_children_dies_and_leaves_nothing_running() {
    let cluster = Cluster::shared().await.unwrap();
    for (victim, survivor) in [("agent", "broker"), ("broker", "agent")] {
        let folder = Scratch::new("dev").unwrap();
        let mut dev = dev(&cluster, folder.path()).await;
        let pid = dev.pid().unwrap();
        let other = child_of(pid, &format!("brokkr-{survivor}")).unwrap();
        kill_process(child_of(pid, &format!("brokkr-{victim}")).unwrap(), Signal::KILL).unwrap();

        assert_eq!(dev.wait(LIMIT).await.unwrap().code(), Some(1), "{victim}");
        let line = dev.output().line(|line| line.contains("ended by itself")).await;
        assert!(line.contains(victim) && line.contains("signal 9"), "{line}");
        assert!(test_kill_process(other).is_err(), "the {survivor} still runs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_while_the_agent_was_dead_is_done_when_it_is_back() {
    for engine in Engine::ALL {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace("dead").await.unwrap();
        let broker = Broker::start(engine, &[]).await.unwrap();
        let mut agent = broker.agent(&cluster.unique("mortal"), &[]).await.unwrap();
        let (kept, ended) = (broker.stack("kept", &[&agent]).await, broker.stack("ended", &[&agent]).await);
        broker.apply(&kept, &config_map(&namespace, "kept", "1")).await;
        broker.apply(&ended, &config_map(&namespace, "ended", "1")).await;

        agent.process.kill();
        broker.send(&kept, &config_map(&namespace, "kept", "2")).await;
        broker.send(&kept, &config_map(&namespace, "kept", "3")).await;
        broker.admin().delete_stack(&ended).await.unwrap();
        let untouched: ConfigMap = cluster.get(&namespace, "ended").await.unwrap().unwrap();
        assert!(untouched.metadata.deletion_timestamp.is_none(), "{engine:?}: nobody deletes but the agent");
        agent.process.start().unwrap();

        assert!(broker.settle(&kept).await.done);
        let object: ConfigMap = cluster.get(&namespace, "kept").await.unwrap().unwrap();
        assert_eq!(object.data.unwrap()["value"], "3", "{engine:?}: the newest, not every one in between");
        let api = cluster.api::<ConfigMap>(&namespace);
        Cluster::wait_until(&api, "ended", "deletion", LIMIT, |object| object.is_none()).await.unwrap();
    }
}
