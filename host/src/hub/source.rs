//! A partition of a hub as a source.

use async_trait::async_trait;
use std::collections::VecDeque;
use std::sync::Arc;
use twinge_contract::event::Attributes;
use twinge_eventhubs::{
    Drivers, HubError, PartitionProperties, Position, ReceivedEvent, Receiver, ReceiverSettings,
};
use twinge_registry::Metadata;
use twinge_runner::{Arrival, Place};
use twinge_stream::{Delivery, Source, SourceError, Start};

/// Where reading begins when there is no checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Beginning {
    /// With the first event that is still there.
    #[default]
    Earliest,
    /// With events that come from now on.
    Latest,
}

/// A partition of a hub.
pub(super) struct HubSource {
    drivers: Arc<Drivers>,
    settings: ReceiverSettings,
    /// Name of the hub and when it was made: one made anew counts its events from the start.
    name: String,
    beginning: Beginning,
    receiver: Option<Receiver>,
    waiting: VecDeque<ReceivedEvent>,
    next: u64,
    /// Where the partition ended when it was asked last, and whether that was after the hub had cut
    /// off every receiver of an older epoch.
    end: Option<u64>,
    is_fenced: bool,
    /// The last event delivered, as Azure's checkpoints name it: sequence number and offset.
    last: Option<(i64, String)>,
}

impl HubSource {
    /// The partition that `settings` name.
    pub(super) fn new(
        drivers: Arc<Drivers>,
        settings: ReceiverSettings,
        created_ms: i64,
        beginning: Beginning,
    ) -> Self {
        let name = format!("{}/{}@{created_ms}", settings.namespace.name(), settings.hub);
        Self {
            drivers,
            settings,
            name,
            beginning,
            receiver: None,
            waiting: VecDeque::new(),
            next: 0,
            end: None,
            is_fenced: false,
            last: None,
        }
    }

    fn error(&self, error: HubError) -> SourceError {
        let place = format!("partition {} of hub `{}`", self.settings.partition, self.settings.hub);
        SourceError::Other { place, source: error.into() }
    }

    /// Where to begin, and what a checkpoint there says of the last event.
    fn begin(&mut self, properties: PartitionProperties, wanted: Option<u64>) {
        let first = u64::try_from(properties.first).unwrap_or(0);
        let after_last = u64::try_from(properties.last + 1).unwrap_or(0);
        self.end = Some(after_last);
        match (wanted, self.beginning) {
            (Some(wanted), _) => self.next = wanted.max(first.min(after_last)),
            (None, Beginning::Earliest) => {
                self.next = first.min(after_last);
                self.last = Some((-1, "-1".into()));
            }
            (None, Beginning::Latest) => {
                self.next = after_last;
                self.last = Some((properties.last, properties.last_offset));
            }
        }
    }

    /// Takes events over in order; what a new connection brings a second time is passed over.
    fn take(&mut self, events: Vec<ReceivedEvent>) {
        for event in events {
            if event.sequence < self.next {
                continue;
            }
            if event.sequence > self.next {
                tracing::error!(
                    hub = self.settings.hub,
                    partition = self.settings.partition,
                    from = self.next,
                    to = event.sequence,
                    "events were removed at the hub before they were scored: keep them longer there, or run more hosts"
                );
            }
            self.next = event.sequence + 1;
            self.waiting.push_back(event);
        }
    }
}

#[async_trait]
impl Source for HubSource {
    fn place(&self, detector: &str) -> Place {
        Place {
            detector: detector.to_owned(),
            source: self.name.as_str().into(),
            partition: self.settings.partition.as_str().into(),
            redelivers: false,
        }
    }

    async fn seek(&mut self, start: Start) -> Result<u64, SourceError> {
        let ReceiverSettings { namespace, hub, partition, .. } = &self.settings;
        let asked = PartitionProperties::ask(&self.drivers, namespace, hub, partition).await;
        self.begin(asked.map_err(|error| self.error(error))?, start.offset);
        let position = match self.next.checked_sub(1) {
            Some(before) => Position::After(before),
            None => Position::Earliest,
        };
        let settings = ReceiverSettings { epoch: start.epoch, ..self.settings.clone() };
        self.receiver = Some(Receiver::open(&self.drivers, settings, position));
        Ok(self.next)
    }

    fn end(&self) -> Option<u64> {
        self.end
    }

    async fn next(&mut self, most: usize) -> Result<Option<Delivery>, SourceError> {
        while self.waiting.is_empty() {
            let Some(receiver) = &mut self.receiver else { return Ok(None) };
            match receiver.next().await {
                Some(Ok(events)) => self.take(events),
                Some(Err(error)) => return Err(self.error(error)),
                None => return Ok(None),
            }
        }
        if !self.is_fenced {
            // What comes through this receiver comes after others were cut off. Where the hub does not
            // say how far they may have come, it is not known.
            let ReceiverSettings { namespace, hub, partition, .. } = &self.settings;
            let asked = PartitionProperties::ask(&self.drivers, namespace, hub, partition).await;
            let last = asked.ok().map(|properties| properties.last);
            self.end = last.map(|last| u64::try_from(last + 1).unwrap_or(0));
            self.is_fenced = true;
        }
        let events: Vec<ReceivedEvent> =
            self.waiting.drain(..most.min(self.waiting.len())).collect();
        if let Some(last) = events.last() {
            self.last = Some((last.sequence.cast_signed(), last.offset.clone()));
        }
        let position = events.last().map_or(0, |last| last.sequence + 1);
        Ok(Some(Delivery { arrivals: events.into_iter().map(arrival).collect(), position }))
    }

    fn release(&mut self, _offset: u64) {}

    fn metadata(&self) -> Option<Metadata> {
        let (sequence, offset) = self.last.as_ref()?;
        let metadata =
            Metadata::new([("sequencenumber", sequence.to_string().as_str()), ("offset", offset)]);
        metadata.inspect_err(|error| tracing::warn!(%error, "the hub's offset is no metadata")).ok()
    }

    fn set_started(&mut self, _started_ms: i64) {}
}

fn arrival(event: ReceivedEvent) -> Arrival {
    Arrival {
        offset: event.sequence,
        ingested_ms: event.enqueued_ms,
        attributes: attributes(&event.properties),
        key: event.key,
        bytes: event.body,
    }
}

/// The attributes of CloudEvents' binary mode, whose AMQP names begin with `cloudEvents:`, or with
/// `cloudEvents_` where a client takes no colon.
fn attributes(properties: &[(String, String)]) -> Option<Attributes> {
    let value = |wanted: &str| {
        properties.iter().find_map(|(name, value)| {
            let rest = name.strip_prefix("cloudEvents")?;
            (rest.strip_prefix([':', '_']) == Some(wanted)).then(|| value.clone())
        })
    };
    value("specversion").map(|_| Attributes {
        id: value("id"),
        source: value("source"),
        subject: value("subject"),
        time: value("time"),
    })
}
