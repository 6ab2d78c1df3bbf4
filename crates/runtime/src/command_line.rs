//! What a daemon tells of its own command line.

use clap::Command;
pub use clap_complete::Shell;

/// The manual page, in the language of `man`, in section 8: `brokkr agent` has the name in section 1.
pub fn manual(program: Command) -> String {
    written(|page| drop(clap_mangen::Man::new(program).section("8").render(page)))
}

/// The script that makes a shell complete the program's commands and options.
pub fn completion(shell: Shell, mut program: Command) -> String {
    let name = program.get_name().to_owned();
    written(|script| clap_complete::generate(shell, &mut program, name, script))
}

/// Writing into memory does not fail.
fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut text = Vec::new();
    write(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
