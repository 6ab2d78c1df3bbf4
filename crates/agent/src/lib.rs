//! The daemon in each cluster: polls, plans, applies and deletes, reports.

mod act;
mod applyset;
mod attempt;
mod cluster;
mod config;
mod desired;
mod hold;
mod identity;
mod object;
mod observe;
mod plan;
mod poll;
mod reconcile;
mod schedule;
mod serve;
mod status;
mod trouble;

pub mod cli;
