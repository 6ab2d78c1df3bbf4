//! `brokkr man`.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::{Args, Command};

use super::Outcome;

/// Write the manual pages into a folder.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder, for instance /usr/local/share/man/man1; made when it is missing
    folder: PathBuf,
}

/// One page for the program, and one for each of its commands.
pub(crate) fn run(program: Command, args: &ManArgs) -> anyhow::Result<Outcome> {
    let folder = &args.folder;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    clap_mangen::generate_to(program, folder).with_context(|| format!("cannot write into {}", folder.display()))?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let folder = tempfile::tempdir().unwrap();
        let inner = Command::new("stack").about("One stack").arg(Arg::new("wait").long("wait").help("Wait for it"));
        let program = Command::new("brokkr").about("What a person types").subcommand(Command::new("delete").subcommand(inner));
        let args = ManArgs { folder: folder.path().join("man1") };
        run(program, &args).unwrap();
        let page = |name: &str| fs::read_to_string(args.folder.join(name)).unwrap();
        assert!(page("brokkr.1").contains("brokkr\\-delete(1)"), "{}", page("brokkr.1"));
        assert!(page("brokkr-delete-stack.1").contains("Wait for it"));
    }
}
