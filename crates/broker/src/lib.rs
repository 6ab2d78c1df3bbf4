//! The control plane: REST, desired state, metrics.

mod bootstrap;
mod config;
mod domain;
mod feed;
mod generate;
mod http;
mod jobs;
mod keyring;
mod maintenance;
mod presence;
mod sampler;
mod serve;
mod store;
#[cfg(test)]
mod testing;

pub mod cli;
