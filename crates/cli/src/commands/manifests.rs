//! Manifests from files, folders and the standard input.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

/// Reads everything into one YAML stream; JSON is YAML too. Files of a folder are read in the order of their names.
pub(super) fn read(sources: &[PathBuf]) -> anyhow::Result<Vec<u8>> {
    let mut stream = String::new();
    for source in sources {
        if source.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("the standard input is not text")?;
            push(&mut stream, &text);
            continue;
        }
        let files = files(source)?;
        if files.is_empty() {
            bail!("{} has no .yaml, .yml or .json file in it", source.display());
        }
        for file in files {
            let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
            push(&mut stream, &text);
        }
    }
    Ok(stream.into_bytes())
}

fn push(stream: &mut String, text: &str) {
    if !stream.is_empty() {
        stream.push_str("\n---\n");
    }
    stream.push_str(text);
}

fn files(source: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let context = || format!("{}", source.display());
    if !std::fs::metadata(source).with_context(context)?.is_dir() {
        return Ok(vec![source.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![source.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(context)? {
            let path = entry.with_context(context)?.path();
            let is_manifest =
                path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
            if path.is_dir() {
                folders.push(path);
            } else if is_manifest {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_folder_become_documents_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("c")).unwrap();
        for (name, text) in [("b.yaml", "b: 2"), ("a.json", "{\"a\": 1}"), ("c/d.yml", "d: 4"), ("notes.txt", "no")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let stream = String::from_utf8(read(&[folder.path().to_owned()]).unwrap()).unwrap();
        assert_eq!(stream, "{\"a\": 1}\n---\nb: 2\n---\nd: 4");
    }

    #[test]
    fn a_missing_file_and_an_empty_folder_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(&[folder.path().join("none.yaml")]).unwrap_err().to_string();
        assert!(error.contains("none.yaml"), "{error}");
        let error = read(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no .yaml"), "{error}");
    }
}
