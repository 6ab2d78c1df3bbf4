//! Seeded fault trials: whatever fails and whenever, at the end the cluster equals the desired state and nothing foreign was
//! touched. `make test` runs a sample; `make soak` runs them all and leaves its evidence in `target/soak/agent-trials.json`.
//! `BROKKR_TRIAL_SEED=7` runs the trial of that seed alone.

use std::{env, time::Instant};

use brokkr_tests::{
    cluster::Cluster,
    evidence::{count, leave},
    fleet::Engine,
};
use futures::{StreamExt, stream};
use serde::Serialize;

use crate::ground::Ground;

const SAMPLE: u64 = 20;
const ALL: u64 = 1_000;
const STEPS: usize = 8;
/// Trials side by side: they share one API server.
const SIDE_BY_SIDE: usize = 2;

/// What one trial did, for the evidence.
#[derive(Debug, Serialize)]
struct Trial {
    seed: u64,
    engine: &'static str,
    steps: Vec<String>,
    objects: usize,
    strangers: usize,
    calls: usize,
    milliseconds: u128,
}

async fn trial(cluster: &Cluster, seed: u64) -> Trial {
    let began = Instant::now();
    let (engine, name) = if seed % 4 == 3 { (Engine::Postgres, "postgresql") } else { (Engine::Sqlite, "sqlite") };
    let mut ground = Ground::start(cluster, seed, engine).await;
    let mut steps = Vec::new();
    for _ in 0..STEPS {
        steps.push(ground.step().await);
    }
    ground.proxy.calm();
    ground.settle(&format!("after {steps:#?}")).await;
    let objects = ground.judge(&steps).await;
    let (strangers, calls) = (ground.strangers.len(), ground.proxy.count());
    ground.clear().await;
    Trial { seed, engine: name, steps, objects, strangers, calls, milliseconds: began.elapsed().as_millis() }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_the_cluster_ends_as_desired_and_nothing_foreign_is_touched() {
    let cluster = Cluster::shared().await.unwrap();
    let only = env::var_os("BROKKR_TRIAL_SEED").map(|seed| seed.to_str().unwrap().parse().unwrap());
    let seeds: Vec<u64> = only.map_or_else(|| (0..count(SAMPLE, ALL)).collect(), |seed| vec![seed]);
    let mut running = stream::iter(seeds).map(|seed| trial(&cluster, seed)).buffer_unordered(SIDE_BY_SIDE);
    let mut trials = Vec::new();
    while let Some(trial) = running.next().await {
        if only.is_some() {
            eprintln!("{trial:#?}");
        }
        trials.push(trial);
        trials.sort_by_key(|trial| trial.seed);
        leave("agent-trials", &trials);
    }
}
