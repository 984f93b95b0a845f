//! The console's routes: the page, an overview, a stream of verdicts, and, with a token, a way in
//! for events.

use super::feed::Feed;
use super::page::Page;
use super::view::overview;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::stream::{self, Stream};
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use twinge_stream::door::{self, Limits, refuse_other_names};
use twinge_stream::intake::{Incoming, Intake, IntakeError};
use twinge_stream::pump::Reports;

/// How often those who look are told what is new.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Events that somebody sends by hand are small.
const BODY_BYTES_MAX: usize = 1 << 20;

/// That of the page's own server, `www/tools/serve.mjs`; a test compares the two.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the routes need.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) page: Arc<Page>,
    pub(super) feed: Feed,
    pub(super) token: Option<Arc<str>>,
    pub(super) intake: Option<Intake>,
    pub(super) reports: Reports,
    pub(super) stop: CancellationToken,
}

/// Serves until `stop` is cancelled.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let taken_over = listener
        .local_addr()
        .and_then(|address| Ok((tokio::net::TcpListener::from_std(listener)?, address)));
    match taken_over {
        Ok((listener, address)) => {
            let router = refuse_other_names(router, address);
            door::serve(listener, router, Limits::default(), stop).await;
        }
        // The stream of events does not end with the console.
        Err(error) => tracing::error!(%error, "the console is not served"),
    }
}

/// The routes.
pub(super) fn router(door: Door) -> Router {
    Router::new()
        .route("/v1/console", get(status))
        .route("/v1/console/verdicts", get(verdicts))
        .route("/v1/console/events", post(events))
        .fallback(get(file))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(with_headers))
        .with_state(door)
}

async fn with_headers(request: axum::extract::Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn file(State(door): State<Door>, uri: Uri) -> Response {
    match door.page.file(uri.path()) {
        Some(file) => ([(header::CONTENT_TYPE, file.kind)], file.bytes.clone()).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such file\n").into_response(),
    }
}

async fn status(State(door): State<Door>) -> Response {
    let may_send = door.token.is_some() && door.intake.is_some();
    let body = overview(&door.reports.all(), may_send);
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// Server-sent events: first what is kept, then what comes.
async fn verdicts(State(door): State<Door>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let updates = stream::unfold((door, 0), |(door, seen)| async move {
        loop {
            if let Some(update) = door.feed.since(seen) {
                let text = serde_json::to_string(&update).unwrap_or_default();
                let event = Event::default().data(text);
                return Some((Ok(event), (door, update.seen)));
            }
            tokio::select! {
                // Whoever looks must not keep the host from stopping.
                () = door.stop.cancelled() => return None,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    });
    let paced = stream::unfold(Box::pin(updates), |mut updates| async move {
        let next = futures::StreamExt::next(&mut updates).await?;
        tokio::time::sleep(LOOK_EVERY).await;
        Some((next, updates))
    });
    Sse::new(paced).keep_alive(KeepAlive::default())
}

async fn events(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(token) = &door.token else {
        return refuse(StatusCode::FORBIDDEN, "this console is read-only: no token is set");
    };
    if !is_bearer(&headers, token) {
        return refuse(StatusCode::UNAUTHORIZED, "this needs the console's token");
    }
    let Some(intake) = &door.intake else {
        return refuse(StatusCode::NOT_FOUND, "events come from elsewhere here, not over HTTP");
    };
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let incoming: Vec<_> =
        lines.map(|line| Incoming { attributes: None, bytes: line.to_vec() }).collect();
    if incoming.is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "there is no event: send a JSON object a line");
    }
    match intake.accept(incoming).await {
        Ok(accepted) => {
            let body = serde_json::json!({ "accepted": accepted }).to_string();
            (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], body)
                .into_response()
        }
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

/// Compares all bytes, so that the time it takes tells nothing about the token.
fn is_bearer(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(given) = given.and_then(|value| value.strip_prefix("Bearer ")) else { return false };
    let differences = given.bytes().zip(token.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == token.len() && differences == 0
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    let body = serde_json::json!({ "error": reason }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_opens() {
        let with = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            is_bearer(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]), "correct horse")
        };
        assert!(with("Bearer correct horse"));
        for wrong in [
            "Bearer correct horsf",
            "Bearer correct",
            "Bearer correct horse ",
            "correct horse",
            "Bearer ",
        ] {
            assert!(!with(wrong), "{wrong}");
        }
        assert!(!is_bearer(&HeaderMap::new(), "correct horse"));
    }

    #[test]
    fn the_policy_is_that_of_the_pages_own_server() {
        let server = include_str!("../../../www/tools/serve.mjs");
        let plain = server.replace("\" +\n  \"", "");
        assert!(plain.contains(POLICY), "www/tools/serve.mjs has another policy");
    }
}
