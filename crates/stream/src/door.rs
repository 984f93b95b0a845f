//! A door: HTTP served within bounds, so that neither slow clients nor many keep others out.
//!
//! A client has so long for the head of a request and so long for its body. Where more connect than
//! there is room for, the oldest makes room: at once if it asks for nothing, else once it is
//! answered. It does not know what is served.

use crate::answer::refuse;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::serve::Listener;
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bounds of a door.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that are open at once.
    pub connections_max: usize,
    /// Time for the head of a request, from when its connection was opened or the answer before was
    /// sent: so long a connection may ask for nothing.
    pub head: Duration,
    /// Time between two pieces of a body.
    pub body_pause: Duration,
    /// Time for a body as a whole.
    pub body: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A process often has 1024 files at most, and a program has three doors and files of its
            // own: what it cannot open, it cannot write a checkpoint to.
            connections_max: 256,
            head: Duration::from_secs(10),
            body_pause: Duration::from_secs(30),
            body: Duration::from_mins(2),
        }
    }
}

/// How long the oldest connection may take to make room before the next one is asked too.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// That there is no room is told again after so long.
const TOLD_AGAIN: Duration = Duration::from_mins(1);

/// Serves until `stop` is cancelled and open requests are answered.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let router = router.layer(middleware::from_fn_with_state(limits, bound_body));
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let (mut room, conversations) = (Room::new(limits.connections_max), TaskTracker::new());
    let enter = async {
        loop {
            let (stream, _) = Listener::accept(&mut listener).await;
            let place = room.place(&stop).await;
            let connection = builder.serve_connection(TokioIo::new(stream), service.clone());
            conversations.spawn(converse(connection, place));
        }
    };
    stop.run_until_cancelled(enter).await;
    // Whoever connects from here on is told at once that nobody is there.
    drop(listener);
    conversations.close();
    conversations.wait().await;
}

/// One connection, until it ends or is asked to leave and its request is answered.
async fn converse(
    connection: http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>>,
    place: Place,
) {
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        // A request that has come already is seen before its connection is closed.
        biased;
        ended = connection.as_mut() => ended,
        () = place.leave.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection was closed before its time");
    }
}

/// The connections of a door.
#[derive(Debug)]
struct Room {
    permits: Arc<Semaphore>,
    /// Those that were let in, the oldest first; the token of one that has left is cancelled.
    open: VecDeque<CancellationToken>,
    told: Option<Instant>,
}

/// A connection's place in the room, given back when it is dropped.
#[derive(Debug)]
struct Place {
    /// Cancelled when the connection is to end.
    leave: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave.cancel();
    }
}

impl Room {
    fn new(connections_max: usize) -> Self {
        let permits = Arc::new(Semaphore::new(connections_max));
        Self { permits, open: VecDeque::new(), told: None }
    }

    /// A place, once there is one.
    async fn place(&mut self, stop: &CancellationToken) -> Place {
        let permit = self.permit().await;
        let leave = stop.child_token();
        self.open.retain(|leave| !leave.is_cancelled());
        self.open.push_back(leave.clone());
        Place { leave, _permit: permit }
    }

    async fn permit(&mut self) -> OwnedSemaphorePermit {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return permit;
        }
        self.tell();
        loop {
            self.open.retain(|leave| !leave.is_cancelled());
            if let Some(oldest) = self.open.pop_front() {
                oldest.cancel();
            }
            let permit = Arc::clone(&self.permits).acquire_owned();
            if let Ok(Ok(permit)) = tokio::time::timeout(ROOM_PAUSE, permit).await {
                return permit;
            }
        }
    }

    fn tell(&mut self) {
        if self.told.is_none_or(|told| told.elapsed() >= TOLD_AGAIN) {
            self.told = Some(Instant::now());
            tracing::warn!(
                connections = self.open.len(),
                "more clients connect than there is room for; those that have been here longest are closed"
            );
        }
    }
}

