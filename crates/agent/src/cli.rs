//! The command line of `brokkr-agent`.

use std::{path::PathBuf, process::ExitCode};

use brokkr_runtime::config;
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
    if let Command::Generate { what } = args.command {
        return generate(what);
    }
    let config = match config::load::<Config>(file) {
        Ok(config) => config,
        Err(error) => return error.tell(),
    };
    match args.command {
        Command::Generate { what } => generate(what),
        Command::Run => serve::main(config),
        Command::Doctor(options) => doctor::main(&config, &options),
        Command::Config { command: ConfigCommand::Check } => config::valid(file),
    }
}

#[expect(clippy::print_stdout, reason = "the generated text is the output of this command")]
fn generate(what: Generated) -> ExitCode {
    let head = "config.toml of brokkr-agent: every key with its default. Generated from the code by `make generate`.\nBROKKR__SECTION__KEY in the environment wins over this file.";
    let text = match what {
        Generated::Config => config::reference::<Config>(head),
        Generated::Configuration => format!("\n## brokkr-agent\n{}", config::tables::<Config>()),
        Generated::ConfigSchema => config::schema::<Config>(),
        Generated::Man => manual(),
    };
    print!("{text}");
    ExitCode::SUCCESS
}

/// The manual page, in the language of `man`, in section 8: `brokkr agent` has the name in section 1.
fn manual() -> String {
    let mut page = Vec::new();
    // Writing into memory does not fail.
    drop(clap_mangen::Man::new(Args::command()).section("8").render(&mut page));
    String::from_utf8_lossy(&page).into_owned()
}
