use super::LabError;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

const PREFIX: &str = "brokkr-lab-";
const LOCK: &str = ".lock";
/// A folder younger than this may not have its lock yet.
const YOUNG: Duration = Duration::from_secs(60);

/// A folder in the system's temporary folder that goes away with this value, or, when this process was killed, with
/// the next start of a lab.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes the folder, after removing those that killed processes left.
    ///
    /// # Errors
    /// When the temporary folder is not writable.
    pub fn new(kind: &str) -> Result<Self, LabError> {
        sweep(&std::env::temp_dir());
        let dir =
            tempfile::Builder::new().prefix(&format!("{PREFIX}{kind}-")).tempdir().map_err(LabError::io("scratch folder"))?;
        let lock = File::create(dir.path().join(LOCK)).map_err(LabError::io("lock of the scratch folder"))?;
        lock.lock().map_err(LabError::io("lock of the scratch folder"))?;
        Ok(Self { dir, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves the folder in place for a person to look at, and says where.
    pub fn keep(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_owned()
    }

    /// Writes a file into the folder.
    ///
    /// # Errors
    /// When the folder is not writable.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, LabError> {
        let path = self.dir.path().join(name);
        fs::write(&path, content).map_err(LabError::io(format!("write {}", path.display())))?;
        Ok(path)
    }
}

/// Removes folders whose owner is dead: their lock can be taken. Failing to is no reason not to start.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let abandoned = entry.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&entry.path());
        if abandoned {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

fn is_abandoned(dir: &Path) -> bool {
    let old = |lock: &File| lock.metadata().ok()?.modified().ok()?.elapsed().ok();
    File::open(dir.join(LOCK)).is_ok_and(|lock| old(&lock).is_some_and(|age| age > YOUNG) && lock.try_lock().is_ok())
}
