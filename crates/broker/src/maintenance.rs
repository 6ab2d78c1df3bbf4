//! Commands that do one thing to the database and end: `migrate`, `restore-epoch`, `admin-key`.

use std::process::ExitCode;

use brokkr_api::AuditId;
use brokkr_runtime::{Clock, Ids, SystemClock, SystemIds, daemon};
use brokkr_telemetry::{InitOptions, Service, Telemetry, config::TelemetryConfig};

use crate::{
    bootstrap::another_admin_key,
    config::Config,
    store::{self, OpenError, Restore, Restored, Schema},
};

/// `migrate --check`: something is pending.
const PENDING: u8 = 1;
/// The database cannot be used: not reached, or newer than this program.
const UNUSABLE: u8 = 69;

/// Logs as configured, and neither spans nor metrics: there is nobody to send them to for so short a time.
fn options(config: &Config) -> InitOptions {
    InitOptions {
        service: Service::Broker,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance_id: daemon::new_instance_id(),
        telemetry: TelemetryConfig::default(),
        metrics: config.metrics.clone(),
    }
}

/// Brings the schema up to date, or only says whether it is.
pub(crate) fn migrate(config: &Config, only_check: bool) -> ExitCode {
    daemon::once(options(config), async |_: &Telemetry| {
        let done = if only_check { check(config).await } else { bring_up(config).await };
        Ok::<_, std::convert::Infallible>(done.unwrap_or_else(|error| {
            eprintln!("error: {}", daemon::chain(&error));
            ExitCode::from(UNUSABLE)
        }))
    })
}

#[expect(clippy::print_stdout, reason = "the answer is the output of this command")]
async fn check(config: &Config) -> Result<ExitCode, OpenError> {
    match store::look(&config.database).await? {
        Schema::Current { version } => {
            println!("the schema is up to date: version {version}");
            Ok(ExitCode::SUCCESS)
        }
        Schema::Pending { version, needed } => {
            println!("the schema has version {version}; `brokkr-broker migrate` brings it to {needed}");
            Ok(ExitCode::from(PENDING))
        }
        Schema::Newer { version, known } => Err(OpenError::SchemaNewer { version, known }),
    }
}

#[expect(clippy::print_stdout, reason = "the answer is the output of this command")]
async fn bring_up(config: &Config) -> Result<ExitCode, OpenError> {
    let (before, after) = store::migrate(&config.database).await?;
    if before == after {
        println!("the schema is up to date: version {after}");
    } else {
        println!("the schema is up to date: version {after}, from {before}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Gives the installation a new epoch, and says what to do next.
pub(crate) fn restore_epoch(config: &Config, jump: u64, suspend: bool) -> ExitCode {
    daemon::once(options(config), async |telemetry: &Telemetry| {
        let (clock, ids) = (SystemClock, SystemIds);
        let (db, _) = store::open(&config.database, telemetry.broker_metrics(), &clock, &ids).await?;
        let now = clock.now();
        let mut tx = db.begin().await?;
        let restored =
            tx.restore_epoch(Restore { jump, suspend, now }, &store::new_epoch(now, &ids), AuditId(ids.uuid(now))).await?;
        tx.commit().await?;
        db.close().await;
        tell(&restored, jump, suspend);
        anyhow::Ok(ExitCode::SUCCESS)
    })
}

/// Makes another admin key, for whoever has the database and has lost every key.
pub(crate) fn admin_key(config: &Config) -> ExitCode {
    daemon::once(options(config), async |telemetry: &Telemetry| {
        let (clock, ids) = (SystemClock, SystemIds);
        let (db, _) = store::open(&config.database, telemetry.broker_metrics(), &clock, &ids).await?;
        let key = another_admin_key(&db, &clock, &ids).await?;
        db.close().await;
        show(&key);
        anyhow::Ok(ExitCode::SUCCESS)
    })
}

#[expect(clippy::print_stdout, reason = "the key is shown once, and a log would keep it")]
fn show(key: &str) {
    println!("{key}");
}

#[expect(clippy::print_stdout, reason = "the answer is the output of this command")]
fn tell(restored: &Restored, jump: u64, suspend: bool) {
    let Restored { installation, former_epoch, deployments, stacks } = restored;
    println!("installation {} has the new epoch {} (it was {former_epoch})", installation.id, installation.epoch);
    println!("{deployments} deployments and the generations of {stacks} stacks jumped by {jump}: no number comes again");
    println!("agents read everything again and hold what they would prune for approval");
    if suspend {
        println!("the whole fleet is suspended: nothing is applied or deleted");
        println!();
        println!("next:");
        println!("  1. look at the stacks: what was changed or deleted since the backup is as it was then");
        println!("  2. revoke again the keys that were revoked since the backup; agents made since then need new keys");
        println!("  3. resume: DELETE /api/v1/fleet/suspension");
    } else {
        println!("nothing is suspended: agents go on with the state of the backup");
        println!("revoke again the keys that were revoked since the backup; agents made since then need new keys");
    }
}
