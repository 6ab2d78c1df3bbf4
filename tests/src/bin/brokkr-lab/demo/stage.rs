use super::{command::Shell, screen::Screen};
use anyhow::{Context, ensure};
use brokkr_tests::{
    control_plane::{Launch, Options},
    lab::{Scratch, Service, built, free_port, kubernetes_programs, on_path},
    otlp::{Receiver, Where},
    process::{Daemon, Process},
};
use rustix::process::{Pid, test_kill_process};
use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const READY: Duration = Duration::from_secs(60);
/// More than `brokkr dev` gives each of its children.
const END: Duration = Duration::from_secs(55);

/// Everything that runs during the demo. Dropping it kills what [`Stage::end`] ends in order.
#[derive(Debug)]
pub(super) struct Stage {
    // Fields drop in this order: who talks before who listens, the folder last.
    dev: Process,
    ports: [u16; 2],
    cluster: Cluster,
    pub(super) receiver: Receiver,
    pub(super) shell: Shell,
    scratch: Scratch,
}

/// Where the objects go.
#[derive(Debug)]
enum Cluster {
    /// A control plane that lives as long as the demo.
    Own(Box<Launch>),
    /// A person's, which keeps what the demo does not delete.
    Theirs,
}

impl Stage {
    /// Starts everything, without waiting for the daemons; `theirs` is the kubeconfig of a person's own cluster. Given up before it is
    /// done, it ends what it had started by dropping it; that is no end for `brokkr dev`, which has children, so it is the last to start.
    pub(super) async fn start(screen: Screen, theirs: Option<&Path>) -> anyhow::Result<Self> {
        let scratch = Scratch::new("demo")?;
        let directory = scratch.path().join("work");
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples"), &directory.join("examples"))?;
        let receiver = Receiver::start(Where::default())?;
        let began = Instant::now();
        let (cluster, kubeconfig, kubectl) = match theirs {
            Some(file) => their_cluster(file).await?,
            None => screen.during("starting etcd, kube-apiserver, controllers and KWOK", own_cluster()).await?,
        };
        screen.note(&format!("# {}, in {:.1} s", cluster.describe(), began.elapsed().as_secs_f64()));
        screen.command(&format!("export KUBECONFIG={}", kubeconfig.display()));
        let ports = [free_port()?, free_port()?];
        let addresses = ports.map(|port| format!("127.0.0.1:{port}"));
        let endpoint = receiver.grpc_endpoint();
        let flags = ["--listen", &addresses[0], "--agent-listen", &addresses[1], "--otlp-endpoint", &endpoint];
        screen.command(&format!("brokkr dev {} &", flags.join(" ")));
        let kubeconfig_flag = [Path::new("--kubeconfig"), &kubeconfig];
        let daemon = Daemon::new("brokkr")?.named("brokkr dev").args(["dev"]).args(flags).args(kubeconfig_flag);
        let dev = daemon.directory(&directory).start()?;
        let shell = Shell { directory, brokkr: built("brokkr")?, kubectl, kubeconfig };
        Ok(Self { dev, ports, cluster, receiver, shell, scratch })
    }

    /// Waits until the broker and the agent work.
    pub(super) async fn connected(&mut self, screen: Screen) -> anyhow::Result<()> {
        let began = Instant::now();
        let dev = &mut self.dev;
        let connected = async {
            dev.wait_for_line("a running broker", READY, |line| line.contains("brokkr dev runs")).await?;
            dev.wait_for_line("a connected agent", READY, |line| line.contains("the agent is connected")).await
        };
        screen.during("waiting for the broker and the agent", connected).await?;
        screen.note(&format!("# a broker with SQLite and an agent, connected after {:.1} s", began.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Whether the cluster stays after the demo.
    pub(super) fn cluster_stays(&self) -> bool {
        matches!(self.cluster, Cluster::Theirs)
    }

    /// The last words of the daemons, for a failure's message.
    pub(super) fn daemons_said(&self, lines: usize) -> String {
        self.dev.output().tail(lines)
    }

    /// Ends everything in order and makes sure of it.
    ///
    /// # Errors
    /// What is still there.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let Self { mut dev, ports, cluster, receiver, shell: _, scratch } = self;
        let ended = dev.terminate(END).await;
        // Also what did not end in order.
        drop(dev);
        let processes: Vec<u32> = match cluster {
            Cluster::Own(launch) => {
                let processes = launch.describe().processes.into_values().collect();
                launch.stop().await;
                processes
            }
            Cluster::Theirs => Vec::new(),
        };
        drop(receiver);
        let folder = scratch.path().to_owned();
        drop(scratch);
        ensure!(!folder.exists(), "{} could not be removed", folder.display());
        let alive =
            processes.into_iter().filter_map(|id| Pid::from_raw(id.cast_signed())).find(|id| test_kill_process(*id).is_ok());
        ensure!(alive.is_none(), "a process of the control plane is still there: {alive:?}");
        let open = ports.into_iter().find(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok());
        ensure!(open.is_none(), "something still listens on port {open:?}");
        let status = ended.context("brokkr dev did not end in order")?;
        ensure!(status.success(), "brokkr dev ended with {status}");
        Ok(())
    }
}

impl Cluster {
    fn describe(&self) -> String {
        match self {
            Self::Own(launch) => {
                let processes = launch.describe().processes;
                let names: Vec<&str> = processes.keys().map(String::as_str).collect();
                format!("a real Kubernetes control plane: {}", names.join(", "))
            }
            Self::Theirs => "your cluster".to_owned(),
        }
    }
}

async fn own_cluster() -> anyhow::Result<(Cluster, PathBuf, PathBuf)> {
    let programs = kubernetes_programs().await?;
    let launch = Launch::start(&programs, &Options::default()).await?;
    let description = launch.describe();
    Ok((Cluster::Own(Box::new(launch)), description.kubeconfig, description.kubectl))
}

async fn their_cluster(kubeconfig: &Path) -> anyhow::Result<(Cluster, PathBuf, PathBuf)> {
    let kubeconfig = kubeconfig.canonicalize().with_context(|| format!("{}", kubeconfig.display()))?;
    let kubectl = match on_path("kubectl") {
        Some(kubectl) => kubectl,
        None => kubernetes_programs().await?.join("bin/kubectl"),
    };
    Ok((Cluster::Theirs, kubeconfig, kubectl))
}

/// The demo changes a copy: the person's examples stay as they are.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name())).with_context(|| format!("copy {}", entry.path().display()))?;
    }
    Ok(())
}
