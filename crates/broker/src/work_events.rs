//! What is told and counted when something happened to a work order, whoever it was: a person, an agent, or time.

use brokkr_api::{EventId, Timestamp};
use brokkr_telemetry::{BrokerMetrics, TraceContext, metrics::WorkClass};
use serde_json::{Value, json};

use crate::{
    domain::work_order::Told,
    store::{NewEvent, WorkOrderRow},
};

/// What an event says of an order. Never what is to be done.
pub(crate) fn data(order: &WorkOrderRow) -> Value {
    json!({
        "work_order": order.id, "name": order.name, "kind": order.kind, "state": order.standing.state, "attempt": order.standing.attempts,
        "agent": order.agent_name, "reason": order.standing.outcome.as_ref().map(|outcome| &outcome.reason),
    })
}

/// The event of a change. It is part of the current trace where there is one, else of that of the request.
pub(crate) fn event<'a>(
    id: EventId,
    order: &'a WorkOrderRow,
    told: Told,
    current: Option<&'a TraceContext>,
    now: Timestamp,
) -> NewEvent<'a> {
    NewEvent {
        id,
        kind: told.event(),
        stack: None,
        agent: order.standing.agent,
        generation: None,
        data: data(order),
        trace: current.or(order.trace.as_ref()),
        now,
    }
}

/// Counts an order that has ended; what goes on is not counted.
pub(crate) fn count(metrics: &BrokerMetrics, order: &WorkOrderRow, told: Told, now: Timestamp) {
    let reason = order.standing.outcome.as_ref().map_or("", |outcome| outcome.reason.as_str());
    let class = match told {
        Told::Queued | Told::Started => return,
        Told::Succeeded => WorkClass::Succeeded,
        Told::Cancelled => WorkClass::Cancelled,
        Told::Unknown => WorkClass::Unknown,
        Told::Failed => WorkClass::of_reason(reason),
    };
    let ran = order.standing.started_at.map(|at| now.since(at));
    metrics.work_order_ended(order.kind.as_str(), class, ran);
}
