//! `brokkr run`: asks for work, and follows it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use brokkr_api::{
    LabelSelector, Labels, Name, TargetSelector, Timestamp,
    desired_state::Content,
    work_orders::{ApplyWork, CreateWorkOrder, JobWork, OnAgentLoss, SecretReference, Work},
};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Outcome, manifests, pair, work_orders};
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// Ask for work that one matching agent does once.
#[derive(Debug, Subcommand)]
pub(crate) enum Run {
    /// Run a Kubernetes Job
    Job {
        /// The Job: a file, or - for the standard input
        #[arg(short, long = "file", value_name = "FILE|-")]
        file: PathBuf,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Apply objects and wait until a condition on them is true
    Apply {
        /// Manifests: a file, a folder, or - for the standard input; may be repeated
        #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
        files: Vec<PathBuf>,
        /// Condition in CEL for success, on object.items
        #[arg(long, value_name = "CEL")]
        success: String,
        /// Condition in CEL for failure, on object.items
        #[arg(long, value_name = "CEL")]
        failure: Option<String>,
        #[command(flatten)]
        order: OrderArgs,
    },
}

/// What every order may have.
#[derive(Debug, Args)]
pub(crate) struct OrderArgs {
    /// What it is called; the name of the first object when absent
    #[arg(long)]
    name: Option<Name>,
    /// One of the agents with this label does it, KEY=VALUE; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    on: Vec<(String, String)>,
    /// This agent may do it; may be repeated
    #[arg(short, long = "agent", value_name = "NAME")]
    agents: Vec<Name>,
    /// Any agent may do it
    #[arg(long, conflicts_with_all = ["on", "agents"])]
    any_agent: bool,
    /// Orders of a higher priority are claimed first
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// Nobody starts it earlier than at this time, as 2026-01-31T18:00:00Z
    #[arg(long, value_parser = time, value_name = "TIME")]
    not_before: Option<Timestamp>,
    /// It has succeeded within this time, or failed
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    deadline: Option<Duration>,
    /// How often it is tried
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    attempts: u32,
    /// Wait before the second attempt; twice as long each time
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration, value_name = "TIME")]
    backoff: Duration,
    /// Try it again when its agent is lost after the start, so that it may be done twice
    #[arg(long)]
    again_on_agent_loss: bool,
    /// Environment variable of every container; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    parameters: Vec<(String, String)>,
    /// Environment variable from a Secret of the cluster, NAME=SECRET/KEY; may be repeated
    #[arg(long = "secret", value_name = "NAME=SECRET/KEY", value_parser = secret)]
    secrets: Vec<SecretReference>,
    /// How long finished objects are kept in the cluster
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration, value_name = "TIME")]
    keep: Duration,
    /// Sent again with the same key, no second order is made
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait until it has ended
    #[arg(short, long)]
    wait: bool,
    /// Longest time to wait
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration, value_name = "TIME")]
    timeout: Duration,
    /// Show the end of its log when it has ended
    #[arg(long, requires = "wait")]
    logs: bool,
}

fn time(text: &str) -> Result<Timestamp, String> {
    serde_json::from_value(Value::String(text.to_owned())).map_err(|_| "write it as 2026-01-31T18:00:00Z".to_owned())
}

fn secret(text: &str) -> Result<SecretReference, String> {
    let parts = text.split_once('=').and_then(|(name, place)| Some((name, place.split_once('/')?)));
    let (name, (secret, key)) = parts.ok_or("write it as NAME=SECRET/KEY")?;
    Ok(SecretReference { name: name.to_owned(), secret: secret.to_owned(), key: key.to_owned() })
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, run: Run) -> anyhow::Result<Outcome> {
    let (work, name, args) = match run {
        Run::Job { file, order } => {
            let mut documents = documents(std::slice::from_ref(&file))?;
            let manifest =
                documents.pop().filter(|_| documents.is_empty()).context("the file holds one Job, and nothing else")?;
            let name = named(&manifest);
            (Work::Job(JobWork { manifest }), name, order)
        }
        Run::Apply { files, success, failure, order } => {
            let objects = documents(&files)?;
            let name = objects.first().and_then(named);
            (Work::Apply(ApplyWork { objects: Content { objects }, success, failure }), name, order)
        }
    };
    let order = order(work, name, &args)?;
    let client = connection.changing_client()?;
    let made = client.create_work_order(&order, args.idempotency_key.as_deref()).await?;
    if connection.wants_trace() {
        output::note(&format!("trace {}", made.trace_id.as_deref().unwrap_or("none: the broker does not trace")));
    }
    if args.wait {
        output::note(&format!("work order {} ({})", made.id, made.name));
        return work_orders::follow(&connection.client()?, format, made.id, args.timeout, args.logs).await;
    }
    match format {
        Format::Json => output::json(&made)?,
        Format::Table => anstream::println!("work order {} {}: brokkr work-orders show {}", made.name, made.state, made.id),
    }
    Ok(Outcome::Done)
}

