//! Small files that hold keys: for their owner alone, whole or not at all, and there after a power cut.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Result, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Writes a file, in place of one that is there.
///
/// # Errors
/// When the file or its folder cannot be written; then the file is as it was.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    let temporary = write(path, text)?;
    fs::rename(&temporary, path)?;
    synchronise_folder(path)
}

/// Writes a file that must not be there; [`ErrorKind::AlreadyExists`] when it is, and then it is as it was.
///
/// # Errors
/// That, and whenever the file or its folder cannot be written.
pub fn create(path: &Path, text: &str) -> Result<()> {
    let temporary = write(path, text)?;
    // A link replaces nothing, whoever else does the same.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    linked?;
    synchronise_folder(path)
}

/// Writes under another name with mode 0600, so that nobody reads half a key or a readable file.
fn write(path: &Path, text: &str) -> Result<PathBuf> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(temporary)
}

/// A name too survives a power cut only when it was synchronised. What the database keeps refers to the key; without it that is lost.
fn synchronise_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_is_there_is_replaced_or_refused_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, "one").unwrap();
        assert_eq!(create(&path, "two").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        replace(&path, "three").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
