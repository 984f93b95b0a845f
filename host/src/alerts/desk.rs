//! The book and the outboxes, and the one file that keeps both: an alert that was decided on is either
//! in the file or was never decided on.

use super::metrics::AlertMetrics;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use twinge_alerts::outbox::Retries;
use twinge_alerts::{
    AlertBook, AlertSettings, DeadLetterShares, Outbox, Rules, Saved, SettingsError,
};
use twinge_contract::alert::Alert;
use twinge_contract::verdict::Severity;
use twinge_platform::{Clock, Disk, RealDisk, SystemClock};
use twinge_stream::assembly::ExtensionError;
use twinge_stream::sink::SinkError;

/// First byte of the file.
const VERSION: u8 = 1;

/// Everything that alerts are made from; shared by outlets, senders and the watch of facts.
#[derive(Debug)]
pub(super) struct Desk {
    kept: Mutex<Kept>,
    metrics: AlertMetrics,
    retries: Retries,
    lag_max_ms: i64,
    clock: SystemClock,
    disk: RealDisk,
    /// Something waits for a sender.
    pub(super) waiting: Notify,
    /// Something is silent, so that events are worth looking at.
    has_silent: AtomicBool,
}

/// What a lock protects.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) book: AlertBook,
    pub(super) shares: DeadLetterShares,
    outboxes: BTreeMap<String, Outbox>,
    /// Least severity of each outbox.
    severities: BTreeMap<String, Severity>,
    file: Option<PathBuf>,
    is_dirty: bool,
    /// An outbox holds an alert that the file does not.
    has_unsaved: bool,
}

impl Desk {
    pub(super) fn new(
        settings: &AlertSettings,
        sinks: &[String],
        metrics: AlertMetrics,
    ) -> Result<Self, SettingsError> {
        let rules = settings.rules()?;
        let severities = settings.webhook.iter().filter_map(|webhook| {
            webhook.severity_min.map(|severity| (webhook.name.clone(), severity))
        });
        let kept = Kept {
            book: AlertBook::new(rules),
            shares: DeadLetterShares::new(settings.quality()?),
            outboxes: sinks.iter().map(|sink| (sink.clone(), Outbox::default())).collect(),
            severities: severities.collect(),
            file: None,
            is_dirty: false,
            has_unsaved: false,
        };
        Ok(Self {
            kept: Mutex::new(kept),
            metrics,
            retries: settings.retries(),
            lag_max_ms: settings.lag_max_ms()?,
            clock: SystemClock::new(),
            disk: RealDisk,
            waiting: Notify::new(),
            has_silent: AtomicBool::new(false),
        })
    }

