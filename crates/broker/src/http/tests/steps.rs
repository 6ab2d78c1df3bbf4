//! What a trace tells of the broker's own work: steps, statements, background work, events and changes of phase.

use std::{sync::Arc, time::Duration};

use brokkr_telemetry::{capture::CapturedSpan, spans::SPANS};
use http::Method;
use serde_json::{Value, json};
use tracing::instrument::WithSubscriber;

use crate::{
    jobs::{self, sequencer::Sequencer, work_orders::WorkOrders},
    testing::{Answer, Engine, World, config_map, request},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn only<'a>(spans: &'a [CapturedSpan], name: &str) -> &'a CapturedSpan {
    let found: Vec<_> = spans.iter().filter(|span| span.name() == name).collect();
    assert_eq!(found.len(), 1, "{name} in {:?}", spans.iter().map(CapturedSpan::name).collect::<Vec<_>>());
    found[0]
}

fn secret(name: &str) -> Value {
    json!([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}, "stringData": {"key": "x"}}])
}

async fn traced_apply(world: &World, content: &Value) -> Answer {
    let mut put = request(&world.admin, Method::PUT, "/api/v1/stacks/shop/deployment-objects", content);
    put.headers_mut().insert("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01").parse().unwrap());
    world.send(put).await
}

#[tokio::test]
async fn the_brokers_own_work_is_told_step_by_step() {
    Engine::each(async |world: World| {
        world.agent("edge", json!({"site": "a"})).await;
        let made = world.stack("shop", json!({"site": "a"})).await.expect(201);
        let spans = world.spans_of(&made);
        let server = spans.iter().find(|span| span.name().starts_with("PUT ")).unwrap();
        assert_eq!(only(&spans, "target").parent_id(), server.span_id());
        assert_eq!(only(&spans, "target").attribute("brokkr.agents").as_deref(), Some("1"));
        assert_eq!(only(&spans, "plan rollout").parent_id(), server.span_id(), "nothing is sent yet");

        let spans = world.spans_of(&traced_apply(&world, &secret("one")).await.expect(201));
        let (server, send) =
            (spans.iter().find(|span| span.name().starts_with("PUT ")).unwrap(), only(&spans, "send deployment"));
        assert_eq!(only(&spans, "validate").parent_id(), server.span_id());
        assert_eq!(only(&spans, "validate").attribute("brokkr.objects").as_deref(), Some("1"));
        for step in ["encrypt", "plan rollout"] {
            assert_eq!(only(&spans, step).parent_id(), send.span_id(), "{step}");
        }
        let rolled = spans.iter().find(|span| span.attribute("db.query.summary").as_deref() == Some("ROLL_GENERATION")).unwrap();
        assert_eq!(rolled.parent_id(), only(&spans, "plan rollout").span_id());
        assert!(spans.iter().all(|span| !span.is_error()));
    })
    .await;
}

#[tokio::test]
async fn a_step_that_fails_is_an_error_with_the_code_of_the_answer() {
    let mut world = World::start(Engine::Sqlite).await;
    world.stack("shop", json!({})).await.expect(201);
    let wrong = world.spans_of(&traced_apply(&world, &json!([{"kind": "Nothing"}])).await.expect(422));
    let validate = only(&wrong, "validate");
    assert!(validate.is_error() && validate.attribute("error.type").is_some());

    world.forget_keys();
    let seen = world.capture.spans().len();
    let refused = traced_apply(&world, &secret("one")).await;
    assert_eq!(refused.code(), "encryption_key_missing");
    let spans = world.capture.spans().split_off(seen);
    for step in ["encrypt", "send deployment"] {
        let span = only(&spans, step);
        assert_eq!((span.is_error(), span.attribute("error.type").as_deref()), (true, Some("encryption_key_missing")), "{step}");
    }
}

#[tokio::test]
async fn every_statement_says_which_database_did_what_to_which_table() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        world.apply("shop", "one").await.expect(201);
        world.report_all(&agent, "applied").await.expect(200);
        let is_postgres = crate::store::is_postgres(world.url());
        let spans = world.capture.spans();
        let statements: Vec<_> = spans.iter().filter(|span| span.attribute("db.system.name").is_some()).collect();
        assert!(statements.len() > 20, "{}", statements.len());
        for span in statements {
            let says = |attribute: &str| span.attribute(attribute).filter(|value| !value.is_empty());
            assert_eq!(says("db.system.name").as_deref(), Some(if is_postgres { "postgresql" } else { "sqlite" }));
            assert!(says("db.namespace").is_some() && says("db.operation.name").is_some(), "{}", span.name());
            assert_eq!(says("server.address").is_some(), is_postgres, "{}", span.name());
            assert_eq!(says("db.collection.name").is_some(), says("db.query.summary").is_some(), "{}", span.name());
        }
    })
    .await;
}

