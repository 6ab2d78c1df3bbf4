//! Supervised tasks: a soft stop, a hard stop, and a crash when a task ends that should not.

use std::{future::Future, process::ExitCode, time::Duration};

use tokio::{signal::unix::SignalKind, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

/// Owns the tasks of a process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    tasks: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
    crashes: mpsc::UnboundedSender<&'static str>,
}

/// Why a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Asked,
    /// A task ended by itself.
    Crashed(&'static str),
}

impl Ended {
    /// 0 when asked to end, 1 after a crash.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Asked => ExitCode::SUCCESS,
            Self::Crashed(_) => ExitCode::FAILURE,
        }
    }
}

/// Receives the names of tasks that ended by themselves.
#[derive(Debug)]
pub struct Crashes(mpsc::UnboundedReceiver<&'static str>);

impl Lifecycle {
    /// A lifecycle, and what [`Lifecycle::run`] watches.
    #[must_use]
    pub fn new() -> (Self, Crashes) {
        let (crashes, receiver) = mpsc::unbounded_channel();
        let tokens = (CancellationToken::new(), CancellationToken::new());
        (Self { tasks: TaskTracker::new(), soft: tokens.0, hard: tokens.1, crashes }, Crashes(receiver))
    }

    /// Cancelled when the process should finish what it has begun and begin nothing more.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.soft
    }

    /// Asks every task to finish.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Runs a task for the life of the process. It ends after [`Lifecycle::stopping`]; ending before that is a crash.
    #[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (soft, hard, crashes) = (self.soft.clone(), self.hard.clone(), self.crashes.clone());
        let inner = tokio::spawn(async move {
            tokio::select! {
                () = hard.cancelled() => {}
                () = task => {}
            }
        });
        self.tasks.spawn(async move {
            let panicked = inner.await.is_err();
            if panicked || !soft.is_cancelled() {
                error!(task = name, panicked, "a task ended by itself");
                // The receiver is gone only when the process is ending anyway.
                crashes.send(name).ok();
            }
        });
    }

    /// Runs a short piece of work that may end at any time; [`Lifecycle::run`] waits for it.
    #[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
    pub fn spawn_work<F>(&self, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hard = self.hard.clone();
        drop(tokio::spawn(self.tasks.track_future(async move {
            tokio::select! {
                () = hard.cancelled() => {}
                () = work => {}
            }
        })));
    }

    /// Waits for SIGTERM, SIGINT, [`Lifecycle::stop`] or a crash; then gives the tasks `grace` to finish.
    ///
    /// A second signal ends the grace.
    ///
    /// # Errors
    /// When the process cannot listen to signals.
    pub async fn run(self, mut crashes: Crashes, grace: Duration) -> std::io::Result<Ended> {
        let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
        let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
        let ended = tokio::select! {
            _ = terminate.recv() => Ended::Asked,
            _ = interrupt.recv() => Ended::Asked,
            () = self.soft.cancelled() => Ended::Asked,
            Some(task) = crashes.0.recv() => Ended::Crashed(task),
        };
        info!(grace_seconds = grace.as_secs(), "stopping");
        self.soft.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = tokio::time::sleep(grace) => warn!("tasks did not finish in time and are ended"),
            _ = terminate.recv() => warn!("a second signal ends the tasks"),
            _ = interrupt.recv() => warn!("a second signal ends the tasks"),
        }
        self.hard.cancel();
        self.tasks.wait().await;
        Ok(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_is_a_crash() {
        let (lifecycle, crashes) = Lifecycle::new();
        lifecycle.spawn("short-lived", async {});
        let ended = lifecycle.run(crashes, Duration::from_secs(60)).await.unwrap();
        assert_eq!(ended, Ended::Crashed("short-lived"));
    }

    #[tokio::test]
    async fn a_task_that_panics_is_a_crash() {
        let (lifecycle, crashes) = Lifecycle::new();
        lifecycle.spawn("panics", async { panic!("on purpose") });
        let ended = lifecycle.run(crashes, Duration::from_secs(60)).await.unwrap();
        assert_eq!(ended, Ended::Crashed("panics"));
    }

    #[tokio::test(start_paused = true)]
    async fn work_in_flight_is_finished_and_a_stuck_task_is_ended_after_the_grace() {
        let (lifecycle, crashes) = Lifecycle::new();
        let (done, finished) = tokio::sync::oneshot::channel();
        let stopping = lifecycle.stopping().clone();
        lifecycle.spawn("polite", async move {
            stopping.cancelled().await;
            done.send(()).unwrap();
        });
        lifecycle.spawn("stuck", std::future::pending());
        lifecycle.stop();
        assert_eq!(lifecycle.run(crashes, Duration::from_secs(5)).await.unwrap(), Ended::Asked);
        finished.await.unwrap();
    }
}
