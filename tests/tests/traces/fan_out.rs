//! A rollout to a thousand agents: no trace grows with the fleet, and every agent's links to the rollout's.
//!
//! The broker is the real process. The agents are simulated, and their spans are made by the functions that the agent calls, related as
//! the broker says and exported over OTLP; their polls and reports are real requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use brokkr_api::{
    Labels, Name, Relation, TargetSelector,
    agents::CreateAgent,
    client::{Client, ClientBuilder, KeySource, Polled, SharedKey},
    desired_state::{DesiredDeployment, DesiredState},
    reports::{Report, Reports},
    rollouts::Phase,
    stacks::PutStack,
};
use brokkr_telemetry::{
    InitOptions, MetricsConfig, Service, Telemetry, TelemetryConfig, TraceContext,
    http::ClientTelemetry,
    metrics::HttpMethod,
    relate,
    spans::{self, ConsumerOutcome, KubernetesCall, ObjectAction, ObjectSpan, ProcessDeployment},
};
use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT, config_map},
    otlp::{Kind, Receiver, Span, Where, traced},
};
use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use tracing::{Instrument, instrument::WithSubscriber};

const AGENTS: usize = 1_000;
/// How many agents are at work at once.
const AT_ONCE: usize = 16;
const OBJECTS: usize = 20;
/// What no trace may exceed, in bytes.
const MOST: u64 = 2 * 1024 * 1024;

/// What the agents' spans leave by.
fn telemetry(receiver: &Receiver) -> Telemetry {
    let mut telemetry = TelemetryConfig::default().with_endpoint(receiver.grpc_endpoint()).with_sample_rate(1.0);
    telemetry.enabled = true;
    // Nothing is to be dropped, however many come at once.
    telemetry.batch.queue_size = 100_000;
    telemetry.batch.delay = Duration::from_millis(100);
    telemetry.log.level = "error".to_owned();
    let options = InitOptions {
        service: Service::Agent,
        version: "0.0.0-test".to_owned(),
        instance_id: "fleet".to_owned(),
        telemetry,
        metrics: MetricsConfig { enabled: false, ..MetricsConfig::default() },
    };
    brokkr_telemetry::init(options).unwrap()
}

/// Some of the agents, one after the other over one connection.
struct Agents {
    client: Client,
    key: SharedKey,
}

impl Agents {
    fn new(broker: &Broker) -> Self {
        let key = SharedKey::default();
        let builder = ClientBuilder::new(&broker.base, KeySource::Shared(key.clone())).unwrap();
        Self { client: builder.middleware(Arc::new(ClientTelemetry)).build().unwrap(), key }
    }

    /// What one agent does with a change: it looks, carries it out and reports.
    async fn carry_out(&self, name: &Name, key: &str) -> Relation {
        self.key.set(key);
        let polled = self.client.desired_state(None, Duration::ZERO).instrument(spans::poll()).await.unwrap();
        let Polled::Changed { state, .. } = polled else { panic!("{name} has nothing to do") };
        let deployment = &state.deployments[0];
        let work = deployment.trace.clone().expect("the work carries its trace");
        let context = TraceContext::from_parts(&work.traceparent, work.tracestate.as_deref()).unwrap();
        let stack_id = deployment.stack_id.to_string();
        let span = spans::process_deployment(ProcessDeployment {
            stack: deployment.stack.as_str(),
            stack_id: &stack_id,
            generation: 1,
            revision: i64::try_from(deployment.revision).unwrap(),
            action: deployment.action.as_str(),
            attempt: 1,
            agent: name.as_str(),
            cluster: name.as_str(),
        });
        let parent = work.relation == Relation::Parent;
        relate(&span, &context, if parent { brokkr_telemetry::Relation::Parent } else { brokkr_telemetry::Relation::Link });
        self.apply(&state, deployment).instrument(span.clone()).await;
        spans::record_outcome(&span, ConsumerOutcome { phase: Phase::Applied.as_str(), reason: None, object: None });
        work.relation
    }

    async fn apply(&self, state: &DesiredState, deployment: &DesiredDeployment) {
        let objects = deployment.content.as_ref().expect("small content comes along");
        assert_eq!(objects.objects.len(), OBJECTS);
        for number in 0..OBJECTS {
            let name = format!("object-{number}");
            let of = ObjectSpan {
                action: ObjectAction::Apply,
                group_kind: "ConfigMap",
                namespace: Some("shop"),
                name: &name,
                wave: 0,
            };
            spans::object(of).in_scope(|| {
                let call = spans::kubernetes_call(KubernetesCall {
                    verb: "apply",
                    resource: "configmaps",
                    namespace: Some("shop"),
                    name: Some(&name),
                    method: HttpMethod::Patch,
                    server_address: "kubernetes.default.svc",
                    server_port: 443,
                });
                let place = TraceContext::of(&call).unwrap();
                spans::record_audit_id(&call, &format!("{}-{}", place.trace_id(), place.span_id()));
                spans::record_http_status_client(&call, 200);
            });
        }
        let report = Report {
            stack_id: deployment.stack_id,
            revision: deployment.revision,
            phase: Phase::Applied,
            attempt: 1,
            objects: Vec::new(),
            error: None,
            health: None,
            scope: None,
            held: None,
            drift: Vec::new(),
        };
        let reports = Reports { epoch: state.epoch.clone(), reports: vec![report] };
        self.client.report(&reports).instrument(spans::report()).await.unwrap();
    }
}