#[tokio::test]
async fn a_statement_that_fails_says_why_in_the_databases_own_words() {
    Engine::each(async |world: World| {
        world.agent("edge", json!({})).await;
        let seen = world.capture.spans().len();
        world.post(&world.admin, "/api/v1/agents", json!({"name": "edge", "cluster": "edge"})).await.expect(409);
        let spans = world.capture.spans().split_off(seen);
        let failed = spans.iter().find(|span| span.attribute("db.response.status_code").is_some()).unwrap();
        let code = if crate::store::is_postgres(world.url()) { "23505" } else { "2067" };
        assert_eq!(failed.attribute("db.response.status_code").as_deref(), Some(code));
        assert_eq!((failed.is_error(), failed.attribute("error.type").as_deref()), (true, Some("duplicate")));
    })
    .await;
}

#[tokio::test]
async fn what_an_event_causes_later_links_back_to_where_it_happened() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        while world.state.db.sequence_events().await.unwrap() > 0 {}
        let accepted = traced_apply(&world, &secret("one")).await.expect(201);
        let send = only(&world.spans_of(&accepted), "send deployment").span_id();
        let seen = world.capture.spans().len();

        jobs::run_once(&mut Sequencer { db: world.state.db.clone() }, &world.state.db, &*world.clock, "test")
            .with_subscriber(world.capture.dispatch())
            .await
            .unwrap();

        let later = world.capture.spans().split_off(seen);
        let job = later.iter().find(|span| span.name() == "job event-sequencer" && !span.links().is_empty()).unwrap();
        assert_eq!((job.links(), job.parent_id()), (vec![send.clone()], "0".repeat(16)));
        assert_ne!(job.trace_id(), TRACE);
        let positions =
            later.iter().find(|span| span.attribute("db.query.summary").as_deref() == Some("GIVE_POSITIONS")).unwrap();
        assert_eq!(positions.trace_id(), job.trace_id());

        let event = |kind: &str| {
            let path = format!("/api/v1/events?type={kind}");
            let world = &world;
            async move { world.get(&world.admin, &path).await.expect(200).json["items"][0].clone() }
        };
        let created = event("deployment_object.created").await;
        assert_eq!((&created["traceparent"], &created["trace_id"]), (&json!(format!("00-{TRACE}-{send}-01")), &json!(TRACE)));

        let report = world.report_all(&agent, "applied").await.expect(200);
        while world.state.db.sequence_events().await.unwrap() > 0 {}
        let applied = event("deployment.applied").await["traceparent"].as_str().unwrap().to_owned();
        assert_eq!(&applied[3..35], report.header("x-trace-id"), "where the report was taken");
    })
    .await;
}

#[tokio::test]
async fn what_time_does_to_a_work_order_links_back_to_who_asked_for_it() {
    Engine::each(async |world: World| {
        world.agent("edge", json!({"site": "a"})).await;
        let order = json!({"name": "import", "targets": {"labels": {"matchLabels": {"site": "a"}}}, "deadline_seconds": 60,
            "work": {"apply": {"objects": config_map("one"), "success": "true"}}});
        let made = world.post(&world.admin, "/api/v1/work-orders", order).await.expect(201);
        let send = only(&world.spans_of(&made), "send work_order").span_id();
        world.clock.advance(Duration::from_secs(61));
        let seen = world.capture.spans().len();

        let state = &world.state;
        let mut job = WorkOrders {
            db: state.db.clone(),
            clock: Arc::clone(&state.clock),
            ids: Arc::clone(&state.ids),
            board: Arc::clone(&state.board),
        };
        let round = jobs::run_once(&mut job, &state.db, &*world.clock, "test").with_subscriber(world.capture.dispatch());
        round.await.unwrap();

        let id = made.json["id"].as_str().unwrap();
        assert_eq!(world.look(id).await["state"], "failed", "its deadline is over");
        let later = world.capture.spans().split_off(seen);
        let job = later.iter().find(|span| span.name() == "job work-orders" && !span.links().is_empty()).unwrap();
        assert_eq!((job.links(), job.parent_id()), (vec![send], "0".repeat(16)));
    })
    .await;
}

