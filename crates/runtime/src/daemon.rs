//! From telemetry to exit code: what the `main` of every daemon does around its own work.

use std::{error::Error, process::ExitCode, time::Duration};

use brokkr_telemetry::{InitOptions, Telemetry};
use tracing::{error, info};

use crate::{Clock, Ended, Ids, Signals, SystemClock, SystemIds};

/// Time for the last spans.
const FLUSH: Duration = Duration::from_secs(5);

/// An id of this process, new at each start.
#[must_use]
pub fn new_instance_id() -> String {
    SystemIds.uuid(SystemClock.now()).simple().to_string()
}

/// Runs a daemon: starts the runtime and telemetry, does the work, says how it ended, flushes.
///
/// Exit codes: 0 asked to end, 1 failed or crashed, 64 telemetry's configuration makes no sense.
///
/// Signals are listened to before anything else.
pub fn run<E>(options: InitOptions, work: impl AsyncFnOnce(&Telemetry, Signals) -> Result<Ended, E>) -> ExitCode
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    block_on(async {
        let signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => return refuse(&format!("signals cannot be listened to: {error}"), ExitCode::FAILURE),
        };
        let telemetry = match brokkr_telemetry::init(options) {
            Ok(telemetry) => telemetry,
            Err(error) => return refuse(&error.to_string(), ExitCode::from(64)),
        };
        if let Err(error) = telemetry.install_global() {
            return refuse(&error.to_string(), ExitCode::FAILURE);
        }
        let code = match work(&telemetry, signals).await {
            Ok(ended) => {
                info!(?ended, "ended");
                ended.exit_code()
            }
            Err(cause) => {
                let cause: Box<dyn Error + Send + Sync> = cause.into();
                let cause: &(dyn Error + 'static) = &*cause;
                error!(error = cause, "the daemon cannot start");
                ExitCode::FAILURE
            }
        };
        telemetry.shutdown(FLUSH).await;
        code
    })
}

/// Runs a command that does one thing and ends. SIGTERM and SIGINT end it as they end any program.
///
/// Exit codes: what `work` says, or 1 with the reason on the standard error.
pub fn once<E>(options: InitOptions, work: impl AsyncFnOnce(&Telemetry) -> Result<ExitCode, E>) -> ExitCode
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    block_on(async {
        let telemetry = match brokkr_telemetry::init(options) {
            Ok(telemetry) => telemetry,
            Err(error) => return refuse(&error.to_string(), ExitCode::from(64)),
        };
        let code = match work(&telemetry).await {
            Ok(code) => code,
            Err(cause) => refuse(&chain(&*cause.into()), ExitCode::FAILURE),
        };
        telemetry.shutdown(FLUSH).await;
        code
    })
}

fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => refuse(&format!("the runtime cannot be started: {error}"), ExitCode::FAILURE),
    }
}

/// An error with its causes, on one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        // Some errors repeat their cause in their own words.
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

/// Before there is a log, a person reads the standard error.
fn refuse(reason: &str, code: ExitCode) -> ExitCode {
    eprintln!("error: {reason}");
    code
}
