//! The guides, command by command, as a newcomer would type them: what stands on the page is what runs here.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail it where it went wrong")]
#![expect(clippy::disallowed_methods, reason = "a test has no lifecycle: its tasks end with its runtime")]

#[path = "guide/backup.rs"]
mod backup;
#[path = "guide/compose.rs"]
mod compose;
#[path = "guide/deploy.rs"]
mod deploy;
#[path = "guide/images.rs"]
mod images;
#[path = "guide/installed.rs"]
mod installed;
#[path = "guide/machine.rs"]
mod machine;
#[path = "guide/page.rs"]
mod page;
#[path = "guide/pod.rs"]
mod pod;
#[path = "guide/programs.rs"]
mod programs;
#[path = "guide/replicas.rs"]
mod replicas;
#[path = "guide/restore.rs"]
mod restore;
#[path = "guide/sbom.rs"]
mod sbom;
#[path = "guide/shell.rs"]
mod shell;
#[path = "guide/text.rs"]
mod text;
#[path = "guide/webhooks.rs"]
mod webhooks;
