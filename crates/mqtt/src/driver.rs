//! The driver of a connection: connects, serves until it breaks, pauses, connects again.
//! Decisions are made by the pure parts (session, pulse, backoff); this one moves bytes.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, sleep, sleep_until, timeout};
use tokio_util::bytes::BytesMut;
use tokio_util::sync::CancellationToken;

use crate::backoff;
use crate::inbox::{Inbox, Message, Messages, Receipt};
use crate::link::{self, Link, Stream, chain};
use crate::publisher::{Pending, PublishError, Publisher};
use crate::pulse::{Beat, Pulse};
use crate::session::{Outbox, Session};
use crate::settings::{Passwords, Settings, SettingsError};
use crate::status::{Counters, Monitor, Status, add};
use crate::wire::{self, Decoder, Packet, WireError};

/// Publishes that wait in the channel between publishers and driver.
const REQUESTS_MAX: usize = 1_024;
/// Publishes taken from that channel at once.
const REQUESTS_AT_ONCE: usize = 256;
/// Bytes that wait to be written before no more publishes are added.
const OUT_BYTES_MAX: usize = 256 << 10;
/// Bytes asked for in one read.
const READ_BYTES: usize = 64 << 10;
/// A connection that lived as long as this was good: pauses start from the shortest again.
const STEADY: Duration = Duration::from_secs(5);
/// How long the orderly end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Connects to a broker with the password that the settings name.
///
/// Returns at once; nothing happens until [`Driver::run`] is polled.
///
/// # Errors
/// A setting or a topic filter that cannot be used, by its key.
pub fn connect(
    settings: &Settings,
    subscriptions: Vec<String>,
) -> Result<(Publisher, Messages, Driver), SettingsError> {
    connect_with(settings, subscriptions, Arc::new(settings.clone()))
}

/// Connects to a broker with passwords from somewhere else, such as tokens that expire.
///
/// # Errors
/// A setting or a topic filter that cannot be used, by its key.
pub fn connect_with(
    settings: &Settings,
    subscriptions: Vec<String>,
    passwords: Arc<dyn Passwords>,
) -> Result<(Publisher, Messages, Driver), SettingsError> {
    settings.check()?;
    if let Some(problem) = subscriptions.iter().find_map(|filter| wire::filter_problem(filter)) {
        return Err(SettingsError::new("subscriptions", problem));
    }
    let (status, watched) = watch::channel(Status::Connecting);
    let counters = Arc::new(Counters::default());
    let monitor = Monitor { status: watched, counters: Arc::clone(&counters) };
    let (requests, requested) = mpsc::channel(REQUESTS_MAX);
    let inbox = Arc::new(Inbox::new(settings.receive_max.into(), settings.queue_bytes_max));
    let publisher = Publisher { version: settings.version, requests, monitor: monitor.clone() };
    let messages = Messages { inbox: Arc::clone(&inbox), monitor };
    let driver = Driver {
        session: Session::new(settings, subscriptions, Arc::clone(&counters)),
        settings: settings.clone(),
        passwords,
        requests: requested,
        requests_open: true,
        inbox,
        receipts: Vec::new(),
        fresh: Vec::new(),
        batch: Vec::new(),
        status,
        counters,
        failure: Failure { since: SystemTime::now(), reason: String::new(), attempts: 0 },
    };
    Ok((publisher, messages, driver))
}

/// Holds the connection. Nothing moves unless [`Self::run`] is polled.
pub struct Driver {
    settings: Settings,
    passwords: Arc<dyn Passwords>,
    session: Session,
    requests: mpsc::Receiver<Pending>,
    /// Whether there is still a publisher.
    requests_open: bool,
    inbox: Arc<Inbox>,
    /// Kept from one batch to the next, for their memory.
    receipts: Vec<Receipt>,
    fresh: Vec<Pending>,
    batch: Vec<Message>,
    status: watch::Sender<Status>,
    counters: Arc<Counters>,
    failure: Failure,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Driver").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The failures in a row that led to where the driver stands.
#[derive(Debug)]
struct Failure {
    since: SystemTime,
    reason: String,
    attempts: u32,
}

/// How serving a connection ended.
enum End {
    Stopped,
    /// It was ended in order to connect with a fresh password.
    Renewed,
    Lost(Lost),
}

/// How a connection broke.
struct Lost {
    reason: String,
    /// What is in flight would not fare better on another connection.
    hopeless: bool,
}

impl Lost {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hopeless: false }
    }
}

impl From<WireError> for Lost {
    fn from(error: WireError) -> Self {
        Self::new(error.to_string())
    }
}

