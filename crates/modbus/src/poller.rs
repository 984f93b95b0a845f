//! The poller of one device: rounds of requests at a steady rhythm, and a row for each.

use crate::device::Device;
use crate::grouping::{Plan, Read, Span};
use crate::link::{Answer, Fault, Link};
use crate::register::Value;
use crate::rhythm::{Backoff, Rhythm};
use crate::row::Row;
use crate::settings::{Settings, SettingsError};
use crate::status::{Status, Teller, Watch};
use std::fmt;
use std::sync::Arc;
use tokio::sync::mpsc::{Sender, error::TrySendError};
use tokio::time::{Instant, sleep_until};
use tokio_modbus::ExceptionCode;
use tokio_util::sync::CancellationToken;

/// Wall-clock time in milliseconds since 1970-01-01T00:00:00Z.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The values of a device from one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Whose they are.
    pub entity: String,
    /// When the round began, in milliseconds since 1970.
    pub time_ms: i64,
    /// A JSON object without line breaks: time, entity, and the registers in the order of the map.
    pub json: Vec<u8>,
}

/// Polls one device.
pub struct Poller {
    device: Device,
    row: Row,
    link: Link,
    plan: Plan,
    now: Now,
    watch: Watch,
    teller: Teller,
    backoff: Backoff,
}

/// What a round brought.
#[derive(Debug)]
struct Round {
    values: Vec<Option<Value>>,
    /// Requests that were answered with values, with an exception, and not at all.
    answered: u64,
    refused: u64,
    failed: u64,
}

impl fmt::Debug for Poller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Poller").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Poller {
    /// A poller that stamps rows with `now`.
    pub fn new(settings: &Settings, now: Now) -> Result<Self, SettingsError> {
        let device = Device::of(settings)?;
        let spans: Vec<Span> = device.registers.iter().map(|register| register.span).collect();
        let status = Status {
            device: device.endpoint.to_string(),
            entity: device.entity.clone(),
            ..Status::default()
        };
        Ok(Self {
            row: Row::new(&device),
            link: Link::new(device.endpoint.clone(), device.timeout),
            plan: Plan::new(spans, device.gap),
            now,
            watch: Watch::new(status),
            teller: Teller::default(),
            backoff: Backoff::default(),
            device,
        })
    }

    /// A view of the device for a status page.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Polls until `stop` is cancelled or nobody takes rows any more.
    ///
    /// A round begins only when `readings` has room for its row, so that a row is never older than
    /// its round when it is handed over. Where several pollers share a channel, it should have a
    /// place for each.
    pub async fn run(mut self, stop: CancellationToken, readings: Sender<Reading>) {
        let mut rhythm = Rhythm::new(Instant::now(), self.device.every);
        loop {
            let turn = async {
                sleep_until(rhythm.next()).await;
                self.turn(&mut rhythm, &readings).await
            };
            let goes_on = tokio::select! {
                biased;
                () = stop.cancelled() => false,
                goes_on = turn => goes_on,
            };
            if !goes_on {
                break;
            }
        }
        self.watch.update(|status| status.connected = false);
    }

    /// One tick; false when nobody takes rows any more.
    async fn turn(&mut self, rhythm: &mut Rhythm, readings: &Sender<Reading>) -> bool {
        let place = match readings.try_reserve() {
            Ok(place) => place,
            Err(TrySendError::Closed(())) => return false,
            Err(TrySendError::Full(())) => {
                let skipped = rhythm.advance(Instant::now());
                self.watch.update(|status| status.figures.ticks_without_room += 1 + skipped);
                return true;
            }
        };
        let time_ms = (self.now)();
        let round = self.round().await;
        let mut ready = Instant::now();
        if round.answered + round.refused > 0 {
            self.backoff.reset();
        } else {
            ready += self.backoff.grow();
        }
        let skipped = rhythm.advance(ready);
        if round.refused + round.failed == 0 && self.teller.is_over() {
            tracing::info!(device = %self.device.endpoint, "a Modbus device answers again");
        }
        self.watch.update(|status| {
            status.figures.polls += 1;
            status.figures.ticks_skipped += skipped;
            if round.answered > 0 {
                status.figures.readings += 1;
                status.last_reading_ms = Some(time_ms);
            }
        });
        if round.answered > 0 {
            let json = self.row.write(time_ms, &round.values);
            place.send(Reading { entity: self.device.entity.clone(), time_ms, json });
        }
        true
    }

    /// Asks for everything once.
    async fn round(&mut self) -> Round {
        let values = vec![None; self.device.registers.len()];
        let mut round = Round { values, answered: 0, refused: 0, failed: 0 };
        self.plan.begin_round(Instant::now());
        let mut index = 0;
        while let Some(read) = self.plan.read(index).cloned() {
            let result = self.link.read(read.span).await;
            self.note(result.as_ref().err());
            match result {
                Ok(answer) => {
                    round.answered += 1;
                    self.device.decode(&read, &answer, &mut round.values);
                }
                Err(Fault::Exception { code, .. }) => {
                    round.refused += 1;
                    if is_about_the_range(code) && self.plan.refine(index, Instant::now()) {
                        continue;
                    }
                }
                Err(fault) => {
                    round.failed += 1;
                    if matches!(fault, Fault::Unreachable { .. }) {
                        break;
                    }
                }
            }
            index += 1;
        }
        round
    }

    /// Counts and tells what went wrong with a request, if anything did.
    fn note(&mut self, fault: Option<&Fault>) {
        let (connected, connections) = (self.link.is_connected(), self.link.connections());
        let error = fault.map(describe);
        self.watch.update(|status| {
            status.connected = connected;
            status.figures.connections = connections;
            match fault {
                None => {}
                Some(Fault::TimedOut { .. }) => status.figures.timeouts += 1,
                Some(Fault::Exception { .. }) => status.figures.exceptions += 1,
                Some(_) => status.figures.faults += 1,
            }
            if error.is_some() {
                status.last_error.clone_from(&error);
                status.last_error_ms = Some((self.now)());
            }
        });
        let Some(error) = error else { return };
        if let Some(times) = self.teller.trouble(Instant::now()) {
            let device = &self.device.endpoint;
            tracing::warn!(%device, error, times, "a Modbus device cannot be read as its map says");
        }
    }
}

impl Device {
    /// Puts an answer's items where they belong.
    fn decode(&self, read: &Read, answer: &Answer, values: &mut [Option<Value>]) {
        for member in &read.members {
            let register = &self.registers[*member];
            let range = read.span.range_of(register.span);
            values[*member] = match answer {
                Answer::Words(words) => register.format.decode(&words[range]),
                Answer::Bits(bits) => Some(Value::Bool(bits[range.start])),
            };
        }
    }
}

/// Some devices call a range that they do not like an illegal value.
fn is_about_the_range(code: ExceptionCode) -> bool {
    matches!(code, ExceptionCode::IllegalDataAddress | ExceptionCode::IllegalDataValue)
}

/// An error and what is behind it, in one line.
fn describe(fault: &Fault) -> String {
    let mut text = fault.to_string();
    let mut error: &dyn std::error::Error = fault;
    while let Some(source) = error.source() {
        text = format!("{text}: {source}");
        error = source;
    }
    text
}
