//! A running detector: one per detector, source and partition, in the cloud host and on the edge.
//!
//! [`Runner`] takes arrivals in order and gives a record for each: a verdict, a dead letter, or a
//! note that the event had been delivered before. It holds the [`entities`]' states in two slots,
//! the acting one and one beside it that warms up, is compared, or stands by for an instant return,
//! and turns all of it into one [`checkpoint`] from which a restart comes to exactly the records of
//! an undisturbed run.
//!
//! It knows nothing of where events come from, where records go, of clocks and of networks; storage
//! is whatever store it is handed.
#![forbid(unsafe_code)]

mod beside;
pub mod checkpoint;
mod directive;
pub mod entities;
mod place;
mod record;
mod runner;
mod slot;
mod snapshot;
mod status;
mod window;

pub use checkpoint::{CheckpointError, Checkpoints, Layout, Pointer, Progress};
pub use directive::{Assigned, Directive};
pub use place::Place;
pub use record::{Arrival, Reading, Record};
pub use runner::Runner;
pub use slot::{Judgement, Patience, Slot};
pub use status::{Counts, Status};
