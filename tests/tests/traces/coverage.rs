//! Where the time of a rollout went: spans explain at least 95 % of it, whatever held it up.

use std::{collections::BTreeSet, time::SystemTime};

use brokkr_api::Name;
use brokkr_tests::{
    fleet::{Engine, config_map},
    kube_proxy::Fault,
    otlp::{Coverage, Kind, Paint},
};

use super::world::{Rollout, World, connected, told};

/// What spans have to cover, in parts of a thousand.
const ENOUGH: u64 = 950;
/// The same without the span of the attempt, which spans whatever happens in it. Less, because a machine that is busy takes the processor away
/// between two steps too; a wait without a span would cost far more.
const IN_STEPS: u64 = 800;

/// The spans cover the time from accept to applied, and most of it even without those that only frame others.
pub(crate) fn assert_explained(what: &str, rollout: &Rollout) {
    let (from, to) = rollout.stretch();
    let whole = Coverage::of(&rollout.spans, from, to);
    let parts = Coverage::of(rollout.spans.iter().filter(|span| span.kind != Kind::Consumer), from, to);
    println!("{what}: {} ms, {whole}; without the attempt's own span {parts}", (to - from) / 1_000_000);
    for (found, enough) in [(whole, ENOUGH), (parts, IN_STEPS)] {
        assert!(found.per_mille >= enough, "{what}: {found}\n{}", rollout.trace.tree(Paint::Plain));
    }
}

async fn stack(world: &World, name: &str) -> Name {
    world.broker.stack(name, &[&world.agent]).await
}

fn in_wave(manifest: &str, wave: u32) -> String {
    manifest.replacen("metadata: {", &format!("metadata: {{annotations: {{brokkr.io/wave: \"{wave}\"}}, "), 1)
}

