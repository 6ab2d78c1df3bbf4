//! The collector beside a broker that answers requests and traces each of them.

use std::time::Duration;

use brokkr_api::page::PageQuery;
use brokkr_tests::{
    fleet::{Broker, Engine},
    lab::{LabError, free_port},
    otlp::traced,
};
use futures::{StreamExt, stream};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{
    Plan,
    requested::Requested,
    sidecar::Sidecar,
    usage::{Usage, memory_mb},
};
use crate::{
    bench_table::{Row, fail},
    bench_tracing::Sink,
};

/// Requests in flight at most.
const IN_FLIGHT: usize = 32;
/// Requests by which the spans of one are counted.
const COUNTED: u32 = 100;
/// Until a batch has gone from the broker to the collector, and on.
const BATCH: Duration = Duration::from_secs(3);

pub(super) async fn run(plan: &Plan) -> Result<Vec<Row>, LabError> {
    let (sink, asked) = (Sink::start().await?, Requested::by_sidecar()?);
    let backend = sink.endpoint().trim_start_matches("http://").to_owned();
    let mut rows = Vec::new();

    println!("the collector beside a broker: at rest, {} and {} spans a second, {} s each", plan.spans, plan.burst, plan.seconds);
    let sidecar = Sidecar::start(&backend).await?;
    let broker = broker_beside(&sidecar).await?;
    let rest = Usage::of(&sidecar.process)?;
    sleep(Duration::from_secs(plan.seconds)).await;
    rows.push(Row::new("collector at rest: CPU", rest.millicores()?, "m", Some(asked.cpu)));
    rows.push(Row::new("collector at rest: memory", memory_mb(&sidecar.process, "VmRSS")?, "MB", Some(asked.memory)));
    for (spans, memory) in [(plan.spans, asked.memory), (plan.burst, asked.limit)] {
        // The request is for what it does always; a burst may borrow the CPU of the node.
        let cpu = (spans == plan.spans).then_some(asked.cpu);
        let what = format!("collector with {spans} spans a second");
        let load = Load::of(&broker, &sidecar, spans, plan.seconds).await?;
        rows.push(Row::new(format!("{what}: spans that came"), load.spans, "1/s", None));
        rows.push(Row::new(format!("{what}: CPU"), load.millicores, "m", cpu));
        rows.push(Row::new(format!("{what}: memory"), memory_mb(&sidecar.process, "VmRSS")?, "MB", Some(memory)));
    }
    rows.push(Row::new("collector: the most memory until here", memory_mb(&sidecar.process, "VmHWM")?, "MB", Some(asked.limit)));

    println!("the same while its backend is away: what it cannot send waits on the disk");
    let nowhere = format!("127.0.0.1:{}", free_port().map_err(LabError::io("find a port"))?);
    let sidecar = Sidecar::start(&nowhere).await?;
    let broker = broker_beside(&sidecar).await?;
    let load = Load::of(&broker, &sidecar, plan.burst, plan.seconds).await?;
    let what = format!("collector with {} spans a second and no backend", plan.burst);
    rows.push(Row::new(format!("{what}: CPU"), load.millicores, "m", None));
    rows.push(Row::new(format!("{what}: the most memory"), memory_mb(&sidecar.process, "VmHWM")?, "MB", Some(asked.limit)));
    Ok(rows)
}

/// A broker that keeps every trace, and lets one caller ask as often as it likes.
async fn broker_beside(sidecar: &Sidecar) -> Result<Broker, LabError> {
    let limits = [("BROKKR__LIMITS__REQUESTS_PER_SECOND", "1000000"), ("BROKKR__LIMITS__BURST", "1000000")];
    let settings: Vec<_> = traced(&sidecar.endpoint).into_iter().chain(limits).collect();
    Broker::start(Engine::Sqlite, &settings).await
}

/// What came of a load.
struct Load {
    spans: f64,
    millicores: f64,
}

impl Load {
    /// Asks the broker so often that it makes about so many spans a second.
    async fn of(broker: &Broker, sidecar: &Sidecar, spans: u32, seconds: u64) -> Result<Self, LabError> {
        let before = sidecar.accepted().await?;
        requests(broker, f64::from(COUNTED), Duration::from_secs(1)).await?;
        sleep(BATCH).await;
        let each = (sidecar.accepted().await? - before) / f64::from(COUNTED);
        let (usage, before) = (Usage::of(&sidecar.process)?, sidecar.accepted().await?);
        requests(broker, f64::from(spans) / each, Duration::from_secs(seconds)).await?;
        let millicores = usage.millicores()?;
        sleep(BATCH).await;
        #[expect(clippy::cast_precision_loss, reason = "some seconds")]
        let spans = (sidecar.accepted().await? - before) / seconds as f64;
        Ok(Self { spans, millicores })
    }
}

/// So many requests a second, for so long.
async fn requests(broker: &Broker, rate: f64, limit: Duration) -> Result<(), LabError> {
    let client = broker.admin();
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let ticks = stream::unfold(ticks, async |mut ticks| {
        ticks.tick().await;
        Some(((), ticks))
    });
    let page = PageQuery::default();
    let asked = ticks.take_until(Box::pin(sleep(limit))).map(|()| client.list_keys(&page)).buffer_unordered(IN_FLIGHT);
    let mut asked = Box::pin(asked);
    while let Some(answer) = asked.next().await {
        answer.map_err(fail)?;
    }
    Ok(())
}
