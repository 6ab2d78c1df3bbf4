use crate::lab::{LabError, on_path};
use rustix::process::geteuid;
use std::{fs, path::PathBuf};

const DEBIAN: &str = "/usr/lib/postgresql";
const NEEDED: [&str; 5] = ["initdb", "postgres", "pg_isready", "createdb", "psql"];

/// The folder with the server's and the client's programs: the newest of Debian's, else the one that `PATH` leads to.
pub(super) fn folder() -> Result<PathBuf, LabError> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let in_path = on_path("initdb").and_then(|initdb| Some(initdb.canonicalize().ok()?.parent()?.to_owned()));
    let mut candidates = versions.into_iter().rev().map(|(_, folder)| folder).chain(in_path);
    let complete = |folder: &PathBuf| NEEDED.iter().all(|program| folder.join(program).is_file());
    candidates.find(complete).ok_or_else(|| LabError::Missing {
        name: "PostgreSQL".to_owned(),
        hint: format!("needed are {}; on Debian: apt-get install postgresql", NEEDED.join(", ")),
    })
}

/// Whom the server runs as when we are root, which it refuses: `postgres`, else `nobody`.
pub(super) fn user() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    account("postgres").or_else(|| account("nobody")).or(Some((65_534, 65_534)))
}
