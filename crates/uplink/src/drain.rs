//! Sends a backlog, in order and at least once, and releases what arrived. Does not know where the
//! backlog is kept nor which cloud takes it.
//!
//! One batch is on its way at a time. While nothing can be sent the same batch is tried again after
//! growing pauses. A batch that the cloud refuses is halved until the record at fault stands alone;
//! that one is handed to [`Refusals`], released, and blocks nothing behind it. Where everything is
//! refused, as by a cloud that is set up wrongly, refusals slow down instead of emptying the
//! backlog. How fast a backlog is sent is told in `pace.rs`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backlog::{Backlog, BacklogError, Bell, Refusals, Waiting};
use crate::pace::Pace;
use crate::parts::Parts;
use crate::pause::Pauses;
use crate::status::Figures;
use crate::uplink::{Outgoing, Uplink, UplinkError};

/// How long an empty backlog is trusted to stay empty while no bell rings.
const IDLE: Duration = Duration::from_secs(1);
/// How long a stop waits for the batch on its way: what arrives and is released is not sent again.
const FAREWELL: Duration = Duration::from_secs(2);
/// So many records refused in a row, with none taken, are believed to be bad records; more are
/// believed to be a cloud set up wrongly, and there is a pause after each.
const REFUSED_RUN_MAX: u32 = 16;
/// A backlog goes in at least so many batches a second, so that the link is used evenly.
const BATCHES_PER_SECOND: f64 = 4.0;
/// How often the same trouble is told.
const TOLD_AGAIN: Duration = Duration::from_mins(5);
/// How often other trouble is told.
const TOLD_OTHER: Duration = Duration::from_secs(10);

/// How a backlog is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrainSettings {
    /// Records that may go in a second while new ones come in slower than half of that; else twice
    /// as many as come in.
    pub entries_per_second: f64,
    /// How long a batch that is not full waits for more. Urgent records wait for nothing.
    pub linger: Duration,
}

impl Default for DrainSettings {
    /// 500 records a second, 50 ms.
    fn default() -> Self {
        Self { entries_per_second: 500.0, linger: Duration::from_millis(50) }
    }
}

/// Sends a backlog until it is told to stop.
pub struct Drain {
    uplink: Box<dyn Uplink>,
    backlog: Arc<dyn Backlog>,
    refusals: Arc<dyn Refusals>,
    bell: Bell,
    linger: Duration,
    pace: Pace,
    pauses: Pauses,
    figures: Figures,
    began: Instant,
    refused_in_a_row: u32,
    told: Option<(String, Instant)>,
}

/// The drain was told to stop.
struct Stopped;

impl Drain {
    /// A drain of `backlog` into `uplink`. Must be made where a tokio runtime with time runs it.
    pub fn new(
        uplink: Box<dyn Uplink>,
        backlog: Arc<dyn Backlog>,
        refusals: Arc<dyn Refusals>,
        settings: DrainSettings,
    ) -> Self {
        let DrainSettings { entries_per_second, linger } = settings;
        Self {
            uplink,
            backlog,
            refusals,
            bell: Bell::default(),
            linger,
            pace: Pace::new(entries_per_second, 0, Duration::ZERO),
            pauses: Pauses::new(),
            figures: Figures::default(),
            began: Instant::now(),
            refused_in_a_row: 0,
            told: None,
        }
    }

