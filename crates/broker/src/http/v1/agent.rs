//! What an agent asks for: saying hello, its desired state, content.

use std::{sync::LazyLock, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use brokkr_api::{
    AgentId, DELIVERIES_HEADER, ErrorCode, PROTOCOL_VERSION, StackId, Timestamp, WORK_HEADER,
    agents::{Hello, MAX_CAPABILITIES, Welcome},
    desired_state::{Content, DesiredDeployment, DesiredState, DesiredStateQuery, MAX_INLINE_BYTES},
    trace::WorkTrace,
};
use brokkr_telemetry::{
    http::Parked,
    spans::{self, Past, WaitReason},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::Instant;

use crate::{
    domain::handoff,
    http::{
        AppState,
        auth::{AgentCaller, cluster_mismatch, deactivated},
        body::{Json, Path, Query},
        error::Failure,
    },
    parked::Waiting,
    store::DesiredRow,
};

/// First protocol version whose agents know suspension.
const FIRST_WITH_SUSPENSION: u32 = 2;
/// Parked polls end at multiples of so many milliseconds.
const GRID_MILLIS: u64 = 25;
/// First protocol version whose agents know policies, approvals and drift.
const FIRST_WITH_POLICIES: u32 = 3;
/// Most bytes of content in one answer; what is beyond is fetched by digest.
const MAX_INLINE_TOTAL: u64 = 1024 * 1024;

/// An agent says what it is; the first time binds its key to its cluster.
#[utoipa::path(put, path = brokkr_api::routes::AGENT_CLUSTER, operation_id = "putAgentCluster", tag = "agent", request_body = Hello,
    responses((status = 200, body = Welcome), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn hello(
    caller: AgentCaller,
    State(state): State<AppState>,
    Json(hello): Json<Hello>,
) -> Result<Json<Welcome>, Failure> {
    for (field, value) in
        [("cluster_uid", &hello.cluster_uid), ("version", &hello.version), ("kubernetes_version", &hello.kubernetes_version)]
    {
        if !(1..=64).contains(&value.chars().count()) || value.chars().any(char::is_control) {
            return Err(Failure::new(ErrorCode::InvalidField, format!("{field} has 1 to 64 printable characters")).at(field));
        }
    }
    let is_word = |word: &String| (1..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_graphic());
    if hello.capabilities.len() > MAX_CAPABILITIES || !hello.capabilities.iter().all(is_word) {
        let detail = format!("at most {MAX_CAPABILITIES} capabilities of 1 to 64 printable ASCII characters");
        return Err(Failure::new(ErrorCode::InvalidField, detail).at("capabilities"));
    }
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let bound = tx.bind_cluster(caller.agent, &hello, caller.protocol, now).await?;
    let (agent, cluster) = bound.ok_or_else(cluster_mismatch)?;
    let first = caller.caller.row.cluster_uid.is_none();
    if first {
        // Every broker learns what the agent's keys are bound to.
        let change = tx.next_change().await?;
        tx.touch_keys_of_agent(caller.agent, change).await?;
        tx.notify(change).await?;
    }
    tx.commit().await?;
    if first {
        state.feed.nudge();
    }
    state.presence.agent_seen(caller.agent, now);
    let installation = state.feed.installation();
    Ok(Json(Welcome {
        agent_id: caller.agent,
        agent,
        cluster,
        installation: installation.id.clone(),
        epoch: installation.epoch.clone(),
    }))
}

/// The desired state, when it differs from `If-None-Match`; else waits for it to differ.
///
/// A poll that finds nothing new runs no SQL, and is answered even while the database is down.
#[utoipa::path(get, path = brokkr_api::routes::DESIRED_STATE, operation_id = "getDesiredState", tag = "agent", params(DesiredStateQuery),
    responses((status = 200, body = DesiredState), (status = 304), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn desired_state(
    caller: AgentCaller,
    State(state): State<AppState>,
    Query(query): Query<DesiredStateQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .and_then(|tag| known_seq(tag, &state.feed.installation().epoch));
    drop(headers);
    let mut parked = Duration::ZERO;
    if let Some(known) = known {
        Box::pin(refuse_older_database(&state, known)).await?;
        let started = Instant::now();
        let is_free = |hands: Option<u32>| hands.unwrap_or(0) > 0;
        let free = Free { work: is_free(query.work_orders), deliveries: is_free(query.webhook_deliveries) };
        let wait = query.wait.unwrap_or_default().duration();
        let (woken, waited) = wait_for_change(&state, &caller, known, wait, free).await;
        parked = if waited { started.elapsed() } else { Duration::ZERO };
        still_valid(&state, &caller)?;
        state.presence.agent_seen(caller.agent, state.clock.now());
        if woken != Woken::Change {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            let told = match woken {
                Woken::Work => Some(WORK_HEADER),
                Woken::Deliveries => Some(DELIVERIES_HEADER),
                Woken::Change | Woken::Time => None,
            };
            if let Some(header) = told {
                response.headers_mut().insert(header, HeaderValue::from_static("waiting"));
            }
            response.extensions_mut().insert(Parked(parked));
            return Ok(response);
        }
    }
    // Boxed: a parked poll must not carry the room of a query that it may never make.
    let rows = Box::pin(state.db.read_desired(caller.agent, MAX_INLINE_BYTES, MAX_INLINE_TOTAL)).await?;
    let now = state.clock.now();
    if let Some(known) = known.filter(|_| !parked.is_zero()) {
        measure_wakeup(&state, caller.agent, known, &rows.deployments, now);
    }
    state.presence.agent_seen(caller.agent, now);
    state.presence.handed(caller.agent, rows.seq, now);
    state.feed.saw(rows.seq);
    let (seq, rotate_key, tracing) = (rows.seq, rows.rotate_key, rows.tracing);
    let deployments = hand_off(&state, rows.deployments, known.unwrap_or(0), caller.protocol)?;
    let installation = state.feed.installation();
    let desired = DesiredState {
        protocol: PROTOCOL_VERSION,
        installation: installation.id.clone(),
        epoch: installation.epoch.clone(),
        rotate_key,
        tracing,
        deployments,
    };
    let mut response = Json(desired).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}.{seq}\"", installation.epoch)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response.extensions_mut().insert(Parked(parked));
    Ok(response)
}

/// How long ago the newest revision was accepted that this answer is the first to tell of. Approvals, suspensions and policies wake an
/// agent as well and leave no time behind.
fn measure_wakeup(state: &AppState, agent: AgentId, known: u64, rows: &[DesiredRow], now: Timestamp) {
    let handed = state.presence.handed_at(agent);
    let is_new = |row: &&DesiredRow| {
        row.change_seq > known && !row.picked_up && row.attempts == 0 && handed.is_none_or(|handed| row.desired_at > handed)
    };
    if let Some(accepted) = rows.iter().filter(is_new).map(|row| row.desired_at).max() {
        state.db.metrics().woken(now.since(accepted));
    }
}

/// The change number of an `ETag` of this epoch; nothing for any other, which is then answered in full.
fn known_seq(tag: &str, epoch: &str) -> Option<u64> {
    let (tag_epoch, seq) = tag.trim().trim_start_matches("W/").trim_matches('"').split_once('.')?;
    (tag_epoch == epoch).then(|| seq.parse().ok())?
}

/// The key of a request that was parked may have been revoked, and its agent deactivated.
fn still_valid(state: &AppState, caller: &AgentCaller) -> Result<(), Failure> {
    match state.feed.key(&caller.caller.row.digest, state.clock.now()) {
        Some(row) if row.deactivated => Err(deactivated()),
        Some(_) => Ok(()),
        None => {
            Err(Failure::new(ErrorCode::Unauthenticated, "the key was revoked, or its time is over").at("header Authorization"))
        }
    }
}

/// An agent that knows a change which the database does not have proves that the database was restored from a backup: whatever it
/// says now is older than what the agent did. Costs a query only where this broker has not read as far as the agent.
async fn refuse_older_database(state: &AppState, known: u64) -> Result<(), Failure> {
    if known <= state.feed.seen() {
        return Ok(());
    }
    // Without a database nothing is claimed, and nothing new can be answered either.
    let Ok(last) = state.db.last_change().await else { return Ok(()) };
    if known <= last {
        state.feed.saw(last);
        return Ok(());
    }
    state.feed.found_restored();
    Err(Failure::new(
        ErrorCode::DatabaseRestored,
        "the database is older than what this agent was told: nothing is handed out until somebody runs brokkr-broker restore-epoch",
    ))
}

/// The next point of a grid in time: of thousands of parked polls many end at one waking of the process, which costs more than a poll.
fn with_others(deadline: Instant) -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let millis = u64::try_from(deadline.saturating_duration_since(*START).as_millis()).unwrap_or(u64::MAX);
    *START + Duration::from_millis(millis.div_ceil(GRID_MILLIS).saturating_mul(GRID_MILLIS))
}

/// Why a poll waits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// The desired state is another.
    Change,
    /// There is a work order for the agent.
    Work,
    /// There is a delivery of a webhook for the agent.
    Deliveries,
    /// Nothing is new.
    Time,
}

