//! `brokkr dev`: a broker with an SQLite file and one agent, on the cluster of the current kubeconfig.

mod child;
mod setup;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use brokkr_api::Name;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use self::child::Child;
use crate::{commands::Outcome, output};

/// Time that a child gets to end.
const GRACE: Duration = Duration::from_secs(25);

/// Run a broker and an agent on the cluster of the current kubeconfig.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Address of the broker
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Address of the agent's probes and metrics
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    agent_listen: SocketAddr,
    /// Folder for the database and the keys
    #[arg(long, default_value = ".brokkr", value_name = "DIR")]
    data: PathBuf,
    /// Name of the agent and of its cluster
    #[arg(long, default_value = "dev", value_name = "NAME")]
    agent: Name,
    /// Kubeconfig of the cluster [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Send every trace to this OTLP endpoint (gRPC)
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
}

/// Runs both until Ctrl-C, SIGTERM, or until one of them ends.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<Outcome> {
    std::fs::create_dir_all(&args.data).with_context(|| format!("{}", args.data.display()))?;
    let data = args.data.canonicalize().with_context(|| format!("{}", args.data.display()))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut broker = setup::start_broker(&args, &data)?;
    let agent = tokio::select! {
        agent = setup::start_agent(&args, &data, &mut broker) => agent,
        _ = terminate.recv() => Ok(None),
        _ = interrupt.recv() => Ok(None),
    };
    let mut agent = match agent {
        Ok(Some(agent)) => agent,
        other => {
            broker.end(GRACE).await;
            return other.map(|_| Outcome::Done);
        }
    };
    output::note(&format!(
        "brokkr dev runs: broker http://{}, agent {} (probes on http://{}); try `brokkr apply -f FILE --stack NAME`; Ctrl-C ends both",
        args.listen, args.agent, args.agent_listen
    ));
    let crashed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        status = broker.ended() => Some(format!("the broker ended by itself: {status}")),
        status = agent.ended() => Some(format!("the agent ended by itself: {status}")),
    };
    // The agent first: its last report still finds the broker.
    agent.end(GRACE).await;
    broker.end(GRACE).await;
    setup::forget(&data);
    match crashed {
        Some(reason) => Err(anyhow::anyhow!(reason)),
        None => Ok(Outcome::Done),
    }
}

fn sibling(name: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name(name)).filter(|path| path.exists());
    // Else PATH decides.
    beside.unwrap_or_else(|| PathBuf::from(name))
}

fn child(name: &'static str, program: &str) -> anyhow::Result<Child> {
    Child::new(name, &sibling(program)).with_context(|| format!("{program} is neither beside brokkr nor on PATH"))
}
