//! Work orders, as people see them.

use axum::extract::State;
use brokkr_api::{
    ErrorCode, Name, Page, Timestamp, WorkOrderId,
    work_orders::{CreateWorkOrder, WorkLog, WorkOrder, WorkOrdersQuery, WorkState},
};
use brokkr_telemetry::{
    TraceContext,
    spans::{self, SendWorkOrder},
};
use http::{HeaderMap, StatusCode};
use tracing::Instrument;

use super::{deployment_objects::idempotency_key, page};
use crate::{
    domain::{
        work_order::{self, Event, Next, Refusal, Standing, Terms, Told},
        work_request,
    },
    http::{
        AppState,
        auth::{Allowed, Caller, ContentRead, WorkOrdersRead, WorkOrdersWrite},
        body::{Json, Path, Query},
        conditional,
        error::Failure,
        record::{Change, Resource, record},
    },
    store::{Error, NewWorkOrder, Payload, Queue, Saved, Tx, WorkOrderRow},
    work_events,
};

/// How often an order may change between reading and saving it, before the caller is told to try again.
const ATTEMPTS: usize = 3;

impl WorkOrderRow {
    pub(super) fn into_api(self) -> WorkOrder {
        let standing = self.standing;
        let waiting_for = work_order::waiting_for(&standing, self.agent_name.as_ref().map(Name::as_str));
        let (reason, message) = standing.outcome.map(|outcome| (outcome.reason, outcome.message)).unzip();
        WorkOrder {
            id: self.id,
            name: self.name,
            kind: self.kind,
            state: standing.state,
            generator: self.generator,
            targets: self.targets,
            priority: self.priority,
            attempts: standing.attempts,
            max_attempts: self.terms.max_attempts,
            on_agent_loss: self.terms.on_agent_loss,
            agent: self.agent_name,
            cancelling: standing.cancel_wanted_at.is_some() && !standing.state.is_finished(),
            progress: self.progress,
            waiting_for,
            reason,
            message,
            object: self.object,
            not_before: self.terms.not_before,
            deadline: standing.deadline_at,
            created_at: self.created_at,
            claimed_at: standing.claimed_at,
            started_at: standing.started_at,
            finished_at: standing.finished_at,
            trace_id: self.trace.map(|trace| trace.trace_id().to_string()),
        }
    }
}

/// Asks for work. One of the agents that match will do it.
///
/// A request that is sent again with the same `Idempotency-Key` is answered with the order that the first one made.
#[utoipa::path(post, path = brokkr_api::routes::WORK_ORDERS, operation_id = "createWorkOrder", tag = "work orders",
    params(("idempotency-key" = Option<String>, Header, description = "1 to 255 printable ASCII characters, unique among the orders of their owner.")),
    request_body = CreateWorkOrder,
    responses((status = 200, body = WorkOrder), (status = 201, body = WorkOrder), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn create(
    caller: Allowed<WorkOrdersWrite>,
    State(state): State<AppState>,
    headers: HeaderMap,
    Json(request): Json<CreateWorkOrder>,
) -> Result<(StatusCode, Json<WorkOrder>), Failure> {
    let key = idempotency_key(&headers)?;
    spans::validate().in_scope(|| work_request::check(&request))?;
    let digest = work_request::digest(&request);
    match store(&caller, &state, &request, &digest, key.as_deref()).await {
        Ok(order) => {
            state.work_changed();
            Ok((StatusCode::CREATED, Json(order)))
        }
        Err(Refused::Duplicate) => Ok((StatusCode::OK, Json(known(&caller, &state, &digest, key.as_deref()).await?))),
        Err(Refused::Failure(failure)) => Err(failure),
    }
}

/// Why an order is not stored.
enum Refused {
    Duplicate,
    Failure(Failure),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error {
            Error::Duplicate { .. } => Self::Duplicate,
            other => Self::Failure(other.into()),
        }
    }
}

