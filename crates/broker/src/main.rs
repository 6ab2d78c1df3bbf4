//! `brokkr-broker`: the control plane.

fn main() -> std::process::ExitCode {
    brokkr_broker::cli::main()
}
