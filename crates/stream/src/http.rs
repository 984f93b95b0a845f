//! HTTP: events in, health and metrics out.
//!
//! `POST /v1/events` takes one event, an array of them, or one a line; bare or as CloudEvents in
//! structured, batched or binary mode. It answers 202 once all of them are on disk. A body that
//! cannot be taken apart is refused whole; an event that does not fit a detector is taken and
//! becomes a dead letter.
//!
//! `POST /v1/labels` takes what people say of verdicts, and `/v2` is the model endpoint.

use crate::answer::{answer, refuse, refuse_for_now};
use crate::chain::chain;
use crate::inference::{InferenceError, Models};
use crate::intake::{Incoming, Intake, IntakeError};
use crate::labels::{self, Labels, LabelsError};
use crate::metrics::Metrics;
use crate::report::Reports;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use twinge_contract::event::Attributes;

/// Largest body, in bytes.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Events of a request at most: each takes room of its own, so a body of tiny ones must not become
/// fifty times as large.
const EVENTS_MAX: usize = 100_000;
/// Largest body of labels, and of rows for a model.
const SMALL_BODY_BYTES_MAX: usize = 16 << 20;
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
    /// Bounds of requests to them.
    pub inferences: Inferences,
}

/// Bounds of requests to models; cheap to clone.
#[derive(Clone, Debug)]
pub struct Inferences {
    /// Requests that are computed at once; more are told to come again.
    pub places: Arc<Semaphore>,
    /// Time that one may take.
    pub patience: Duration,
}

impl Default for Inferences {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(2)), patience: Duration::from_secs(10) }
    }
}

/// The routes.
pub fn router(service: Service) -> Router {
    Router::new()
        .route("/v1/events", post(events))
        .route("/v1/status", get(status))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .merge(small_bodies())
        .fallback(nothing_there)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn(refuse_other_pages))
        .layer(middleware::map_response(tell_bounds))
        .with_state(service)
}

