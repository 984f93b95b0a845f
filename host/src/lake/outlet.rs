//! From findings to rows of the lake.

use super::Opened;
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use twinge_contract::event::{Attributes, EventReader};
use twinge_contract::schema::Schema;
use twinge_contract::verdict::{DeadLetter, Origin, Severity, Verdict};
use twinge_lake::{Fields, Lake, Place, Row, Settings as Rolls, Writer};
use twinge_platform::Clock;
use twinge_runner::Arrival;
use twinge_stream::assembly::chain;
use twinge_stream::outlet::{Finding, Outlet};
use twinge_stream::sink::SinkError;

/// Puts every event that was scored, or could not be, into the lake.
#[derive(Debug)]
pub(super) struct LakeOutlet {
    opened: Arc<Opened>,
    rolls: Rolls,
    detector: String,
    clock: Arc<dyn Clock>,
    /// What modules read, by their digests.
    readings: HashMap<String, Reading>,
    /// The fields of the module whose verdict came last: a dead letter lies beside its neighbours.
    fields: Arc<Fields>,
    held: Vec<(Place, Arc<Fields>, Row)>,
    writers: BTreeMap<Place, Writer>,
}

#[derive(Debug)]
struct Reading {
    fields: Arc<Fields>,
    reader: EventReader,
}

impl LakeOutlet {
    pub(super) fn new(
        opened: Arc<Opened>,
        rolls: Rolls,
        detector: &str,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            opened,
            rolls,
            detector: detector.to_owned(),
            clock,
            readings: HashMap::new(),
            fields: Arc::default(),
            held: Vec::new(),
            writers: BTreeMap::new(),
        }
    }

    fn error(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SinkError {
        SinkError { place: format!("the lake {}", self.opened.place), source: source.into() }
    }

    fn hold(&mut self, origin: &Origin, row: Row) {
        let Origin { source, partition, .. } = origin;
        let place = Place { source: source.to_string(), partition: partition.to_string() };
        self.held.push((place, Arc::clone(&self.fields), row));
    }

    fn take_verdict(&mut self, verdict: &Verdict, arrival: &Arrival) {
        let data = &verdict.data;
        let mut row = row_of(arrival, data.origin.offset, &verdict.id);
        row.entity = Some(verdict.subject.clone());
        row.verdict.push_str(data.verdict.as_str());
        row.score = Some(data.score);
        row.severity = Some(severity(data.severity).to_owned());
        row.late = data.late;
        row.module = Some(data.module.to_string());
        row.version = Some(data.version.to_string());
        row.attribution = attribution(verdict);
        if let Some(reading) = self.readings.get(&*data.module) {
            self.fields = Arc::clone(&reading.fields);
            let read = reading.reader.read_with_words(&arrival.bytes, arrival.attributes.as_ref());
            // It was read before, or there would be no verdict.
            if let Ok((event, words)) = read {
                row.time_ms = event.time_ms;
                row.numbers = event.inputs;
                row.numbers.truncate(reading.fields.numeric.len());
                row.categories = words;
            }
        }
        self.hold(&data.origin, row);
    }

    fn take_dead_letter(&mut self, letter: &DeadLetter, arrival: &Arrival) {
        let mut row = row_of(arrival, letter.data.origin.offset, &letter.id);
        row.verdict.push_str("dead-letter");
        row.reason = Some(letter.data.reason.clone());
        self.hold(&letter.data.origin, row);
    }

    /// Gives the writers what is held; a writer that is not there yet is opened.
    async fn hand_over(&mut self) -> Result<(), SinkError> {
        if self.held.is_empty() {
            return Ok(());
        }
        let lake: Lake = {
            let opened = Arc::clone(&self.opened);
            opened.lake().await.map_err(|error| self.error(error))?.clone()
        };
        for (place, ..) in &self.held {
            if !self.writers.contains_key(place) {
                let opened =
                    Writer::open(lake.clone(), self.rolls, &self.detector, place.clone()).await;
                let writer = opened.map_err(|error| self.error(error))?;
                self.writers.insert(place.clone(), writer);
            }
        }
        for (place, fields, row) in std::mem::take(&mut self.held) {
            if let Some(writer) = self.writers.get_mut(&place) {
                writer.push(&fields, row);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Outlet for LakeOutlet {
    fn learn(&mut self, module: &str, schema: &Schema) {
        let reading =
            Reading { fields: Arc::new(Fields::from(schema)), reader: EventReader::new(schema) };
        self.readings.insert(module.to_owned(), reading);
    }

    fn take(&mut self, finding: &Finding<'_>, _json: &[u8]) {
        match finding {
            Finding::Verdict(verdict, arrival) => self.take_verdict(verdict, arrival),
            Finding::DeadLetter(letter, arrival) => self.take_dead_letter(letter, arrival),
            // No event stands behind these.
            Finding::Silence(_) | Finding::Drift(_) => {}
        }
    }

    fn is_due(&self) -> bool {
        let now = self.clock.now_ms();
        self.writers.values().any(|writer| writer.is_due(now))
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        self.hand_over().await
    }

    async fn sync(&mut self) -> Result<(), SinkError> {
        self.hand_over().await?;
        let now = self.clock.now_ms();
        let mut failed = None;
        for writer in self.writers.values_mut() {
            let staged = match writer.stage(now).await {
                Ok(()) => writer.roll_if_due(now).await,
                Err(error) => Err(error),
            };
            if let Err(error) = staged {
                failed = Some(error);
                break;
            }
        }
        match failed {
            Some(error) => Err(self.error(error)),
            None => Ok(()),
        }
    }

    async fn close(&mut self) {
        for writer in self.writers.values_mut() {
            if let Err(error) = writer.roll().await {
                tracing::warn!(
                    lake = self.opened.place,
                    error = chain(&error),
                    "staged events do not appear in the lake yet; the next run puts them there"
                );
            }
        }
    }
}

/// What is known of an event whatever came of it.
fn row_of(arrival: &Arrival, offset: u64, id: &str) -> Row {
    Row {
        offset,
        ingested_ms: arrival.ingested_ms,
        id: id.to_owned(),
        key: arrival.key.clone(),
        attributes: arrival.attributes.as_ref().and_then(attributes),
        event: arrival.bytes.clone(),
        ..Row::default()
    }
}

fn attributes(attributes: &Attributes) -> Option<String> {
    serde_json::to_string(attributes).ok()
}

fn attribution(verdict: &Verdict) -> Option<String> {
    let shares = &verdict.data.attribution;
    let shares: serde_json::Map<_, _> =
        shares.iter().map(|share| (share.field.clone(), share.share.into())).collect();
    (!shares.is_empty()).then(|| serde_json::Value::Object(shares).to_string())
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::None => "none",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
    }
}
