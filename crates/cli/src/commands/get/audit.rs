//! `brokkr get audit`.

use brokkr_api::{audit::AuditQuery, client::Client};
use clap::Args;

use crate::output::{self, Format};

/// Which entries.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Most entries
    #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Only of this action, `stack.updated`
    #[arg(long)]
    action: Option<String>,
    /// Only about resources of this kind: stack, agent, key, generator, `registration_token`, fleet
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only about the resource of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub(super) async fn run(client: &Client, format: Format, args: AuditArgs) -> anyhow::Result<()> {
    let AuditArgs { limit, action, kind, name } = args;
    let query = AuditQuery { limit: Some(limit), action, resource_kind: kind, resource_name: name, ..AuditQuery::default() };
    let page = client.audit(&query).await?;
    if format == Format::Json {
        return output::json(&page.items);
    }
    let rows = page.items.iter().map(|entry| {
        let name = entry.resource_name.as_ref().or(entry.resource_id.as_ref());
        vec![
            entry.created_at.to_string(),
            entry.actor.clone(),
            entry.role.as_str().to_owned(),
            entry.action.clone(),
            format!("{} {}", entry.resource_kind, name.map_or("", String::as_str)).trim().to_owned(),
            entry.outcome.as_str().to_owned(),
            entry.request_id.clone().unwrap_or_default(),
        ]
    });
    output::table(&["time", "key", "role", "action", "resource", "outcome", "request"], rows.collect(), "no entries");
    if page.next_cursor.is_some() {
        output::note(&format!("these are the newest {limit}; there are older ones"));
    }
    Ok(())
}
