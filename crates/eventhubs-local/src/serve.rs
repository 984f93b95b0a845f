//! The shell around connections: accepts them, moves their bytes, wakes them and stops them. Does
//! not know what their bytes mean.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::ReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::amqp::frame::encode_heartbeat;
use crate::connection::{Connection, IDLE_MS};
use crate::context::Core;
use crate::error::BrokerError;
use crate::mailbox::Mailbox;

/// How many connections there may be at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 512;
/// How long a peer may take until its connection is open.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// How long a peer has to answer the broker's close.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long stopping waits for connections and their work.
const DRAIN: Duration = Duration::from_secs(5);
/// How much is read at once, in bytes.
const READ_BYTES: usize = 128 << 10;
/// The shortest time between two heartbeats, whatever a peer asks for.
const HEARTBEAT_MIN: Duration = Duration::from_millis(20);

/// Accepts connections until it is told to stop, and waits for those that are open.
pub(crate) async fn serve(
    listener: TcpListener,
    core: Arc<Core>,
    stop: &CancellationToken,
) -> Result<(), BrokerError> {
    let tracker = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%peer, "a connection was refused: {CONNECTIONS_MAX} are open");
            continue;
        };
        let (core, stop, jobs) = (Arc::clone(&core), stop.clone(), tracker.clone());
        tracker.spawn(async move {
            match converse(stream, peer, core, &stop, &jobs).await {
                Ok(()) => tracing::debug!(%peer, "a connection ended"),
                Err(error) => tracing::debug!(%peer, %error, "a connection was lost"),
            }
            drop(place);
        });
    }
    tracker.close();
    if timeout(DRAIN, tracker.wait()).await.is_err() {
        tracing::warn!("connections did not end in time; they are cut");
    }
    Ok(())
}

/// A connection that fails before it is taken is its peer's trouble; a lack of file descriptors
/// ends when others close.
async fn accept_failed(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be taken");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// One connection from accept to end.
async fn converse(
    mut stream: TcpStream,
    peer: SocketAddr,
    core: Arc<Core>,
    stop: &CancellationToken,
    tracker: &TaskTracker,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    tracing::debug!(%peer, "a connection began");
    let mailbox = Arc::new(Mailbox::default());
    let mut connection = Connection::new(core, Arc::clone(&mailbox));
    let mut times = Times::new(Instant::now());
    let (mut reader, mut writer) = stream.split();
    let (mut input, mut output) = (Vec::new(), Output::default());
    loop {
        connection.advance();
        for job in connection.take_jobs() {
            let mailbox = Arc::clone(&mailbox);
            tracker.spawn_blocking(move || job.run(&mailbox));
        }
        output.refill(connection.out());
        if connection.is_done() && output.is_empty() {
            writer.shutdown().await?;
            return linger(reader).await;
        }
        let deadline = times.deadline(&connection);
        reserve(&mut input);
        tokio::select! {
            () = stop.cancelled(), if !connection.is_closing() => connection.close("the broker stops"),
            read = reader.read_buf(&mut input), if connection.wants_input() => {
                if read? == 0 {
                    return Ok(());
                }
                times.received = Instant::now();
                let taken = connection.receive(&input);
                input.drain(..taken);
            }
            written = writer.write(output.rest()), if !output.is_empty() => {
                output.advance(written?);
                times.sent = Instant::now();
            }
            () = mailbox.bell().notified() => {}
            () = sleep_until(deadline) => times.on_deadline(&mut connection)?,
        }
    }
}

/// Waits until the peer has closed too: what it still sends would make the system cut the
/// connection, and with it the last frames that it has not read.
async fn linger(mut reader: ReadHalf<'_>) -> io::Result<()> {
    let mut ignored = vec![0; 4 << 10];
    let until_closed = async {
        while reader.read(&mut ignored).await? > 0 {}
        Ok(())
    };
    timeout(FAREWELL, until_closed).await.unwrap_or(Ok(()))
}

fn reserve(input: &mut Vec<u8>) {
    if input.capacity() - input.len() < READ_BYTES / 2 {
        input.reserve(READ_BYTES);
    }
}

/// What is being written, apart from what a connection adds meanwhile.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    written: usize,
}

impl Output {
    /// Takes what is new once all of the old is written, and leaves the old's memory for reuse.
    fn refill(&mut self, new: &mut Vec<u8>) {
        if self.is_empty() && !new.is_empty() {
            self.bytes.clear();
            self.written = 0;
            std::mem::swap(&mut self.bytes, new);
        }
    }

    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    fn advance(&mut self, count: usize) {
        self.written += count;
    }
}

/// When a connection last moved, and when it must next.
#[derive(Debug)]
struct Times {
    began: Instant,
    received: Instant,
    sent: Instant,
    closing: Option<Instant>,
}

impl Times {
    fn new(now: Instant) -> Self {
        Self { began: now, received: now, sent: now, closing: None }
    }

    /// When the connection must be looked at next though nothing happened.
    fn deadline(&mut self, connection: &Connection) -> Instant {
        if connection.is_closing() {
            return *self.closing.get_or_insert_with(Instant::now) + FAREWELL;
        }
        if !connection.is_open() {
            return self.began + HANDSHAKE;
        }
        let silence = self.received + Duration::from_millis(IDLE_MS.into());
        match connection.peer_idle_ms() {
            Some(idle_ms) => silence.min(self.sent + heartbeat(idle_ms)),
            None => silence,
        }
    }

    fn on_deadline(&mut self, connection: &mut Connection) -> io::Result<()> {
        let now = Instant::now();
        if connection.is_closing() || !connection.is_open() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer took too long"));
        }
        if now >= self.received + Duration::from_millis(IDLE_MS.into()) {
            connection.close("no frame came for longer than the idle-time-out");
        } else {
            encode_heartbeat(connection.out());
            self.sent = now;
        }
        Ok(())
    }
}

/// Half of the time after which the peer gives up.
fn heartbeat(idle_ms: u32) -> Duration {
    Duration::from_millis((idle_ms / 2).into()).max(HEARTBEAT_MIN)
}
