//! Uplinks and the drain as a program uses them, with every fault that a network and a cloud have.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::print_stdout,
    reason = "a seed or a figure is for whoever reads the test's output"
)]

mod common;
mod drain;
mod eventhubs;
mod http;
mod mqtt;
mod server;
mod settings;
mod spool;
mod tls;
