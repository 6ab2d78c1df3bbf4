//! Deliveries of webhooks: what became of them, and sending again.

use axum::extract::State;
use brokkr_api::{
    DeliveryId, EventId, Name, Page,
    webhooks::{DeliveriesQuery, Delivery, DeliveryState, EventType, MAX_REPLAYS, Replay, Replayed},
};
use brokkr_telemetry::TraceContext;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    page,
    webhooks::{find, lock},
};
use crate::{
    domain::webhook::{TEST, delivery_id, request, schema},
    http::{
        AppState,
        auth::{Allowed, WebhooksRead, WebhooksWrite},
        body::{Json, Path, Query},
        error::Failure,
        record::{Change, Resource, audit_alone, record},
    },
    store::{DeliveryRow, NewEvent},
};

impl DeliveryRow {
    fn into_api(self) -> Delivery {
        let waits = self.state == DeliveryState::Pending;
        Delivery {
            id: self.id,
            event: self.event,
            kind: self.kind,
            state: self.state,
            attempts: self.attempts,
            next_attempt_at: waits.then_some(self.next_attempt_at),
            created_at: self.created_at,
            finished_at: self.finished_at,
            trace_id: self.trace.map(|trace| trace.trace_id().to_owned()),
            log: self.log,
        }
    }
}

/// A page of a webhook's deliveries, the newest first, without their attempts.
#[utoipa::path(get, path = brokkr_api::routes::DELIVERIES, operation_id = "listDeliveries", tag = "webhooks",
    params(("webhook" = Name, Path), DeliveriesQuery),
    responses((status = 200, body = Page<Delivery>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    caller: Allowed<WebhooksRead>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Query(query): Query<DeliveriesQuery>,
) -> Result<Json<Page<Delivery>>, Failure> {
    let (limit, cursor) = (page::limit(query.limit)?, page::cursor(query.cursor.as_deref())?);
    let webhook = find(&caller, &state, &name).await?;
    let rows = state.db.list_deliveries(webhook.id, query.state, cursor, limit + 1).await?;
    let deliveries = rows.into_iter().map(DeliveryRow::into_api).collect();
    Ok(Json(page::page(deliveries, limit, |delivery: &Delivery| delivery.id.to_string())))
}

/// One delivery with its attempts.
#[utoipa::path(get, path = brokkr_api::routes::DELIVERY, operation_id = "getDelivery", tag = "webhooks",
    params(("webhook" = Name, Path), ("delivery" = DeliveryId, Path)),
    responses((status = 200, body = Delivery), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn read(
    caller: Allowed<WebhooksRead>,
    State(state): State<AppState>,
    Path((name, id)): Path<(Name, DeliveryId)>,
) -> Result<Json<Delivery>, Failure> {
    let webhook = find(&caller, &state, &name).await?;
    let row = state.db.find_delivery(webhook.id, id).await?;
    row.map(|row| Json(row.into_api())).ok_or_else(|| Failure::not_found("delivery", id))
}

/// Sends a test event to one webhook, whatever it filters.
#[utoipa::path(post, path = brokkr_api::routes::TEST_WEBHOOK, operation_id = "testWebhook", tag = "webhooks",
    params(("webhook" = Name, Path)), responses((status = 202, body = Delivery), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn test(
    caller: Allowed<WebhooksWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
) -> Result<(StatusCode, Json<Delivery>), Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let webhook = lock(&mut tx, &caller, &name).await?;
    let event = EventId(state.ids.uuid(now));
    let trace = TraceContext::current();
    let data = json!({"webhook": webhook.name});
    let new = NewEvent {
        id: event,
        kind: TEST,
        stack: None,
        agent: None,
        generation: None,
        data: data.clone(),
        trace: trace.as_ref(),
        now,
    };
    tx.insert_events(&[new]).await?;
    let id = delivery_id(event, webhook.id);
    tx.insert_delivery(id, event, webhook.id, trace.as_ref(), now).await?;
    audit_alone(&mut tx, &state, &caller, TEST, &Resource::new("webhook", webhook.id, &webhook.name), &data, now).await?;
    tx.commit().await?;
    state.webhooks_changed.notify_one();
    let row = DeliveryRow {
        id,
        event,
        kind: TEST.to_owned(),
        state: DeliveryState::Pending,
        attempts: 0,
        next_attempt_at: now,
        created_at: now,
        finished_at: None,
        trace,
        log: Vec::new(),
    };
    Ok((StatusCode::ACCEPTED, Json(row.into_api())))
}

/// Sends again what was delivered or given up: one delivery, all of a time, or all that were given up. At most 10000 at once.
#[utoipa::path(post, path = brokkr_api::routes::REPLAY_WEBHOOK, operation_id = "replayDeliveries", tag = "webhooks",
    params(("webhook" = Name, Path)), request_body = Replay,
    responses((status = 200, body = Replayed), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn replay(
    caller: Allowed<WebhooksWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Json(request): Json<Replay>,
) -> Result<Json<Replayed>, Failure> {
    request::replay(&request)?;
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let webhook = lock(&mut tx, &caller, &name).await?;
    let (deliveries, last) = if let Some(id) = request.delivery {
        tx.replay_one(webhook.id, id, now).await?
    } else if let (Some(since), Some(until)) = (request.since, request.until) {
        tx.replay_range(webhook.id, since, until, MAX_REPLAYS, now).await?
    } else {
        tx.replay_dead(webhook.id, MAX_REPLAYS, now).await?
    };
    if let Some(id) = request.delivery.filter(|_| deliveries == 0) {
        return Err(Failure::not_found("finished delivery", id));
    }
    let change = Change {
        kind: "webhook.replayed",
        resource: Resource::new("webhook", webhook.id, &webhook.name),
        stack: None,
        agent: None,
        generation: None,
        data: json!({"webhook": webhook.name, "deliveries": deliveries}),
        trace: None,
        now,
    };
    record(&mut tx, &state, &caller, change).await?;
    tx.commit().await?;
    state.webhooks_changed.notify_one();
    let more = deliveries >= u64::from(MAX_REPLAYS);
    Ok(Json(Replayed { deliveries, more, next_since: last.filter(|_| more) }))
}

/// The types of events, each with where its JSON Schema is.
#[utoipa::path(get, path = brokkr_api::routes::EVENT_TYPES, operation_id = "listEventTypes", tag = "webhooks",
    responses((status = 200, body = Page<EventType>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn types(_: Allowed<WebhooksRead>) -> Json<Page<EventType>> {
    Json(Page { items: schema::types(), next_cursor: None })
}

/// The JSON Schema of what a webhook is sent of this type.
#[utoipa::path(get, path = brokkr_api::routes::EVENT_TYPE, operation_id = "getEventType", tag = "webhooks",
    params(("type" = String, Path)), responses((status = 200, body = Object), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn schema(_: Allowed<WebhooksRead>, Path(kind): Path<String>) -> Result<Json<Value>, Failure> {
    schema::schema(&kind).map(Json).ok_or_else(|| Failure::not_found("type of events", kind.chars().take(64).collect::<String>()))
}
