//! `brokkr webhooks create`.

use std::collections::BTreeMap;

use anyhow::Context;
use brokkr_api::{
    LabelSelector, Labels, Name, TargetSelector,
    webhooks::{CreateWebhook, PayloadFormat, SignatureKind, WebhookSettings},
};
use clap::Args;

use super::{super::pair, show};
use crate::{connection::ConnectionArgs, output::Format};

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name
    name: Name,
    /// Where events are sent
    url: String,
    /// Types of events: deployment.applied, deployment.* for all that begin so; may be repeated [default: all]
    #[arg(short, long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// Only events about this stack; may be repeated
    #[arg(long = "stack", value_name = "NAME")]
    stacks: Vec<Name>,
    /// Only events about stacks with this label; may be repeated
    #[arg(long = "stack-label", value_name = "KEY=VALUE", value_parser = pair)]
    stack_labels: Vec<(String, String)>,
    /// Only events about this agent; may be repeated
    #[arg(long = "agent", value_name = "NAME")]
    agents: Vec<Name>,
    /// Only events about agents with this label; may be repeated
    #[arg(long = "agent-label", value_name = "KEY=VALUE", value_parser = pair)]
    agent_labels: Vec<(String, String)>,
    /// Only events about stacks of this generator; may be repeated
    #[arg(long = "generator", value_name = "NAME")]
    generators: Vec<Name>,
    /// Agents with this label send, from their own networks; may be repeated [default: the broker sends]
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    by: Vec<(String, String)>,
    /// This agent sends; may be repeated
    #[arg(long, value_name = "NAME")]
    by_agent: Vec<Name>,
    /// A header of every message, kept secret; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Send events of CloudEvents 1.0
    #[arg(long)]
    cloudevents: bool,
    /// Sign with an ed25519 key instead of a shared secret
    #[arg(long)]
    ed25519: bool,
    /// Let events about one stack arrive in their order
    #[arg(long)]
    ordered: bool,
    /// Send no traceparent
    #[arg(long, conflicts_with = "tracestate")]
    no_traceparent: bool,
    /// Send tracestate beside traceparent
    #[arg(long)]
    tracestate: bool,
    /// Seconds that an attempt may take
    #[arg(long, default_value_t = 15, value_name = "SECONDS")]
    timeout: u32,
    /// Most attempts at the same time
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    concurrency: u32,
    /// Most attempts in a second
    #[arg(long, value_name = "COUNT")]
    rate: Option<u32>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn selector(names: Vec<Name>, labels: Vec<(String, String)>, flag: &'static str) -> anyhow::Result<Option<TargetSelector>> {
    if names.is_empty() && labels.is_empty() {
        return Ok(None);
    }
    let labels = Labels::try_from(labels.into_iter().collect::<BTreeMap<_, _>>()).context(flag)?;
    let labels = (!labels.is_empty()).then(|| LabelSelector { match_labels: labels, ..LabelSelector::default() });
    Ok(Some(TargetSelector { labels, names }))
}

pub(super) async fn run(connection: &ConnectionArgs, format: Format, args: CreateArgs) -> anyhow::Result<()> {
    let defaults = WebhookSettings::default();
    let settings = WebhookSettings {
        events: if args.events.is_empty() { defaults.events } else { args.events },
        stacks: selector(args.stacks, args.stack_labels, "--stack-label")?,
        agents: selector(args.agents, args.agent_labels, "--agent-label")?,
        generators: args.generators,
        deliver_by: selector(args.by_agent, args.by, "--by")?,
        format: if args.cloudevents { PayloadFormat::CloudEvents } else { PayloadFormat::Standard },
        ordered: args.ordered,
        traceparent: !args.no_traceparent,
        tracestate: args.tracestate,
        timeout_seconds: args.timeout,
        concurrency: args.concurrency,
        rate_per_second: args.rate,
    };
    let create = CreateWebhook {
        name: args.name,
        url: args.url,
        headers: args.headers.into_iter().collect(),
        signature: if args.ed25519 { SignatureKind::Ed25519 } else { SignatureKind::Hmac },
        settings,
    };
    show::secret(format, &connection.changing_client()?.create_webhook(&create).await?)
}
