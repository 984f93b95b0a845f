//! An append-only record log in segments on a [`Disk`](twinge_platform::Disk).
//!
//! Sources without offsets of their own (HTTP, stdin, MQTT) put events here before they
//! acknowledge them; one reader takes them in order from the offset in its checkpoint and
//! releases what it no longer needs. The format is in docs/journal.md.
//!
//! This crate does not know what a record holds, who waits for it to be durable, or what a
//! checkpoint is. It is synchronous and has one owner: two journals open on one directory damage
//! each other, in one process or in two.
//!
//! ```
//! use std::{path::Path, sync::Arc};
//! use twinge_journal::{Journal, Settings};
//! use twinge_platform::SimulatedDisk;
//!
//! let disk = Arc::new(SimulatedDisk::new(0));
//! let mut journal = Journal::open(disk, Path::new("/spool"), Settings::default())?;
//! let offsets = journal.append([b"first".as_slice(), b"second"])?;
//! journal.sync()?; // only now may the senders be told that their events are kept
//! let records = journal.read(offsets.start, 100, 1 << 20)?;
//! assert_eq!(records[1].bytes, b"second");
//! journal.release(offsets.end)?;
//! # Ok::<(), twinge_journal::JournalError>(())
//! ```
#![forbid(unsafe_code)]

mod error;
mod format;
mod journal;
mod reader;
mod settings;

pub use error::JournalError;
pub use journal::{Journal, Recovery};
pub use reader::Record;
pub use settings::Settings;
