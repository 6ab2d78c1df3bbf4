//! The daemon in each cluster: polls, plans, applies and deletes, reports.

mod act;
mod applyset;
mod attempt;
mod cluster;
mod config;
mod desired;
#[expect(dead_code, unused_imports, reason = "the reconciler calls it once it waits for health")]
mod health;
mod hold;
mod identity;
mod leader;
mod object;
mod observe;
mod plan;
mod poll;
mod reconcile;
mod schedule;
mod serve;
mod standing;
mod status;
mod trouble;

pub mod cli;
