//! `brokkr work-orders`.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use brokkr_api::{
    Name, WorkOrderId,
    client::Client,
    work_orders::{WorkOrder, WorkOrdersQuery, WorkState},
};
use clap::Subcommand;

use super::Outcome;
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// How often is looked.
const LOOK: Duration = Duration::from_millis(500);

/// Look after work orders.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkOrders {
    /// List work orders, the newest first
    List {
        /// Only those in this state
        #[arg(long, value_parser = state)]
        state: Option<WorkState>,
        /// Only those of this name
        #[arg(long)]
        name: Option<Name>,
        /// Most of them
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One work order
    Show {
        /// Its id
        id: WorkOrderId,
        /// Wait until it has ended
        #[arg(short, long)]
        wait: bool,
        /// Longest time to wait
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration, value_name = "TIME")]
        timeout: Duration,
        /// The end of its log
        #[arg(long)]
        logs: bool,
    },
    /// Cancel a work order; one that runs is stopped in its cluster
    Cancel {
        /// Its id
        id: WorkOrderId,
    },
    /// Try a work order again that failed, was cancelled or became unknown
    Retry {
        /// Its id
        id: WorkOrderId,
    },
}

fn state(text: &str) -> Result<WorkState, String> {
    let words = || WorkState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
    WorkState::from_word(text).ok_or_else(|| format!("one of {}", words()))
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, orders: WorkOrders) -> anyhow::Result<Outcome> {
    match orders {
        WorkOrders::List { state, name, limit } => {
            let query = WorkOrdersQuery { limit: Some(limit), cursor: None, state, name };
            let page = connection.client()?.work_orders(&query).await?;
            if format == Format::Json {
                output::json(&page.items)?;
            } else {
                let rows = page.items.iter().map(row).collect();
                output::table(&["id", "name", "kind", "state", "attempt", "agent", "age", "detail"], rows, "no work orders");
            }
            Ok(Outcome::Done)
        }
        WorkOrders::Show { id, wait, timeout, logs } => {
            let client = connection.client()?;
            if wait {
                return follow(&client, format, id, timeout, logs).await;
            }
            show(&client, format, &client.work_order(id).await?, logs).await?;
            Ok(Outcome::Done)
        }
        WorkOrders::Cancel { id } => {
            let order = connection.changing_client()?.cancel_work_order(id).await?;
            told(format, &order)
        }
        WorkOrders::Retry { id } => {
            let order = connection.changing_client()?.retry_work_order(id).await?;
            told(format, &order)
        }
    }
}

fn told(format: Format, order: &WorkOrder) -> anyhow::Result<Outcome> {
    match format {
        Format::Json => output::json(order)?,
        Format::Table => anstream::println!("{}", line(order)),
    }
    Ok(Outcome::Done)
}

/// Waits until an order has ended, with one line on the terminal that says what goes on.
pub(crate) async fn follow(
    client: &Client,
    format: Format,
    id: WorkOrderId,
    timeout: Duration,
    logs: bool,
) -> anyhow::Result<Outcome> {
    let deadline = Instant::now() + timeout;
    let mut status = StatusLine::default();
    loop {
        let order = client.work_order(id).await?;
        if order.state.is_finished() {
            status.clear();
            show(client, format, &order, logs).await?;
            return Ok(if order.state == WorkState::Succeeded { Outcome::Done } else { Outcome::RolloutFailed });
        }
        if Instant::now() >= deadline {
            status.clear();
            show(client, format, &order, false).await?;
            return Ok(Outcome::NotInTime);
        }
        status.set(&line(&order));
        tokio::time::sleep(LOOK).await;
    }
}

/// One line that is written again and again on a terminal, and once for each change elsewhere.
#[derive(Default)]
struct StatusLine(String);

impl StatusLine {
    fn set(&mut self, line: &str) {
        if line == self.0 {
            return;
        }
        if std::io::stderr().is_terminal() {
            // Back to the beginning, and what stood there is erased.
            anstream::eprint!("\r\x1b[2K{line}");
            std::io::stderr().flush().ok();
        } else {
            output::note(line);
        }
        line.clone_into(&mut self.0);
    }

    fn clear(&self) {
        if !self.0.is_empty() && std::io::stderr().is_terminal() {
            anstream::eprint!("\r\x1b[2K");
        }
    }
}

fn line(order: &WorkOrder) -> String {
    let detail = detail(order);
    let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
    format!("{} {}, attempt {} of {}{detail}", order.name, order.state, order.attempts, order.max_attempts)
}

fn detail(order: &WorkOrder) -> String {
    let failure = order.reason.as_ref().map(|reason| match order.message.as_deref().unwrap_or_default() {
        "" => reason.clone(),
        message => format!("{message} ({reason})"),
    });
    let progress = order.progress.clone().filter(|progress| order.state.is_held() && !progress.is_empty());
    let waiting = order.waiting_for.as_ref().map(|waiting| format!("waiting for {waiting}"));
    let parts = match order.state {
        WorkState::Waiting => [waiting, failure],
        state if state.is_held() => [waiting, progress],
        state if state.is_finished() => [failure, None],
        _ => [waiting, None],
    };
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn row(order: &WorkOrder) -> Vec<String> {
    vec![
        order.id.to_string(),
        order.name.to_string(),
        order.kind.to_string(),
        order.state.to_string(),
        format!("{}/{}", order.attempts, order.max_attempts),
        order.agent.as_ref().map(ToString::to_string).unwrap_or_default(),
        output::ago(Some(order.created_at), output::now()),
        detail(order),
    ]
}

async fn show(client: &Client, format: Format, order: &WorkOrder, logs: bool) -> anyhow::Result<()> {
    if format == Format::Json {
        output::json(order)?;
    } else {
        let time = |at: Option<brokkr_api::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
        output::page(&[
            ("id", order.id.to_string()),
            ("name", order.name.to_string()),
            ("kind", order.kind.to_string()),
            ("state", order.state.to_string()),
            ("detail", detail(order)),
            ("targets", output::targets(&order.targets)),
            ("agent", order.agent.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("object", order.object.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("attempts", format!("{} of {}", order.attempts, order.max_attempts)),
            ("created", order.created_at.to_string()),
            ("claimed", time(order.claimed_at)),
            ("started", time(order.started_at)),
            ("finished", time(order.finished_at)),
            ("trace", order.trace_id.clone().unwrap_or_default()),
        ]);
    }
    if logs {
        let log = client.work_order_log(order.id).await?.log;
        if log.is_empty() {
            output::note("there is no log");
        } else {
            // With JSON on the standard output, the log is for people beside it.
            match format {
                Format::Json => output::note(log.trim_end()),
                Format::Table => anstream::println!("\n{}", log.trim_end()),
            }
        }
    }
    Ok(())
}
