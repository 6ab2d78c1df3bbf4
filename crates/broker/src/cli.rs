//! The command line of `brokkr-broker`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use brokkr_runtime::{config, server::tls::Tls};
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
    if let Command::Generate { what } = args.command {
        return write(what);
    }
    let config = match config::load::<Config>(file) {
        Ok(config) => config,
        Err(error) => return error.tell(),
    };
    match args.command {
        Command::Generate { what } => write(what),
        Command::Serve => serve::main(config),
        Command::Migrate { check } => maintenance::migrate(&config, check),
        Command::RestoreEpoch { no_suspend, jump } => maintenance::restore_epoch(&config, jump, !no_suspend),
        Command::AdminKey => maintenance::admin_key(&config),
        Command::Config { command: ConfigCommand::Check } => check(&config, file),
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
fn write(what: Generated) -> ExitCode {
    print!("{}", generate(what));
    ExitCode::SUCCESS
}

/// The manual page, in the language of `man`, in section 8: `brokkr agent` has the name in section 1.
pub(crate) fn manual() -> String {
    let mut page = Vec::new();
    // Writing into memory does not fail.
    drop(clap_mangen::Man::new(Args::command()).section("8").render(&mut page));
    String::from_utf8_lossy(&page).into_owned()
}
