//! `brokkr get fleet`.

use brokkr_api::client::Client;

use crate::output::{self, Format};

pub(super) async fn run(client: &Client, format: Format) -> anyhow::Result<()> {
    let fleet = client.fleet().await?;
    if format == Format::Json {
        return output::json(&fleet);
    }
    let suspended = fleet.suspended.as_ref().map_or_else(|| "no".to_owned(), output::suspension);
    output::page(&[
        ("agents", format!("{} ({} online)", fleet.agents, fleet.online)),
        ("stacks", fleet.stacks.to_string()),
        ("suspended", suspended),
        ("installation", fleet.installation),
        ("epoch", fleet.epoch),
    ]);
    Ok(())
}
