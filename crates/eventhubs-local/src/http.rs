//! The door for senders that speak HTTP: `POST /{hub}/messages` and
//! `POST /{hub}/publishers/{publisher}/messages`, one event or a batch, as Event Hubs takes them
//! (<https://learn.microsoft.com/rest/api/eventhub/send-batch-events>). It gives no events out, and
//! does not take custom headers as properties of a single event.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::context::Core;
use crate::error::BrokerError;
use crate::http_event::{Posted, is_batch};
use crate::incoming::MESSAGE_BYTES_MAX;
use crate::log::AppendError;
use crate::record::Batch;

/// How many requests are read and kept at a time; more are told to come back.
const REQUESTS_MAX: usize = 64;
/// How long a peer may take to send a body.
const BODY: Duration = Duration::from_mins(1);
/// How long stopping waits for requests.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Door {
    core: Arc<Core>,
    places: Arc<Semaphore>,
}

/// Answers requests until it is told to stop, and then those that are open.
pub(crate) async fn serve(
    listener: TcpListener,
    core: Arc<Core>,
    stop: CancellationToken,
) -> Result<(), BrokerError> {
    let door = Door { core, places: Arc::new(Semaphore::new(REQUESTS_MAX)) };
    let routes = Router::new()
        .route("/{hub}/messages", post(to_hub))
        .route("/{hub}/publishers/{publisher}/messages", post(to_publisher))
        .fallback(|| async { Refusal::not_found("the path is none that events are sent to") })
        .with_state(door);
    let stopped = stop.clone();
    let serving = axum::serve(listener, routes)
        .with_graceful_shutdown(async move { stopped.cancelled().await });
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = serving => served
            .map_err(|source| BrokerError::System { action: "serve HTTP", source }),
        () = overdue => {
            tracing::warn!("HTTP requests did not end in time; they are cut");
            Ok(())
        }
    }
}

async fn to_hub(
    State(door): State<Door>,
    Path(hub): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(door.take(&hub, None, &headers, body).await)
}

async fn to_publisher(
    State(door): State<Door>,
    Path((hub, publisher)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(door.take(&hub, Some(&publisher), &headers, body).await)
}

fn answer(result: Result<(), Refusal>) -> Response {
    match result {
        Ok(()) => StatusCode::CREATED.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

impl Door {
    /// Keeps what was posted; it is on disk when this returns.
    async fn take(
        &self,
        hub: &str,
        publisher: Option<&str>,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(), Refusal> {
        let hub = hub.to_lowercase();
        self.authorize(&hub, publisher, headers)?;
        if self.core.hubs.hub(&hub).is_none() {
            return Err(Refusal::not_found(format!("there is no hub {hub:?}")));
        }
        let _place = self.places.try_acquire().or(Err(Refusal::busy("too many requests")))?;
        let body = read(headers, body).await?;
        let posted = Posted::read(&body, is_batch(headers), headers, publisher);
        let posted = posted.map_err(|error| Refusal::bad(error.to_string()))?;
        let batch = posted.into_batch().map_err(|error| Refusal::bad(error.to_string()))?;
        self.append(&hub, batch).await
    }

    /// The key of the broker may do everything, so its signature is the claim to send, too.
    fn authorize(
        &self,
        hub: &str,
        publisher: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let token = headers.get(header::AUTHORIZATION).and_then(|token| token.to_str().ok());
        let token = token.ok_or_else(|| Refusal::unauthorized("the request has no token"))?;
        if token.starts_with("Bearer ") && self.core.accept_any_jwt {
            return Ok(());
        }
        let resource = match publisher {
            Some(publisher) => format!("{hub}/publishers/{publisher}"),
            None => hub.to_owned(),
        };
        let checked = self.core.key.check(token, &resource, self.core.now_s());
        checked.map_err(|error| Refusal::unauthorized(error.to_string()))?;
        Ok(())
    }

    async fn append(&self, hub: &str, batch: Batch) -> Result<(), Refusal> {
        let hub = self.core.hubs.hub(hub).expect("the hub was looked up before the body was read");
        let (done, kept) = oneshot::channel();
        hub.partition_for(batch.key()).log.append(batch, move |result| {
            // A peer that hung up does not wait for the outcome.
            done.send(result).ok();
        });
        match kept.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error @ AppendError::Busy)) => Err(Refusal::busy(error.to_string())),
            Ok(Err(error @ AppendError::Failed)) => Err(Refusal::failed(error.to_string())),
            Err(_stopped) => Err(Refusal::busy("the broker stops")),
        }
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.and_then(|length| length.parse().ok()) > Some(MESSAGE_BYTES_MAX) {
        return Err(Refusal::too_large());
    }
    match timeout(BODY, to_bytes(body, MESSAGE_BYTES_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if is_too_large(&error) => Err(Refusal::too_large()),
        Ok(Err(error)) => Err(Refusal::bad(format!("the body broke off: {error}"))),
        Err(_elapsed) => Err(Refusal::bad("the body did not come in time")),
    }
}

/// A body without a length that grew too long: axum tells it as the innermost error.
fn is_too_large(error: &axum::Error) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if error.to_string() == "length limit exceeded" {
            return true;
        }
        source = error.source();
    }
    false
}

/// Why nothing of a request was kept, as the service words it: a status and a little XML.
struct Refusal {
    status: StatusCode,
    detail: String,
}

impl Refusal {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    fn too_large() -> Self {
        let detail = format!("the body is longer than {MESSAGE_BYTES_MAX} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    fn failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, detail } = self;
        let detail = detail.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let code = status.as_u16();
        let body = format!("<Error><Code>{code}</Code><Detail>{detail}</Detail></Error>");
        let kind = [(header::CONTENT_TYPE, "application/xml; charset=utf-8")];
        let mut response = (status, kind, body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let retry = axum::http::HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, retry);
        }
        response
    }
}
