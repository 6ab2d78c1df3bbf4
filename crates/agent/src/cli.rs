//! The command line of `brokkr-agent`.

use std::{path::PathBuf, process::ExitCode};

use brokkr_runtime::{
    command_line::{self, Shell},
    config,
};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::{config::Config, doctor, serve};

/// The daemon of Brokkr in each cluster.
#[derive(Debug, Parser)]
#[command(name = "brokkr-agent", version, about)]
struct Args {
    /// Configuration file [default: ./config.toml, else /etc/brokkr/config.toml, else none]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work for the broker until SIGTERM
    Run,
    /// Say what the agent reaches, and what it may and may not do for a bundle
    Doctor(doctor::Options),
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

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Generated {
    /// The reference copy of `config.toml`
    Config,
    /// Its part of the reference of configurations
    Configuration,
    /// The JSON Schema of the configuration, for the chart's values
    ConfigSchema,
    /// The manual page
    Man,
}

/// Parses the arguments and runs. Exit codes: 0 asked to end, 1 failed, 2 wrong arguments, 64 wrong configuration.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let file = args.config.as_deref();
    let configured = |run: &dyn Fn(Config) -> ExitCode| config::load::<Config>(file).map_or_else(|error| error.tell(), run);
    match args.command {
        Command::Run => configured(&serve::main),
        Command::Doctor(options) => configured(&|config| doctor::main(&config, &options)),
        Command::Config { command: ConfigCommand::Check } => configured(&|_| config::valid(file)),
        Command::Completion { shell } => write(&command_line::completion(shell, Args::command())),
        Command::Generate { what } => write(&generate(what)),
    }
}

fn generate(what: Generated) -> String {
    let head = "config.toml of brokkr-agent: every key with its default. Generated from the code by `make generate`.\nBROKKR__SECTION__KEY in the environment wins over this file.";
    match what {
        Generated::Config => config::reference::<Config>(head),
        Generated::Configuration => format!("\n## brokkr-agent\n{}", config::tables::<Config>()),
        Generated::ConfigSchema => config::schema::<Config>(),
        Generated::Man => command_line::manual(Args::command()),
    }
}

#[expect(clippy::print_stdout, reason = "the generated text is the output of these commands")]
fn write(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}
