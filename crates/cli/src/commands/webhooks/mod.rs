//! `brokkr webhooks`.

mod create;
mod listen;
mod show;

use std::time::Duration;

use anyhow::Context;
use brokkr_api::{
    DeliveryId, Name, Timestamp,
    page::{MAX_LIMIT, PageQuery},
    webhooks::{DeliveriesQuery, DeliveryState, Replay, RotateWebhook, UpdateWebhook, WebhookState},
};
use clap::Subcommand;

use super::{Outcome, confirm::confirm};
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// Let receivers be told of events.
#[derive(Debug, Subcommand)]
pub(crate) enum Webhooks {
    /// Make a webhook, and show its secret once
    Create(Box<create::CreateArgs>),
    /// List webhooks
    List,
    /// One webhook
    Show {
        /// Its name
        name: Name,
    },
    /// Send again to a webhook that was disabled
    Enable {
        /// Its name
        name: Name,
    },
    /// Send nothing to a webhook
    Disable {
        /// Its name
        name: Name,
    },
    /// Delete a webhook, and everything that waits for it
    Delete {
        /// Its name
        name: Name,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Send a test event and wait for what becomes of it
    Test {
        /// The webhook
        name: Name,
        /// Longest time to wait
        #[arg(long, default_value = "30s", value_parser = humantime::parse_duration, value_name = "TIME")]
        timeout: Duration,
    },
    /// Replace the secret, and show the new one once
    Rotate {
        /// The webhook
        name: Name,
        /// How long the old secret signs beside the new one
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration, value_name = "TIME")]
        overlap: Duration,
    },
    /// What was sent and what waits, the newest first; or one delivery with its attempts
    Deliveries {
        /// The webhook
        name: Name,
        /// One delivery
        id: Option<DeliveryId>,
        /// Only those in this state: pending, held, delivered or dead
        #[arg(long, value_parser = state)]
        state: Option<DeliveryState>,
        /// Most of them
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Send again: one delivery, those of a time, or all that were given up
    Replay {
        /// The webhook
        name: Name,
        /// One delivery
        #[arg(required_unless_present_any = ["since", "failed"], conflicts_with_all = ["since", "failed"])]
        id: Option<DeliveryId>,
        /// Those made in this time until now
        #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME", conflicts_with = "failed")]
        since: Option<Duration>,
        /// And at least so long ago
        #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME", requires = "since")]
        until: Option<Duration>,
        /// All that were given up
        #[arg(long)]
        failed: bool,
    },
    /// The types of events; or the JSON Schema of one
    Types {
        /// A type
        kind: Option<String>,
    },
    /// Receive, verify and print messages on this machine
    Listen(listen::ListenArgs),
}

fn state(text: &str) -> Result<DeliveryState, String> {
    let words = || DeliveryState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
    DeliveryState::from_word(text).ok_or_else(|| format!("one of {}", words()))
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, webhooks: Webhooks) -> anyhow::Result<Outcome> {
    match webhooks {
        Webhooks::Create(args) => create::run(connection, format, *args).await?,
        Webhooks::List => {
            let client = connection.client()?;
            let mut items = Vec::new();
            let mut query = PageQuery { limit: Some(MAX_LIMIT), cursor: None };
            loop {
                let page = client.webhooks(&query).await?;
                items.extend(page.items);
                if page.next_cursor.is_none() {
                    break;
                }
                query.cursor = page.next_cursor;
            }
            show::list(format, &items)?;
        }
        Webhooks::Show { name } => show::webhook(format, &connection.client()?.webhook(&name).await?)?,
        Webhooks::Enable { name } => set(connection, format, &name, WebhookState::Enabled).await?,
        Webhooks::Disable { name } => set(connection, format, &name, WebhookState::Disabled).await?,
        Webhooks::Delete { name, yes } => {
            confirm(&format!("Delete the webhook {name} and everything that waits for it?"), yes)?;
            connection.changing_client()?.delete_webhook(&name).await?;
            output::note(&format!("the webhook {name} is deleted"));
        }
        Webhooks::Test { name, timeout } => return show::test(connection, format, &name, timeout).await,
        Webhooks::Rotate { name, overlap } => {
            let overlap_seconds = u32::try_from(overlap.as_secs()).context("--overlap")?;
            let rotated = connection.changing_client()?.rotate_webhook(&name, &RotateWebhook { overlap_seconds }).await?;
            show::secret(format, &rotated)?;
        }
        Webhooks::Deliveries { name, id: Some(id), .. } => {
            show::delivery(format, &connection.client()?.delivery(&name, id).await?)?;
        }
        Webhooks::Deliveries { name, id: None, state, limit } => {
            let query = DeliveriesQuery { limit: Some(limit), cursor: None, state };
            show::deliveries(format, &connection.client()?.deliveries(&name, &query).await?.items)?;
        }
        Webhooks::Replay { name, id, since, until, failed } => {
            let ago = |span: Duration| output::now().before(span);
            let replay =
                Replay { delivery: id, since: since.map(ago), until: since.map(|_| ago(until.unwrap_or_default())), failed };
            replay_all(connection, &name, replay).await?;
        }
        Webhooks::Types { kind } => show::types(connection, format, kind).await?,
        Webhooks::Listen(args) => listen::run(args).await?,
    }
    Ok(Outcome::Done)
}

async fn set(connection: &ConnectionArgs, format: Format, name: &Name, state: WebhookState) -> anyhow::Result<()> {
    let update = UpdateWebhook { state: Some(state), ..UpdateWebhook::default() };
    show::webhook(format, &connection.changing_client()?.update_webhook(name, &update).await?)
}

async fn replay_all(connection: &ConnectionArgs, name: &Name, mut replay: Replay) -> anyhow::Result<()> {
    let client = connection.changing_client()?;
    let mut all = 0;
    loop {
        let replayed = client.replay(name, &replay).await?;
        all += replayed.deliveries;
        let next: Option<Timestamp> = replayed.next_since;
        if !replayed.more || (replay.since.is_some() && next == replay.since) {
            break;
        }
        replay.since = replay.since.and(next);
    }
    output::note(&format!("{all} deliveries are sent again"));
    Ok(())
}
