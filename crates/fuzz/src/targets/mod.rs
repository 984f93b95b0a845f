//! What is fuzzed: a function for each reader, in a file for each kind of thing that is read.

mod amqp;
pub(crate) mod checkpoint;
mod config;
mod event;
pub(crate) mod files;
mod journal;
mod module;
mod mqtt;
mod parquet;
mod rows;
mod signed;
mod spool;

/// A reader under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Names it, its corpus and its finds.
    pub name: &'static str,
    /// Reads an input, and panics where something does not hold.
    pub run: fn(&[u8]),
    /// Words of its format, for mutations.
    pub words: &'static [&'static [u8]],
}

/// All readers.
pub const TARGETS: &[Target] = &[
    Target { name: "event", run: event::event, words: event::WORDS },
    Target { name: "cloud-event", run: event::cloud_event, words: event::WORDS },
    Target { name: "config", run: config::config, words: config::WORDS },
    Target { name: "manifest", run: module::manifest, words: module::WORDS },
    Target { name: "module", run: module::module, words: module::WORDS },
    Target { name: "interpreted", run: module::interpreted, words: module::WORDS },
    Target { name: "pointer", run: checkpoint::pointer, words: checkpoint::WORDS },
    Target { name: "snapshot", run: checkpoint::snapshot, words: &[] },
    Target { name: "envelope", run: signed::envelope, words: signed::WORDS },
    Target { name: "root", run: signed::root, words: signed::WORDS },
    Target { name: "channel", run: signed::channel, words: signed::WORDS },
    Target { name: "statement", run: signed::statement, words: signed::WORDS },
    Target { name: "journal", run: journal::journal, words: journal::WORDS },
    Target { name: "spool", run: spool::spool, words: journal::WORDS },
    Target { name: "amqp-frame", run: amqp::frame, words: amqp::WORDS },
    Target { name: "amqp-message", run: amqp::message, words: amqp::WORDS },
    Target { name: "amqp-connection", run: amqp::connection, words: amqp::WORDS },
    Target { name: "mqtt", run: mqtt::packets, words: mqtt::WORDS },
    Target { name: "parquet", run: parquet::parquet, words: parquet::WORDS },
    Target { name: "csv", run: rows::csv, words: rows::WORDS },
    Target { name: "ndjson", run: rows::ndjson, words: rows::WORDS },
];