/// A connection that is being served.
struct Line {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    decoder: Decoder,
    input: BytesMut,
    out: Outbox,
    /// Something was written that is perhaps not flushed.
    unflushed: bool,
    pulse: Pulse,
    /// When to ask again for what was refused.
    subscribe_at: Instant,
    since: SystemTime,
}

/// What happens next on a connection.
enum Event {
    Stop,
    Renew,
    Read(io::Result<usize>),
    Written(io::Result<usize>),
    /// There are receipts, or there is room to read: a look at the queues is due.
    Moved,
    Requested(usize),
    Tick,
}

impl Driver {
    /// Runs until `stop` is cancelled, or is dropped. Receipts that were handed in before the
    /// stop are sent; publishes without an answer get [`PublishError::Stopped`].
    pub async fn run(mut self, stop: CancellationToken) {
        let mut lost_at = Instant::now();
        loop {
            let deadline = lost_at + Duration::from_secs(self.settings.away_seconds);
            let attempt = tokio::select! {
                () = stop.cancelled() => break,
                attempt = link::open(&self.settings, &*self.passwords) => attempt,
                never = refuse_after(
                    deadline, &self.failure, &mut self.session,
                    &mut self.requests, &mut self.requests_open,
                ) => match never {},
            };
            let lost = match attempt {
                Ok(link) => {
                    let end = self.serve(link, &stop).await;
                    lost_at = Instant::now();
                    match end {
                        End::Stopped => break,
                        End::Renewed => continue,
                        End::Lost(lost) => lost,
                    }
                }
                Err(error) => Lost::new(chain(&error)),
            };
            self.note_failure(lost);
            if self.pause(lost_at, &stop).await {
                break;
            }
        }
        self.session.refuse_all(&PublishError::Stopped);
    }

    fn note_failure(&mut self, lost: Lost) {
        add(&self.counters.disconnects, 1);
        self.session.lost(&lost.reason, lost.hopeless);
        let failure = &mut self.failure;
        if failure.attempts == 0 {
            failure.since = SystemTime::now();
        }
        failure.attempts = failure.attempts.saturating_add(1);
        // Each cause is told once, not at each try.
        if failure.attempts == 1 || failure.reason != lost.reason {
            tracing::warn!(broker = %self.settings.broker, reason = %lost.reason, "the broker is away");
        }
        failure.reason = lost.reason;
    }

    /// Waits for the next try. Returns whether the driver was stopped meanwhile.
    async fn pause(&mut self, lost_at: Instant, stop: &CancellationToken) -> bool {
        let pause = backoff::pause(self.failure.attempts, random());
        self.status.send_replace(Status::Away {
            since: self.failure.since,
            reason: self.failure.reason.clone(),
            attempts: self.failure.attempts,
            next_try: SystemTime::now() + pause,
        });
        let deadline = lost_at + Duration::from_secs(self.settings.away_seconds);
        tokio::select! {
            () = stop.cancelled() => true,
            () = sleep(pause) => false,
            never = refuse_after(
                deadline, &self.failure, &mut self.session,
                &mut self.requests, &mut self.requests_open,
            ) => match never {},
        }
    }

    /// Serves a connection until it ends.
    async fn serve(&mut self, link: Link, stop: &CancellationToken) -> End {
        let started = Instant::now();
        let renewal = link.renew_at.map(|at| {
            // A clock that is off must not make it connect without end.
            let left = at.duration_since(SystemTime::now()).unwrap_or_default();
            started + left.max(STEADY)
        });
        let mut line = self.begin(link, started);
        let end = match Box::pin(self.serve_line(&mut line, renewal, stop)).await {
            Ok(end) => end,
            Err(lost) => End::Lost(lost),
        };
        if matches!(end, End::Lost(_)) {
            if started.elapsed() >= STEADY {
                self.failure.attempts = 0;
            }
        } else {
            self.farewell(line).await;
            self.session.lost("the connection was renewed", false);
            self.failure.attempts = 0;
        }
        end
    }

    fn begin(&mut self, link: Link, now: Instant) -> Line {
        self.session.connected(&link.connack, now);
        add(&self.counters.connects, 1);
        let since = SystemTime::now();
        self.status.send_replace(Status::Connected { since, refused: self.session.refused() });
        tracing::info!(
            broker = %self.settings.broker,
            session_present = link.connack.session_present,
            "connected to the broker",
        );
        // A broker may set another interval; 0 means that it does not mind.
        let keep_alive = match link.connack.keep_alive_seconds {
            None | Some(0) => self.settings.keep_alive_seconds,
            Some(seconds) => seconds,
        };
        let (reader, writer) = tokio::io::split(link.stream);
        Line {
            reader,
            writer,
            decoder: link.decoder,
            input: link.input,
            out: Outbox::default(),
            unflushed: false,
            pulse: Pulse::new(Duration::from_secs(keep_alive.into()), now),
            subscribe_at: now,
            since,
        }
    }

