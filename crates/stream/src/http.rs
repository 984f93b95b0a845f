//! HTTP: events in, health and metrics out.
//!
//! `POST /v1/events` takes one event, an array of them, or one a line; bare or as CloudEvents in
//! structured, batched or binary mode. It answers 202 once all of them are on disk. A body that
//! cannot be taken apart is refused whole; an event that does not fit a detector is taken and
//! becomes a dead letter.
//!
//! `POST /v1/labels` takes what people say of verdicts, and `/v2` is the model endpoint.

use crate::chain::chain;
use crate::inference::{InferenceError, Models};
use crate::intake::{Incoming, Intake, IntakeError};
use crate::labels::{self, Labels, LabelsError};
use crate::metrics::Metrics;
use crate::pump::Reports;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use twinge_contract::event::Attributes;

/// Largest body, in bytes.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Events of a request at most: each takes room of its own, so a body of tiny ones must not become
/// fifty times as large.
const EVENTS_MAX: usize = 100_000;
/// Largest body of labels, and of rows for a model.
const SMALL_BODY_BYTES_MAX: usize = 16 << 20;
/// Requests to models that are computed at once; more are told to come again.
const INFERENCES_MAX: usize = 2;
/// Time that such a request may take.
const INFERENCE: Duration = Duration::from_secs(10);

/// What the routes need.
#[derive(Clone, Debug)]
pub struct Service {
    /// The way in; `None` where events come from elsewhere.
    pub intake: Option<Intake>,
    /// What is counted.
    pub metrics: Metrics,
    /// What the pumps are doing.
    pub reports: Reports,
    /// The way in for labels.
    pub labels: Labels,
    /// The detectors that can be asked.
    pub models: Models,
    /// Places for requests to them.
    pub places: Arc<Semaphore>,
}

impl Service {
    /// As many requests to models are computed at once.
    pub fn places() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(INFERENCES_MAX))
    }
}

/// The routes.
pub fn router(service: Service) -> Router {
    Router::new()
        .route("/v1/events", post(events))
        .route("/v1/status", get(status))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .merge(small_bodies())
        .layer(middleware::from_fn(refuse_other_pages))
        .with_state(service)
}

/// Refuses what a page of another origin sends through somebody's browser: that somebody may reach
/// this program does not mean that each page they visit may. Programs send no `Origin`.
async fn refuse_other_pages(request: Request, next: Next) -> Response {
    let is_own = comes_from_own_page(request.headers());
    if is_own {
        return next.run(request).await;
    }
    refuse(
        StatusCode::FORBIDDEN,
        "the request comes from a page of another origin: send it from a program, or from a page that this address serves",
    )
}

/// Whether a request comes from no page, or from one of this address.
fn comes_from_own_page(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Some(host) = headers.get(header::HOST) else { return false };
    let is_host = |scheme: &&[u8]| origin.as_bytes().strip_prefix(*scheme) == Some(host.as_bytes());
    [&b"http://"[..], b"https://"].iter().any(is_host)
}

fn small_bodies() -> Router<Service> {
    Router::new()
        .route("/v1/labels", post(take_labels))
        .route("/v2", get(server))
        .route(
            "/v2/health/live",
            get(|| async { answer(StatusCode::OK, &serde_json::json!({ "live": true })) }),
        )
        .route("/v2/health/ready", get(models_ready))
        .route("/v2/models/{name}", get(model))
        .route("/v2/models/{name}/ready", get(model_ready))
        .route("/v2/models/{name}/infer", post(infer))
        .layer(DefaultBodyLimit::max(SMALL_BODY_BYTES_MAX))
}

