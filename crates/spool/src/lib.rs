//! Store-and-forward on disk: bounded in bytes and age, normal entries dropped first and
//! anomalous ones last.
//!
//! A device that is offline puts here what it cannot send; what it can send passes through memory
//! and never touches the disk. Entries come back in the order in which they were appended. The
//! format and the promises are in docs/spool.md.
//!
//! This crate does not know networks, JSON, or what an entry means. It is synchronous and has one
//! owner: two spools open on one directory damage each other.
//!
//! ```
//! use std::{path::Path, sync::Arc};
//! use twinge_platform::{ManualClock, SimulatedDisk};
//! use twinge_spool::{Entry, Importance, Settings, Spool};
//!
//! let (disk, clock) = (Arc::new(SimulatedDisk::new(0)), Arc::new(ManualClock::new(0)));
//! let mut spool = Spool::open(disk, clock, Path::new("/spool"), Settings::default())?;
//! let key = Some("pump-7".to_owned());
//! spool.append(Entry { importance: Importance::Anomalous, key, bytes: b"{}".to_vec() })?;
//! spool.sync()?; // only now does it survive a power cut
//! let waiting = spool.peek(100, 1 << 20)?;
//! assert_eq!(waiting[0].entry.bytes, b"{}");
//! spool.release(waiting[0].sequence); // it has arrived upstream
//! assert_eq!(spool.figures().entries(), 0);
//! # Ok::<(), twinge_spool::SpoolError>(())
//! ```
#![forbid(unsafe_code)]

mod dictionary;
mod drops;
mod entry;
mod error;
mod figures;
mod lane;
mod readable;
mod record;
mod repair;
mod sealed;
mod settings;
mod spool;
mod state;

pub use drops::Dropped;
pub use entry::{Entry, Importance, Queued};
pub use error::SpoolError;
pub use figures::{Figures, LaneFigures};
pub use settings::Settings;
pub use spool::Spool;
