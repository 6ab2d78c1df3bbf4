//! Supervised tasks: a soft stop, a hard stop, and a crash when a task ends that should not.

use std::{future::Future, process::ExitCode, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

/// Owns the tasks of a process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    tasks: TaskTracker,
    draining: CancellationToken,
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
        let (draining, soft, hard) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        (Self { tasks: TaskTracker::new(), draining, soft, hard, crashes }, Crashes(receiver))
    }

    /// Cancelled when the process has been asked to end: it says so to load balancers and sends callers elsewhere, and still
    /// serves. [`Lifecycle::stopping`] follows after the drain delay.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when the process should finish what it has begun and begin nothing more.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.soft
    }

    /// Asks the process to end, as a signal does.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Asks every task to finish, without a delay.
    pub fn stop(&self) {
        self.draining.cancel();
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

    /// Waits for a signal, [`Lifecycle::stop`] or a crash; drains; then gives the tasks the grace to finish.
    ///
    /// A second signal ends the delay, and then the grace.
    pub async fn run(self, mut crashes: Crashes, mut signals: Signals, drain: Drain) -> Ended {
        let ended = tokio::select! {
            () = signals.next() => Ended::Asked,
            () = self.draining.cancelled() => Ended::Asked,
            Some(task) = crashes.0.recv() => Ended::Crashed(task),
        };
        self.draining.cancel();
        // A daemon that lost a task serves nobody well, however short the time.
        if ended == Ended::Asked && !drain.delay.is_zero() && !self.soft.is_cancelled() {
            info!(delay_seconds = drain.delay.as_secs(), "draining: still serving, no longer ready");
            tokio::select! {
                () = tokio::time::sleep(drain.delay) => {}
                () = self.soft.cancelled() => {}
                () = signals.next() => warn!("a second signal ends the drain delay"),
            }
        }
        info!(grace_seconds = drain.grace.as_secs(), "stopping");
        self.soft.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = tokio::time::sleep(drain.grace) => warn!("tasks did not finish in time and are ended"),
            () = signals.next() => warn!("a second signal ends the tasks"),
        }
        self.hard.cancel();
        self.tasks.wait().await;
        ended
    }
}

/// How a process ends.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// For so long it still serves after it was asked to end, so that load balancers notice.
    pub delay: Duration,
    /// Time that tasks get to finish.
    pub grace: Duration,
}

/// SIGTERM and SIGINT. As process 1 of a container they are ignored by the kernel until somebody listens: make this first.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on; a signal that comes before it is asked for is kept.
    ///
    /// # Errors
    /// When the process cannot listen to signals.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Does `work`, unless a signal comes first.
    pub async fn unless_asked_to_end<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.next() => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(delay: u64, grace: u64) -> Drain {
        Drain { delay: Duration::from_secs(delay), grace: Duration::from_secs(grace) }
    }

    #[tokio::test]
    async fn a_task_that_ends_by_itself_is_a_crash() {
        let (lifecycle, crashes) = Lifecycle::new();
        lifecycle.spawn("short-lived", async {});
        let ended = lifecycle.run(crashes, Signals::listen().unwrap(), drain(0, 60)).await;
        assert_eq!(ended, Ended::Crashed("short-lived"));
    }

    #[tokio::test]
    async fn a_task_that_panics_is_a_crash() {
        let (lifecycle, crashes) = Lifecycle::new();
        lifecycle.spawn("panics", async { panic!("on purpose") });
        let ended = lifecycle.run(crashes, Signals::listen().unwrap(), drain(0, 60)).await;
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
        assert_eq!(lifecycle.run(crashes, Signals::listen().unwrap(), drain(0, 5)).await, Ended::Asked);
        finished.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_drains_says_so_at_once_and_its_tasks_go_on_until_the_delay_is_over() {
        let (lifecycle, crashes) = Lifecycle::new();
        let (draining, stopping) = (lifecycle.draining().clone(), lifecycle.stopping().clone());
        let task = stopping.clone();
        lifecycle.spawn("serves", async move { task.cancelled().await });
        lifecycle.drain();
        let run = lifecycle.run(crashes, Signals::listen().unwrap(), drain(30, 5));
        let watch = async {
            draining.cancelled().await;
            let began = tokio::time::Instant::now();
            assert!(!stopping.is_cancelled(), "it still serves");
            stopping.cancelled().await;
            began.elapsed()
        };
        let (ended, delayed) = tokio::join!(run, watch);
        assert_eq!(ended, Ended::Asked);
        assert_eq!(delayed, Duration::from_secs(30), "of the paused clock");
    }
}
