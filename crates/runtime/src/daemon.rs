//! From telemetry to exit code: what the `main` of every daemon does around its own work.

use std::{error::Error, process::ExitCode, time::Duration};

use brokkr_telemetry::{InitOptions, Telemetry};
use tracing::{error, info};

use crate::{Clock, Ended, Ids, SystemClock, SystemIds};

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
pub fn run<E>(options: InitOptions, work: impl AsyncFnOnce(&Telemetry) -> Result<Ended, E>) -> ExitCode
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("the runtime cannot be started: {error}"), ExitCode::FAILURE),
    };
    runtime.block_on(async {
        let telemetry = match brokkr_telemetry::init(options) {
            Ok(telemetry) => telemetry,
            Err(error) => return refuse(&error.to_string(), ExitCode::from(64)),
        };
        if let Err(error) = telemetry.install_global() {
            return refuse(&error.to_string(), ExitCode::FAILURE);
        }
        let code = match work(&telemetry).await {
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

/// Before there is a log, a person reads the standard error.
fn refuse(reason: &str, code: ExitCode) -> ExitCode {
    eprintln!("error: {reason}");
    code
}
