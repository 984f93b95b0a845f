//! The data lake: every event that was scored, once, with what came of it.
//!
//! ```text
//! detector=D/date=2026-01-31/hour=07/<partition>-<first>-<next>-<digest>.parquet   what readers read
//! _manifest/D/<partition>/<first>.json       the files of one roll; its existence lists them
//! _manifest/D/compacted/<digest>.json        files that stand in place of smaller ones
//! _manifest/D/expired.json                   the first day that is still kept
//! _staging/D/<partition>/<first>-<next>.parquet   events since the last roll
//! _staging/D/<partition>/roll-<first>-<digest>.json   the files that a roll is about to write
//! ```
//! A [`Writer`] has one partition of a source. What comes in is staged before the checkpoint that
//! covers it, and rolled into files when there is enough of it. Each roll begins where the one
//! before it ended and is listed under its beginning, which can be created only once: of two hosts
//! that believe to own a partition, one lists the events and the other finds them there. So after
//! any crash each event is in the lake exactly once.
//!
//! `_labels/<journal>/<from>-<to>.ndjson` is what people said of verdicts ([`labels`]).
//! `_datasets/<sha256>.json` are parts of it that were fixed for training ([`dataset`]).
//!
//! [`columns`] says what a row looks like. The store is the registry's: a directory or ADLS Gen2.
//! This crate knows neither how events are scored nor what is learned from them, and no clock.
#![forbid(unsafe_code)]

pub mod columns;
pub mod dataset;
mod error;
mod facts;
pub mod keep;
pub mod labels;
mod lake;
mod listing;
mod pages;
mod parquet_file;
mod roll;
mod writer;

pub use columns::{Fields, Place, Row};
pub use dataset::Dataset;
pub use error::LakeError;
pub use facts::FileFacts;
pub use lake::{Lake, Range, digest};
pub use listing::Entry;
pub use parquet_file::{Rows, is_parquet, parquet_to_ndjson, read_rows};
pub use writer::{Settings, Writer};
