//! The programs without images: what `cargo install` is asked for, completions and manual pages.

use std::{fs, path::Path, process::Command};

use brokkr_tests::lab::{Scratch, built};
use serde_json::Value;

use crate::page::Page;

/// The programs, and a beginning of a command with what completes it.
const PROGRAMS: [(&str, &str, &str); 3] =
    [("brokkr", "roll", "rollback rollout"), ("brokkr-broker", "mig", "migrate"), ("brokkr-agent", "doc", "doctor")];

fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Building again what is built already would take minutes; what the commands name is looked at as Cargo sees it.
#[test]
fn cargo_install_finds_a_program_where_the_page_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let manifest = root.join("Cargo.toml").display().to_string();
    let arguments = ["metadata", "--no-deps", "--locked", "--offline", "--format-version=1", "--manifest-path", &manifest];
    let metadata: Value = serde_json::from_str(&run(Path::new(env!("CARGO")), &arguments)).unwrap();
    let mut found = Vec::new();
    for command in
        Page::read("how-to/build-images.md").blocks("Without images", "sh").iter().flat_map(crate::page::Block::commands)
    {
        let words: Vec<_> = command.split_whitespace().collect();
        let ["cargo", "install", "--path", folder, "--locked"] = words[..] else { continue };
        let manifest = root.join(folder).join("Cargo.toml").display().to_string();
        let packages = metadata["packages"].as_array().unwrap();
        let package = packages.iter().find(|package| package["manifest_path"] == manifest.as_str());
        let targets = package.unwrap_or_else(|| panic!("no package in {folder}"))["targets"].as_array().unwrap();
        let programs = targets.iter().filter(|target| target["kind"][0] == "bin");
        found.extend(programs.map(|target| target["name"].as_str().unwrap().to_owned()));
    }
    assert_eq!(found, PROGRAMS.map(|(program, ..)| program));
}

#[test]
fn each_program_completes_its_commands_in_bash_and_has_scripts_for_other_shells() {
    let scratch = Scratch::new("completion").unwrap();
    for (program, begun, completed) in PROGRAMS {
        let path = built(program).unwrap();
        for shell in ["zsh", "fish", "elvish", "powershell"] {
            assert!(run(&path, &["completion", shell]).contains(program), "{program} {shell}");
        }
        let script = scratch.write(program, run(&path, &["completion", "bash"])).unwrap();
        let ask = format!(
            "source {}; function=$(complete -p {program}); function=${{function#*-F }}; COMP_WORDS=({program} {begun}); COMP_CWORD=1; \
             ${{function%% *}} {program} {begun} {program}; echo ${{COMPREPLY[*]}}",
            script.display()
        );
        assert_eq!(run(Path::new("bash"), &["-c", &ask]).trim(), completed, "{program}");
    }
}

#[test]
fn each_program_has_manual_pages_with_its_commands() {
    let scratch = Scratch::new("manual").unwrap();
    run(&built("brokkr").unwrap(), &["man", scratch.path().to_str().unwrap()]);
    let page = |name: &str| fs::read_to_string(scratch.path().join(name)).unwrap();
    assert!(page("brokkr.1").starts_with(".ie") && page("brokkr.1").contains(".TH brokkr 1"), "{}", page("brokkr.1"));
    assert!(page("brokkr-rollout-status.1").contains("\\-\\-"), "options of a command");
    for (program, command) in [("brokkr-broker", "restore\\-epoch"), ("brokkr-agent", "doctor")] {
        let page = run(&built(program).unwrap(), &["generate", "man"]);
        assert!(page.contains(&format!(".TH {program} 8")) && page.contains(command), "{page}");
    }
}
