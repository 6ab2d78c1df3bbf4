//! What an operator does with a broker: configures it, gives it a certificate, updates it, migrates and restores its database.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of a test fail it where it went wrong")]
#![expect(clippy::disallowed_methods, reason = "a test has no lifecycle: its tasks end with its runtime")]

#[path = "operations/certificates.rs"]
mod certificates;
#[path = "operations/configuration.rs"]
mod configuration;
#[path = "operations/drain.rs"]
mod drain;
#[path = "operations/migrations.rs"]
mod migrations;
#[path = "operations/process_1.rs"]
mod process_1;
#[path = "operations/restore.rs"]
mod restore;