fn order(work: Work, name: Option<Name>, args: &OrderArgs) -> anyhow::Result<CreateWorkOrder> {
    let name = args.name.clone().or(name).context("say what it is called: --name NAME")?;
    Ok(CreateWorkOrder {
        name,
        work,
        targets: targets(args)?,
        priority: args.priority,
        not_before: args.not_before,
        deadline_seconds: args.deadline.map(seconds).transpose()?,
        max_attempts: args.attempts,
        backoff_seconds: seconds(args.backoff)?,
        on_agent_loss: if args.again_on_agent_loss { OnAgentLoss::Retry } else { OnAgentLoss::Unknown },
        parameters: args.parameters.iter().cloned().collect(),
        secrets: args.secrets.clone(),
        ttl_seconds: seconds(args.keep)?,
    })
}

fn seconds(time: Duration) -> anyhow::Result<u32> {
    u32::try_from(time.as_secs()).context("that is too long")
}

fn targets(args: &OrderArgs) -> anyhow::Result<TargetSelector> {
    if args.any_agent {
        return Ok(TargetSelector::everyone());
    }
    if args.on.is_empty() && args.agents.is_empty() {
        bail!("say which agents may do it: --on KEY=VALUE, --agent NAME or --any-agent");
    }
    let labels: BTreeMap<_, _> = args.on.iter().cloned().collect();
    let labels = Labels::try_from(labels)?;
    let labels = (!labels.is_empty()).then(|| LabelSelector { match_labels: labels, ..LabelSelector::default() });
    Ok(TargetSelector { labels, names: args.agents.clone() })
}

/// The name of an object, where an order may have it.
fn named(object: &Value) -> Option<Name> {
    object.pointer("/metadata/name")?.as_str()?.parse().ok()
}

fn documents(files: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    let text = String::from_utf8(manifests::read(files)?).context("the manifests are not text")?;
    let place = files.iter().map(|file| Path::display(file).to_string()).collect::<Vec<_>>().join(", ");
    let documents = serde_saphyr::from_multiple::<Value>(&text).with_context(|| place)?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        run: Run,
    }

    fn args(line: &[&str]) -> OrderArgs {
        let line = [["brokkr", "job", "-f", "job.yaml"].as_slice(), line].concat();
        match Line::try_parse_from(line).unwrap().run {
            Run::Job { order, .. } | Run::Apply { order, .. } => order,
        }
    }

    #[test]
    fn the_arguments_become_the_order() {
        let work = Work::Job(JobWork { manifest: Value::Null });
        let line =
            ["--on", "region=eu", "--deadline", "10m", "--param", "A=b=c", "--secret", "T=keys/token", "--again-on-agent-loss"];
        let line = [line.as_slice(), &["--not-before", "2026-01-31T18:00:00Z"]].concat();
        let order = order(work, Some("import".parse().unwrap()), &args(&line)).unwrap();
        assert_eq!(order.not_before.unwrap().as_micros(), 1_769_882_400_000_000);
        assert_eq!((order.name.as_str(), order.deadline_seconds, order.on_agent_loss), ("import", Some(600), OnAgentLoss::Retry));
        assert_eq!(order.parameters["A"], "b=c");
        assert_eq!((order.secrets[0].secret.as_str(), order.secrets[0].key.as_str()), ("keys", "token"));
        assert_eq!(output::targets(&order.targets), "region=eu");
    }

    #[test]
    fn an_order_for_nobody_is_refused_before_it_is_sent() {
        assert!(targets(&args(&[])).is_err());
        assert_eq!(targets(&args(&["--any-agent"])).unwrap(), TargetSelector::everyone());
        assert!(time("tomorrow").is_err());
        assert!(secret("A").is_err() && secret("A=b").is_err());
    }
}
