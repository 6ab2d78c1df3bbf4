//! The catalogue of spans, and how spans take their places.

use std::time::{Duration, SystemTime};

use brokkr_telemetry::{
    Relation, Service, TraceContext,
    capture::{Capture, options},
    config::Rates,
    metrics::{DbOperation, HttpMethod},
    relate,
    spans::{
        self, ConsumerOutcome, DbStatement, DbTransaction, DeploymentSpanExt, HttpClientSpan, KubernetesCall, ObjectAction,
        ObjectSpan, Past, PollOutcome, ProcessDeployment, ProcessWorkOrder, SPANS, SendDeployment, SendWebhook, SendWorkOrder,
        Step, WaitReason,
    },
};
use opentelemetry::trace::SpanKind;
use tracing::Span;

const INBOUND: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn process() -> Span {
    spans::process_deployment(ProcessDeployment {
        stack: "shop",
        stack_id: "stk-1",
        generation: 3,
        revision: 7,
        action: "apply",
        attempt: 2,
        agent: "edge",
        cluster: "edge-1",
    })
}

fn inbound() -> TraceContext {
    TraceContext::from_parts(INBOUND, Some("vendor=1")).unwrap()
}

/// Makes every span of the catalogue, with everything that can be recorded on it.
fn make_all() {
    let server = spans::http_server(HttpMethod::Put, Some("/api/v1/stacks/{stack}"), "http");
    spans::record_http_status_server(&server, 503);
    spans::record_reason(&server, "database_unavailable");
    let client = spans::http_client(HttpClientSpan {
        method: HttpMethod::Get,
        server_address: "broker",
        server_port: 3000,
        url_template: Some("/api/v1/agent"),
    });
    spans::record_http_status_client(&client, 404);
    spans::record_resend_count(&client, 1);
    let statement = spans::db_statement(DbStatement {
        name: "stacks.by_name",
        operation: DbOperation::Select,
        collection: "stacks",
        system: "postgresql",
        namespace: "brokkr|public",
        server_address: Some("db"),
    });
    spans::record_database_error(&statement, "database_unavailable", Some("40001"));
    let commit =
        spans::db_transaction(DbTransaction { verb: "COMMIT", system: "sqlite", namespace: "brokkr.db", server_address: None });
    let send =
        spans::send_deployment_object(SendDeployment { stack: "shop", stack_id: "stk-1", generation: 3, fan_out: Some(2) });
    let process = process();
    process.record_lag_seconds(4);
    spans::record_outcome(
        &process,
        ConsumerOutcome { phase: "failed", reason: Some("Forbidden"), object: Some("apps/Deployment shop/web") },
    );
    let object = |action| {
        spans::object(ObjectSpan { action, group_kind: "apps/Deployment", namespace: Some("shop"), name: "web", wave: 1 })
    };
    let (apply, delete) = (object(ObjectAction::Apply), object(ObjectAction::Delete));
    apply.record("brokkr.reason", "Conflict");
    let call = spans::kubernetes_call(KubernetesCall {
        verb: "apply",
        resource: "deployments",
        namespace: Some("shop"),
        name: Some("web"),
        method: HttpMethod::Patch,
        server_address: "kubernetes",
        server_port: 443,
    });
    spans::record_audit_id(&call, "audit");
    spans::record_http_status_client(&call, 409);
    let wait = spans::wait(WaitReason::Health);
    let (validate, plan, rollout) = (spans::validate(), spans::plan(), spans::plan_rollout());
    spans::record_objects(&validate, 4);
    spans::record_objects(&plan, 4);
    spans::record_agents(&rollout, 3);
    let poll = spans::poll();
    spans::record_poll(&poll, PollOutcome::Unchanged);
    let ask = spans::send_work_order(SendWorkOrder { id: "wo-1", name: "migrate", kind: "job" });
    let (id, name, kind, agent, cluster) = ("wo-1", "migrate", "job", "edge", "edge");
    let work = spans::process_work_order(ProcessWorkOrder { id, name, kind, attempt: 1, agent, cluster });
    spans::record_work_result(&work, "failure", Some("exit_code"), Some("batch/Job shop/migrate"));
    let (start, end) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    spans::record_step(&work, Step { name: "main", exit_code: 1 }, start, end);
    let tell = spans::send_webhook(SendWebhook {
        id: "msg-1",
        webhook_id: "019b76da-a800-7000-8000-000000000001",
        webhook: "chat",
        event: "stack.created",
        attempt: 1,
    });
    let post = spans::http_client(HttpClientSpan {
        method: HttpMethod::Post,
        server_address: "receiver",
        server_port: 443,
        url_template: None,
    });
    let all = [
        ask,
        work,
        tell,
        post,
        server,
        client,
        statement,
        commit,
        send,
        process,
        apply,
        delete,
        call,
        wait,
        validate,
        spans::target(),
        spans::encrypt(),
        rollout,
        spans::prepare(),
        spans::observe(),
        plan,
        poll,
        spans::report(),
        spans::job("sweep"),
        spans::agent_offline("edge", "edge"),
    ];
    for span in all {
        drop(span.entered());
    }
    spans::record_past_of(&inbound(), None, Past::Receive, start, end);
    spans::record_past_of(&inbound(), None, Past::ReceiveWorkOrder, start, end);
}

