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
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use twinge_contract::event::Attributes;

/// Largest body, in bytes.
const BODY_BYTES_MAX: usize = 64 << 20;
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
        .with_state(service)
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
        Err(error @ LabelsError::Full) => {
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
        Err(reason) => return refuse(StatusCode::BAD_REQUEST, &reason),
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

/// The events of a body.
fn split(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Incoming>, String> {
    if let Some(attributes) = binary_attributes(headers) {
        return Ok(vec![Incoming { attributes: Some(attributes), bytes: body.to_vec() }]);
    }
    let bare = |bytes: &[u8]| Incoming { attributes: None, bytes: bytes.to_vec() };
    let kind =
        headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let by_line = || {
        body.split(|byte| *byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
            .map(bare)
            .collect()
    };
    if ["application/x-ndjson", "application/jsonl", "application/json-lines"]
        .iter()
        .any(|ndjson| kind.starts_with(ndjson))
    {
        return Ok(by_line());
    }
    if body.trim_ascii_start().first() == Some(&b'[') {
        let events: Vec<&RawValue> = serde_json::from_slice(body)
            .map_err(|error| format!("the body is not a JSON array: {error}"))?;
        return Ok(events.into_iter().map(|event| bare(event.get().as_bytes())).collect());
    }
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(event) => Ok(vec![bare(event.get().as_bytes())]),
        // Several objects, one a line, from a client that did not say so.
        Err(_) if starts_with_object_line(body) => Ok(by_line()),
        Err(error) => Err(format!("the body is not JSON: {error}")),
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

    fn count(kind: &'static str, body: &str) -> Result<usize, String> {
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
        assert!(count("application/json", "{oops").unwrap_err().contains("not JSON"));
        assert!(count("application/json", "[1,").unwrap_err().contains("array"));
    }
}
