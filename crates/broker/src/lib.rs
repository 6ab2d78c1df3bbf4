//! The control plane: REST, desired state, metrics.

mod board;
mod bootstrap;
mod config;
mod courier;
mod domain;
mod feed;
mod generate;
mod http;
mod jobs;
mod keyring;
mod maintenance;
mod parked;
mod presence;
mod roster;
mod sampler;
mod serve;
mod store;
#[cfg(test)]
mod testing;
mod work_events;

pub mod cli;
