//! A look at what partitions hold, without a connection: for tests and demos that want to see what
//! arrived. Does not know who sent it.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::amqp::message::{Sections, binary, pairs, section, text};
use crate::amqp::value::Reader as ValueReader;
use crate::context::Core;
use crate::record::Event;

/// Reads the events of a running [`Broker`](crate::Broker). It does not keep the broker open.
#[derive(Clone)]
pub struct Reader(Weak<Core>);

/// An event as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEvent {
    /// Its place in the partition, from 0.
    pub sequence: u64,
    /// The key that chose the partition.
    pub partition_key: Option<String>,
    /// What was sent, without the framing.
    pub body: Vec<u8>,
    /// Those of the application's properties that are text.
    pub properties: Vec<(String, String)>,
}

/// Why events cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The broker stopped.
    #[error("read events: the broker stopped; open it again")]
    Stopped,
    /// The hub or its partition is not there.
    #[error("read partition {partition} of the hub {hub}: the broker does not serve it")]
    Unknown {
        /// The hub that was asked for.
        hub: String,
        /// The partition that was asked for.
        partition: u16,
    },
    /// The journal or what it holds is damaged.
    #[error("read partition {partition} of the hub {hub}: {reason}")]
    Damaged {
        /// The hub.
        hub: String,
        /// The partition.
        partition: u16,
        /// What is wrong.
        reason: String,
    },
}

impl Reader {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self(Arc::downgrade(core))
    }

    /// All events of a partition from a sequence number on. Blocks while it reads the disk, and
    /// holds them all in memory.
    ///
    /// # Errors
    /// The broker stopped, the partition is not there, or its journal is damaged.
    pub fn events(
        &self,
        hub: &str,
        partition: u16,
        from: u64,
    ) -> Result<Vec<KeptEvent>, ReadError> {
        let core = self.0.upgrade().ok_or(ReadError::Stopped)?;
        let found = core.hubs.hub(&hub.to_lowercase());
        let found = found.and_then(|hub| hub.partitions.get(usize::from(partition)));
        let unknown = || ReadError::Unknown { hub: hub.to_owned(), partition };
        let log = &found.ok_or_else(unknown)?.log;
        let damaged = |reason| ReadError::Damaged { hub: hub.to_owned(), partition, reason };
        let mut events = Vec::new();
        let mut next = from;
        loop {
            let batch = log.read(next).map_err(|error| damaged(error.to_string()))?;
            if batch.ends.is_empty() {
                return Ok(events);
            }
            for (sequence, record) in (batch.first..).zip(batch.records()) {
                let event = KeptEvent::of_record(sequence, record);
                events.push(event.ok_or_else(|| damaged(format!("event {sequence} is no event")))?);
            }
            next = batch.end();
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl KeptEvent {
    fn of_record(sequence: u64, record: &[u8]) -> Option<Self> {
        let event = Event::parse(record)?;
        let partition_key = event.key().map(str::to_owned);
        let mut kept = Self { sequence, partition_key, body: Vec::new(), properties: Vec::new() };
        for section in Sections::of(event.sections()) {
            let section = section.ok()?;
            match section.code {
                section::DATA => kept.body.extend_from_slice(binary(section.value).ok()?),
                // AMQP's own clients may send text as a value.
                section::VALUE => {
                    let value = ValueReader::new(section.value).value().ok()?;
                    kept.body.extend_from_slice(value.text()?.as_bytes());
                }
                section::APPLICATION_PROPERTIES => {
                    let texts = pairs(section.value).ok()?.into_iter();
                    let texts = texts.filter_map(|(name, value)| {
                        Some((text(name)?.to_owned(), text(value)?.to_owned()))
                    });
                    kept.properties.extend(texts);
                }
                _ => {}
            }
        }
        Some(kept)
    }
}