impl Woken {
    fn of(newer: bool) -> Self {
        if newer { Self::Change } else { Self::Time }
    }
}

/// For what an agent has a free hand.
#[derive(Debug, Clone, Copy)]
struct Free {
    work: bool,
    deliveries: bool,
}

/// Waits until the agent's highest change is above `known`, there is something for its free hands, the key is revoked or the broker
/// stops. Tells why it ends, and whether there was anything to wait for.
async fn wait_for_change(state: &AppState, caller: &AgentCaller, known: u64, wait: Duration, free: Free) -> (Woken, bool) {
    let mut highest = state.feed.subscribe(caller.agent);
    let mut newer = *highest.borrow_and_update() > known;
    if newer || wait.is_zero() {
        return (Woken::of(newer), false);
    }
    let _parked = state.db.metrics().poll_waiters.enter();
    let at_the_board = free.work.then(|| state.board.wait(caller.agent));
    let at_the_depot = free.deliveries.then(|| state.depot.wait(caller.agent));
    // A key opens nothing after its time, a parked poll included.
    let lifetime = caller.caller.row.expires_at.map_or(wait, |at| at.since(state.clock.now()));
    let deadline = with_others(Instant::now() + wait.min(lifetime));
    let ending = state.ending();
    loop {
        tokio::select! {
            () = ending.cancelled() => return (Woken::of(newer), true),
            () = tokio::time::sleep_until(deadline) => return (Woken::of(newer), true),
            () = told(at_the_board.as_ref()) => return (Woken::Work, true),
            () = told(at_the_depot.as_ref()) => return (Woken::Deliveries, true),
            changed = highest.changed() => {
                newer = *highest.borrow_and_update() > known;
                if newer || changed.is_err() || still_valid(state, caller).is_err() {
                    return (Woken::of(newer), true);
                }
            }
        }
    }
}