async fn take_labels(State(service): State<Service>, body: Bytes) -> Response {
    let taken = labels::read(&body).and_then(|labels| {
        let noted = service.labels.take(&labels)?;
        for label in &labels {
            service.metrics.label(label.label.as_str());
        }
        Ok(noted)
    });
    match taken {
        Ok(noted) => {
            let body = serde_json::json!({ "accepted": noted.accepted, "known": noted.known });
            answer(StatusCode::ACCEPTED, &body)
        }
        Err(error @ (LabelsError::Write { .. } | LabelsError::Line { .. })) => {
            tracing::error!(error = chain(&error), "labels are refused");
            refuse(StatusCode::SERVICE_UNAVAILABLE, &chain(&error))
        }
        Err(error @ LabelsError::Full { .. }) => {
            tracing::error!(error = chain(&error), "labels are refused");
            refuse(StatusCode::INSUFFICIENT_STORAGE, &error.to_string())
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn server() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    answer(
        StatusCode::OK,
        &serde_json::json!({ "name": "twinge", "version": version, "extensions": [] }),
    )
}

async fn models_ready(State(service): State<Service>) -> Response {
    let reports = service.reports.all();
    let is_ready = !reports.is_empty() && reports.iter().all(|report| report.trouble.is_none());
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, &serde_json::json!({ "ready": is_ready }))
}

async fn model(State(service): State<Service>, Path(name): Path<String>) -> Response {
    match service.models.metadata(&name) {
        Ok(metadata) => answer(StatusCode::OK, &metadata),
        Err(error) => refuse_inference(&error),
    }
}

async fn model_ready(State(service): State<Service>, Path(name): Path<String>) -> Response {
    match service.models.check(&name) {
        Ok(()) => answer(StatusCode::OK, &serde_json::json!({ "name": name, "ready": true })),
        Err(error) => refuse_inference(&error),
    }
}

async fn infer(State(service): State<Service>, Path(name): Path<String>, body: Bytes) -> Response {
    let Ok(place) = Arc::clone(&service.places).try_acquire_owned() else {
        return refuse(StatusCode::TOO_MANY_REQUESTS, "other requests are computed: try again");
    };
    let (models, metrics) = (service.models, service.metrics);
    let work = tokio::task::spawn_blocking(move || {
        let result = models.infer(&name, &body);
        // What is refused before a detector is known must not make a series of each name.
        match &result {
            Ok(_) => metrics.inference(&name, "scored"),
            Err(InferenceError::Unknown(_)) => {}
            Err(InferenceError::Failed { .. }) => metrics.inference(&name, "failed"),
            Err(_) => metrics.inference(&name, "refused"),
        }
        // Kept until the work is done, also when nobody waits for it any more.
        drop(place);
        result
    });
    match tokio::time::timeout(INFERENCE, work).await {
        Ok(Ok(Ok(result))) => answer(StatusCode::OK, &result),
        Ok(Ok(Err(error))) => refuse_inference(&error),
        Ok(Err(error)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(_elapsed) => refuse(
            StatusCode::GATEWAY_TIMEOUT,
            "the rows could not be scored in 10 s: send fewer at once",
        ),
    }
}

fn refuse_inference(error: &InferenceError) -> Response {
    let status = match error {
        InferenceError::Unknown(_) => StatusCode::NOT_FOUND,
        InferenceError::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    refuse(status, &error.to_string())
}

/// Serves until `stop` is cancelled and open requests are answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

async fn metrics(State(service): State<Service>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    ([(header::CONTENT_TYPE, kind)], service.metrics.render()).into_response()
}

async fn ready(State(service): State<Service>) -> Response {
    let reports = service.reports.all();
    if reports.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    }
    match reports.iter().find_map(|report| report.trouble.as_ref()) {
        Some(trouble) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {trouble}\n")).into_response()
        }
        None => "ready\n".into_response(),
    }
}

async fn status(State(service): State<Service>) -> Response {
    let runners: Vec<_> =
        service.reports.all().into_iter().flat_map(|report| report.runners).collect();
    let body = serde_json::json!({ "runners": runners });
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn events(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(intake) = service.intake else {
        return refuse(
            StatusCode::NOT_FOUND,
            "this program takes its events from a file, not over HTTP",
        );
    };
    let incoming = match split(&headers, &body) {
        Ok(incoming) if incoming.is_empty() => {
            return refuse(StatusCode::BAD_REQUEST, "the body holds no event");
        }
        Ok(incoming) => incoming,
        Err(Unreadable::TooMany) => {
            let reason =
                format!("the body holds more than {EVENTS_MAX} events: send fewer at once");
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, &reason);
        }
        Err(Unreadable::NoJson(reason)) => return refuse(StatusCode::BAD_REQUEST, &reason),
    };
    match intake.accept(incoming).await {
        Ok(accepted) => answer(StatusCode::ACCEPTED, &serde_json::json!({ "accepted": accepted })),
        Err(error @ IntakeError::Busy(_)) => {
            let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, &error.to_string());
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
        Err(error @ IntakeError::TooLarge(_)) => {
            refuse(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string())
        }
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    answer(status, &serde_json::json!({ "error": reason }))
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let body = Body::from(format!("{body}\n"));
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Why a body is refused whole.
#[derive(Debug, PartialEq, Eq)]
enum Unreadable {
    NoJson(String),
    TooMany,
}

/// The events of a body.
fn split(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Incoming>, Unreadable> {
    if let Some(attributes) = binary_attributes(headers) {
        return Ok(vec![Incoming { attributes: Some(attributes), bytes: body.to_vec() }]);
    }
    let bare = |bytes: &[u8]| Incoming { attributes: None, bytes: bytes.to_vec() };
    let kind =
        headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let by_line = || {
        let mut lines = body.split(|byte| *byte == b'\n');
        let events: Vec<Incoming> = lines
            .by_ref()
            .filter(|line| !line.trim_ascii().is_empty())
            .take(EVENTS_MAX)
            .map(bare)
            .collect();
        let is_all = lines.all(|line| line.trim_ascii().is_empty());
        if is_all { Ok(events) } else { Err(Unreadable::TooMany) }
    };
    if ["application/x-ndjson", "application/jsonl", "application/json-lines"]
        .iter()
        .any(|ndjson| kind.starts_with(ndjson))
    {
        return by_line();
    }
    if body.trim_ascii_start().first() == Some(&b'[') {
        let Some(events) = serde_json::from_slice::<Elements<'_>>(body)
            .map_err(|error| Unreadable::NoJson(format!("the body is not a JSON array: {error}")))?
            .0
        else {
            return Err(Unreadable::TooMany);
        };
        return Ok(events.into_iter().map(|event| bare(event.get().as_bytes())).collect());
    }
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(event) => Ok(vec![bare(event.get().as_bytes())]),
        // Several objects, one a line, from a client that did not say so.
        Err(_) if starts_with_object_line(body) => by_line(),
        Err(error) => Err(Unreadable::NoJson(format!("the body is not JSON: {error}"))),
    }
}

/// The elements of an array as they stand; nothing where there are too many.
struct Elements<'a>(Option<Vec<&'a RawValue>>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Elements<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = array.next_element::<&RawValue>()? {
                    if elements.len() == EVENTS_MAX {
                        // What is left must be read, or it would be no array.
                        while array.next_element::<IgnoredAny>()?.is_some() {}
                        return Ok(Elements(None));
                    }
                    elements.push(element);
                }
                Ok(Elements(Some(elements)))
            }
        }
        deserializer.deserialize_seq(Visit)
    }
}

