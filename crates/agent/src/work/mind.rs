//! What an attempt is to mind while it goes on, and what it comes to.

use tokio::{sync::watch::Receiver, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Signal, verdict::Ended};

/// What an attempt has come to.
pub(super) enum Came {
    Ended(Ended),
    /// Nothing of it runs any more.
    Stopped(Why),
    /// The agent does not have it any more: nothing is told.
    Lost,
    /// The agent ends, and the next process of it goes on.
    Left,
}

/// Why an attempt was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Cancelled,
    Deadline,
}

/// Why an attempt should not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Because(Why),
    Lost,
    Leave,
}

impl Stop {
    /// What the attempt comes to. Only where there is a reason is anything stopped in the cluster.
    pub(super) async fn came(self, stopping: impl Future<Output = Result<(), Came>>) -> Came {
        match self {
            Self::Lost => Came::Lost,
            Self::Leave => Came::Left,
            Self::Because(why) => stopping.await.err().unwrap_or(Came::Stopped(why)),
        }
    }
}

/// What an attempt is to mind while it goes on.
pub(super) struct Mind {
    pub(super) signal: Receiver<Signal>,
    pub(super) deadline: Option<Instant>,
    pub(super) stopping: CancellationToken,
}

impl Mind {
    /// Waits for something, unless the attempt should not go on.
    pub(super) async fn unless_stopped<T>(&mut self, awaited: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            stop = self.stop() => Err(stop),
            done = awaited => Ok(done),
        }
    }

    /// Waits for something, unless whoever stops the work should not even go on with that.
    pub(super) async fn unless_given_up<T>(&mut self, awaited: impl Future<Output = T>) -> Result<T, Came> {
        tokio::select! {
            came = self.given_up() => Err(came),
            done = awaited => Ok(done),
        }
    }

    async fn stop(&mut self) -> Stop {
        let deadline = self.deadline;
        let over = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Stop::Leave,
            signal = self.signal.wait_for(|signal| *signal != Signal::Go) => match signal.map(|signal| *signal) {
                Ok(Signal::Cancel) => Stop::Because(Why::Cancelled),
                // Nobody renews it any more.
                _ => Stop::Lost,
            },
            () = over => Stop::Because(Why::Deadline),
        }
    }

    async fn given_up(&mut self) -> Came {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Came::Left,
            _ = self.signal.wait_for(|signal| *signal == Signal::Lost) => Came::Lost,
        }
    }
}
