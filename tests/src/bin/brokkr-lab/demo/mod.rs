//! `make demo`: from nothing to a traced rollout on a real Kubernetes API server, and nothing left of it.
//!
//! Every line with a ✓ has been verified by asking the cluster, the trace receiver or the operating system.

mod caller;
mod command;
mod fold;
mod look;
mod screen;
mod stage;
mod steps;

use anyhow::Context;
use clap::Args;
use look::Look;
use screen::Screen;
use stage::Stage;
use std::{path::PathBuf, process::ExitCode, time::Instant};
use steps::Steps;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the demo shows, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct Demo {
    /// Use the cluster of this kubeconfig instead of a control plane of its own. `KUBECONFIG` alone is never used. The agent's
    /// namespace brokkr-system stays there
    #[arg(long, env = "BROKKR_DEMO_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Show every span, instead of one line for a run of SQL statements or of looks at something that takes its time
    #[arg(long)]
    full: bool,
}

/// Exit code of a demo that was interrupted, as shells count it.
const INTERRUPTED: u8 = 130;

pub(crate) async fn run(demo: Demo) -> ExitCode {
    let screen = Screen::of_stdout();
    match Box::pin(play(&demo, screen)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("interrupted; nothing is left running");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("brokkr-lab demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether it was played to its end.
async fn play(demo: &Demo, screen: Screen) -> anyhow::Result<bool> {
    let began = Instant::now();
    let mut signals = Signals::listen().context("listen for signals")?;
    screen.heading("Brokkr: from nothing to a traced rollout on a real Kubernetes API server");
    let starting = Box::pin(Stage::start(screen, demo.kubeconfig.as_deref()));
    let Some(stage) = signals.unless_any(starting).await else { return Ok(false) };
    let mut stage = stage?;
    let mut sent = false;
    let playing = Box::pin(all(&mut stage, screen, demo.full, &mut sent));
    let played = signals.unless_any(playing).await;
    let said = stage.daemons_said(12);
    if sent && stage.cluster_stays() && !matches!(played, Some(Ok(()))) {
        let steps = Steps { stage: &stage, screen, full: demo.full };
        // A second signal ends even this.
        let taken_back = signals.unless_any(Box::pin(steps.take_back())).await;
        if !matches!(taken_back, Some(Ok(()))) {
            eprintln!("the namespace forge and the CRD commissions.smithy.example may be left in your cluster");
        }
    }
    screen.heading("the end");
    let ended = screen.during("ending everything", signals.unless_any(Box::pin(stage.end()))).await;
    if let Some(Err(error)) = played {
        anyhow::bail!("{error:#}\n--- the last lines of brokkr dev:\n{said}");
    }
    match ended {
        None => return Ok(false),
        Some(ended) => ended.context("not everything ended")?,
    }
    screen.verified("every process has ended, every port is free, the temporary folder is gone");
    if played.is_some() {
        screen
            .note(&format!("# {:.0} s in all. Your turn: docs/content/tutorial/first-rollout.md", began.elapsed().as_secs_f64()));
    }
    Ok(played.is_some())
}

/// The three steps; `sent` says whether there may be something in the cluster.
async fn all(stage: &mut Stage, screen: Screen, full: bool, sent: &mut bool) -> anyhow::Result<()> {
    stage.connected(screen).await?;
    Look(&stage.shell).is_free().await?;
    *sent = true;
    let steps = Steps { stage, screen, full };
    let label = steps.apply().await.context("step 1")?;
    steps.change().await.context("step 2")?;
    steps.delete(&label).await.context("step 3")
}

/// Ctrl-C, SIGTERM, and the terminal's closing.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    /// Does the work, or nothing when a signal comes first.
    async fn unless_any<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            done = work => Some(done),
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
            _ = hangup.recv() => None,
        }
    }
}
