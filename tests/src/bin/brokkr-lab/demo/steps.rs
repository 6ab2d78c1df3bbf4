use super::{
    caller::Caller,
    command::{Printed, Typed},
    fold::folded,
    look::{DEPLOYMENT, Look, NAMESPACE},
    screen::Screen,
    stage::Stage,
};
use anyhow::{Context, ensure};
use brokkr_tests::otlp::share_table;
use serde_json::Value;
use std::{fs, time::Duration};

const LIMIT: Duration = Duration::from_secs(120);
const CHANGE: [&str; 2] = [r#"strikes-per-minute: "60""#, r#"strikes-per-minute: "90""#];
const CHANGED: &str = "examples/10-configmap.yaml";

/// What the three steps share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps<'a> {
    pub(super) stage: &'a Stage,
    pub(super) screen: Screen,
    /// Show every span instead of folding runs of like ones.
    pub(super) full: bool,
}

impl Steps<'_> {
    /// Sends the examples and waits until their pods are ready; returns the label of the stack's objects.
    pub(super) async fn apply(self) -> anyhow::Result<String> {
        self.screen.heading("1 · send a namespace, a ConfigMap, a Deployment, a Service, a CRD and an object of it");
        let look = Look(&self.stage.shell);
        let caller = Caller::new();
        self.traced(&caller, ["brokkr", "apply", "-f", "examples", "--stack", "demo", "--wait"]).await?;
        self.run(&Typed::new(["kubectl", "rollout", "status", DEPLOYMENT, "-n", NAMESPACE, "--timeout=90s"])).await?;
        self.table(&Look::at_the_stack()).await?;
        let label = look.all_there().await?;
        let pods = look.ready_pods().await?;
        ensure!(strikes(&look.json("configmap/bellows").await?)? == "60", "the ConfigMap is not as it was sent");
        self.screen.verified(&format!("all six objects are in the cluster, {pods} of {pods} pods are ready"));
        self.show_trace(&caller).await?;
        Ok(label)
    }

    /// Changes one object.
    pub(super) async fn change(self) -> anyhow::Result<()> {
        self.screen.heading("2 · change one object");
        let look = Look(&self.stage.shell);
        let before = look.json(DEPLOYMENT).await?;
        let [from, to] = CHANGE;
        self.run(&Typed::new(["sed", "-i", &format!("s/{from}/{to}/"), CHANGED])).await?;
        let text = fs::read_to_string(self.stage.shell.directory.join(CHANGED)).context(CHANGED)?;
        ensure!(text.contains(to), "{CHANGED} was not changed");
        let caller = Caller::new();
        self.traced(&caller, ["brokkr", "apply", "-f", "examples", "--stack", "demo", "--wait"]).await?;
        self.table(&Look::at_the_stack()).await?;
        self.run(&Typed::new(["kubectl", "get", "configmap", "bellows", "-n", NAMESPACE, "-o", "jsonpath={.data}"])).await?;
        let arrived = strikes(&look.json("configmap/bellows").await?)?;
        ensure!(arrived == "90", "the change did not arrive: strikes-per-minute is {arrived}");
        look.all_there().await?;
        look.ready_pods().await?;
        let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
        ensure!(
            version(&before) == version(&look.json(DEPLOYMENT).await?),
            "the Deployment was written, although only the ConfigMap changed"
        );
        self.screen.verified("the cluster says strikes-per-minute: 90, and the Deployment was not touched");
        self.show_trace(&caller).await
    }

    /// Deletes the stack, and makes sure that nothing with its label is left.
    pub(super) async fn delete(self, label: &str) -> anyhow::Result<()> {
        self.screen.heading("3 · delete the stack");
        let caller = Caller::new();
        self.traced(&caller, ["brokkr", "delete", "stack", "demo", "--wait"]).await?;
        self.table(&Look::after_the_stack()).await?;
        let kinds = Look(&self.stage.shell).nothing_left(label).await?;
        self.screen.verified(&format!("looked through all {kinds} kinds of the API server: nothing of the stack is left"));
        self.show_trace(&caller).await
    }

    /// Best effort: takes back from a person's cluster what an interrupted demo has sent.
    pub(super) async fn take_back(self) -> anyhow::Result<()> {
        let typed = Typed::new(["brokkr", "delete", "stack", "demo", "--wait", "--timeout", "60s"]);
        self.run(&typed).await
    }

    async fn traced<const N: usize>(self, caller: &Caller, words: [&str; N]) -> anyhow::Result<()> {
        self.run(&Typed::new(words).with("TRACEPARENT", &caller.traceparent())).await
    }

    async fn run(self, typed: &Typed) -> anyhow::Result<()> {
        let printed = self.said(typed).await?;
        self.screen.output(&printed.both());
        Ok(())
    }

    async fn table(self, typed: &Typed) -> anyhow::Result<()> {
        let printed = self.said(typed).await?;
        self.screen.table(&printed.both());
        Ok(())
    }

    async fn said(self, typed: &Typed) -> anyhow::Result<Printed> {
        self.screen.command(typed.text());
        let running = self.stage.shell.run(typed, LIMIT);
        self.screen.during_command(running).await
    }

    async fn show_trace(self, caller: &Caller) -> anyhow::Result<()> {
        let arriving = caller.wait_for_trace(&self.stage.receiver);
        let (trace, counts) = self.screen.during("waiting for the last spans", arriving).await?;
        let shown = if self.full { trace.clone() } else { folded(&trace) };
        let paint = self.screen.paint();
        let tree = shown.tree(paint);
        // The drawing's own heading counts what is drawn.
        let body = tree.split_once('\n').map_or("", |(_, body)| body);
        self.screen.trace(&trace);
        self.screen.drawing(body);
        self.screen.drawing("\n");
        self.screen.drawing(&share_table(&trace.shares(), paint));
        self.screen.verified(&format!("one trace from the caller to the report: {}", counts.text()));
        Ok(())
    }
}

fn strikes(config_map: &Value) -> anyhow::Result<String> {
    let value = config_map.pointer("/data/strikes-per-minute").and_then(Value::as_str);
    Ok(value.context("the ConfigMap has no strikes-per-minute")?.to_owned())
}
