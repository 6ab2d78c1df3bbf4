//! A disk that forgets, at a power cut, what was not synchronised.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
};

use brokkr_tests::lab::Scratch;
use rand::{Rng, rngs::StdRng};

const BLOCK: usize = 4_096;

/// A folder, and the shadow of it that holds what was synchronised; `tests/powercut` fills it.
pub(crate) struct Disk {
    scratch: Scratch,
    library: String,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new("disk").unwrap();
        for folder in ["disk", "shadow"] {
            fs::DirBuilder::new().mode(0o700).create(scratch.path().join(folder)).unwrap();
        }
        let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/powercut/build.sh")).output().unwrap();
        assert!(output.status.success(), "tests/powercut/build.sh: {}", String::from_utf8_lossy(&output.stderr));
        Self { scratch, library: String::from_utf8(output.stdout).unwrap().trim().to_owned() }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        // As the kernel names it, because the library compares names.
        self.scratch.path().join("disk").canonicalize().unwrap()
    }

    fn shadow(&self) -> PathBuf {
        self.scratch.path().join("shadow")
    }

    /// The environment of a program that writes to this disk.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.clone()),
            ("POWERCUT_DISK", self.folder().display().to_string()),
            ("POWERCUT_SHADOW", self.shadow().display().to_string()),
        ]
    }

    /// What is on the disk after the power cut: all that was synchronised. Of what was not, blocks may have arrived or not; a
    /// `lucky` disk has some, any other has none. The program must be dead.
    pub(crate) fn after_power_cut(&self, random: &mut StdRng, lucky: bool) -> PathBuf {
        let recovered = self.scratch.path().join("recovered");
        fs::create_dir(&recovered).unwrap();
        let names = fs::read_to_string(self.shadow().join("names")).unwrap_or_default();
        for line in names.lines() {
            let (inode, name) = line.split_once(' ').unwrap();
            // A name whose content was never synchronised is an empty file.
            let mut content = fs::read(self.shadow().join(inode)).unwrap_or_default();
            let written = self.folder().join(name);
            if lucky && written.metadata().is_ok_and(|now| now.ino().to_string() == inode) {
                mix(&mut content, &fs::read(written).unwrap(), random);
            }
            fs::write(recovered.join(name), content).unwrap();
        }
        recovered
    }

    /// How often the shadow was filled: proof that the library is at work.
    pub(crate) fn is_at_work(&self) -> bool {
        let kept = |path: &Path| path.metadata().is_ok_and(|kept| kept.len() > 0);
        kept(&self.shadow().join("names"))
    }
}

/// Brings some blocks of what was written into what was synchronised, each by the toss of a coin.
fn mix(content: &mut Vec<u8>, written: &[u8], random: &mut StdRng) {
    if random.random_bool(0.5) {
        content.resize(written.len(), 0);
    }
    let end = content.len().min(written.len());
    for from in (0..end).step_by(BLOCK) {
        let to = end.min(from + BLOCK);
        if random.random_bool(0.5) {
            content[from..to].copy_from_slice(&written[from..to]);
        }
    }
}
