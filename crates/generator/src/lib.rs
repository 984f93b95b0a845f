//! Seeded event streams with labelled anomalies for three worlds: card payments, sensors and
//! network flows.
//!
//! The same [`Params`] give the same bytes on every platform: one named portable generator, all
//! transcendental maths by `libm`, no sampling of `usize`. `docs/generator.md` tells what the
//! fields and the anomalies are.
//!
//! This crate knows no clock, no file, no network and no randomness of the operating system, and
//! nothing of detectors: time is event time, and events leave as values or as lines of text.
//!
//! ```
//! use twinge_generator::{Params, World};
//!
//! let params = Params { anomaly_share: 0.02, ..Params::new(World::Cards, 7) };
//! let stream = params.check()?.stream();
//! for event in stream.take(3) {
//!     assert!(event.to_json(World::Cards, true).starts_with(r#"{"time":"2026-01-01T00:00:0"#));
//! }
//! # Ok::<(), twinge_generator::ParamsError>(())
//! ```
#![forbid(unsafe_code)]

mod anomaly;
mod arrivals;
mod cards;
mod event;
mod field;
mod flows;
mod params;
mod planter;
mod random;
mod sensors;
mod shift;
mod stream;
mod world;

pub use anomaly::{Anomaly, AnomalyKind, UnknownAnomalyKind};
pub use event::{Event, Value, csv_header};
pub use field::{Field, FieldKind};
pub use params::{MAX_ENTITIES, Params, ParamsError, ValidParams};
pub use planter::{InjectError, MAX_INJECTIONS};
pub use shift::Shift;
pub use stream::Stream;
pub use world::{UnknownWorld, World};