/// Answers 408 where a body does not come in within its time.
async fn bound_body(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let is_late = Arc::new(AtomicBool::new(false));
    let bound = |body| Body::new(TimedBody::new(body, limits, Arc::clone(&is_late)));
    let response = next.run(request.map(bound)).await;
    if !is_late.load(Ordering::Relaxed) {
        return response;
    }
    let Limits { body_pause, body, .. } = limits;
    let reason = format!(
        "the body took longer than {} s, or stopped for {} s: send less at once, or over a faster line",
        body.as_secs_f64(),
        body_pause.as_secs_f64()
    );
    let mut response = refuse(StatusCode::REQUEST_TIMEOUT, &reason);
    // What is left of the body would be taken for the next request.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A body that must come in within its time. What reads it may call its error whatever it likes, so
/// that it was late is told beside it.
#[derive(Debug)]
struct TimedBody {
    body: Body,
    pause: Duration,
    end: Instant,
    next: Pin<Box<Sleep>>,
    is_late: Arc<AtomicBool>,
}

impl TimedBody {
    fn new(body: Body, limits: Limits, is_late: Arc<AtomicBool>) -> Self {
        let now = Instant::now();
        let (pause, end) = (limits.body_pause, now + limits.body);
        let next = Box::pin(tokio::time::sleep_until(end.min(now + pause)));
        Self { body, pause, end, next, is_late }
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            let next = this.end.min(Instant::now() + this.pause);
            this.next.as_mut().reset(next);
            return Poll::Ready(frame);
        }
        ready!(this.next.as_mut().poll(context));
        this.is_late.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(axum::Error::new("the body did not come in within its time"))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Behind an address that is reached from this machine alone, answers only those who call it by a
/// name of this machine. A page in a browser there can point a name of its own at that address (DNS
/// rebinding), and would then read whatever is answered; it cannot do so with an address in digits.
pub fn refuse_other_names(router: Router, address: SocketAddr) -> Router {
    if address.ip().is_loopback() { router.layer(middleware::from_fn(own_names)) } else { router }
}

async fn own_names(request: Request, next: Next) -> Response {
    if is_own_name(request.headers()) {
        return next.run(request).await;
    }
    refuse(
        StatusCode::MISDIRECTED_REQUEST,
        "this address is for its own machine, and the request's `Host` is another name: ask for localhost or an address in digits, and let a proxy send that as `Host`",
    )
}

/// Whether a request names this machine, or nobody: browsers always do name somebody.
fn is_own_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host().to_ascii_lowercase();
    let digits = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || digits.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
pub(crate) mod testing {
    //! A server in this process, and clients that write what they like.

    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    /// Longest that a test waits for anything.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

    pub(crate) struct Server {
        pub(crate) address: SocketAddr,
        pub(crate) stop: CancellationToken,
        pub(crate) serving: JoinHandle<()>,
    }

    pub(crate) async fn start(router: Router, limits: Limits) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = TaskTracker::new().spawn(serve(listener, router, limits, stop.clone()));
        Server { address, stop, serving }
    }

    impl Server {
        pub(crate) async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        /// The whole answer to a request that is the only one of its connection.
        pub(crate) async fn ask(&self, head: &str, body: &[u8]) -> String {
            let mut stream = self.connect().await;
            let length = body.len();
            let head = format!("{head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(body).await.unwrap();
            rest(&mut stream).await
        }

        pub(crate) async fn post(&self, path: &str, body: &[u8]) -> String {
            self.ask(&format!("POST {path} HTTP/1.1\r\nhost: localhost"), body).await
        }

        pub(crate) async fn get(&self, path: &str) -> String {
            self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost"), b"").await
        }
    }

    /// What comes until the other side closes the connection.
    pub(crate) async fn rest(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text))
            .await
            .expect("the connection is closed in the end")
            .unwrap();
        text
    }

    pub(crate) fn status(answer: &str) -> u16 {
        answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| {
            panic!("no answer: {answer:?}");
        })
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{PATIENCE, rest, start, status};
    use super::*;
    use axum::routing::{get, post};
    use tokio::io::AsyncWriteExt as _;
    use tokio::sync::Notify;

    /// Bounds that no test comes to, but for those that it names.
    const WIDE: Limits =
        Limits { connections_max: 1000, head: PATIENCE, body_pause: PATIENCE, body: PATIENCE };
    const SHORT: Duration = Duration::from_millis(100);

    /// The head of a request with a body of so many bytes.
    fn head(bytes: usize) -> Vec<u8> {
        format!("POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: {bytes}\r\n\r\n")
            .into()
    }

    fn routes() -> Router {
        let length = |body: Bytes| async move { body.len().to_string() };
        Router::new().route("/", get(|| async { "here" })).route("/length", post(length))
    }

    /// Writes a byte now and then until the other side has had enough of it.
    async fn trickle(stream: &mut TcpStream, bytes: &[u8]) {
        let written = async {
            for byte in bytes.iter().cycle() {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(SHORT / 10).await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await.expect("the other side closes");
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_is_not_waited_for() {
        let server = start(routes(), Limits { head: SHORT, ..WIDE }).await;
        assert_eq!(rest(&mut server.connect().await).await, "", "nothing was asked");
        let mut slow = server.connect().await;
        slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        trickle(&mut slow, b"x: y\r\n").await;
        // One that idles after its answer is closed too.
        let mut idle = server.connect().await;
        idle.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert!(rest(&mut idle).await.ends_with("here"));
    }

    #[tokio::test]
    async fn a_body_that_stops_or_never_ends_is_not_waited_for() {
        let stops = start(routes(), Limits { body_pause: SHORT, ..WIDE }).await;
        let mut stream = stops.connect().await;
        stream.write_all(&head(100_000)).await.unwrap();
        stream.write_all(b"some").await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(status(&answer) == 408 && answer.contains("stopped for 0.1 s"), "{answer}");
        let never_ends = start(routes(), Limits { body: SHORT, ..WIDE }).await;
        let mut stream = never_ends.connect().await;
        stream.write_all(&head(100_000)).await.unwrap();
        trickle(&mut stream, b"x").await;
        // Pieces that come in time are put together.
        let server = start(routes(), WIDE).await;
        let mut stream = server.connect().await;
        stream.write_all(&head(4)).await.unwrap();
        for byte in *b"four" {
            stream.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(SHORT / 10).await;
        }
        server.stop.cancel();
        assert!(rest(&mut stream).await.ends_with('4'));
    }

    #[tokio::test]
    async fn idle_connections_keep_nobody_out_and_a_request_is_answered_all_the_same() {
        let (go_on, waiting) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (gone_on, waits) = (Arc::clone(&go_on), Arc::clone(&waiting));
        let wait = move || async move {
            waits.notify_one();
            gone_on.notified().await;
            "waited"
        };
        let router = routes().route("/wait", get(wait));
        let server = start(router, Limits { connections_max: 16, ..WIDE }).await;
        let mut first = server.connect().await;
        first.write_all(b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        waiting.notified().await;
        let mut idle = Vec::new();
        for _ in 0..400 {
            idle.push(server.connect().await);
        }
        let answer = tokio::time::timeout(PATIENCE / 2, server.get("/")).await.unwrap();
        assert!(answer.ends_with("here"), "{answer}");
        // The oldest was asked to leave long since, and stays until it is answered.
        go_on.notify_one();
        assert!(rest(&mut first).await.ends_with("waited"));
        assert_eq!(rest(&mut idle[0]).await, "");
    }

    #[tokio::test]
    async fn a_stop_answers_what_was_asked_and_closes_the_rest() {
        let server = start(routes(), WIDE).await;
        let mut asking = server.connect().await;
        asking.write_all(&head(4)).await.unwrap();
        asking.write_all(b"fo").await.unwrap();
        let mut idle = server.connect().await;
        assert!(server.get("/").await.ends_with("here"), "all three were let in by now");
        server.stop.cancel();
        assert_eq!(rest(&mut idle).await, "");
        let refused = async {
            while TcpStream::connect(server.address).await.is_ok() {
                tokio::time::sleep(SHORT / 100).await;
            }
        };
        tokio::time::timeout(PATIENCE, refused).await.expect("nobody is let in any more");
        assert!(!server.serving.is_finished());
        asking.write_all(b"ur").await.unwrap();
        assert!(rest(&mut asking).await.ends_with('4'));
        tokio::time::timeout(PATIENCE, server.serving).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_page_that_points_its_own_name_at_this_machine_reads_nothing() {
        let loopback = "127.0.0.1:0".parse().unwrap();
        let server = start(refuse_other_names(routes(), loopback), WIDE).await;
        let server = &server;
        let ask = |host: &str| {
            let head = format!("GET / HTTP/1.1\r\nhost: {host}");
            async move { status(&server.ask(&head, b"").await) }
        };
        for own in ["localhost", "LOCALHOST:80", "twinge.localhost", "127.0.0.1:1", "[::1]:1"] {
            assert_eq!(ask(own).await, 200, "{own}");
        }
        for other in ["example.org", "localhost.example.org:80", "127.0.0.1.example.org", "a b"] {
            assert!([400, 421].contains(&ask(other).await), "{other}");
        }
        assert_eq!(status(&server.ask("GET / HTTP/1.0\r\naccept: */*", b"").await), 200);
        // What others reach has names that nobody here knows.
        let open = start(refuse_other_names(routes(), "0.0.0.0:0".parse().unwrap()), WIDE).await;
        let answer = open.ask("GET / HTTP/1.1\r\nhost: example.org", b"").await;
        assert_eq!(status(&answer), 200);
    }
}
