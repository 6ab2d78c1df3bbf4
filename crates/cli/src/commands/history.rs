//! `brokkr history`.

use brokkr_api::{Name, page::PageQuery};
use clap::Args;

use super::{Outcome, get::all};
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// The generations of a stack, the newest first.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The stack
    stack: Name,
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, args: HistoryArgs) -> anyhow::Result<Outcome> {
    let client = connection.client()?;
    let list = async |page: PageQuery| client.list_deployment_objects(&args.stack, &page).await;
    let generations = all(list).await?;
    if format == Format::Json {
        output::json(&generations)?;
        return Ok(Outcome::Done);
    }
    let now = output::now();
    let rows = generations.iter().map(|object| {
        vec![
            object.generation.to_string(),
            output::ago(Some(object.created_at), now),
            object.objects.to_string(),
            object.bytes.to_string(),
            object.digest.chars().take("sha256:".len() + 12).collect(),
            object.rollback_to.map_or_else(String::new, |generation| format!("content of {generation}")),
            object.trace_id.clone().unwrap_or_default(),
        ]
    });
    let nothing = format!("stack {} has no generation yet: brokkr apply -f FILE --stack {0} makes one", args.stack);
    output::table(&["generation", "age", "objects", "bytes", "digest", "rollback", "trace"], rows.collect(), &nothing);
    Ok(Outcome::Done)
}
