//! Asking before something that many would notice.

use std::io::{BufRead, IsTerminal, Write};

use anstream::eprint;
use anyhow::{Context, bail};

use crate::output;

/// Asks on a terminal; elsewhere only `--yes` is an answer.
pub(super) fn confirm(question: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    let input = std::io::stdin();
    if !input.is_terminal() || !std::io::stderr().is_terminal() {
        bail!("{question} Say --yes if you mean it");
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush().context("the terminal")?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer).context("the terminal")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    output::note("nothing is changed");
    bail!("not confirmed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_needs_no_terminal() {
        assert!(confirm("Suspend the fleet?", true).is_ok());
    }
}
