use super::LabError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::VecDeque,
    future::Future,
    io::{self, BufRead, IsTerminal, Write},
    thread,
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

/// One line that a supervisor prints on stdout: when it is ready, and in answer to each command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply<T> {
    /// It is ready, or the command was carried out.
    Ok(T),
    /// It is not, and why.
    Error(String),
}

/// What a supervisor is told by its creator.
#[derive(Debug, PartialEq, Eq)]
pub enum Order {
    /// A line of stdin.
    Line(String),
    /// The end of stdin, SIGTERM or SIGINT.
    Stop,
}

/// The two ways into a supervisor: lines on stdin, and signals.
#[derive(Debug)]
pub struct Orders {
    lines: mpsc::UnboundedReceiver<String>,
    early: VecDeque<String>,
    terminate: Signal,
    interrupt: Signal,
}

impl Orders {
    /// Starts to listen; from now on SIGINT and SIGTERM no longer end the process by themselves.
    ///
    /// # Errors
    /// When signal handlers cannot be installed. Must be called inside a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        let (sender, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { lines, early: VecDeque::new(), terminate, interrupt })
    }

    /// The next order.
    pub async fn next(&mut self) -> Order {
        if let Some(line) = self.early.pop_front() {
            return Order::Line(line);
        }
        tokio::select! {
            line = self.lines.recv() => line.map_or(Order::Stop, Order::Line),
            _ = self.terminate.recv() => Order::Stop,
            _ = self.interrupt.recv() => Order::Stop,
        }
    }

    /// Runs `work` unless the order to stop comes first; commands that come meanwhile are kept for [`Orders::next`].
    pub async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        let mut early = VecDeque::new();
        let done = loop {
            tokio::select! {
                done = &mut work => break Some(done),
                order = self.next() => match order {
                    Order::Line(line) => early.push_back(line),
                    Order::Stop => break None,
                },
            }
        };
        self.early.extend(early);
        done
    }
}

/// What a supervisor keeps alive.
pub trait Service {
    /// The line that says it is ready.
    fn description(&self) -> Value;

    /// Complains when something ended by itself.
    ///
    /// # Errors
    /// What ended, with the end of its log.
    fn check(&mut self) -> Result<(), LabError>;

    /// Carries out one line of stdin.
    fn command(&mut self, line: &str) -> impl Future<Output = Result<Value, LabError>>;

    /// Ends everything.
    fn stop(self) -> impl Future<Output = ()>;
}

/// Announces a service (to a program; a person at a terminal has been told otherwise), serves commands and ends it when told to.
///
/// # Errors
/// When a part of the service ended by itself.
pub async fn serve<S: Service>(mut service: S, orders: &mut Orders) -> Result<(), LabError> {
    if !io::stdout().is_terminal() {
        say(&Reply::Ok(service.description()));
    }
    let mut pulse = interval(Duration::from_secs(1));
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let outcome = loop {
        tokio::select! {
            order = orders.next() => match order {
                Order::Stop => break Ok(()),
                Order::Line(line) => say(&match service.command(line.trim()).await {
                    Ok(value) => Reply::Ok(value),
                    Err(error) => Reply::Error(error.to_string()),
                }),
            },
            _ = pulse.tick() => if let Err(error) = service.check() { break Err(error) },
        }
    };
    service.stop().await;
    outcome
}

/// Prints one line; a creator that is gone no longer reads, which the end of stdin tells as well.
fn say(reply: &Reply<Value>) {
    let mut stdout = io::stdout().lock();
    let line = serde_json::to_string(reply).unwrap_or_else(|error| format!(r#"{{"error":"{error}"}}"#));
    drop(writeln!(stdout, "{line}").and_then(|()| stdout.flush()));
}
