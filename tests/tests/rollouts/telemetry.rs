use brokkr_api::Name;
use brokkr_tests::{
    cluster::Cluster,
    control_plane::ControlPlane,
    fleet::{Broker, Engine, LIMIT, config_map, metric, wait_for_metric},
    lab::until,
    otlp::{Kind, Receiver, Span, Trace, traced},
};

const CALLER_SPAN: &str = "00f067aa0ba902b7";

/// A rollout under the caller's own trace id, read back from the receiver.
async fn traced_rollout(engine: Engine, protocol: &str, endpoint: &str, trace_id: &str) -> (Trace, String) {
    let telemetry = [
        ("BROKKR__TELEMETRY__ENABLED", "true"),
        ("BROKKR__TELEMETRY__PROTOCOL", protocol),
        ("BROKKR__TELEMETRY__ENDPOINT", endpoint),
        ("BROKKR__TELEMETRY__BATCH__DELAY", "200ms"),
    ];
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("traced").await.unwrap();
    let broker = Broker::start(engine, &telemetry).await.unwrap();
    let agent = broker.agent(&cluster.unique("tracer"), &telemetry).await.unwrap();
    let stack: Name = broker.stack("shop", &[&agent]).await;
    let client = broker.traced(&format!("00-{trace_id}-{CALLER_SPAN}-01"));
    let manifests = config_map(&namespace, "a", "1") + &config_map(&namespace, "b", "1");
    client.put_deployment_objects(&stack, "application/yaml", manifests.into_bytes()).await.unwrap();
    broker.settle(&stack).await;
    let is_complete = |spans: &[Span]| {
        let of = |name: &str| spans.iter().filter(|span| span.trace_id == trace_id && span.name == name).count();
        of("process deployment") == 1
            && of("PUT /api/v1/stacks/{stack}/deployment-objects") == 1
            && of("POST /api/v1/agent/reports") == 2
    };
    Receiver::shared().wait_for("complete trace", LIMIT, is_complete).await.unwrap();
    (Receiver::shared().trace(trace_id), agent.name.to_string())
}

fn only<'a>(trace: &'a Trace, name: &str, kind: Kind) -> &'a Span {
    let found: Vec<_> = trace.spans.iter().filter(|span| span.name == name && span.kind == kind).collect();
    assert_eq!(found.len(), 1, "{kind:?} {name} in {:#?}", trace.spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    found[0]
}

fn is_below(trace: &Trace, span: &Span, ancestor: &Span) -> bool {
    let mut at = span;
    while let Some(parent) = at.parent.as_ref().and_then(|id| trace.spans.iter().find(|span| span.span_id == *id)) {
        if parent.span_id == ancestor.span_id {
            return true;
        }
        at = parent;
    }
    false
}

fn assert_one_trace_from_caller_to_report(trace: &Trace, agent: &str) {
    let put = only(trace, "PUT /api/v1/stacks/{stack}/deployment-objects", Kind::Server);
    assert_eq!(put.parent.as_deref(), Some(CALLER_SPAN), "the caller's span is the parent of ours");
    assert_eq!(put.service, "brokkr-broker");
    let sent = only(trace, "send deployment", Kind::Producer);
    assert!(is_below(trace, sent, put));
    let statements =
        trace.spans.iter().filter(|span| span.attributes.contains_key("db.query.summary") && is_below(trace, span, put));
    assert!(statements.count() >= 8, "every statement of the request has its span");
    // The agent tells of its own part when it has no free hand at once.
    let queued: Vec<_> = trace.spans.iter().filter(|span| span.name == "wait queued").collect();
    assert!(queued.iter().any(|wait| wait.service == "brokkr-broker"));
    let received = only(trace, "receive deployment", Kind::Client);
    assert!(queued.into_iter().chain([received]).all(|span| span.parent.as_ref() == Some(&sent.span_id)));

    let processed = only(trace, "process deployment", Kind::Consumer);
    assert_eq!(processed.parent.as_ref(), Some(&sent.span_id));
    assert!(processed.links.iter().any(|link| sent.is_linked_from(link)), "parent and link");
    assert_eq!(processed.service, "brokkr-agent");
    assert_eq!(processed.text("brokkr.agent.name"), Some(agent));
    assert_eq!(processed.text("brokkr.phase"), Some("applied"));

    let calls: Vec<_> = trace.spans.iter().filter(|span| span.attributes.contains_key("brokkr.kubernetes.verb")).collect();
    assert!(calls.iter().all(|call| call.kind == Kind::Client && is_below(trace, call, processed)));
    let applied = calls.iter().filter(|call| call.text("brokkr.kubernetes.verb") == Some("apply"));
    assert_eq!(applied.count(), 3, "the parent and two config maps, one call each");

    let report = only(trace, "POST /api/v1/agent/reports", Kind::Client);
    assert!(is_below(trace, report, processed));
    let stored = only(trace, "POST /api/v1/agent/reports", Kind::Server);
    assert_eq!(stored.parent.as_ref(), Some(&report.span_id));
    let outcome = trace.children(stored).filter(|span| span.attributes.contains_key("db.query.summary"));
    assert!(outcome.count() >= 2, "the report's statements are below it");
}

