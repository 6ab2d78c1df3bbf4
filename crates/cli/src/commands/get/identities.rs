//! `brokkr get keys`, `generators` and `tokens`: never the secrets themselves.

use brokkr_api::{Timestamp, client::Client, keys::Key};

use super::all;
use crate::output::{self, Format};

pub(super) async fn keys(client: &Client, format: Format) -> anyhow::Result<()> {
    let keys = all(async |page| client.list_keys(&page).await).await?;
    if format == Format::Json {
        return output::json(&keys);
    }
    let now = output::now();
    let rows = keys.iter().map(|key| {
        let whose = key.agent.as_ref().map(ToString::to_string).or_else(|| key.generator.map(|id| id.to_string()));
        vec![
            key.id.to_string(),
            key.name.to_string(),
            key.role.as_str().to_owned(),
            whose.unwrap_or_default(),
            state(key, now).to_owned(),
            output::ago(key.last_used_at, now),
            key.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string()),
        ]
    });
    output::table(&["id", "name", "role", "of", "state", "used", "expires"], rows.collect(), "no keys");
    Ok(())
}

fn state(key: &Key, now: Timestamp) -> &'static str {
    match key {
        key if key.revoked_at.is_some() => "revoked",
        key if key.expires_at.is_some_and(|at| at <= now) => "expired",
        key if key.pending => "pending",
        _ => "valid",
    }
}

pub(super) async fn generators(client: &Client, format: Format) -> anyhow::Result<()> {
    let generators = all(async |page| client.list_generators(&page).await).await?;
    if format == Format::Json {
        return output::json(&generators);
    }
    let limit = |limit: Option<u64>| limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
    let rows = generators.iter().map(|generator| {
        let quota = &generator.quota;
        vec![
            generator.name.to_string(),
            generator.id.to_string(),
            limit(quota.max_stacks.map(u64::from)),
            limit(quota.max_bytes),
            limit(quota.requests_per_minute.map(u64::from)),
        ]
    });
    output::table(&["name", "id", "stacks", "bytes", "requests/min"], rows.collect(), "no generators");
    Ok(())
}

pub(super) async fn tokens(client: &Client, format: Format) -> anyhow::Result<()> {
    let tokens = all(async |page| client.list_registration_tokens(&page).await).await?;
    if format == Format::Json {
        return output::json(&tokens);
    }
    let now = output::now();
    let rows = tokens.iter().map(|token| {
        let state = match token {
            token if token.revoked_at.is_some() => "revoked",
            token if token.expires_at <= now => "expired",
            token if token.uses >= token.max_uses => "used up",
            _ => "valid",
        };
        vec![
            token.id.to_string(),
            token.name.to_string(),
            state.to_owned(),
            format!("{}/{}", token.uses, token.max_uses),
            token.expires_at.to_string(),
            output::labels(&token.labels),
        ]
    });
    output::table(&["id", "name", "state", "uses", "expires", "labels"], rows.collect(), "no registration tokens");
    Ok(())
}
