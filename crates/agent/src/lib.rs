//! The daemon in each cluster: polls, plans, applies and deletes, reports.

mod act;
mod adopt;
mod applyset;
mod attempt;
mod bundle;
mod cluster;
mod config;
mod desired;
mod doctor;
mod draft;
mod drift;
mod fields;
mod health;
mod hold;
mod identity;
mod leader;
mod ledger;
mod link;
mod live;
mod monitor;
mod object;
mod observe;
mod outcome;
mod plan;
mod pointer;
mod poll;
mod reconcile;
mod schedule;
mod serve;
mod sight;
mod slot;
mod standing;
mod status;
mod trouble;
mod work;

pub mod cli;
