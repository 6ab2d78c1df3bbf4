use super::LabError;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// The first executable of that name in `PATH`.
pub fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(|candidate| candidate.is_file())
}

/// An executable of this workspace, in the profile's folder that the running executable comes from.
///
/// # Errors
/// [`LabError::Missing`], naming the command that builds it.
pub fn built(name: &str) -> Result<PathBuf, LabError> {
    let exe = env::current_exe().map_err(LabError::io("the running executable's path"))?;
    exe.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|candidate| candidate.is_file()).ok_or_else(|| {
        LabError::Missing {
            name: name.to_owned(),
            hint: "build the workspace's executables first: cargo build --workspace --bins".to_owned(),
        }
    })
}

/// The folder with the real Kubernetes programs (`bin/`) and KWOK's stages (`stages/`).
///
/// Builds what is missing, which takes about ten minutes the first time; the script says so on stderr.
///
/// # Errors
/// When the build fails, for instance because Go is missing: the script has said why.
pub async fn kubernetes_programs() -> Result<PathBuf, LabError> {
    built_by("kubernetes/build.sh").await
}

/// The real OpenTelemetry Collector.
///
/// Builds it when it is missing, which takes some minutes; the script says so on stderr.
///
/// # Errors
/// When the build fails, for instance because Go is missing: the script has said why.
pub async fn collector() -> Result<PathBuf, LabError> {
    built_by("collector/build.sh").await
}

/// The real Helm.
///
/// Builds it when it is missing, which takes some minutes; the script says so on stderr.
///
/// # Errors
/// When the build fails, for instance because Go is missing: the script has said why.
pub async fn helm() -> Result<PathBuf, LabError> {
    built_by("helm/build.sh").await
}

/// The folder with the real controllers of Shipwright and Tekton (`bin/`) and what they need in a cluster (`shipwright/`, `tekton/`).
///
/// Builds what is missing, which takes some minutes; the script says so on stderr.
///
/// # Errors
/// When the build fails, for instance because Go is missing: the script has said why.
pub async fn shipwright() -> Result<PathBuf, LabError> {
    built_by("shipwright/build.sh").await
}

/// The real Docker Compose, which reads compose files without a daemon.
///
/// Builds it when it is missing, which takes some minutes; the script says so on stderr.
///
/// # Errors
/// When the build fails, for instance because Go is missing: the script has said why.
pub async fn compose() -> Result<PathBuf, LabError> {
    built_by("compose/build.sh").await
}

/// The jar of the real Zipkin, which runs with Java 17 or later.
///
/// Fetches it when it is missing; the script says so on stderr.
///
/// # Errors
/// When it cannot be fetched, for instance because Maven is missing: the script has said why.
pub async fn zipkin() -> Result<PathBuf, LabError> {
    built_by("zipkin/fetch.sh").await
}

/// What the last line of a script's output names.
async fn built_by(script: &str) -> Result<PathBuf, LabError> {
    let name = format!("tests/{script}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let child = Command::new("bash")
        .arg(&script)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(LabError::io(format!("run {name}")))?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let output = child.wait_with_output().await.map_err(LabError::io(format!("wait for {name}")))?;
    // The script and its compilers are gone; their group's number may belong to others from now on.
    group.0 = None;
    let stdout = String::from_utf8_lossy(&output.stdout);
    match stdout.lines().last() {
        Some(folder) if output.status.success() => Ok(PathBuf::from(folder)),
        _ => Err(LabError::Refused(format!("{name} failed ({}); its messages are above", output.status))),
    }
}

/// Ends the script's compilers too when the wait for them is given up.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }
}