async fn told(waiting: Option<&Waiting>) {
    match waiting {
        Some(waiting) => waiting.told().await,
        None => std::future::pending().await,
    }
}

/// Gives each deployment its trace relation. What is new to the agent since
/// `known` has waited until now: that is a span of the change's trace.
fn hand_off(state: &AppState, rows: Vec<DesiredRow>, known: u64, protocol: u32) -> Result<Vec<DesiredDeployment>, Failure> {
    let now = state.clock.now();
    let mut deployments = Vec::with_capacity(rows.len());
    for row in rows {
        if row.suspended.is_some() && protocol < FIRST_WITH_SUSPENSION {
            // What is not named is left alone.
            continue;
        }
        if !row.policy.is_default() && protocol < FIRST_WITH_POLICIES {
            // An agent that cannot keep to the policy would delete what should stay, or act with rights that it should not use.
            continue;
        }
        let first = row.observed_revision < row.revision && row.attempts == 0;
        let relation = handoff::relation(state.settings.handoff, first, row.fan_out, now.since(row.desired_at));
        if let Some(trace) =
            row.trace.as_ref().filter(|_| row.change_seq > known && first && relation == brokkr_api::Relation::Parent)
        {
            let (start, end) = (row.desired_at.to_system_time(), now.to_system_time());
            spans::record_past_of(trace, None, Past::Wait(WaitReason::Queued), start, end);
        }
        let content = match (row.content, &row.digest) {
            // What cannot be opened here is fetched by its digest, and that says why not.
            (Some(content), Some(digest)) => state.open_content(row.stack_id, digest, content).ok(),
            _ => None,
        };
        let content = content.and_then(|body| serde_json::from_slice::<Content>(&body).ok());
        let trace = row.trace.map(|trace| WorkTrace {
            traceparent: trace.traceparent,
            tracestate: trace.tracestate,
            relation,
            accepted_at: Some(row.desired_at),
            sent_at: Some(now),
        });
        deployments.push(DesiredDeployment {
            stack_id: row.stack_id,
            stack: row.stack,
            revision: row.revision,
            action: row.action,
            generation: row.generation,
            digest: row.digest,
            suspended: row.suspended,
            policy: row.policy,
            approved: row.approved.filter(|_| protocol >= FIRST_WITH_POLICIES),
            trace,
            scope: row.scope,
            content,
        });
    }
    Ok(deployments)
}

/// Content that a deployment of this agent wants. Immutable, so that it may be cached by its digest.
#[utoipa::path(get, path = brokkr_api::routes::CONTENT, operation_id = "getContent", tag = "agent",
    params(("stack" = StackId, Path), ("digest" = String, Path)),
    responses((status = 200, body = Content), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn content(
    caller: AgentCaller,
    State(state): State<AppState>,
    Path((stack, digest)): Path<(StackId, String)>,
) -> Result<Response, Failure> {
    // No database is asked for what cannot be one: PostgreSQL refuses a NUL as a defect of the statement.
    if !is_digest(&digest) {
        return Err(Failure::new(ErrorCode::NotFound, "a digest is sha256: and 64 hexadecimal digits").at("path"));
    }
    let body = state.db.read_agent_content(caller.agent, stack, &digest).await?;
    let (digest, content) =
        body.ok_or_else(|| Failure::new(ErrorCode::NotFound, "no deployment of this agent has that content"))?;
    let body = state.open_content(stack, &digest, content)?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "private, immutable, max-age=86400")];
    Ok((headers, body).into_response())
}

/// `sha256:` and 64 hexadecimal digits.
pub(super) fn is_digest(text: &str) -> bool {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tag_of_this_epoch_is_known() {
        assert_eq!(known_seq("\"abc.7\"", "abc"), Some(7));
        assert_eq!(known_seq("W/\"abc.7\"", "abc"), Some(7));
        for tag in ["\"old.7\"", "\"abc.x\"", "abc", "", "\"abc.\"", "*"] {
            assert_eq!(known_seq(tag, "abc"), None, "{tag}");
        }
    }
}
