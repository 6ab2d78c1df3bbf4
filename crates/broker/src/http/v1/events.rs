//! Events: what happened, for whoever follows it.

use axum::extract::State;
use brokkr_api::{
    ErrorCode, Name,
    events::{Events, EventsQuery},
};

use super::page;
use crate::{
    http::{
        AppState,
        auth::{Allowed, EventsRead},
        body::{Json, Query},
        error::Failure,
    },
    store::EventFilter,
};

/// Longest type of an event.
const MAX_KIND: usize = 64;

/// Events after a position, the oldest first. A generator sees those of its own stacks.
///
/// Positions have no holes and are given after commit: a reader that goes on after the last one it saw misses nothing.
#[utoipa::path(get, path = brokkr_api::routes::EVENTS, operation_id = "listEvents", tag = "events", params(EventsQuery),
    responses((status = 200, body = Events), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    caller: Allowed<EventsRead>,
    State(state): State<AppState>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<Events>, Failure> {
    let limit = page::limit(query.limit)?;
    let kind = query.kind.as_deref();
    let is_kind = |kind: &str| kind.len() <= MAX_KIND && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_');
    if kind.is_some_and(|kind| !is_kind(kind)) {
        let detail = "a type is written as deployment.applied, or as deployment. for all that begin so";
        return Err(Failure::new(ErrorCode::InvalidQuery, detail).at("query type"));
    }
    let after = query.after.unwrap_or(0);
    if i64::try_from(after).is_err() {
        return Err(Failure::new(ErrorCode::InvalidQuery, "there is no such position").at("query after"));
    }
    let filter = EventFilter {
        scope: caller.scope,
        kind,
        stack: query.stack.as_ref().map_or("", Name::as_str),
        agent: query.agent.as_ref().map_or("", Name::as_str),
    };
    let events = state.db.list_events(&filter, after, limit + 1).await?;
    let page = page::page(events, limit, |event| event.position.to_string());
    let next_after = page.items.last().map_or(after, |event| event.position);
    Ok(Json(Events { items: page.items, next_after, more: page.next_cursor.is_some() }))
}
