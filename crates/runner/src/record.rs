//! What goes into a runner and what comes out.

use twinge_contract::event::Attributes;
use twinge_contract::verdict::{DeadLetter, Verdict};

/// An event as a source delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its place in the partition; each is larger than the one before.
    pub offset: u64,
    /// When it came in, milliseconds since 1970: what its own time is compared with.
    pub ingested_ms: i64,
    /// The partition key it was sent with, where its source has such.
    pub key: Option<String>,
    /// CloudEvents attributes that came beside the body.
    pub attributes: Option<Attributes>,
    /// The body.
    pub bytes: Vec<u8>,
}

/// What became of an arrival.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// It was scored.
    Verdict(Box<Verdict>),
    /// It could not be.
    DeadLetter(Box<DeadLetter>),
    /// It had been delivered before, under another offset, and was scored then.
    Duplicate,
}

/// What was read of an event that got a verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Its offset.
    pub offset: u64,
    /// Its own time, milliseconds since 1970, when the schema has one.
    pub time_ms: Option<i64>,
    /// One input row of the module that gave the verdict.
    pub inputs: Vec<f64>,
}