async fn enrol(broker: &Broker) -> Vec<(Name, String)> {
    let admin = broker.admin();
    let make = |number: usize| {
        let admin = &admin;
        async move {
            let name: Name = format!("sim-{number}").parse().unwrap();
            let request = CreateAgent { name: name.clone(), cluster: name.clone(), labels: Labels::default() };
            admin.create_agent(&request).await.map(|created| (name, created.secret))
        }
    };
    stream::iter((0..AGENTS).map(make)).buffer_unordered(AT_ONCE).try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_to_a_thousand_agents_makes_no_large_trace_and_each_agents_links_to_it() {
    let receiver = Receiver::start(Where::default()).unwrap();
    let endpoint = receiver.grpc_endpoint();
    let mut settings = traced(&endpoint).to_vec();
    settings.push(("BROKKR__TELEMETRY__BATCH__QUEUE_SIZE", "100000"));
    // One key makes all of the agents, as fast as it can.
    settings.extend([("BROKKR__LIMITS__REQUESTS_PER_SECOND", "1000000"), ("BROKKR__LIMITS__BURST", "1000000")]);
    let broker = Broker::start(Engine::Sqlite, &settings).await.unwrap();
    let agents = enrol(&broker).await;
    let stack: Name = "shop".parse().unwrap();
    let everyone = TargetSelector { labels: Some(brokkr_api::LabelSelector::default()), names: Vec::new() };
    broker.admin().put_stack(&stack, &PutStack { targets: everyone, ..PutStack::default() }).await.unwrap();
    let manifests: String = (0..OBJECTS).map(|number| config_map("shop", &format!("object-{number}"), "1")).collect();
    let accepted = broker.send(&stack, &manifests).await;
    assert_eq!(accepted.agents, AGENTS as u64);

    let telemetry = telemetry(&receiver);
    let shares = agents.chunks(AGENTS.div_ceil(AT_ONCE)).map(|share| {
        let workers = Agents::new(&broker);
        async move {
            for (name, key) in share {
                assert_eq!(workers.carry_out(name, key).await, Relation::Link, "{name}");
            }
        }
    });
    join_all(shares).with_subscriber(telemetry.dispatch().clone()).await;
    let status = telemetry.shutdown(LIMIT).await;
    assert!(status.last_error.is_none(), "{status:?}");

    let rollout = accepted.deployment_object.trace_id.unwrap();
    let is_attempt = |span: &Span| span.kind == Kind::Consumer && span.name == "process deployment";
    // The broker's spans are those of two requests of each agent, with their statements.
    let is_told = |span: &Span| span.kind == Kind::Server && span.name == "POST /api/v1/agent/reports";
    let enough = |spans: &[Span]| {
        let count = |is: &dyn Fn(&Span) -> bool| spans.iter().filter(|span| is(span)).count();
        count(&is_attempt) == AGENTS && count(&is_told) == AGENTS && spans.iter().any(|span| span.trace_id == rollout)
    };
    let spans = receiver.wait_for("a trace of every agent", LIMIT, enough).await.unwrap();
    let trace = receiver.trace(&rollout);
    let sent = trace.span("send deployment").unwrap();
    assert_eq!(sent.attributes["brokkr.fan_out"].as_u64(), Some(AGENTS as u64));

    let attempts: Vec<_> = spans.iter().filter(|span| is_attempt(span)).collect();
    let traces: BTreeSet<_> = attempts.iter().map(|span| &span.trace_id).collect();
    assert!(traces.len() == AGENTS && !traces.contains(&rollout), "a trace for each agent, none of them the rollout's");
    for attempt in attempts {
        assert!(attempt.parent.is_none() && attempt.links.iter().any(|link| sent.is_linked_from(link)), "{attempt:?}");
    }
    let mut sizes: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for span in &spans {
        let size = sizes.entry(&span.trace_id).or_default();
        *size = (size.0 + span.bytes, size.1 + 1);
    }
    let largest = sizes.values().max().unwrap();
    println!(
        "the rollout's trace: {} spans, {} bytes; {} traces, the largest {largest:?}",
        trace.spans.len(),
        trace.bytes(),
        sizes.len()
    );
    assert!(trace.bytes() < MOST && largest.0 < MOST, "{largest:?}");
    assert!(trace.spans.len() < 50, "it does not grow with the fleet: {}", trace.spans.len());
}