#[tokio::test]
async fn a_round_in_which_there_is_nothing_to_do_links_to_nothing() {
    let world = World::start(Engine::Sqlite).await;
    while world.state.db.sequence_events().await.unwrap() > 0 {}
    let seen = world.capture.spans().len();
    jobs::run_once(&mut Sequencer { db: world.state.db.clone() }, &world.state.db, &*world.clock, "test")
        .with_subscriber(world.capture.dispatch())
        .await
        .unwrap();
    let rounds: Vec<_> =
        world.capture.spans().split_off(seen).into_iter().filter(|span| span.name() == "job event-sequencer").collect();
    assert_eq!((rounds.len(), rounds[0].links().len()), (1, 0));
}

#[tokio::test]
async fn every_change_of_phase_is_a_log_record_with_its_trace_from_to_and_reason() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({"site": "a"})).await;
        world.stack("shop", json!({"site": "a"})).await.expect(201);
        let accepted = traced_apply(&world, &secret("one")).await.expect(201);
        let mut failed = world.report_of(&agent, "failed").await;
        failed["reports"][0]["error"] = json!({"reason": "forbidden", "message": "no"});
        let failed = world.post(&agent.key, "/api/v1/agent/reports", failed).await.expect(200);
        let applied = world.report_all(&agent, "applied").await.expect(200);
        world.report_all(&agent, "applied").await.expect(200);
        world.agent("pole", json!({"site": "a"})).await;
        traced_apply(&world, &secret("two")).await.expect(201);
        let elsewhere = json!({"labels": {"site": "b"}});
        world.call(&world.admin, Method::PATCH, "/api/v1/agents/edge", elsewhere).await.expect(200);
        world.delete(&world.admin, "/api/v1/stacks/shop").await.expect(202);
        world.post(&world.admin, "/api/v1/agents:abandon", json!({"agent": "edge"})).await.expect(200);

        let lines: Vec<Value> = world.capture.logs().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |message: &str| lines.iter().filter(|line| line["message"] == message).collect::<Vec<_>>();
        let told = of("a deployment changed its phase");
        let change = |line: &Value| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            (text("from"), text("to"), text("reason"), text("trace_id"))
        };
        let expected = |from: &str, to: &str, reason: &str, answer: &Answer| {
            (from.to_owned(), to.to_owned(), reason.to_owned(), answer.header("x-trace-id").to_owned())
        };
        assert_eq!(
            told.into_iter().map(change).collect::<Vec<_>>(),
            [expected("pending", "failed", "forbidden", &failed), expected("failed", "applied", "", &applied)],
            "what is told again is no change"
        );
        let begun = of("deployments begin a new phase");
        assert_eq!(begun[1]["trace_id"], accepted.header("x-trace-id"));
        let begun = begun.iter().map(|line| json!([line["from"], line["to"], line["reason"], line["agents"], line["stacks"]]));
        let expected = json!([
            ["none", "pending", "targets_changed", 1, null],
            ["pending", "pending", "new_generation", 1, null],
            ["none", "pending", "labels_changed", null, 1],
            ["pending", "pending", "new_generation", 1, null],
            ["applied", "pending", "new_generation", 1, null],
            ["pending", "deleting", "labels_changed", null, 1],
            ["pending", "deleting", "deletion_requested", 1, null],
            ["deleting", "deleting", "deletion_requested", 1, null],
            ["deleting", "orphaned", "agent_abandoned", null, 1],
        ]);
        assert_eq!(Value::from_iter(begun), expected);
    })
    .await;
}

#[tokio::test]
async fn whatever_the_broker_traces_is_in_the_catalogue() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({"site": "a"})).await;
        world.stack("shop", json!({"site": "a"})).await.expect(201);
        world.apply("shop", "one").await.expect(201);
        world.report_all(&agent, "applied").await.expect(200);
        world.post(&world.admin, "/api/v1/agents", json!({"name": "edge", "cluster": "edge"})).await.expect(409);
        world.delete(&world.admin, "/api/v1/stacks/shop").await.expect(202);
        for span in world.capture.spans() {
            let attributes = span.attribute_names();
            let known = SPANS.iter().any(|info| info.describes(span.name(), span.kind(), attributes.iter().map(String::as_str)));
            assert!(known, "{:?} {} {attributes:?}", span.kind(), span.name());
        }
    })
    .await;
}
