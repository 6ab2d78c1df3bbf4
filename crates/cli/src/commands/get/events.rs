//! `brokkr get events`: what happened, by position.

use std::time::Duration;

use brokkr_api::{
    Name,
    client::Client,
    events::{Event, EventsQuery},
};
use clap::Args;

use crate::output::{self, Format};

/// How often is looked for new events.
const LOOK: Duration = Duration::from_secs(1);

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Go on until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only after this position
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    /// Only of this type, `deployment.failed`, or of all that begin so, `deployment.`
    #[arg(short, long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only of this stack
    #[arg(short, long)]
    stack: Option<Name>,
    /// Only of this agent
    #[arg(short, long)]
    agent: Option<Name>,
}

/// Writes each page as it comes. As JSON one event is one line, because a stream has no end.
pub(super) async fn run(client: &Client, format: Format, args: EventsArgs) -> anyhow::Result<()> {
    let EventsArgs { follow, after, kind, stack, agent } = args;
    let mut query = EventsQuery { limit: Some(500), after, kind, stack, agent };
    let mut any = false;
    loop {
        let page = client.events(&query).await?;
        for event in &page.items {
            match format {
                Format::Json => anstream::println!("{}", serde_json::to_string(event)?),
                Format::Table => anstream::println!("{}", line(event)),
            }
        }
        any |= !page.items.is_empty();
        query.after = Some(page.next_after);
        if page.more {
            continue;
        }
        if !follow {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    if !any {
        output::note("no events");
    }
    Ok(())
}

fn line(event: &Event) -> String {
    let mut line = format!("{:>6}  {}  {:<22}", event.position, event.created_at, event.kind);
    if let Some(fields) = event.data.as_object() {
        for (key, value) in fields {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            line = format!("{line} {key}={value}");
        }
    }
    if let Some(generation) = event.generation.filter(|_| event.data.get("generation").is_none()) {
        line = format!("{line} generation={generation}");
    }
    if let Some(trace) = &event.trace_id {
        line = format!("{line} trace={trace}");
    }
    line
}
