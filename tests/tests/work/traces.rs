//! A work order in its trace: from the request over the waits to each container, with the times that the cluster says.

use std::time::Duration;

use brokkr_api::work_orders::{WorkOrder, WorkState};
use brokkr_tests::{
    fleet::LIMIT,
    otlp::{Kind, Receiver, Span},
};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::world::World;

/// A pod that no scheduler and no kubelet touches: the test says what becomes of it.
fn untouched(world: &World) -> serde_json::Value {
    world.job(&json!({"schedulerName": "nobody"}))
}

fn environment(pod: &Pod, name: &str) -> String {
    let containers = &pod.spec.as_ref().unwrap().containers;
    let found = containers[0].env.iter().flatten().find(|variable| variable.name == name);
    found.and_then(|variable| variable.value.clone()).unwrap_or_default()
}

fn nanos(after: Duration, since: Duration) -> u64 {
    u64::try_from((since + after).as_nanos()).unwrap()
}

fn process<'a>(spans: &'a [Span], order: &WorkOrder, attempt: i64) -> Option<&'a Span> {
    let id = order.id.to_string();
    spans.iter().find(|span| {
        span.name == "process work_order"
            && span.text("brokkr.work_order.id") == Some(id.as_str())
            && span.attributes.get("brokkr.attempt") == Some(&json!(attempt))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_request_over_the_waits_to_the_container() {
    const TRACE: &str = "8c0ffee0000000000000000000000001";
    let world = World::traced("traced-work").await;
    let asks = world.broker.traced(&format!("00-{TRACE}-b7ad6b7169203331-01"));
    let id = asks.create_work_order(&world.request(&untouched(&world), &json!({})), None).await.unwrap().id;
    let pod = world.pod(id).await;
    let created = world.ran(&pod, 0).await;
    let done = world.becomes(id, WorkState::Succeeded).await;

    let names = [
        "POST /api/v1/work-orders",
        "send work_order",
        "wait queued",
        "receive work_order",
        "process work_order",
        "create jobs",
        "wait scheduling",
        "wait image pull",
        "run main",
    ];
    let told = Receiver::shared().wait_for_trace(TRACE, &names, LIMIT).await;
    let missing: Vec<_> = names.iter().filter(|name| Receiver::shared().trace(TRACE).span(name).is_none()).collect();
    assert!(told.is_ok(), "{missing:?}");
    let trace = told.unwrap();
    let span = |name: &str| trace.span(name).unwrap();
    let (send, process) = (span("send work_order"), span("process work_order"));
    assert_eq!((send.kind, process.kind), (Kind::Producer, Kind::Consumer));
    assert_eq!(send.parent.as_deref(), Some(span("POST /api/v1/work-orders").span_id.as_str()));
    assert_eq!(process.parent.as_deref(), Some(send.span_id.as_str()));
    assert!(process.links.iter().any(|link| send.is_linked_from(link)), "{process:?}");
    for wait in ["wait queued", "receive work_order"] {
        assert_eq!(span(wait).parent.as_deref(), Some(send.span_id.as_str()), "{wait}");
    }
    for (name, from, to) in [("wait scheduling", 0, 2), ("wait image pull", 2, 10), ("run main", 10, 40)] {
        let part = span(name);
        assert_eq!(part.parent.as_deref(), Some(process.span_id.as_str()), "{name}");
        let at = |seconds| nanos(Duration::from_secs(seconds), created);
        assert_eq!((part.start_nanos, part.end_nanos), (at(from), at(to)), "{name}: the times of the pod's status");
    }
    assert_eq!(span("run main").text("cicd.pipeline.task.name"), Some("main"));
    assert_eq!(span("run main").text("cicd.pipeline.task.run.result"), Some("success"));
    assert_eq!(process.text("cicd.pipeline.name"), Some("import"));
    assert_eq!(process.text("cicd.pipeline.run.id"), Some(format!("{id}-1").as_str()));
    assert_eq!(process.text("cicd.pipeline.result"), Some("success"));
    assert_eq!(process.text("brokkr.object"), done.object.map(|object| object.to_string()).as_deref());
    assert_eq!(environment(&pod, "TRACEPARENT"), format!("00-{TRACE}-{}-01", process.span_id), "what runs goes on from there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attempt_is_a_sibling_that_links_to_the_request() {
    const TRACE: &str = "8c0ffee0000000000000000000000002";
    let world = World::traced("traced-again").await;
    let asks = world.broker.traced(&format!("00-{TRACE}-b7ad6b7169203331-01"));
    let change = json!({"max_attempts": 2, "backoff_seconds": 0});
    let id = asks.create_work_order(&world.request(&untouched(&world), &change), None).await.unwrap().id;
    world.ran(&world.pod(id).await, 3).await;
    world.ran(&world.attempt(id, 2).await, 0).await;
    let done = world.becomes(id, WorkState::Succeeded).await;

    let both = |spans: &[Span]| (1..=2).all(|attempt| process(spans, &done, attempt).is_some());
    let spans = Receiver::shared().wait_for("both attempts", LIMIT, both).await.unwrap();
    let trace = Receiver::shared().wait_for_trace(TRACE, &["send work_order"], LIMIT).await.unwrap();
    let send = trace.span("send work_order").unwrap();
    let (first, second) = (process(&spans, &done, 1).unwrap(), process(&spans, &done, 2).unwrap());
    assert_eq!(first.text("cicd.pipeline.result"), Some("failure"));
    assert_eq!(first.text("brokkr.reason"), Some("container_failed"));
    assert_eq!((second.parent.as_deref(), second.text("cicd.pipeline.result")), (None, Some("success")));
    assert_ne!(second.trace_id, TRACE);
    for attempt in [first, second] {
        assert!(attempt.links.iter().any(|link| send.is_linked_from(link)), "{attempt:?}");
    }
    let waited = |span: &Span| span.name == "wait queued" && span.parent.as_deref() == Some(second.span_id.as_str());
    Receiver::shared().wait_for("the wait of the second attempt", LIMIT, |spans| spans.iter().any(waited)).await.unwrap();
}