/// The API server took each call's `Audit-ID`, so that what we say of the wire is what was on the wire.
fn assert_every_call_is_in_the_audit_log(trace: &Trace) {
    let events = ControlPlane::shared().audit_events().unwrap();
    for call in trace.spans.iter().filter(|span| span.attributes.contains_key("brokkr.kubernetes.verb")) {
        let id = format!("{}-{}", trace.id, call.span_id);
        assert_eq!(call.text("brokkr.kubernetes.audit_id"), Some(id.as_str()));
        // Discovery is not audited by the lab's policy when nobody asks for it; calls about objects are.
        if call.attributes.contains_key("brokkr.object.name") {
            assert!(events.iter().any(|event| event["auditID"] == id.as_str()), "{} {id} is not in the audit log", call.name);
        }
    }
    // The API server's own spans continue ours, because the agent's user is in system:masters and `traceparent` was sent.
    let of_server = trace.spans.iter().filter(|span| span.service == "apiserver" && span.kind == Kind::Server);
    for span in of_server {
        let parent = trace.spans.iter().find(|call| Some(&call.span_id) == span.parent.as_ref());
        assert!(parent.is_some_and(|call| call.service == "brokkr-agent"), "{span:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_runs_from_the_callers_traceparent_to_the_report_over_grpc() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let (trace, agent) = traced_rollout(Engine::Sqlite, "grpc", &Receiver::shared().grpc_endpoint(), id).await;
    assert_one_trace_from_caller_to_report(&trace, &agent);
    assert_every_call_is_in_the_audit_log(&trace);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_runs_from_the_callers_traceparent_to_the_report_over_http() {
    let id = "5bf92f3577b34da6a3ce929d0e0e4737";
    let (trace, agent) = traced_rollout(Engine::Postgres, "http/protobuf", &Receiver::shared().http_endpoint(), id).await;
    assert_one_trace_from_caller_to_report(&trace, &agent);
    assert_every_call_is_in_the_audit_log(&trace);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_was_done() {
    for engine in Engine::ALL {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace("metrics").await.unwrap();
        let broker = Broker::start(engine, &[]).await.unwrap();
        let agent = broker.agent(&cluster.unique("meter"), &[]).await.unwrap();
        let stack = broker.stack("shop", &[&agent]).await;
        let applies = r#"brokkr_agent_kubernetes_operations_total{operation="apply",result="success"}"#;
        let before = metric(&agent.base, applies).await;
        broker.apply(&stack, &(config_map(&namespace, "a", "1") + &config_map(&namespace, "b", "1"))).await;

        assert_eq!(metric(&agent.base, applies).await - before, 3.0, "{engine:?}: the parent and two config maps");
        assert!(metric(&agent.base, r#"brokkr_agent_poll_requests_total{result="success"}"#).await >= 1.0);
        assert!(metric(&agent.base, "brokkr_agent_heartbeat_sent_total").await >= 1.0);
        assert!(metric(&agent.base, "brokkr_agent_last_successful_poll_timestamp").await > 1.7e9);
        assert!(metric(&agent.base, "brokkr_agent_poll_duration_seconds_count").await >= 1.0);
        let applied = r#"brokkr_agent_kubernetes_operation_duration_seconds_count{operation="apply"}"#;
        assert!(metric(&agent.base, applied).await >= 3.0);

        let endpoint = "/api/v1/stacks/{stack}/deployment-objects";
        let puts = format!(r#"brokkr_http_requests_total{{endpoint="{endpoint}",method="PUT",status="201"}}"#);
        assert_eq!(metric(&broker.base, &puts).await, 1.0, "{engine:?}");
        let took = format!(r#"brokkr_http_request_duration_seconds_count{{endpoint="{endpoint}",method="PUT"}}"#);
        assert_eq!(metric(&broker.base, &took).await, 1.0);
        for operation in ["select", "insert", "update"] {
            assert!(metric(&broker.base, &format!(r#"brokkr_database_queries_total{{operation="{operation}"}}"#)).await > 0.0);
            let series = format!(r#"brokkr_database_query_duration_seconds_count{{operation="{operation}"}}"#);
            assert!(metric(&broker.base, &series).await > 0.0);
        }
        // These three are counted in the database, a moment after the change.
        for (gauge, value) in
            [("brokkr_active_agents", 1.0), ("brokkr_stacks_total", 1.0), ("brokkr_deployment_objects_total", 1.0)]
        {
            wait_for_metric(&broker.base, gauge, |found| found == value).await;
        }
        let openmetrics = brokkr_tests::http::client()
            .unwrap()
            .get(format!("{}/metrics", broker.base))
            .header("accept", "application/openmetrics-text; version=1.0.0")
            .send()
            .await
            .unwrap();
        assert!(openmetrics.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
        assert!(openmetrics.text().await.unwrap().ends_with("# EOF\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_neither_blocks_nor_fails_anything() {
    let nobody = format!("http://127.0.0.1:{}", brokkr_tests::lab::free_port().unwrap());
    let telemetry = [&traced(&nobody)[..], &[("BROKKR__TELEMETRY__TIMEOUT", "200ms")]].concat();
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("dead-collector").await.unwrap();
    let mut broker = Broker::start(Engine::Sqlite, &telemetry).await.unwrap();
    let mut agent = broker.agent(&cluster.unique("blind"), &telemetry).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    broker.apply(&stack, &config_map(&namespace, "a", "1")).await;
    let url = format!("{}/readyz", broker.base);
    let told = || async {
        let ready = brokkr_tests::http::wait_until_ok(&url, LIMIT).await.map_err(|error| error.to_string())?;
        if ready.contains(r#""telemetry":{"ok":false"#) { Ok(()) } else { Err(ready) }
    };
    until("/readyz to tell of the collector", LIMIT, told).await.unwrap();
    assert!(agent.process.terminate(LIMIT).await.unwrap().success());
    assert!(broker.process.terminate(LIMIT).await.unwrap().success());
}
