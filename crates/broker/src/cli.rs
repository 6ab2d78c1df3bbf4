//! The command line of `brokkr-broker`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{config::Config, http, serve};

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

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Generated {
    Config,
    Openapi,
    Errors,
}

/// Parses the arguments and runs. Exit codes: 0 asked to end, 1 failed, 2 wrong arguments, 64 wrong configuration.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match args.command {
        Command::Generate { what } => generate(what),
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
fn generate(what: Generated) -> ExitCode {
    let text = match what {
        Generated::Config => brokkr_runtime::config::reference::<Config>(
            "config.toml of brokkr-broker: every key with its default. Generated from the code by `make generate`.\nBROKKR__SECTION__KEY in the environment wins over this file.",
        ),
        Generated::Openapi => http::openapi(),
        Generated::Errors => errors(),
    };
    print!("{text}");
    ExitCode::SUCCESS
}

fn errors() -> String {
    let mut page = "# Error codes\n\nGenerated from the code by `make generate`. Every error of the API is a problem by RFC 9457 with one of these codes.\nCodes are added, never renamed.\n\n| code | status | title | meaning |\n|---|---|---|---|\n".to_owned();
    for (code, doc) in brokkr_api::ErrorCode::ALL {
        page += &format!("| `{}` | {} | {} | {} |\n", code.as_str(), code.status(), code.title(), doc.trim());
    }
    page
}
