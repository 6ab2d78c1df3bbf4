//! The command line of `brokkr-broker`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    config::Config,
    generate::{Generated, generate},
    serve,
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
    /// Write a reference file that is generated from the code
    #[command(hide = true)]
    Generate { what: Generated },
}

/// Parses the arguments and runs. Exit codes: 0 asked to end, 1 failed, 2 wrong arguments, 64 wrong configuration.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match args.command {
        Command::Generate { what } => write(what),
        Command::Serve => match brokkr_runtime::config::load::<Config>(args.config.as_deref()) {
            Ok(config) => serve::main(config),
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(64)
            }
        },
    }
}

#[expect(clippy::print_stdout, reason = "the generated text is the output of this command")]
fn write(what: Generated) -> ExitCode {
    print!("{}", generate(what));
    ExitCode::SUCCESS
}
