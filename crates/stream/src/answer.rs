//! Answers in JSON. Knows nothing of what is asked.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A refusal, with the reason and what to do.
pub(crate) fn refuse(status: StatusCode, reason: &str) -> Response {
    answer(status, &serde_json::json!({ "error": reason }))
}

/// A refusal of what may be sent again soon.
pub(crate) fn refuse_for_now(reason: &str) -> Response {
    let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, reason);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A JSON document.
pub(crate) fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let body = Body::from(format!("{body}\n"));
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
