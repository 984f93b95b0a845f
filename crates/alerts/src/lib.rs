//! What people are told of findings.
//!
//! ```text
//! findings, facts --> book --> alerts --> outbox of each sink
//!                      ^
//!         rules: gaps, silences, storms
//! ```
//! [`book`] groups findings by what they are about and by episode, and says when somebody should be
//! told; [`schedule`] says when nobody should; [`quality`] watches the share of dead letters;
//! [`outbox`] keeps what waits to be sent; [`settings`] is how all of it is written down.
//!
//! It knows no clock, no disk and no network: time is milliseconds since 1970 that are passed in,
//! what is kept over a restart is a value that somebody else writes down, and nothing is sent here.
#![forbid(unsafe_code)]

pub mod book;
mod episode;
mod finding;
pub mod outbox;
pub mod quality;
pub mod schedule;
pub mod settings;

pub use book::{AlertBook, Counts, Saved, Taken};
pub use finding::{Fact, Finding, Place};
pub use outbox::Outbox;
pub use quality::DeadLetterShares;
pub use settings::{AlertSettings, Rules, SettingsError};

/// The subject of an episode of many at once, and the detector of one of all detectors.
pub const EVERYTHING: &str = twinge_contract::silence::EVERYTHING;
