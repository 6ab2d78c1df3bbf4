//! The images of the Dockerfile.

use std::{path::Path, process::Command};

use brokkr_tests::lab::built;

/// Size is looked at by `make images`, which has release programs.
#[test]
fn each_image_runs_its_one_program_as_nobody_and_is_the_same_each_time() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/check.sh");
    let programs = built("brokkr").unwrap();
    let output = Command::new("bash").arg(script).arg(programs.parent().unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = said.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(names, ["broker", "agent", "cli"]);
}
