//! Devices that are polled, into the journal. A value that nobody has taken in is polled again, so
//! nothing waits here while the journal has no room: polls are passed over, and counted.

use crate::status::{Part, duration};
use anyhow::Context;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_modbus::{Now, Poller, Reading, Settings, Watch};
use twinge_platform::Clock;
use twinge_stream::{Incoming, Intake};

/// Pollers that are not started yet, and what is known of those that are.
#[derive(Debug)]
pub(crate) struct Pollers {
    waiting: Mutex<Vec<Poller>>,
    watches: Vec<Watch>,
}

impl Pollers {
    /// A poller for each device.
    pub(crate) fn new(devices: &[Settings], clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let clock = Arc::clone(clock);
        let now: Now = Arc::new(move || clock.now_ms());
        let poller = |device| Poller::new(device, Arc::clone(&now)).context("[[modbus]]");
        let waiting: Vec<Poller> = devices.iter().map(poller).collect::<Result<_, _>>()?;
        let watches = waiting.iter().map(Poller::watch).collect();
        Ok(Self { waiting: Mutex::new(waiting), watches })
    }

    /// Polls until `stop` is cancelled.
    pub(crate) fn start(&self, intake: &Intake, tracker: &TaskTracker, stop: &CancellationToken) {
        let Ok(mut waiting) = self.waiting.lock() else { return };
        if waiting.is_empty() {
            return;
        }
        let (readings, taken) = mpsc::channel(waiting.len());
        for poller in waiting.drain(..) {
            tracker.spawn(poller.run(stop.clone(), readings.clone()));
        }
        tracker.spawn(take(taken, intake.clone(), stop.clone()));
    }

    /// How each device is.
    pub(crate) fn parts(&self, now_ms: i64) -> Vec<Part> {
        self.watches.iter().map(|watch| part(watch, now_ms)).collect()
    }
}

/// Takes readings in, as many at once as have come.
async fn take(mut readings: mpsc::Receiver<Reading>, intake: Intake, stop: CancellationToken) {
    let mut group = Vec::new();
    loop {
        let events = tokio::select! {
            () = stop.cancelled() => return,
            count = readings.recv_many(&mut group, 1024) => {
                if count == 0 {
                    return;
                }
                group.drain(..).map(|reading| Incoming { attributes: None, bytes: reading.json })
            }
        };
        let events = events.collect();
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = intake.accept_patiently(events, "Modbus") => accepted,
        };
        if accepted.is_err() {
            return;
        }
    }
}

fn part(watch: &Watch, now_ms: i64) -> Part {
    let now = watch.status();
    let figures = now.figures;
    let counts = format!(
        "{} readings, {} timeouts, {} exceptions",
        figures.readings, figures.timeouts, figures.exceptions
    );
    let ago = |time: Option<i64>| {
        time.map(|time| duration(u64::try_from(now_ms - time).unwrap_or_default() / 1000))
    };
    let state = match (now.connected, ago(now.last_reading_ms)) {
        (true, Some(last)) => format!("connected, last reading {last} ago; {counts}"),
        (true, None) => format!("connected, no reading yet; {counts}"),
        (false, _) => {
            let error = now.last_error.unwrap_or_else(|| "connecting".into());
            format!("{error}; {counts}")
        }
    };
    Part { what: now.device, is_well: now.connected, state }
}
