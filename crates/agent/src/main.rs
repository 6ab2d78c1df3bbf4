//! `brokkr-agent`: the daemon in each cluster.

fn main() -> std::process::ExitCode {
    brokkr_agent::cli::main()
}