/// Whether the program lives and is ready, and nothing more: for an address that is open to others.
/// What keeps the program from its work is not theirs to know; its log tells.
pub fn probes(reports: Reports) -> Router {
    let ready = |State(reports): State<Reports>| async move {
        match trouble(&reports) {
            None => "ready\n".into_response(),
            Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
        }
    };
    Router::new().route("/livez", get(alive)).route("/readyz", get(ready)).with_state(reports)
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

/// What is too large for a handler is refused in the words of a library, which do not say how much may come.
async fn tell_bounds(response: Response) -> Response {
    let is_told =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if response.status() != StatusCode::PAYLOAD_TOO_LARGE || is_told {
        return response;
    }
    let reason = format!(
        "the body is too large: events may have {} MiB at once, labels and rows {} MiB; send fewer at once",
        BODY_BYTES_MAX >> 20,
        SMALL_BODY_BYTES_MAX >> 20
    );
    refuse(StatusCode::PAYLOAD_TOO_LARGE, &reason)
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
    let Inferences { places, patience } = service.inferences;
    let Ok(place) = places.try_acquire_owned() else {
        return refuse_for_now("other requests are computed: try again");
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
    match tokio::time::timeout(patience, work).await {
        Ok(Ok(Ok(result))) => answer(StatusCode::OK, &result),
        Ok(Ok(Err(error))) => refuse_inference(&error),
        Ok(Err(error)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(_elapsed) => {
            let seconds = patience.as_secs_f64();
            let reason = format!("the rows could not be scored in {seconds} s: send fewer at once");
            refuse(StatusCode::GATEWAY_TIMEOUT, &reason)
        }
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

async fn nothing_there(uri: Uri) -> Response {
    let paths = "/v1/events /v1/labels /v1/status /v2 /livez /readyz /metrics";
    refuse(StatusCode::NOT_FOUND, &format!("there is nothing at {}: there is {paths}", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Response {
    let reason = format!(
        "{} takes no {method}: events and labels are posted, all else is asked for with GET",
        uri.path()
    );
    refuse(StatusCode::METHOD_NOT_ALLOWED, &reason)
}

async fn metrics(State(service): State<Service>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    ([(header::CONTENT_TYPE, kind)], service.metrics.render()).into_response()
}

async fn alive() -> &'static str {
    "alive\n"
}

async fn ready(State(service): State<Service>) -> Response {
    match trouble(&service.reports) {
        None => "ready\n".into_response(),
        Some(trouble) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {trouble}\n")).into_response()
        }
    }
}

/// What keeps the program from its work.
fn trouble(reports: &Reports) -> Option<String> {
    let reports = reports.all();
    if reports.is_empty() {
        return Some("it is starting".to_owned());
    }
    reports.into_iter().find_map(|report| report.trouble)
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
            return refuse(
                StatusCode::BAD_REQUEST,
                "the body holds no event: send a JSON object, an array of them, or one a line",
            );
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
        Err(error @ IntakeError::Busy(_)) => refuse_for_now(&error.to_string()),
        Err(error @ IntakeError::TooLarge(_)) => {
            refuse(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string())
        }
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
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
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
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
    use crate::door::Limits;
    use crate::door::testing::{Server, start, status};
    use crate::intake::{self, IntakeSource};
    use crate::report::Report;
    use std::path::Path as FilePath;
    use tokio::sync::watch;
    use tokio_util::task::TaskTracker;
    use twinge_engine::Engine;
    use twinge_platform::{Clock, Disk, ManualClock, SimulatedDisk};
    use twinge_runner::Directive;
    use twinge_testkit::{Kind, MadeModule};
    use twinge_trust::VerifiedModule;

    /// What a program serves, on a disk that can be filled.
    struct World {
        disk: SimulatedDisk,
        service: Service,
        _source: IntakeSource,
    }

    /// Room for a few labels.
    const LABELS_BYTES_MAX: u64 = 500;

    /// A detector that never ends where its input is negative, until it is stopped.
    fn world() -> World {
        let simulated = SimulatedDisk::new(1);
        let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let journal = twinge_journal::Settings::default();
        let (intake, source) =
            intake::open(&disk, &clock, FilePath::new("/journal"), journal, &TaskTracker::new())
                .unwrap();
        let path = FilePath::new("/labels.ndjson");
        let labels = Labels::open_within(LABELS_BYTES_MAX, disk.as_ref(), clock, path).unwrap();
        let deadline = Duration::from_millis(100);
        let limits = twinge_engine::Limits { deadline, ..twinge_engine::Limits::default() };
        let bytes = MadeModule::new(Kind::NeverEnds, "1").bytes();
        let module = Engine::new(limits).unwrap();
        let module = module.load(&VerifiedModule::allow_unsigned(bytes)).unwrap();
        let wanted = [("test".to_owned(), Directive::only(&module))].into();
        let reports = Reports::default();
        let service = Service {
            intake: Some(intake),
            metrics: Metrics::default(),
            models: Models::new(watch::channel(wanted).1, reports.clone()),
            reports,
            labels,
            inferences: Inferences::default(),
        };
        World { disk: simulated, service, _source: source }
    }

    async fn serve(service: &Service) -> Server {
        start(router(service.clone()), Limits::default()).await
    }

    fn row(x: f64) -> Vec<u8> {
        let input =
            serde_json::json!({ "name": "x", "datatype": "FP64", "shape": [1], "data": [x] });
        serde_json::json!({ "inputs": [input] }).to_string().into()
    }

    const INFER: &str = "/v2/models/test/infer";

    #[tokio::test]
    async fn a_full_intake_asks_to_come_again() {
        let world = world();
        let server = serve(&world.service).await;
        world.disk.set_capacity(world.disk.used_bytes() + 100);
        let event = format!("{{\"x\":\"{}\"}}", "y".repeat(1000));
        let answer = server.post("/v1/events", event.as_bytes()).await;
        assert!(status(&answer) == 429 && answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        world.disk.set_capacity(u64::MAX);
        assert_eq!(status(&server.post("/v1/events", event.as_bytes()).await), 202);
    }

    #[tokio::test]
    async fn bodies_beyond_their_bounds_are_refused() {
        let world = world();
        let server = serve(&world.service).await;
        for (path, bytes_max) in [
            ("/v1/events", BODY_BYTES_MAX),
            ("/v1/labels", SMALL_BODY_BYTES_MAX),
            (INFER, SMALL_BODY_BYTES_MAX),
        ] {
            let answer = server.post(path, &vec![b' '; bytes_max + 1]).await;
            assert_eq!(status(&answer), 413, "{path}: {answer}");
            assert_eq!(status(&server.post(path, &vec![b' '; bytes_max]).await), 400, "{path}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rows_that_take_long_or_are_too_many_at_once_are_refused() {
        let mut world = world();
        assert_eq!(status(&serve(&world.service).await.post(INFER, &row(0.5)).await), 200);
        world.service.inferences.patience = Duration::from_millis(10);
        let answer = serve(&world.service).await.post(INFER, &row(-0.5)).await;
        assert!(status(&answer) == 504 && answer.contains("in 0.01 s"), "{answer}");
        let places = Arc::clone(&world.service.inferences.places);
        let all = tokio::time::timeout(Duration::from_secs(20), places.acquire_many(2));
        let _all = all.await.expect("the work ends, and gives its place back").unwrap();
        let answer = serve(&world.service).await.post(INFER, &row(0.5)).await;
        assert!(status(&answer) == 429 && answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn labels_beyond_the_files_bound_are_refused_as_too_many() {
        let server = serve(&world().service).await;
        let mut answers = Vec::new();
        for number in 0..10 {
            let word = if number % 2 == 0 { "normal" } else { "anomaly" };
            let label = format!(r#"{{"verdict_id":"a","label":"{word}","by":"ann"}}"#);
            answers.push(server.post("/v1/labels", label.as_bytes()).await);
        }
        assert_eq!(status(&answers[0]), 202, "{}", answers[0]);
        let refused = answers.iter().find(|answer| status(answer) == 507).unwrap();
        assert!(refused.contains("move the file away"), "{refused}");
    }

    #[tokio::test]
    async fn probes_for_everybody_keep_the_reason_to_themselves() {
        let world = world();
        let open = start(probes(world.service.reports.clone()), Limits::default()).await;
        let own = serve(&world.service).await;
        assert_eq!(status(&open.get("/livez").await), 200);
        assert_eq!(status(&open.get("/readyz").await), 503);
        let trouble = Some("/secret/place is full".to_owned());
        world.service.reports.set("0", Report { trouble, ..Report::default() });
        let (told, kept) = (own.get("/readyz").await, open.get("/readyz").await);
        assert!(status(&told) == 503 && told.contains("/secret/place is full"), "{told}");
        assert!(status(&kept) == 503 && !kept.contains("secret"), "{kept}");
        world.service.reports.set("0", Report::default());
        assert_eq!(status(&open.get("/readyz").await), 200);
        for other in ["/metrics", "/v1/status", "/v2"] {
            assert_eq!(status(&open.get(other).await), 404, "{other}");
            assert_eq!(status(&own.get(other).await), 200, "{other}");
        }
    }

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
