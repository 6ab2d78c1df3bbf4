//! The real Helm, with folders of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use brokkr_tests::lab::{self, Scratch};
use serde_json::Value;

/// The charts, by the daemon that they are for.
pub(crate) const CHARTS: [&str; 2] = ["broker", "agent"];

pub(crate) struct Helm {
    program: PathBuf,
    home: Scratch,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// Helm without a cluster.
    pub(crate) async fn alone() -> Self {
        Self { program: lab::helm().await.unwrap(), home: Scratch::new("helm").unwrap(), kubeconfig: None }
    }

    pub(crate) async fn on(kubeconfig: &Path) -> Self {
        Self { kubeconfig: Some(kubeconfig.to_owned()), ..Self::alone().await }
    }

    /// What it prints, or says on stderr when it fails.
    pub(crate) fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(repository()).env_remove("KUBECONFIG");
        for (variable, folder) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")] {
            command.env(variable, self.home.path().join(folder));
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(said) }
    }

    /// What the chart of this daemon renders as release `demo`.
    pub(crate) fn template(&self, daemon: &str, namespace: &str, args: &[&str]) -> Result<String, String> {
        let chart = chart(daemon);
        let always = ["template", "demo", chart.as_str(), "--namespace", namespace];
        self.run(always.into_iter().chain(args.iter().copied()))
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn chart(daemon: &str) -> String {
    repository().join("charts").join(format!("brokkr-{daemon}")).display().to_string()
}

/// Name and file of each set of values that is tried with the chart of this daemon.
pub(crate) fn matrix(daemon: &str) -> Vec<(String, String)> {
    let folder = repository().join("tests/charts/values").join(daemon);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        files.map(|file| (file.file_stem().unwrap().to_str().unwrap().to_owned(), file.display().to_string())).collect();
    found.sort();
    assert!(found.len() > 3);
    found
}

/// The objects of a stream of manifests.
pub(crate) fn objects(manifests: &str) -> Vec<Value> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(manifests).unwrap();
    objects.into_iter().filter(Value::is_object).collect()
}

/// The one object of this kind whose name ends so.
pub(crate) fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"].as_str().unwrap().ends_with(name);
    let found: Vec<_> = objects.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found[0]
}
