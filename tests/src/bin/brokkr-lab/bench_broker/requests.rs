//! How long lists and writes take with a full database.

use std::time::Instant;

use brokkr_api::{
    Labels, TargetSelector,
    agents::{AgentsQuery, CreateAgent, UpdateAgent},
    client::ClientError,
    page::PageQuery,
    stacks::{PutStack, StacksQuery},
};
use brokkr_tests::{fleet::config_map, lab::LabError};

use super::fleet::World;
use crate::bench_table::{Row, fail, percentile};

const LISTS: u32 = 200;
const WRITES: u32 = 10;
const LIST_GOAL_MS: f64 = 50.0;
/// Measures with the fleet away, so that the time is the request's.
pub(super) async fn run(world: &World, engine: &str) -> Result<Vec<Row>, LabError> {
    world.switch_off().await?;
    println!("{engine}: lists and writes");
    let bench = Requests { world, engine };
    let mut rows = bench.lists().await?;
    rows.extend(bench.writes().await?);
    Ok(rows)
}

struct Requests<'a> {
    world: &'a World,
    engine: &'a str,
}

impl Requests<'_> {
    async fn lists(&self) -> Result<Vec<Row>, LabError> {
        let admin = &self.world.admin;
        let stack = "everyone-0".parse().map_err(fail)?;
        let page = PageQuery { limit: Some(100), ..PageQuery::default() };
        let agents = AgentsQuery { limit: Some(100), ..AgentsQuery::default() };
        let stacks = StacksQuery { limit: Some(100), ..StacksQuery::default() };
        // A page in the middle costs what the first one does.
        let middle = admin.list_agents(&agents).await.map_err(fail)?.next_cursor;
        let middle = AgentsQuery { cursor: middle, ..agents.clone() };
        let mut rows = Vec::new();
        rows.push(self.measure("list of agents", LISTS, true, async |_| admin.list_agents(&agents).await.map(drop)).await?);
        rows.push(
            self.measure("list of agents, second page", LISTS, true, async |_| admin.list_agents(&middle).await.map(drop))
                .await?,
        );
        rows.push(self.measure("list of stacks", LISTS, true, async |_| admin.list_stacks(&stacks).await.map(drop)).await?);
        rows.push(self.measure("list of keys", LISTS, true, async |_| admin.list_keys(&page).await.map(drop)).await?);
        let objects = async |_| admin.list_deployment_objects(&stack, &page).await.map(drop);
        rows.push(self.measure("list of deployment objects", LISTS, true, objects).await?);
        rows.push(self.measure("rollout of a stack", LISTS, true, async |_| admin.rollout(&stack, None).await.map(drop)).await?);
        Ok(rows)
    }

    async fn writes(&self) -> Result<Vec<Row>, LabError> {
        let admin = &self.world.admin;
        let everyone = PutStack { targets: TargetSelector::everyone(), ..PutStack::default() };
        let mut rows = Vec::new();
        let name = |number: u32| format!("written-{number}").parse().map_err(fail);
        let names = (0..WRITES).map(name).collect::<Result<Vec<brokkr_api::Name>, _>>()?;
        let put = async |number: u32| admin.put_stack(&names[number as usize], &everyone).await.map(drop);
        rows.push(self.measure("write of a stack for all agents", WRITES, false, put).await?);
        let send = async |number: u32| {
            let manifests: String = (0..100).map(|object| config_map("default", &format!("written-{object}"), "1")).collect();
            admin.put_deployment_objects(&names[number as usize], "application/yaml", manifests.into_bytes()).await.map(drop)
        };
        rows.push(self.measure("write of 100 objects for all agents", WRITES, false, send).await?);
        let delete = async |number: u32| admin.delete_stack(&names[number as usize]).await.map(drop);
        rows.push(self.measure("deletion of a stack of all agents", WRITES, false, delete).await?);
        let create = async |number: u32| {
            let name = &names[number as usize];
            let request = CreateAgent { name: name.clone(), cluster: name.clone(), labels: Labels::default() };
            admin.create_agent(&request).await.map(drop)
        };
        rows.push(self.measure("creation of an agent", WRITES, false, create).await?);
        let label = async |number: u32| {
            let labels = serde_json::from_value(serde_json::json!({"written": number.to_string()})).ok();
            admin.update_agent(&names[number as usize], &UpdateAgent { labels }).await.map(drop)
        };
        rows.push(self.measure("new labels of an agent", WRITES, false, label).await?);
        Ok(rows)
    }

    async fn measure<F>(&self, what: &str, times: u32, is_list: bool, request: impl Fn(u32) -> F) -> Result<Row, LabError>
    where
        F: Future<Output = Result<(), ClientError>>,
    {
        let mut millis = Vec::new();
        for number in 0..times {
            let began = Instant::now();
            request(number).await.map_err(fail)?;
            millis.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        let goal = is_list.then_some(LIST_GOAL_MS);
        Ok(Row::new(format!("{}: {what}, p99", self.engine), percentile(&millis, 0.99), "ms", goal))
    }
}