    /// The same with pauses that follow from a seed: on a machine of its own, they should differ from
    /// those of others.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { pauses: Pauses::seeded(seed), ..self }
    }

    /// The bell to ring for each new record.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Where its figures are read while it runs.
    pub fn figures(&self) -> Figures {
        self.figures.clone()
    }

    /// Sends until `stop` is cancelled. What is on its way then has two seconds to arrive; what did
    /// not stays in the backlog. Nothing ends it earlier.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Ok(batch) = self.next_batch(&stop).await {
            if self.deliver(&batch, &stop).await.is_err() {
                break;
            }
        }
        self.uplink.close().await;
    }

    /// The oldest records, as many as one batch may hold. Waits until there are any.
    async fn next_batch(&mut self, stop: &CancellationToken) -> Result<Vec<Waiting>, Stopped> {
        let limits = self.uplink.limits();
        let mut has_lingered = self.linger.is_zero();
        loop {
            if stop.is_cancelled() {
                return Err(Stopped);
            }
            self.bell.take_urgent();
            let rung = self.bell.count();
            let peeked = self.on_backlog(move |backlog| {
                backlog.peek(limits.entries_max.max(1), limits.bytes_max)
            });
            match peeked.await {
                Err(error) => self.pause("cannot read the backlog", &*error, stop).await?,
                Ok(batch) if batch.is_empty() => self.until_rung(IDLE, stop).await?,
                Ok(batch) if has_lingered || !may_grow(&batch, limits.entries_max) => {
                    return Ok(batch);
                }
                Ok(batch) => {
                    let missing = (limits.entries_max - batch.len()) as u64;
                    self.linger(rung + missing, stop).await?;
                    has_lingered = true;
                }
            }
        }
    }

    /// Waits for more to fill a batch: until the bell rang so often, or for something urgent.
    async fn linger(&mut self, rings: u64, stop: &CancellationToken) -> Result<(), Stopped> {
        let filled = async {
            while self.bell.count() < rings && !self.bell.take_urgent() {
                self.bell.rang().await;
            }
        };
        or_stop(stop, timeout(self.linger, filled)).await.map(drop)
    }

    async fn until_rung(
        &mut self,
        longest: Duration,
        stop: &CancellationToken,
    ) -> Result<(), Stopped> {
        or_stop(stop, timeout(longest, self.bell.rang())).await.map(drop)
    }

    /// Sends all of a batch, however many tries and parts it takes.
    async fn deliver(
        &mut self,
        batch: &[Waiting],
        stop: &CancellationToken,
    ) -> Result<(), Stopped> {
        let mut parts = Parts::of(batch.len());
        while let Some(part) = parts.next() {
            if stop.is_cancelled() {
                return Err(Stopped);
            }
            let part = self.admit(part, stop).await?;
            let records = &batch[part.clone()];
            match self.send(records, stop).await? {
                Ok(()) => {
                    self.arrived(records, stop).await?;
                    parts.done(part.len());
                }
                Err(UplinkError::Away { reason, retry_after }) => {
                    self.away(&reason, retry_after, stop).await?;
                }
                Err(UplinkError::Refused { index, reason }) => {
                    if parts.narrow(part.len(), index) {
                        self.refuse(&records[0], &reason, stop).await?;
                        parts.done(1);
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits until the pace lets at least a part of this through, and returns that part.
    async fn admit(
        &mut self,
        part: Range<usize>,
        stop: &CancellationToken,
    ) -> Result<Range<usize>, Stopped> {
        loop {
            self.pace.advance(self.began.elapsed(), self.bell.count());
            self.figures.pace(self.pace.rate(), self.pace.incoming());
            let quantum = (self.pace.rate() / BATCHES_PER_SECOND).max(1.0) as usize;
            let wait = self.pace.wait_for(part.len().min(quantum));
            if wait.is_zero() {
                let admitted = self.pace.available().clamp(1, part.len());
                return Ok(part.start..part.start + admitted);
            }
            // A wait that is rounded down to nothing would spin.
            or_stop(stop, sleep(wait.max(Duration::from_millis(1)))).await?;
        }
    }

    /// One try.
    async fn send(
        &mut self,
        records: &[Waiting],
        stop: &CancellationToken,
    ) -> Result<Result<(), UplinkError>, Stopped> {
        let outgoing: Vec<_> = records
            .iter()
            .map(|record| Outgoing { key: record.key.as_deref(), bytes: &record.bytes })
            .collect();
        let overdue = async {
            stop.cancelled().await;
            sleep(FAREWELL).await;
        };
        tokio::select! {
            biased;
            result = self.uplink.send(&outgoing) => Ok(result),
            () = overdue => Err(Stopped),
        }
    }

    async fn arrived(
        &mut self,
        records: &[Waiting],
        stop: &CancellationToken,
    ) -> Result<(), Stopped> {
        self.pace.take(records.len());
        self.pauses.reset();
        self.refused_in_a_row = 0;
        self.told = None;
        let bytes = records.iter().map(|record| record.bytes.len()).sum();
        if let Some(away) = self.figures.sent(records.len(), bytes) {
            tracing::info!(seconds = away.as_secs(), "the cloud takes records again");
        }
        let last = records.last().expect("a part has a record").sequence;
        self.release(last, stop).await
    }

    async fn away(
        &mut self,
        reason: &str,
        retry_after: Option<Duration>,
        stop: &CancellationToken,
    ) -> Result<(), Stopped> {
        self.figures.failed(reason);
        let pause = self.pauses.next(retry_after);
        self.tell(format!("the cloud takes no records, which wait on disk: {reason}"));
        or_stop(stop, sleep(pause)).await
    }

    /// Gives a record up that the cloud will never take.
    async fn refuse(
        &mut self,
        record: &Waiting,
        reason: &str,
        stop: &CancellationToken,
    ) -> Result<(), Stopped> {
        self.pace.take(1);
        loop {
            let (refusals, kept) = (Arc::clone(&self.refusals), record.clone());
            let reason = reason.to_owned();
            let may_wait = self.backlog.may_wait();
            match aside(may_wait, move || refusals.keep(&kept, &reason)).await {
                Ok(()) => break,
                Err(error) => self.pause("cannot keep a refused record", &*error, stop).await?,
            }
        }
        self.figures.refused(reason);
        self.tell(format!("the cloud refuses record {} for good: {reason}", record.sequence));
        self.release(record.sequence, stop).await?;
        self.refused_in_a_row += 1;
        if self.refused_in_a_row > REFUSED_RUN_MAX {
            let pause = self.pauses.next(None);
            or_stop(stop, sleep(pause)).await?;
        }
        Ok(())
    }

    /// Releases what arrived; until that is done nothing more is sent, or it would be sent again.
    async fn release(&mut self, through: u64, stop: &CancellationToken) -> Result<(), Stopped> {
        while let Err(error) = self.on_backlog(move |backlog| backlog.release(through)).await {
            self.pause("cannot release what was sent", &*error, stop).await?;
        }
        Ok(())
    }

    /// Tells of a disk that fails, and waits before another try.
    async fn pause(
        &mut self,
        what: &str,
        error: &(dyn std::error::Error + Send + Sync + 'static),
        stop: &CancellationToken,
    ) -> Result<(), Stopped> {
        let reason = format!("{what}: {}", chain(error));
        self.figures.failed(&reason);
        self.tell(reason);
        let pause = self.pauses.next(None);
        or_stop(stop, sleep(pause)).await
    }

    /// Logs trouble when it is new, and now and then while it lasts.
    fn tell(&mut self, trouble: String) {
        let is_due = self.told.as_ref().is_none_or(|(told, at)| {
            at.elapsed() >= if *told == trouble { TOLD_AGAIN } else { TOLD_OTHER }
        });
        if is_due {
            tracing::warn!("{trouble}");
            self.told = Some((trouble, Instant::now()));
        }
    }

    async fn on_backlog<T: Send + 'static>(
        &mut self,
        action: impl FnOnce(&dyn Backlog) -> Result<T, BacklogError> + Send + 'static,
    ) -> Result<T, BacklogError> {
        let backlog = Arc::clone(&self.backlog);
        aside(backlog.may_wait(), move || action(&*backlog)).await
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Drain")
            .field("uplink", &self.uplink)
            .field("backlog", &self.backlog)
            .field("status", &self.figures.status())
            .finish_non_exhaustive()
    }
}

/// Whether it is worth while to wait for more.
fn may_grow(batch: &[Waiting], entries_max: usize) -> bool {
    batch.len() < entries_max && !batch.iter().any(|record| record.is_urgent)
}

async fn or_stop<T>(
    stop: &CancellationToken,
    action: impl Future<Output = T>,
) -> Result<T, Stopped> {
    stop.run_until_cancelled(action).await.ok_or(Stopped)
}

/// Does what may wait for a disk on a thread that may.
async fn aside<T: Send + 'static>(
    may_wait: bool,
    action: impl FnOnce() -> Result<T, BacklogError> + Send + 'static,
) -> Result<T, BacklogError> {
    if !may_wait {
        return action();
    }
    // The action is short and runs to its end even if nobody waits for it any more.
    tokio::task::spawn_blocking(action).await.unwrap_or_else(|panic| Err(panic.into()))
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Some errors print their cause themselves.
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}
