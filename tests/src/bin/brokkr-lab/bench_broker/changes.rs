//! What a change costs: for one of many, for all of many, and with many objects.

use brokkr_tests::{fleet::Engine, lab::LabError};

use super::fleet::World;
use crate::bench_table::{Row, percentile};

const CHANGES: u32 = 100;
const LARGE: u32 = 20;
const FAN_OUTS: u32 = 10;
/// Rounds of polls that find nothing, and polls in each.
const ROUNDS: (u32, u32) = (10, 500);

/// One stack changes, again and again, that concerns one agent of all; then one with a thousand objects.
#[expect(clippy::cast_precision_loss, reason = "counts of some hundred")]
pub(super) async fn for_one(world: &World, engine: &str) -> Result<Vec<Row>, LabError> {
    let (small, large) = (world.agents / 2, world.agents / 3);
    world.stack_of("small", small).await?;
    world.stack_of("large", large).await?;
    println!("{engine}: changes for one of {} agents", world.agents);
    // The new stacks themselves are changes: they are over when their first content is there.
    world.push("large", 1, 100, "first").await?;
    world.push("small", 1, 100, "first").await?;
    let before = world.simulator.counts()?;
    let mut times = Vec::new();
    for number in 0..CHANGES {
        times.extend(world.push("small", 1, 100, &number.to_string()).await?.1);
    }
    let answered = world.simulator.counts()?.changed - before.changed;
    let mut accepted = Vec::new();
    for number in 0..LARGE {
        accepted.push(world.push("large", 1_000, 100, &number.to_string()).await?.0);
    }
    let (mut one, mut thousand) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS.0 {
        // In turn, so that a slow moment of the machine meets both.
        one.extend(world.simulator.hammer(small, ROUNDS.1)?.micros);
        thousand.extend(world.simulator.hammer(large, ROUNDS.1)?.micros);
    }
    let (one, thousand) = (percentile(&one, 0.5), percentile(&thousand, 0.5));
    let row = |what: &str, value: f64, unit, goal| Row::new(format!("{engine}: {what}"), value, unit, goal);
    Ok(vec![
        row("a change for one agent, sent until it has the content, p50", percentile(&times, 0.5), "ms", Some(20.0)),
        row("a change for one agent, sent until it has the content, p99", percentile(&times, 0.99), "ms", None),
        row("others that were answered per change", answered as f64 / f64::from(CHANGES) - 1.0, "agents", Some(0.0)),
        row("a stack with 1,000 objects, until accepted, slowest", percentile(&accepted, 1.0), "ms", Some(150.0)),
        row("a poll that finds nothing, 1 object, p50", one, "us", None),
        row("a poll that finds nothing, 1,000 objects, p50", thousand, "us", Some(one * 1.1)),
    ])
}

/// One stack of 20 kB changes that concerns everybody.
pub(super) async fn for_all(engine: Engine, name: &str, agents: u32) -> Result<Vec<Row>, LabError> {
    println!("{name}: changes for all of {agents} agents");
    let world = World::start(engine, super::fleet::Way::Plain, agents, 1, super::fleet::WAIT).await?;
    let (mut last, mut half) = (Vec::new(), Vec::new());
    for number in 0..FAN_OUTS {
        let (_, arrivals) = world.push("everyone-0", 10, 1_900, &number.to_string()).await?;
        last.push(percentile(&arrivals, 1.0) / 1_000.0);
        half.push(percentile(&arrivals, 0.5) / 1_000.0);
    }
    let row = |what: &str, value: f64, goal| Row::new(format!("{name}: 20 kB for {agents} agents, {what}"), value, "s", goal);
    Ok(vec![
        row("half of them have it, median change", percentile(&half, 0.5), None),
        row("all of them have it, median change", percentile(&last, 0.5), None),
        row("all of them have it, slowest change", percentile(&last, 1.0), Some(2.0)),
    ])
}