async fn store(
    caller: &Caller,
    state: &AppState,
    request: &CreateWorkOrder,
    digest: &str,
    key: Option<&str>,
) -> Result<WorkOrder, Refused> {
    let now = state.clock.now();
    let id = WorkOrderId(state.ids.uuid(now));
    let kind = request.work.kind();
    let send = spans::send_work_order(SendWorkOrder { id: &id.to_string(), name: request.name.as_str(), kind: kind.as_str() });
    let trace = TraceContext::of(&send).or_else(TraceContext::current);
    let work = async {
        let terms = Terms {
            max_attempts: request.max_attempts,
            backoff_seconds: request.backoff_seconds,
            on_agent_loss: request.on_agent_loss,
            deadline_seconds: request.deadline_seconds,
            not_before: request.not_before,
        };
        let standing = Standing::new(&terms, now);
        let queue = Queue { id: work_request::queue_id(request), kind, targets: request.targets.clone(), created_at: now };
        let payload = Payload {
            work: request.work.clone(),
            parameters: request.parameters.clone(),
            secrets: request.secrets.clone(),
            ttl_seconds: request.ttl_seconds,
        };
        let mut tx = state.db.begin().await?;
        let new = NewWorkOrder {
            id,
            name: &request.name,
            generator: caller.scope.generator(),
            queue: &queue,
            terms: &terms,
            payload: &payload,
            digest,
            idempotency_key: key,
            priority: request.priority,
            standing: &standing,
            trace: trace.as_ref(),
            created_by: caller.key,
            now,
        };
        tx.insert_work_order(&new).await?;
        let row = WorkOrderRow {
            id,
            name: request.name.clone(),
            generator: caller.scope.generator(),
            kind,
            targets: request.targets.clone(),
            priority: request.priority,
            terms,
            version: 1,
            standing,
            agent_name: None,
            progress: None,
            object: None,
            trace: trace.clone(),
            created_at: now,
        };
        leave(&mut tx, state, caller, Told::Queued.event(), &row, now).await?;
        tx.commit().await?;
        Ok(row.into_api())
    };
    work.instrument(send.clone()).await
}

/// The order that was made with this idempotency key.
async fn known(caller: &Caller, state: &AppState, digest: &str, key: Option<&str>) -> Result<WorkOrder, Failure> {
    let found = state.db.find_idempotent_order(caller.scope, key.unwrap_or_default()).await?;
    let (id, before) = found.ok_or_else(conditional::changed)?;
    if before != digest {
        let detail = format!("this key made work order {id} from another request: use a new key for new work");
        return Err(Failure::new(ErrorCode::IdempotencyMismatch, detail).at("header Idempotency-Key"));
    }
    read_row(caller, state, id).await.map(WorkOrderRow::into_api)
}

/// Writes event and audit entry of what a person did.
async fn leave(
    tx: &mut Tx,
    state: &AppState,
    caller: &Caller,
    kind: &'static str,
    order: &WorkOrderRow,
    now: Timestamp,
) -> Result<(), Failure> {
    let change = Change {
        kind,
        resource: Resource::new("work_order", order.id, &order.name),
        stack: None,
        agent: None,
        generation: None,
        data: work_events::data(order),
        trace: order.trace.as_ref(),
        now,
    };
    record(tx, state, caller, change).await
}

async fn read_row(caller: &Caller, state: &AppState, id: WorkOrderId) -> Result<WorkOrderRow, Failure> {
    state.db.find_work_order(caller.scope, id).await?.ok_or_else(|| Failure::not_found("work order", id))
}