fn starts_with_object_line(body: &[u8]) -> bool {
    let mut lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.next().is_some_and(|line| serde_json::from_slice::<&RawValue>(line).is_ok())
        && lines.next().is_some()
}

/// The attributes of CloudEvents' binary mode.
fn binary_attributes(headers: &HeaderMap) -> Option<Attributes> {
    let text =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    headers.contains_key("ce-specversion").then(|| Attributes {
        id: text("ce-id"),
        source: text("ce-source"),
        subject: text("ce-subject"),
        time: text("ce-time"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(kind: &'static str, body: &str) -> Result<usize, Unreadable> {
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        split(&headers, body.as_bytes()).map(|incoming| incoming.len())
    }

    #[test]
    fn bodies_are_taken_apart() {
        assert_eq!(count("application/json", "{\"a\":1}"), Ok(1));
        assert_eq!(count("application/json", "{\n \"a\": 1\n}\n"), Ok(1));
        assert_eq!(count("application/cloudevents-batch+json", "[{\"a\":1}, {\"a\":2}]"), Ok(2));
        assert_eq!(count("application/x-ndjson", "{\"a\":1}\n\n{oops\n"), Ok(2));
        assert_eq!(count("text/plain", "{\"a\":1}\n{\"a\":2}\n"), Ok(2));
        let reason = |body: &str| match count("application/json", body) {
            Err(Unreadable::NoJson(reason)) => reason,
            other => panic!("{body} gave {other:?}"),
        };
        assert!(reason("{oops").contains("not JSON"));
        assert!(reason("[1,").contains("array"));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let comes = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8080"));
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            comes_from_own_page(&headers)
        };
        assert!(comes(None) && comes(Some("http://127.0.0.1:8080")));
        for other in ["http://127.0.0.1:9090", "https://example.org", "null", ""] {
            assert!(!comes(Some(other)), "{other}");
        }
    }

    #[test]
    fn a_body_of_very_many_events_is_refused_before_each_takes_room() {
        let lines = |count: usize| "1\n".repeat(count);
        assert_eq!(count("application/x-ndjson", &lines(EVENTS_MAX)), Ok(EVENTS_MAX));
        assert_eq!(count("application/x-ndjson", &lines(EVENTS_MAX + 1)), Err(Unreadable::TooMany));
        let array = |count: usize| format!("[1{}]", ",1".repeat(count - 1));
        assert_eq!(count("application/json", &array(EVENTS_MAX)), Ok(EVENTS_MAX));
        assert_eq!(count("application/json", &array(EVENTS_MAX + 1)), Err(Unreadable::TooMany));
    }
}