    /// Goes on from what `file` keeps, if there is one.
    pub(super) fn open(&self, file: &Path) -> Result<(), ExtensionError> {
        let mut kept = self.lock();
        kept.file = Some(file.to_owned());
        let bytes = match self.disk.read(file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(file, &error)),
        };
        let (saved, outboxes) = read(&bytes).map_err(|error| unreadable(file, &*error))?;
        let rules: Rules = kept.book.rules().clone();
        kept.book = AlertBook::restore(rules, saved, self.clock.now_ms());
        for (name, outbox) in outboxes {
            match kept.outboxes.get_mut(&name) {
                Some(own) => *own = outbox,
                None if outbox.is_empty() => {}
                None => tracing::warn!(
                    sink = name,
                    alerts = outbox.len(),
                    "alerts wait for a sink that is not configured any more, and are dropped"
                ),
            }
        }
        self.note(&kept, kept.book.counts());
        Ok(())
    }

    pub(super) fn metrics(&self) -> &AlertMetrics {
        &self.metrics
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    pub(super) fn lag_max_ms(&self) -> i64 {
        self.lag_max_ms
    }

    pub(super) fn has_silent(&self) -> bool {
        self.has_silent.load(Ordering::Relaxed)
    }

    /// Lets `work` do something with the book; what is told of it is kept before anyone sends it.
    pub(super) fn work(
        &self,
        work: impl FnOnce(&mut Kept, i64) -> Vec<Alert>,
    ) -> Result<(), SinkError> {
        let mut kept = self.lock();
        let before = kept.book.counts();
        let alerts = work(&mut kept, self.clock.now_ms());
        kept.is_dirty |= before != kept.book.counts() || !alerts.is_empty();
        kept.has_unsaved |= !alerts.is_empty();
        for alert in &alerts {
            self.metrics.told(alert);
            self.put(&mut kept, alert);
        }
        self.note(&kept, before);
        // What an earlier call could not write is tried again.
        if kept.has_unsaved { self.save(&mut kept) } else { Ok(()) }
    }

    /// Writes down what has changed.
    pub(super) fn sync(&self) -> Result<(), SinkError> {
        self.save(&mut self.lock())
    }

    /// The alert that `sink` should send now, if it is on disk.
    pub(super) fn next(&self, sink: &str) -> Option<Alert> {
        let kept = self.lock();
        if kept.has_unsaved {
            return None;
        }
        kept.outboxes.get(sink)?.next(self.clock.now_ms(), &self.retries).cloned()
    }

    /// The alert was sent.
    pub(super) fn sent(&self, sink: &str, id: &str) {
        let mut kept = self.lock();
        if let Some(outbox) = kept.outboxes.get_mut(sink) {
            outbox.done(id);
        }
        kept.is_dirty = true;
        self.save_or_tell(&mut kept);
    }

    /// The alert could not be sent, and will not be when `is_final`.
    pub(super) fn failed(&self, sink: &str, alert: &Alert, reason: &str, is_final: bool) {
        self.metrics.failed(sink);
        let mut kept = self.lock();
        let Some(outbox) = kept.outboxes.get_mut(sink) else { return };
        let is_given_up = if is_final {
            outbox.done(&alert.id);
            true
        } else {
            outbox.failed(&alert.id, self.clock.now_ms(), &self.retries)
        };
        if is_given_up {
            self.metrics.dropped(sink, 1);
            tracing::error!(
                sink,
                alert = alert.id,
                episode = alert.data.episode,
                reason,
                "an alert could not be sent and is given up"
            );
        } else {
            tracing::warn!(
                sink,
                alert = alert.id,
                reason,
                "an alert could not be sent; trying again"
            );
        }
        kept.is_dirty = true;
        self.save_or_tell(&mut kept);
    }

    fn put(&self, kept: &mut Kept, alert: &Alert) {
        let Kept { outboxes, severities, .. } = kept;
        for (sink, outbox) in outboxes {
            let least = severities.get(sink).copied().unwrap_or(Severity::None);
            if alert.data.severity < least {
                continue;
            }
            let dropped = outbox.push(alert.clone(), &self.retries);
            if dropped > 0 {
                self.metrics.dropped(sink, dropped);
                tracing::error!(
                    sink,
                    dropped,
                    "too many alerts wait for a sink; the oldest are given up"
                );
            }
        }
    }

    fn note(&self, kept: &Kept, before: twinge_alerts::Counts) {
        self.metrics.book(before, kept.book.counts(), kept.book.open());
        self.has_silent.store(kept.book.is_silent(), Ordering::Relaxed);
    }

    fn save_or_tell(&self, kept: &mut Kept) {
        if let Err(error) = self.save(kept) {
            tracing::warn!(
                error = twinge_stream::assembly::chain(&error),
                "what was sent cannot be noted; after a crash it is sent again"
            );
        }
    }

    fn save(&self, kept: &mut Kept) -> Result<(), SinkError> {
        let Some(file) = kept.file.as_ref().filter(|_| kept.is_dirty) else { return Ok(()) };
        let error =
            |source: ExtensionError| SinkError { place: file.display().to_string(), source };
        let outboxes = serde_json::to_vec(&kept.outboxes).map_err(|cause| error(cause.into()))?;
        let bytes = postcard::to_stdvec(&(VERSION, kept.book.save(), outboxes));
        let bytes = bytes.map_err(|cause| error(cause.into()))?;
        self.disk.replace(file, &bytes).map_err(|cause| error(cause.into()))?;
        (kept.is_dirty, kept.has_unsaved) = (false, false);
        self.waiting.notify_waiters();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Each step leaves book and outboxes whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Read = (Saved, BTreeMap<String, Outbox>);

fn read(bytes: &[u8]) -> Result<Read, ExtensionError> {
    if bytes.first() != Some(&VERSION) {
        return Err("it was written by another version".into());
    }
    let (_, saved, outboxes): (u8, Saved, Vec<u8>) = postcard::from_bytes(bytes)?;
    Ok((saved, serde_json::from_slice(&outboxes)?))
}

fn unreadable(file: &Path, error: &(dyn std::error::Error + 'static)) -> ExtensionError {
    format!(
        "{} cannot be read: {error}; move it away to begin anew, and episodes that are open will be told again",
        file.display()
    )
    .into()
}
