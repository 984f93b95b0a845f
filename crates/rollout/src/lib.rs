//! How a new module reaches a fleet: who tries it, how far, and when to go on or back.
//!
//! A [`Policy`] names the stages and the [`Gate`] between them; a [`Rollout`] is where one module
//! stands in it, and gives each device its [`Duty`]. Devices send [`Report`]s, and [`decide`] says
//! from them, in a sentence, what should happen next. A device's own [`Watch`] needs nobody: it
//! compares the two slots event by event and returns to the other one when the acting one is bad.
//!
//! Everything here is a pure function of what is passed in. It knows no clock, no network, no
//! files, no signatures, and not what a module computes.
#![forbid(unsafe_code)]

mod bound;
mod cohort;
mod compare;
mod decide;
mod decision;
mod evidence;
mod limits;
mod percent;
mod policy;
mod report;
mod rollout;
mod situation;
mod watch;
mod words;

pub use cohort::{choose_salt, position};
pub use compare::{Comparison, SKETCH_BINS, Side, Sketch};
pub use decide::decide;
pub use decision::{Action, Decision, Fact};
pub use percent::Percent;
pub use policy::{Gate, Policy, PolicyError, STAGES_MAX, Stage};
pub use report::{Condemned, Desired, DriftSummary, Health, Part, Report, Running};
pub use rollout::{Device, Duty, Rollout};
pub use situation::{Contender, Situation};
pub use watch::{Block, WATCH_BLOCKS, WATCH_STEP, Watch};
