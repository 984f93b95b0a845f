//! The trainer's verbs of trust, rollout and audit, through the binary itself.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by a panic, and prints its seed"
)]

mod common;
mod kills;
mod replay;
mod retrain;
mod story;
mod verbs;
