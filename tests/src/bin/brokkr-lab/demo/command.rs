use anyhow::{Context, bail};
use brokkr_tests::lab::{Death, bound};
use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{process::Command, time::timeout};

/// How commands are run: where, with which programs, against which cluster.
#[derive(Debug, Clone)]
pub(super) struct Shell {
    /// The folder they run in.
    pub(super) directory: PathBuf,
    /// The real `brokkr`.
    pub(super) brokkr: PathBuf,
    /// The real `kubectl`.
    pub(super) kubectl: PathBuf,
    /// What `KUBECONFIG` says to them.
    pub(super) kubeconfig: PathBuf,
}

/// A command line as a person types it: variables, program, arguments, separated by single spaces; an argument with spaces stands
/// in single quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Typed {
    text: String,
    vars: Vec<(String, String)>,
    words: Vec<String>,
}

impl Typed {
    pub(super) fn new(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        let quoted = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
        Self { text: quoted, vars: Vec::new(), words }
    }

    /// The same with a variable before it.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.text = format!("{name}={} {}", quote(value), self.text);
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

fn quote(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,@%+".contains(letter);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// What a command printed.
#[derive(Debug)]
pub(super) struct Printed {
    /// Its result.
    pub(super) out: String,
    /// Its remarks.
    pub(super) err: String,
}

impl Printed {
    /// The remarks, then the result: for a person.
    pub(super) fn both(&self) -> String {
        format!("{}{}", self.err, self.out)
    }
}

impl Shell {
    /// Runs a command and returns what it printed.
    ///
    /// # Errors
    /// When it fails or takes longer than `limit`, with what it printed.
    pub(super) async fn run(&self, typed: &Typed, limit: Duration) -> anyhow::Result<Printed> {
        let text = typed.text();
        let (program, args) = typed.words.split_first().context("an empty command")?;
        let mut command = Command::from(bound(&self.program(program), Death::Kill));
        for name in inherited_settings() {
            command.env_remove(name);
        }
        command.args(args).env("KUBECONFIG", &self.kubeconfig).envs(typed.vars.iter().cloned());
        command.current_dir(&self.directory).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("`{text}` cannot be started"))?;
        let output = timeout(limit, child.wait_with_output()).await;
        let output = output.with_context(|| format!("`{text}` did not end within {limit:?}"))??;
        let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let printed = Printed { out: text_of(&output.stdout), err: text_of(&output.stderr) };
        if !output.status.success() {
            bail!("`{text}` failed ({}):\n{}", output.status, printed.both().trim());
        }
        Ok(printed)
    }

    fn program(&self, word: &str) -> PathBuf {
        match word {
            "brokkr" => self.brokkr.clone(),
            "kubectl" => self.kubectl.clone(),
            other => Path::new(other).to_owned(),
        }
    }
}

/// What the person's environment says to our programs and to `kubectl`: the demo's commands depend on none of it.
fn inherited_settings() -> impl Iterator<Item = OsString> {
    let configures = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("BROKKR_") || name.starts_with("OTEL_") || ["TRACEPARENT", "TRACESTATE"].contains(&name.as_ref())
    };
    env::vars_os().map(|(name, _)| name).filter(move |name| configures(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed_as_it_is_shown() {
        let typed = Typed::new(["sed", "-i", "s/it's \"60\"/90/", "a.yaml"]).with("TRACEPARENT", "00-ab-cd-01");
        assert_eq!(typed.text(), r#"TRACEPARENT=00-ab-cd-01 sed -i 's/it'\''s "60"/90/' a.yaml"#);
    }

    #[tokio::test]
    async fn a_command_that_fails_says_what_it_printed() {
        let here = env::temp_dir();
        let shell = Shell { directory: here, brokkr: "brokkr".into(), kubectl: "kubectl".into(), kubeconfig: "none".into() };
        let typed = Typed::new(["sh", "-c", "echo $GREETING; echo no >&2; exit 3"]).with("GREETING", "hello");
        let error = shell.run(&typed, Duration::from_secs(30)).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("no\nhello"), "{error}");
    }
}
