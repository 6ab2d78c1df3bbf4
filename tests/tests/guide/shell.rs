//! The shell of whoever follows a guide: one, so that what a command exports the next one sees.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use brokkr_tests::lab::{Death, Scratch, bound, spawn};

const END: &str = "--- end of the command: ";

/// A running bash in a folder of its own, with what the guide says that one needs.
pub(crate) struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    home: Scratch,
    pub(crate) folder: PathBuf,
}

impl Shell {
    /// With these programs on the path, these folders of the repository and these variables.
    pub(crate) fn start(programs: &[PathBuf], folders: &[&str], variables: &[(&str, &Path)]) -> Self {
        let home = Scratch::new("guide").unwrap();
        let (bin, folder) = (home.path().join("bin"), home.path().join("work"));
        fs::create_dir(&bin).unwrap();
        fs::create_dir(&folder).unwrap();
        for program in programs {
            symlink(program, bin.join(program.file_name().unwrap())).unwrap();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for name in folders {
            symlink(root.join(name), folder.join(name)).unwrap();
        }
        let path = std::env::var("PATH").unwrap();
        let mut command = bound(Path::new("/bin/bash"), Death::Kill);
        command.args(["--norc", "--noprofile"]).current_dir(&folder).env_clear();
        command.env("PATH", format!("{}:{path}", bin.display())).env("HOME", home.path()).env("LC_ALL", "C.UTF-8");
        command.envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = spawn(command).unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output, home, folder }
    }

    /// What the command prints, on both of its outputs. The test fails where the command does.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let (code, said) = self.attempt(command);
        assert!(code == 0, "exit code {code} of\n{command}\n{said}");
        said
    }

    fn attempt(&mut self, command: &str) -> (i32, String) {
        let file = self.home.write("command.sh", format!("set -o pipefail\n{command}")).unwrap();
        let line = format!("{{ source {}; }} </dev/null 2>&1; printf '\\n%s%s\\n' '{END}' $?\n", file.display());
        self.input.write_all(line.as_bytes()).unwrap();
        self.input.flush().unwrap();
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the shell ended in\n{command}\n{said}");
            match line.strip_prefix(END) {
                Some(code) => return (code.trim().parse().unwrap(), said),
                None => said.push_str(&line),
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Fails only for a shell that has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn what_a_command_exports_the_next_one_sees_and_a_failure_in_a_pipe_is_one() {
    let mut shell = Shell::start(&[], &["charts"], &[]);
    shell.run("export WORD=seen\n");
    assert_eq!(shell.run("echo $WORD; test -d charts\n"), "seen\n\n");
    assert_eq!(shell.attempt("false | true\n").0, 1);
    assert_eq!(shell.attempt("cat\n"), (0, "\n".to_owned()), "nobody types anything");
}
