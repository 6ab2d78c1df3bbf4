//! Webhooks end to end: real brokers, real databases, receivers that behave as badly as they can, and the libraries of the standard.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of a test fail it where it went wrong")]

#[path = "webhooks/agents.rs"]
mod agents;
#[path = "webhooks/command_line.rs"]
mod command_line;
#[path = "webhooks/deaths.rs"]
mod deaths;
#[path = "webhooks/delivery.rs"]
mod delivery;
#[path = "webhooks/receivers.rs"]
mod receivers;
#[path = "webhooks/world.rs"]
mod world;
