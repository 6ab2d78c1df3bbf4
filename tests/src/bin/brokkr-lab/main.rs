//! `brokkr-lab`: real programs for development and tests, which end when their creator does.
#![expect(clippy::print_stdout, reason = "stdout is what the person or the test that started it reads")]

mod bench_agent;
mod bench_broker;
mod bench_loop;
mod bench_metrics;
mod bench_resources;
mod bench_table;
mod bench_tracing;
mod bench_webhooks;
mod bench_work_orders;
mod control_plane;
mod demo;
mod fleet;
mod memory;
mod otlp;
mod postgres;

use brokkr_tests::{
    charts,
    control_plane::Options,
    dashboards,
    lab::{LabError, Orders, Reply},
    otlp::Where,
    simulator::FleetOptions,
};
use clap::{Parser, Subcommand};
use serde_json::Value;
use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

/// Real programs for development and tests. Each subcommand prints one line of JSON when it is ready (on a terminal: how
/// to use it), and ends with Ctrl-C, SIGTERM, or the end of its standard input.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    wish: Wish,
}

#[derive(Debug, Subcommand)]
enum Wish {
    /// From nothing to a traced rollout on a real Kubernetes API server, shown step by step; leaves nothing behind.
    Demo(demo::Demo),
    /// Prints a file that follows from a chart's values.
    #[command(subcommand)]
    Chart(Chart),
    /// Prints a Grafana dashboard: agent, broker, fleet or rollout.
    Generate {
        /// Which one.
        #[arg(value_parser = dashboard)]
        dashboard: Value,
    },
    #[command(flatten)]
    Lab(Lab),
}

#[derive(Debug, Subcommand)]
enum Chart {
    /// `values.schema.json`
    Schema {
        /// The chart's folder.
        chart: PathBuf,
        /// Schema of the daemon's configuration.
        config: PathBuf,
    },
    /// `README.md`
    Readme {
        /// The chart's folder.
        chart: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum Lab {
    /// A Kubernetes control plane: etcd, kube-apiserver, controllers, and KWOK in the kubelet's place.
    ControlPlane(Options),
    /// A PostgreSQL server with a new, empty cluster.
    Postgres,
    /// From accept to applied, one change after the other: p50 and p99 on both database engines.
    BenchLoop(bench_loop::Rounds),
    /// The agent: throughput, cost of a resync, time of a change and of a repair, memory.
    BenchAgent(bench_agent::Plan),
    /// The broker under a fleet of thousands: CPU, memory, statements and times on both database engines.
    BenchBroker(bench_broker::Plan),
    /// What tracing costs broker and agent: off, 10 % and 100 % in turn.
    BenchTracing(bench_tracing::Plan),
    /// What a look at the metrics costs under a fleet of thousands, on both database engines.
    BenchMetrics(bench_metrics::Plan),
    /// What the collector beside a daemon and the agent need, against what their charts ask for.
    BenchResources(bench_resources::Plan),
    /// Work orders: claims per second with a full table, and how long one waits, on both database engines.
    BenchWorkOrders(bench_work_orders::Plan),
    /// Webhooks: a thousand receivers, of which a hundred hang, and a million deliveries that wait.
    BenchWebhooks(bench_webhooks::Plan),
    /// Simulated agents, thousands in one process, that speak the real protocol with a broker.
    Fleet(FleetOptions),
    /// An OTLP receiver that shows the traces it got at /traces/{id}.
    Otlp(Where),
}

// One thread does everything: a lab mostly waits.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let lab = match Arguments::parse().wish {
        // For people, whoever reads: it speaks no JSON, and goes on at the end of stdin.
        Wish::Demo(demo) => return demo::run(demo).await,
        Wish::Chart(file) => return chart(&file),
        Wish::Generate { dashboard } => {
            println!("{dashboard:#}");
            return ExitCode::SUCCESS;
        }
        Wish::Lab(lab) => lab,
    };
    match run(lab).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The creator waits for a line on stdout; a person reads stderr.
            if !person() {
                let line = serde_json::to_string(&Reply::<()>::Error(error.to_string())).unwrap_or_default();
                println!("{line}");
            }
            eprintln!("brokkr-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn chart(file: &Chart) -> ExitCode {
    let text = match file {
        Chart::Schema { chart, config } => charts::schema(chart, config),
        Chart::Readme { chart } => charts::readme(chart),
    };
    match text {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("brokkr-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(lab: Lab) -> Result<(), LabError> {
    brokkr_tests::watch::leave_alone();
    let mut orders = Orders::listen().map_err(LabError::io("listen for signals"))?;
    match lab {
        Lab::ControlPlane(options) => control_plane::run(&options, &mut orders).await,
        Lab::Postgres => postgres::run(&mut orders).await,
        Lab::BenchLoop(rounds) => bench_loop::run(rounds).await,
        Lab::BenchAgent(plan) => bench_agent::run(&plan).await,
        Lab::BenchBroker(plan) => bench_broker::run(&plan).await,
        Lab::BenchTracing(plan) => bench_tracing::run(&plan).await,
        Lab::BenchMetrics(plan) => bench_metrics::run(&plan).await,
        Lab::BenchResources(plan) => bench_resources::run(&plan).await,
        Lab::BenchWorkOrders(plan) => bench_work_orders::run(&plan).await,
        Lab::BenchWebhooks(plan) => bench_webhooks::run(&plan).await,
        Lab::Fleet(options) => fleet::run(&options, &mut orders).await,
        Lab::Otlp(at) => otlp::run(at, &mut orders).await,
    }
}

fn dashboard(name: &str) -> Result<Value, String> {
    let known = || dashboards::names().collect::<Vec<_>>().join(", ");
    dashboards::render(name).ok_or_else(|| format!("there are {}", known()))
}

/// Whether a person looks at stdout, rather than a program.
fn person() -> bool {
    std::io::stdout().is_terminal()
}

/// Tells a person what is going on; programs read the line of JSON.
fn tell(text: &str) {
    if person() {
        println!("{text}");
    }
}
