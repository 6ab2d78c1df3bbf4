//! Whatever the daemons export is in the catalogue, and so in the reference.

use std::collections::BTreeSet;

use brokkr_telemetry::spans::SPANS;
use brokkr_tests::{
    fleet::{Engine, LIMIT, config_map},
    otlp::{Receiver, Span},
};
use opentelemetry::trace::SpanKind;

use super::world::World;

fn kind(span: &Span) -> SpanKind {
    match span.kind {
        brokkr_tests::otlp::Kind::Internal => SpanKind::Internal,
        brokkr_tests::otlp::Kind::Server => SpanKind::Server,
        brokkr_tests::otlp::Kind::Client => SpanKind::Client,
        brokkr_tests::otlp::Kind::Producer => SpanKind::Producer,
        brokkr_tests::otlp::Kind::Consumer => SpanKind::Consumer,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_span_that_leaves_a_daemon_is_in_the_catalogue_with_all_its_attributes() {
    let world = World::start(Engine::Postgres, "catalogue").await;
    let stack = world.broker.stack("shop", &[&world.agent]).await;
    world.roll(&stack, &config_map(&world.namespace, "a", "1")).await;
    world.broker.delete(&stack).await;
    let has = |spans: &[Span], name: &str| spans.iter().any(|span| span.name == name);
    let enough = |spans: &[Span]| ["delete object", "job event-sequencer", "job change-feed"].iter().all(|name| has(spans, name));
    // Those of other tests in this process as well: the more the better.
    let spans = Receiver::shared().wait_for("spans of many kinds", LIMIT, enough).await.unwrap();
    let unknown: BTreeSet<String> = spans
        .iter()
        .filter(|span| span.service.starts_with("brokkr-"))
        .filter(|span| {
            let attributes = || span.attributes.keys().map(String::as_str);
            !SPANS.iter().any(|info| info.describes(&span.name, &kind(span), attributes()))
        })
        .map(|span| format!("{:?} {} {:?}", span.kind, span.name, span.attributes.keys()))
        .collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}