fn web(namespace: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {namespace}}}\nspec: {{replicas: 2, \
         selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web}}}}, \
         spec: {{containers: [{{name: main, image: \"example/image:1\"}}]}}}}}}\n"
    )
}

fn custom(group: &str, namespace: &str) -> String {
    format!(
        "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: gates.{group}}}\nspec:\n  group: {group}\n  \
         scope: Namespaced\n  names: {{kind: Gate, plural: gates, singular: gate, listKind: GateList}}\n  versions:\n  - name: v1\n    \
         served: true\n    storage: true\n    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n\
         ---\napiVersion: {group}/v1\nkind: Gate\nmetadata: {{name: g, namespace: {namespace}}}\nspec: {{size: 1}}\n"
    )
}

async fn every_rollout_is_explained_on(engine: Engine) {
    let mut world = World::start(engine, "explained").await;
    let namespace = world.namespace.clone();
    let shop = stack(&world, "shop").await;

    let first = world.roll(&shop, &(config_map(&namespace, "a", "1") + &config_map(&namespace, "b", "1"))).await;
    assert_explained("first apply", &first);
    for name in ["validate", "send deployment", "plan rollout", "receive deployment", "prepare", "observe", "plan", "report"] {
        assert_eq!(first.named(name).count(), 1, "{name}");
    }
    let change = world.roll(&shop, &(config_map(&namespace, "a", "2") + &config_map(&namespace, "b", "1"))).await;
    assert_explained("change", &change);
    let lag = change.named("process deployment").next().unwrap().attributes.get("brokkr.rollout.lag_seconds").cloned();
    assert!(lag.is_some_and(|seconds| seconds.is_number()), "for collectors that sample by it");

    let group = format!("{}.example.com", world.cluster.unique("g"));
    let crd = stack(&world, "crd").await;
    let kinds = world.roll(&crd, &custom(&group, &namespace)).await;
    assert_explained("CRD and custom resource", &kinds);
    assert_eq!(kinds.named("wait crd established").count(), 1);

    let waves = stack(&world, "waves").await;
    let gated = world.roll(&waves, &(web(&namespace) + &in_wave(&config_map(&namespace, "after", "1"), 1))).await;
    assert_explained("two waves", &gated);
    assert_eq!(gated.named("wait earlier wave").count(), 1);

    // The API server asks for a second of silence, once.
    let mut asked = false;
    world.proxy.plan(move |call| {
        let refuse = !asked && call.is_write() && call.path.ends_with("/configmaps/a");
        asked |= refuse;
        refuse.then_some(Fault::TooMany(1))
    });
    let throttled = world.roll(&shop, &config_map(&namespace, "a", "3")).await;
    assert_explained("throttled", &throttled);
    assert!(throttled.longest("wait throttled").is_some_and(|waited| waited >= 900), "{:?}", throttled.longest("wait throttled"));

    // The first attempt fails, and the second is a trace of its own.
    let mut failed = false;
    world.proxy.plan(move |call| {
        let refuse = !failed && call.is_write() && call.path.ends_with("/configmaps/a");
        failed |= refuse;
        refuse.then_some(Fault::Internal)
    });
    let sent = world.broker.send(&shop, &config_map(&namespace, "a", "4")).await;
    let retried = told(&sent).await;
    world.proxy.calm();
    assert_explained("second attempt", &retried);
    let attempts: Vec<_> = retried.named("process deployment").collect();
    assert_eq!((attempts.len(), retried.named("wait retry").count()), (2, 1));
    assert_ne!(attempts[0].trace_id, attempts[1].trace_id);

    // Away for a while: the wait is a span, and what comes afterwards too.
    assert!(world.agent.process.terminate(brokkr_tests::fleet::LIMIT).await.unwrap().success());
    let sent = world.broker.send(&shop, &config_map(&namespace, "a", "5")).await;
    let back = nanos_now();
    world.agent.process.start().unwrap();
    connected(&mut world.agent).await;
    let away = told(&sent).await;
    assert_explained("agent away", &away);
    assert!(away.named("wait queued").any(|wait| wait.start_nanos < back && back < wait.end_nanos), "until it was back");
}

#[expect(clippy::disallowed_methods, reason = "what spans are compared with is the machine's clock")]
fn nanos_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_explain_where_the_time_went_on_sqlite() {
    every_rollout_is_explained_on(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_explain_where_the_time_went_on_postgres() {
    every_rollout_is_explained_on(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rollouts_at_once_share_no_trace() {
    let world = World::start(Engine::Sqlite, "apart").await;
    let (one, two) = (stack(&world, "one").await, stack(&world, "two").await);
    let manifests = |name: &str| (0..5).map(|n| config_map(&world.namespace, &format!("{name}-{n}"), "1")).collect::<String>();
    let (first, second) = (manifests("one"), manifests("two"));
    let (first, second) = tokio::join!(world.roll(&one, &first), world.roll(&two, &second));
    let ids = |rollout: &Rollout| rollout.spans.iter().map(|span| span.trace_id.clone()).collect::<BTreeSet<_>>();
    assert!(ids(&first).is_disjoint(&ids(&second)), "{:?} {:?}", ids(&first), ids(&second));
    for (rollout, stack) in [(&first, "one"), (&second, "two")] {
        let about: BTreeSet<_> = rollout.spans.iter().filter_map(|span| span.text("brokkr.stack.name")).collect();
        assert_eq!(about, BTreeSet::from([stack]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn becoming_healthy_is_a_wait_that_links_to_the_attempt() {
    let world = World::start(Engine::Sqlite, "healthy").await;
    let shop = stack(&world, "shop").await;
    let applied = world.roll(&shop, &web(&world.namespace)).await;
    let is_healthy = |spans: &[brokkr_tests::otlp::Span]| {
        spans.iter().any(|span| span.name == "wait health" && span.trace_id == applied.trace.id)
    };
    let receiver = brokkr_tests::otlp::Receiver::shared();
    receiver.wait_for("wait for health", brokkr_tests::fleet::LIMIT, is_healthy).await.unwrap();
    let trace = receiver.trace(&applied.trace.id);
    let (wait, attempt, sent) =
        (trace.span("wait health").unwrap(), trace.span("process deployment").unwrap(), trace.span("send deployment").unwrap());
    assert_eq!(wait.parent.as_ref(), Some(&sent.span_id));
    assert!(wait.links.iter().any(|link| attempt.is_linked_from(link)), "{wait:?}");
}