#[test]
fn every_span_is_in_the_catalogue_with_its_kind_and_attributes() {
    let capture = Capture::start();
    let _guard = capture.enter();
    make_all();
    let made = capture.spans();
    let names = [
        ("PUT /api/v1/stacks/{stack}", "{method} {route}"),
        ("GET /api/v1/agent", "{method} {url template}"),
        ("SELECT stacks", "{operation} {collection}"),
        ("COMMIT", "{BEGIN|COMMIT|NOTIFY}"),
        ("send deployment", "send deployment"),
        ("receive deployment", "receive deployment"),
        ("process deployment", "process deployment"),
        ("apply object", "apply object"),
        ("delete object", "delete object"),
        ("apply deployments", "{verb} {resource}"),
        ("wait health", "wait {reason}"),
        ("validate", "validate"),
        ("target", "target"),
        ("encrypt", "encrypt"),
        ("plan rollout", "plan rollout"),
        ("prepare", "prepare"),
        ("observe", "observe"),
        ("plan", "plan"),
        ("report", "report"),
        ("poll", "poll"),
        ("job sweep", "job {name}"),
        ("agent offline", "agent offline"),
        ("send work_order", "send work_order"),
        ("receive work_order", "receive work_order"),
        ("process work_order", "process work_order"),
        ("run main", "run {container}"),
        ("send webhook", "send webhook"),
        ("POST", "POST"),
    ];
    // `export spans` is made by the exporter's side alone, and tested there.
    assert_eq!((made.len(), SPANS.len()), (names.len(), names.len() + 1));
    for (name, entry) in names {
        let span = capture.span(name);
        let entry = SPANS.iter().find(|info| info.name == entry).unwrap();
        let attributes = span.attribute_names();
        assert!(entry.describes(name, span.kind(), attributes.iter().map(String::as_str)), "{name}: {attributes:?}");
    }
    // The fullest of each carry all that the catalogue promises.
    for name in [
        "PUT /api/v1/stacks/{stack}",
        "GET /api/v1/agent",
        "SELECT stacks",
        "process deployment",
        "apply object",
        "apply deployments",
    ] {
        let entry = names.iter().find(|(made, _)| *made == name).unwrap().1;
        let promised = SPANS.iter().find(|info| info.name == entry).unwrap().attributes;
        let carried = capture.span(name).attribute_names();
        for attribute in promised {
            assert!(carried.iter().any(|carried| carried == attribute), "{name}: {attribute}");
        }
    }
}

#[test]
fn numbers_are_numbers_and_errors_are_errors() {
    let capture = Capture::start();
    let _guard = capture.enter();
    make_all();
    let server = capture.span("PUT /api/v1/stacks/{stack}");
    assert_eq!(
        (server.attribute("http.response.status_code").as_deref(), server.attribute("error.type").as_deref()),
        (Some("503"), Some("503"))
    );
    assert!(server.is_error() && capture.span("GET /api/v1/agent").is_error() && capture.span("process deployment").is_error());
    assert!(!capture.span("plan").is_error());
    assert_eq!(capture.span("GET /api/v1/agent").attribute("server.port").as_deref(), Some("3000"));
}

#[test]
fn a_parent_is_a_parent_and_a_link() {
    let capture = Capture::start();
    let _guard = capture.enter();
    let span = process();
    relate(&span, &inbound(), Relation::Parent);
    let place = TraceContext::of(&span).unwrap();
    drop(span.entered());
    let made = capture.span("process deployment");
    assert_eq!((made.trace_id(), made.parent_id()), (inbound().trace_id().to_owned(), inbound().span_id().to_owned()));
    assert_eq!(made.links(), [inbound().span_id()]);
    assert_eq!((place.span_id(), place.tracestate.as_deref()), (made.span_id().as_str(), Some("vendor=1")));
}

#[test]
fn a_link_is_a_trace_of_its_own_that_follows_the_flag() {
    let capture = Capture::start();
    capture.telemetry().sampler().set_rates(0.0, Rates::default());
    let _guard = capture.enter();
    for traceparent in [INBOUND.to_owned(), INBOUND.replace("-01", "-00")] {
        let span = process();
        relate(&span, &TraceContext::from_parts(&traceparent, None).unwrap(), Relation::Link);
        drop(span.entered());
    }
    let made = capture.spans();
    assert_eq!(made.len(), 1);
    assert_ne!(made[0].trace_id(), inbound().trace_id());
    assert_eq!((made[0].links(), made[0].parent_id()), (vec![inbound().span_id().to_owned()], "0".repeat(16)));
}