    async fn serve_line(
        &mut self,
        line: &mut Line,
        renewal: Option<Instant>,
        stop: &CancellationToken,
    ) -> Result<End, Lost> {
        let mut ticks = tokio::time::interval(line.pulse.interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let renewal = sleep_until(renewal.unwrap_or_else(far_away).into());
        tokio::pin!(renewal);
        // Before any publish, so that what this client publishes itself comes back to it.
        self.subscribe(line, Instant::now())?;
        // What came right behind the broker's consent is not to wait for the next read.
        self.decode(line)?;
        loop {
            self.move_queues(line)?;
            let paused = self.inbox.is_full();
            let room = self.session.room().min(REQUESTS_AT_ONCE);
            if line.input.capacity() - line.input.len() < READ_BYTES / 16 {
                line.input.reserve(READ_BYTES);
            }
            let event = tokio::select! {
                () = stop.cancelled() => Event::Stop,
                () = &mut renewal => Event::Renew,
                read = line.reader.read_buf(&mut line.input), if !paused => Event::Read(read),
                written = write(&mut line.writer, &line.out.bytes),
                    if line.unflushed || !line.out.bytes.is_empty() => Event::Written(written),
                () = self.inbox.acked() => Event::Moved,
                () = self.inbox.drained(), if paused => Event::Moved,
                count = self.requests.recv_many(&mut self.fresh, room),
                    if self.requests_open && room > 0 => Event::Requested(count),
                _ = ticks.tick() => Event::Tick,
            };
            match event {
                Event::Stop => return Ok(End::Stopped),
                Event::Renew => return Ok(End::Renewed),
                Event::Read(read) => self.read(line, read)?,
                Event::Written(written) => self.written(line, written)?,
                Event::Moved => {}
                Event::Requested(count) => self.requests_open = count > 0,
                Event::Tick => self.tick(line, paused)?,
            }
        }
    }

    /// Moves receipts and publishes to what is written next.
    fn move_queues(&mut self, line: &mut Line) -> Result<(), Lost> {
        self.inbox.take_receipts(&mut self.receipts);
        if !self.receipts.is_empty() {
            self.session.ack(&self.receipts, &mut line.out);
        }
        for pending in self.fresh.drain(..) {
            self.session.publish(pending);
        }
        Ok(self.session.send(&mut line.out, OUT_BYTES_MAX, Instant::now())?)
    }

    fn read(&mut self, line: &mut Line, read: io::Result<usize>) -> Result<(), Lost> {
        match read {
            Ok(0) => return Err(Lost::new("the broker closed the connection")),
            Ok(_) => line.pulse.received(Instant::now()),
            Err(error) => return Err(Lost::new(format!("cannot read from the broker: {error}"))),
        }
        self.decode(line)
    }

    /// Takes all complete packets out of what was read.
    fn decode(&mut self, line: &mut Line) -> Result<(), Lost> {
        let decoded = self.decode_packets(line);
        add(&self.counters.messages, self.batch.len() as u64);
        self.inbox.fill(&mut self.batch);
        decoded
    }

    fn decode_packets(&mut self, line: &mut Line) -> Result<(), Lost> {
        while let Some(packet) = line.decoder.next(&mut line.input)? {
            match packet {
                Packet::Publish(mut message) => {
                    self.session.received(&mut message);
                    self.note_oversize(&message);
                    self.batch.push(message);
                }
                Packet::PubAck { packet_id, refusal } => {
                    self.session.acknowledged(packet_id, refusal, Instant::now())?;
                }
                Packet::PubRel { packet_id } => wire::write_pubcomp(packet_id, &mut line.out.bytes),
                Packet::SubAck { packet_id, refusals } => {
                    self.subscribed(line, packet_id, &refusals);
                }
                Packet::PingResp => {}
                Packet::Disconnect { reason } => {
                    return Err(Lost::new(format!("the broker ended the connection: {reason}")));
                }
                Packet::ConnAck(_) => return Err(Lost::new("the broker accepted twice")),
            }
        }
        Ok(())
    }

    fn note_oversize(&self, message: &Message) {
        let Some(bytes) = message.oversize_bytes else { return };
        let before =
            self.counters.messages_oversize.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Told more and more seldom: after 1, 2, 4, 8 of them.
        if (before + 1).is_power_of_two() {
            let bytes_max = self.settings.packet_bytes_max;
            tracing::warn!(topic = %message.topic, bytes, bytes_max, count = before + 1, "passed over the payload of an oversize message");
        }
    }

    fn subscribed(&mut self, line: &Line, packet_id: u16, refusals: &[Option<String>]) {
        if !self.session.subscribed(packet_id, refusals) {
            return;
        }
        let refused = self.session.refused();
        for refusal in &refused {
            tracing::warn!(filter = %refusal.filter, reason = %refusal.reason, "a subscription was refused");
        }
        self.status.send_replace(Status::Connected { since: line.since, refused });
    }

    fn written(&mut self, line: &mut Line, written: io::Result<usize>) -> Result<(), Lost> {
        let count =
            written.map_err(|error| Lost::new(format!("cannot write to the broker: {error}")))?;
        line.out.advance(count);
        // A write of nothing was a flush, which is complete.
        line.unflushed = count > 0;
        line.pulse.sent(Instant::now());
        self.session.written(line.out.written());
        Ok(())
    }

    fn tick(&mut self, line: &mut Line, paused: bool) -> Result<(), Lost> {
        let now = Instant::now();
        match line.pulse.look(now, paused) {
            // A ping behind others that are still to be written would say nothing new.
            Beat::Ping if line.out.bytes.is_empty() => wire::write_ping(&mut line.out.bytes),
            Beat::Ping | Beat::Quiet => {}
            Beat::Dead => return Err(Lost::new("the broker does not answer a ping")),
        }
        if paused {
            self.session.pardon(now);
        } else if self.session.is_overdue(now, Duration::from_secs(self.settings.answer_seconds)) {
            let seconds = self.settings.answer_seconds;
            let reason = format!("the broker did not acknowledge a publish within {seconds} s");
            return Err(Lost { reason, hopeless: true });
        }
        if line.subscribe_at <= now {
            self.subscribe(line, now)?;
        }
        Ok(())
    }

    fn subscribe(&mut self, line: &mut Line, now: Instant) -> Result<(), Lost> {
        line.subscribe_at = now + Duration::from_secs(self.settings.subscribe_retry_seconds);
        Ok(self.session.subscribe(&mut line.out)?)
    }

    /// Ends a connection in order: what is acknowledged is told, and the session stays.
    async fn farewell(&mut self, mut line: Line) {
        self.inbox.take_receipts(&mut self.receipts);
        self.session.ack(&self.receipts, &mut line.out);
        wire::write_disconnect(&mut line.out.bytes);
        let Line { reader, writer, input, out, .. } = &mut line;
        let goodbye = async {
            writer.write_all(&out.bytes).await?;
            writer.flush().await?;
            writer.shutdown().await?;
            // To close a socket with something unread in it resets the connection, and the
            // broker would lose the acknowledgements that it has not read yet.
            while reader.read_buf(input).await? > 0 {
                input.clear();
            }
            Ok::<(), io::Error>(())
        };
        match timeout(FAREWELL, goodbye).await {
            Ok(Ok(())) => {
                line.out.advance(line.out.bytes.len());
                self.session.written(line.out.written());
            }
            Ok(Err(error)) => tracing::debug!(%error, "the connection broke at its end"),
            Err(_elapsed) => tracing::debug!("the broker did not take the end of the connection"),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.session.lost("the driver is gone", false);
        self.session.refuse_all(&PublishError::Stopped);
        self.inbox.close();
        self.status.send_replace(Status::Stopped);
    }
}

/// Writes some of `bytes`; with none left, flushes. Returns how many were written.
async fn write(writer: &mut WriteHalf<Box<dyn Stream>>, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(bytes).await {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        other => other,
    }
}

/// From `deadline` on, answers each publish that waits or comes with "away".
async fn refuse_after(
    deadline: Instant,
    failure: &Failure,
    session: &mut Session,
    requests: &mut mpsc::Receiver<Pending>,
    open: &mut bool,
) -> Infallible {
    sleep_until(deadline.into()).await;
    let reason = match failure.reason.as_str() {
        "" => "it has not answered yet".to_owned(),
        reason => reason.to_owned(),
    };
    let away = PublishError::Away { reason };
    session.refuse_all(&away);
    while *open {
        match requests.recv().await {
            Some(pending) => {
                session.publish(pending);
                session.refuse_all(&away);
            }
            None => *open = false,
        }
    }
    std::future::pending().await
}

/// A time that does not come.
fn far_away() -> Instant {
    Instant::now() + Duration::from_hours(24 * 365 * 10)
}

/// A random number to spread pauses by: the standard library seeds each hasher at random.
fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}
