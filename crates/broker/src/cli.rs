//! The command line of `brokkr-broker`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use brokkr_runtime::{
    command_line::{self, Shell},
    config,
    server::tls::Tls,
};
use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    config::Config,
    generate::{Generated, generate},
    maintenance, serve,
};

/// The control plane of Brokkr.
#[derive(Debug, Parser)]
#[command(name = "brokkr-broker", version, about)]
struct Args {
    /// Configuration file [default: ./config.toml, else /etc/brokkr/config.toml, else none]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API until SIGTERM
    Serve,
    /// Bring the schema of the database up to date; several may do it at once
    Migrate {
        /// Only say whether something is pending: exit code 0 nothing is, 1 something is, 69 the database cannot be used
        #[arg(long)]
        check: bool,
    },
    /// After a restore from backup: give the installation a new epoch, and suspend the fleet until somebody has looked
    RestoreEpoch {
        /// Leave the fleet as it is
        #[arg(long)]
        no_suspend: bool,
        /// How far revisions and generations jump: more than were made since the backup
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
        jump: u64,
    },
    /// Make another admin key and show it once: for whoever has the database and has lost every key
    AdminKey,
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print a completion script for your shell
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Write a reference file that is generated from the code
    #[command(hide = true)]
    Generate { what: Generated },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say everything that is wrong with it
    Check,
}

/// Parses the arguments and runs. Exit codes: 0 asked to end, 1 failed, 2 wrong arguments, 64 wrong configuration, 69 (migrate) the
/// database cannot be used.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let file = args.config.as_deref();
    let configured = |run: &dyn Fn(Config) -> ExitCode| config::load::<Config>(file).map_or_else(|error| error.tell(), run);
    match args.command {
        Command::Serve => configured(&serve::main),
        Command::Migrate { check } => configured(&|config| maintenance::migrate(&config, check)),
        Command::RestoreEpoch { no_suspend, jump } => {
            configured(&|config| maintenance::restore_epoch(&config, jump, !no_suspend))
        }
        Command::AdminKey => configured(&|config| maintenance::admin_key(&config)),
        Command::Config { command: ConfigCommand::Check } => configured(&|config| check(&config, file)),
        Command::Completion { shell } => write(&command_line::completion(shell, Args::command())),
        Command::Generate { what } => write(&generate(what)),
    }
}

/// The values make sense; what they name may still be missing.
fn check(config: &Config, file: Option<&Path>) -> ExitCode {
    match config.server.tls.files().map(Tls::load).transpose() {
        Ok(_) => config::valid(file),
        Err(error) => {
            eprintln!("error: configuration: {error}");
            ExitCode::from(config::EXIT_CODE)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the generated text is the output of this command")]
fn write(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

/// The manual page.
pub(crate) fn manual() -> String {
    command_line::manual(Args::command())
}