#[test]
fn what_runs_around_a_deployment_is_not_its_parent() {
    let capture = Capture::start();
    let _guard = capture.enter();
    spans::poll().in_scope(|| {
        let span = process();
        relate(&span, &inbound(), Relation::Parent);
        span.in_scope(|| drop(spans::plan().entered()));
    });
    assert_eq!(capture.span("process deployment").trace_id(), inbound().trace_id());
    assert_eq!(capture.span("plan").parent_id(), capture.span("process deployment").span_id());
    assert_eq!(capture.tree(), "poll\nprocess deployment\n  plan\n");
}

#[test]
fn what_the_caller_sent_goes_on_to_the_grandchildren_even_where_nothing_is_sampled() {
    let capture = Capture::start();
    let _guard = capture.enter();
    let unsampled = TraceContext::from_parts("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02", Some("a@b@c=1")).unwrap();
    let span = process();
    relate(&span, &unsampled, Relation::Parent);
    span.in_scope(|| {
        spans::plan().in_scope(|| {
            let here = TraceContext::current().unwrap();
            assert_eq!(
                (here.trace_id(), here.is_sampled(), here.tracestate.as_deref()),
                (unsampled.trace_id(), false, Some("a@b@c=1"))
            );
            assert!(here.traceparent.ends_with("-02"), "{}", here.traceparent);
            assert!(here.with_flags_masked().traceparent.ends_with("-00"));
        });
    });
    assert!(capture.spans().is_empty());
}

#[test]
fn a_wait_that_is_over_has_the_times_that_it_had() {
    let capture = Capture::start();
    let _guard = capture.enter();
    let (start, end) = (SystemTime::UNIX_EPOCH + Duration::from_secs(100), SystemTime::UNIX_EPOCH + Duration::from_secs(130));
    let span = process();
    relate(&span, &inbound(), Relation::Parent);
    spans::record_past(&span, Past::Wait(WaitReason::Queued), start, end);
    spans::record_past(&span, Past::Wait(WaitReason::Throttled), end, start);
    drop(span.entered());
    let wait = capture.span("wait queued");
    assert_eq!((wait.times(), wait.kind()), ((start, end), &SpanKind::Internal));
    assert_eq!(
        (wait.parent_id(), wait.trace_id()),
        (capture.span("process deployment").span_id(), inbound().trace_id().to_owned())
    );
    assert_eq!(wait.attribute("brokkr.wait.reason").as_deref(), Some("queued"));
    assert_eq!(capture.span("wait throttled").times(), (end, end));
}

#[test]
fn a_past_wait_of_a_recorded_rollout_is_recorded_and_not_sampled() {
    let mut off = options(Service::Agent);
    off.telemetry.sampling_rate = 0.0;
    let capture = Capture::with(off).unwrap();
    capture.telemetry().sampler().record_rollouts(true);
    let _guard = capture.enter();
    let span = process();
    spans::record_past(&span, Past::Wait(WaitReason::Retry), SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
    drop(span.entered());
    assert!(!capture.span("wait retry").is_sampled() && !capture.span("process deployment").is_sampled());
}

#[test]
fn background_work_is_a_trace_of_its_own_that_links_to_what_caused_it() {
    let capture = Capture::start();
    capture.telemetry().sampler().set_rates(0.0, Rates { poll: 0.0, ..Rates::default() });
    let _guard = capture.enter();
    let causes: Vec<_> =
        (1..=20).map(|n| TraceContext::from_parts(&format!("00-{n:032x}-00f067aa0ba902b7-01"), None).unwrap()).collect();
    drop(spans::job_of("sweep", causes.iter().chain(&causes)).entered());
    drop(spans::job_of("idle", []).entered());
    let made = capture.spans();
    assert_eq!(made.len(), 1, "kept because a cause is; what nobody caused goes by the rate");
    assert_eq!((made[0].name(), made[0].links().len(), made[0].parent_id()), ("job sweep", 16, "0".repeat(16)));
}

#[test]
fn what_became_healthy_later_links_to_what_was_applied() {
    let capture = Capture::start();
    let _guard = capture.enter();
    let cause = TraceContext::from_parts("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None).unwrap();
    spans::record_past_of(
        &inbound(),
        Some(&cause),
        Past::Wait(WaitReason::Health),
        SystemTime::UNIX_EPOCH,
        SystemTime::UNIX_EPOCH,
    );
    let wait = capture.span("wait health");
    assert_eq!((wait.parent_id(), wait.links()), (inbound().span_id().to_owned(), vec![cause.span_id().to_owned()]));
}

#[test]
fn parallel_captures_do_not_mix() {
    let captures = [Capture::start(), Capture::start()];
    std::thread::scope(|scope| {
        for capture in &captures {
            scope.spawn(|| {
                let _guard = capture.enter();
                drop(spans::plan().entered());
            });
        }
    });
    assert!(captures.iter().all(|capture| capture.spans().len() == 1));
}
