//! `brokkr`: what a person types.

mod commands;
mod connection;
mod dev;
mod output;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::{commands::Outcome, connection::ConnectionArgs, output::Format};

/// Delivers Kubernetes objects to many clusters, and says where the time went.
#[derive(Debug, Parser)]
#[command(
    name = "brokkr",
    version,
    about,
    propagate_version = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 not done in time, 4 the rollout or the work order failed."
)]
struct Args {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// How results are written
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send manifests to a stack
    Apply(commands::apply::ApplyArgs),
    /// Approve deletions that agents hold back
    Approve(commands::approve::ApproveArgs),
    /// List what there is
    #[command(subcommand)]
    Get(commands::get::Get),
    /// Look at one thing closely
    #[command(subcommand)]
    Describe(commands::describe::Describe),
    /// The generations of a stack, the newest first
    History(commands::history::HistoryArgs),
    /// Bring old content of a stack back, as a new generation
    Rollback(commands::rollback::RollbackArgs),
    /// Hold a stack, an agent or the whole fleet back
    Suspend(commands::suspend::SuspendArgs),
    /// End a suspension
    Resume(commands::suspend::ResumeArgs),
    /// Make a registration token, a key, a generator or an agent
    #[command(subcommand)]
    Create(commands::create::Create),
    /// Make a key or a registration token worthless
    #[command(subcommand)]
    Revoke(commands::revoke::Revoke),
    /// Deactivate, activate, abandon and label an agent, and change its key
    #[command(subcommand)]
    Agent(commands::agent::Agents),
    /// Delete a stack and everything that it delivered
    #[command(subcommand)]
    Delete(commands::delete::Delete),
    /// See and set how broker and agents trace
    #[command(subcommand)]
    Trace(commands::trace::Trace),
    /// Follow rollouts
    #[command(subcommand)]
    Rollout(commands::rollout::Rollouts),
    /// Ask for work that one matching agent does once
    #[command(subcommand)]
    Run(commands::run::Run),
    /// Build an image with Shipwright in one matching cluster
    Build(Box<commands::build::BuildArgs>),
    /// Look after work orders
    #[command(subcommand)]
    WorkOrders(commands::work_orders::WorkOrders),
    /// Let receivers be told of events
    #[command(subcommand)]
    Webhooks(commands::webhooks::Webhooks),
    /// Run a broker and an agent on the cluster of the current kubeconfig
    Dev(dev::DevArgs),
    /// Print a completion script for your shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    Man(commands::man::ManArgs),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(outcome) => outcome.exit_code(),
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<Outcome> {
    let (connection, format) = (args.connection, args.output);
    match args.command {
        Command::Apply(apply) => commands::apply::run(&connection, format, apply).await,
        Command::Approve(approve) => commands::approve::run(&connection, format, approve).await,
        Command::Get(get) => commands::get::run(&connection, format, get).await,
        Command::Describe(describe) => commands::describe::run(&connection, format, describe).await,
        Command::History(history) => commands::history::run(&connection, format, history).await,
        Command::Rollback(rollback) => commands::rollback::run(&connection, format, rollback).await,
        Command::Suspend(suspend) => commands::suspend::suspend(&connection, format, suspend).await,
        Command::Resume(resume) => commands::suspend::resume(&connection, format, resume).await,
        Command::Create(create) => commands::create::run(&connection, format, create).await,
        Command::Revoke(revoke) => commands::revoke::run(&connection, revoke).await,
        Command::Agent(agents) => commands::agent::run(&connection, format, agents).await,
        Command::Delete(delete) => commands::delete::run(&connection, format, delete).await,
        Command::Rollout(rollout) => commands::rollout::run(&connection, format, rollout).await,
        Command::Trace(trace) => commands::trace::run(&connection, format, trace).await,
        Command::Run(run) => commands::run::run(&connection, format, run).await,
        Command::Build(build) => commands::build::run(&connection, format, *build).await,
        Command::WorkOrders(orders) => commands::work_orders::run(&connection, format, orders).await,
        Command::Webhooks(webhooks) => commands::webhooks::run(&connection, format, webhooks).await,
        Command::Dev(dev) => dev::run(dev).await,
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "brokkr", &mut std::io::stdout());
            Ok(Outcome::Done)
        }
        Command::Man(man) => commands::man::run(Args::command(), &man),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
