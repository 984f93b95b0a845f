//! Findings on their way to a cloud: which of them go, and with how much of the events behind them,
//! into the spool that a drain empties; and what no cloud will take, into a file for people.
//!
//! It does not know which program it is a part of, nor what takes the spool's entries away.
#![forbid(unsafe_code)]

mod forward;
mod refused;

pub use forward::{EVENT_TYPE, Forward, Forwarder, Rule, lock};
pub use refused::RefusedFile;
