//! How many statements a request runs, counted in its trace: what runs in the background is in traces of its own.

use std::time::Duration;

use brokkr_api::{
    Labels, Name, TargetSelector,
    agents::{AgentsQuery, CreateAgent, UpdateAgent},
    client::{Client, ClientError},
    page::PageQuery,
    stacks::{PutStack, StacksQuery},
};
use brokkr_tests::{
    fleet::{Broker, Engine, config_map},
    lab::LabError,
    otlp::{Receiver, Where},
};

use crate::bench_table::{Row, fail};

const ARRIVAL: Duration = Duration::from_secs(20);
const LIST: f64 = 2.0;
const WRITE: f64 = 8.0;
const AGENTS: u32 = 20;
const OBJECTS: u32 = 50;

/// A broker that traces everything to a receiver.
struct Counter {
    receiver: Receiver,
    broker: Broker,
    engine: &'static str,
    rows: Vec<Row>,
}

/// Counts for every list, and for every kind of write with many agents and objects.
pub(super) async fn run(engine: Engine, name: &'static str) -> Result<Vec<Row>, LabError> {
    println!("{name}: statements of requests");
    let receiver = Receiver::start(Where::default())?;
    let endpoint = receiver.grpc_endpoint();
    let settings = [
        ("BROKKR__TELEMETRY__ENABLED", "true"),
        ("BROKKR__TELEMETRY__ENDPOINT", endpoint.as_str()),
        ("BROKKR__TELEMETRY__SAMPLING_RATE", "1.0"),
        ("BROKKR__TELEMETRY__BATCH__DELAY", "50ms"),
    ];
    let broker = Broker::start(engine, &settings).await?;
    for number in 0..AGENTS {
        let name: Name = format!("agent-{number}").parse().map_err(fail)?;
        let request = CreateAgent { name: name.clone(), cluster: name, labels: Labels::default() };
        broker.admin().create_agent(&request).await.map_err(fail)?;
    }
    let mut counter = Counter { receiver, broker, engine: name, rows: Vec::new() };
    counter.all().await?;
    Ok(counter.rows)
}

impl Counter {
    async fn all(&mut self) -> Result<(), LabError> {
        let (stack, agent): (Name, Name) = ("counted".parse().map_err(fail)?, "agent-0".parse().map_err(fail)?);
        let everyone = PutStack { targets: TargetSelector::everyone(), ..PutStack::default() };
        let one = TargetSelector { labels: None, names: vec![agent.clone()] };
        let one = PutStack { targets: one, ..PutStack::default() };
        let new: Name = "agent-new".parse().map_err(fail)?;
        let new = CreateAgent { name: new.clone(), cluster: new, labels: Labels::default() };
        let labels = serde_json::from_value(serde_json::json!({"region": "eu"})).map_err(fail)?;
        let labels = UpdateAgent { labels: Some(labels) };
        let manifests: String = (0..OBJECTS).map(|number| config_map("default", &format!("counted-{number}"), "1")).collect();
        let page = PageQuery::default();

        self.count("write of a new stack", WRITE, async |client| client.put_stack(&stack, &everyone).await.map(drop)).await?;
        let send = async |client: Client| {
            client.put_deployment_objects(&stack, "application/yaml", manifests.clone().into_bytes()).await.map(drop)
        };
        self.count("write of deployment objects", WRITE, send).await?;
        self.count("list of agents", LIST, async |client| client.list_agents(&AgentsQuery::default()).await.map(drop)).await?;
        self.count("list of stacks", LIST, async |client| client.list_stacks(&StacksQuery::default()).await.map(drop)).await?;
        self.count("list of keys", LIST, async |client| client.list_keys(&page).await.map(drop)).await?;
        let objects = async |client: Client| client.list_deployment_objects(&stack, &page).await.map(drop);
        self.count("list of deployment objects", LIST, objects).await?;
        self.count("creation of an agent", WRITE, async |client| client.create_agent(&new).await.map(drop)).await?;
        self.count("new labels of an agent", WRITE, async |client| client.update_agent(&agent, &labels).await.map(drop)).await?;
        // It takes the stack from most of its agents, which needs the token of a preview.
        let token = self.broker.admin().preview_targets(&stack, &one.targets).await.map_err(fail)?.token;
        let one = PutStack { preview_token: Some(token), ..one };
        self.count("new targets of a stack", WRITE, async |client| client.put_stack(&stack, &one).await.map(drop)).await?;
        self.count("deletion of a stack", WRITE, async |client| client.delete_stack(&stack).await.map(drop)).await
    }

    async fn count<F>(&mut self, what: &str, goal: f64, request: impl FnOnce(Client) -> F) -> Result<(), LabError>
    where
        F: Future<Output = Result<(), ClientError>>,
    {
        let trace = format!("{:032x}", self.rows.len() + 1);
        request(self.broker.traced(&format!("00-{trace}-00000000000000aa-01"))).await.map_err(fail)?;
        // The request's own span ends last, so that the others have arrived with it.
        let whole = |spans: &[brokkr_tests::otlp::Span]| {
            spans.iter().any(|span| span.trace_id == trace && span.attributes.contains_key("http.route"))
        };
        let spans = self.receiver.wait_for(what, ARRIVAL, whole).await.map_err(fail)?;
        let is_statement =
            |span: &&brokkr_tests::otlp::Span| span.trace_id == trace && span.attributes.contains_key("db.collection.name");
        let statements = u32::try_from(spans.iter().filter(is_statement).count()).map_err(fail)?;
        self.rows.push(Row::new(format!("{}: {what}, statements", self.engine), f64::from(statements), "statements", Some(goal)));
        Ok(())
    }
}