/// A page of orders, the newest first. A generator sees its own.
#[utoipa::path(get, path = brokkr_api::routes::WORK_ORDERS, operation_id = "listWorkOrders", tag = "work orders", params(WorkOrdersQuery),
    responses((status = 200, body = Page<WorkOrder>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    caller: Allowed<WorkOrdersRead>,
    State(state): State<AppState>,
    Query(query): Query<WorkOrdersQuery>,
) -> Result<Json<Page<WorkOrder>>, Failure> {
    let (limit, cursor) = (page::limit(query.limit)?, page::cursor(query.cursor.as_deref())?);
    let rows = state.db.list_work_orders(caller.scope, query.state, query.name.as_ref(), cursor, limit + 1).await?;
    let orders = rows.into_iter().map(WorkOrderRow::into_api).collect();
    Ok(Json(page::page(orders, limit, |order: &WorkOrder| order.id.to_string())))
}

/// One order.
#[utoipa::path(get, path = brokkr_api::routes::WORK_ORDER, operation_id = "getWorkOrder", tag = "work orders",
    params(("order" = WorkOrderId, Path)), responses((status = 200, body = WorkOrder), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn read(
    caller: Allowed<WorkOrdersRead>,
    State(state): State<AppState>,
    Path(id): Path<WorkOrderId>,
) -> Result<Json<WorkOrder>, Failure> {
    Ok(Json(read_row(&caller, &state, id).await?.into_api()))
}

/// The end of the log of an order's last attempt.
#[utoipa::path(get, path = brokkr_api::routes::WORK_ORDER_LOG, operation_id = "getWorkOrderLog", tag = "work orders",
    params(("order" = WorkOrderId, Path)), responses((status = 200, body = WorkLog), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn log(
    caller: Allowed<ContentRead>,
    State(state): State<AppState>,
    Path(id): Path<WorkOrderId>,
) -> Result<Json<WorkLog>, Failure> {
    let log = state.db.read_work_log(caller.scope, id).await?.ok_or_else(|| Failure::not_found("work order", id))?;
    Ok(Json(WorkLog { log }))
}

/// Cancels an order. One that runs is stopped in its cluster first, and is cancelled when its agent says so.
#[utoipa::path(post, path = brokkr_api::routes::CANCEL_WORK_ORDER, operation_id = "cancelWorkOrder", tag = "work orders",
    params(("order" = WorkOrderId, Path)), responses((status = 200, body = WorkOrder), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn cancel(
    caller: Allowed<WorkOrdersWrite>,
    State(state): State<AppState>,
    Path(id): Path<WorkOrderId>,
) -> Result<Json<WorkOrder>, Failure> {
    change(&caller, &state, id, &Event::Cancel).await
}

/// Tries an order again that failed, was cancelled or became unknown, with all its attempts.
#[utoipa::path(post, path = brokkr_api::routes::RETRY_WORK_ORDER, operation_id = "retryWorkOrder", tag = "work orders",
    params(("order" = WorkOrderId, Path)), responses((status = 200, body = WorkOrder), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn retry(
    caller: Allowed<WorkOrdersWrite>,
    State(state): State<AppState>,
    Path(id): Path<WorkOrderId>,
) -> Result<Json<WorkOrder>, Failure> {
    change(&caller, &state, id, &Event::Retry).await
}

async fn change(caller: &Caller, state: &AppState, id: WorkOrderId, event: &Event) -> Result<Json<WorkOrder>, Failure> {
    for _ in 0..ATTEMPTS {
        let now = state.clock.now();
        let mut tx = state.db.begin().await?;
        let found = tx.lock_work_order(caller.scope, id).await?;
        let mut order = found.ok_or_else(|| Failure::not_found("work order", id))?;
        let Next { standing, told } =
            work_order::transition(&order.standing, &order.terms, event.clone(), now).map_err(|refusal| refused(refusal, id))?;
        if standing == order.standing {
            return Ok(Json(order.into_api()));
        }
        if tx.save_work_orders(&[Saved { id, version: order.version, standing: &standing, object: None }]).await? == 0 {
            continue;
        }
        let running = standing.state == WorkState::Running;
        order.standing = standing;
        let mut woken = false;
        if let Some(agent) = order.standing.agent.filter(|_| running) {
            // Its agent learns of it at its next renewal; a change lets it look at once.
            let change = tx.next_change().await?;
            tx.mark_agent(agent, change).await?;
            woken = true;
        }
        leave(&mut tx, state, caller, told.map_or("work_order.cancel_requested", Told::event), &order, now).await?;
        tx.commit().await?;
        if woken {
            state.changed();
        }
        if let Some(told) = told {
            work_events::count(state.db.metrics(), &order, told, now);
        }
        state.work_changed();
        return Ok(Json(order.into_api()));
    }
    Err(conditional::changed())
}

/// What is answered to something that cannot happen to an order.
pub(super) fn refused(refusal: Refusal, id: WorkOrderId) -> Failure {
    let code = if refusal == Refusal::NotHolder { ErrorCode::LeaseLost } else { ErrorCode::WorkOrderState };
    Failure::new(code, format!("work order {id}: {refusal}"))
}
