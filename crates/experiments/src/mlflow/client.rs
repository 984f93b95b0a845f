//! Requests to an MLflow server: bounded in time and size, asked again where that can help. Does not
//! know what they mean.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::settings::{Credentials, MlflowSettings, is_loopback};
use crate::{ARTIFACT_BYTES_MAX, TrackError};

const CONNECT: Duration = Duration::from_secs(10);
/// A module of some megabytes over a slow line takes a while.
const ANSWER: Duration = Duration::from_mins(2);
const JSON_BYTES_MAX: usize = 32 * 1024 * 1024;
const REASON_CHARS_MAX: usize = 300;
/// Longest that a server can make us wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// How often a request is sent, and what lies between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Tries in all, at least one.
    pub attempts_max: u32,
    /// The first pause; each is twice the one before.
    pub pause_first: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            pause_first: Duration::from_millis(500),
            pause_max: Duration::from_secs(8),
        }
    }
}

/// A client of one server.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    base: Url,
    credentials: Credentials,
    retry: RetrySettings,
}

/// What is sent.
pub(super) enum Body<'a> {
    Nothing,
    Query(&'a [(&'a str, &'a str)]),
    Json(&'a Value),
    Bytes(&'a [u8]),
}

/// A whole answer.
pub(super) struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    action: String,
    place: String,
}

impl Http {
    pub(super) fn open(
        settings: &MlflowSettings,
        retry: RetrySettings,
    ) -> Result<Self, TrackError> {
        // A program may hold more than one provider of cryptography; whoever was first has chosen.
        rustls::crypto::ring::default_provider().install_default().ok();
        let failed = |reason| TrackError::Client { place: place_of(&settings.base), reason };
        // A redirect would carry the token elsewhere.
        let mut builder = Client::builder()
            .user_agent(concat!("twinge/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .timeout(ANSWER)
            .connect_timeout(CONNECT)
            .https_only(settings.base.scheme() == "https");
        if let Some(path) = &settings.ca_file {
            let pem = std::fs::read(path)
                .map_err(|error| failed(format!("cannot read {}: {error}", path.display())))?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .ok()
                .filter(|found| !found.is_empty())
                .ok_or_else(|| failed(format!("{} holds no certificate in PEM", path.display())))?;
            builder = builder.tls_certs_only(certificates);
        } else if settings.base.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&settings.base) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| failed(error.without_url().to_string()))?;
        let (base, credentials) = (settings.base.clone(), settings.credentials.clone());
        Ok(Self { client, base, credentials, retry })
    }

    /// The server, without what could be secret.
    pub(super) fn place(&self) -> String {
        place_of(&self.base)
    }

    /// Sends until there is an answer that another try would not change.
    ///
    /// `path` is what comes behind the server's address; `action` is for errors.
    pub(super) async fn ask(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: &Body<'_>,
    ) -> Result<Answer, TrackError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        if let Body::Query(pairs) = body {
            url.query_pairs_mut().extend_pairs(*pairs);
        }
        let mut pause = self.retry.pause_first;
        let mut attempt = 1;
        loop {
            let request = self.request(method.clone(), url.clone(), body);
            let is_last = attempt >= self.retry.attempts_max;
            let wait = match self.send(action, request).await {
                Ok((answer, _)) if is_last || !is_worth_another(answer.status) => {
                    return Ok(answer);
                }
                Ok((_, retry_after)) => retry_after.unwrap_or(pause).min(RETRY_AFTER_MAX),
                Err(Failed::Answer(error)) => return Err(error),
                Err(Failed::Away(source)) if is_last => {
                    let (action, place) = (action.to_owned(), self.place());
                    return Err(TrackError::Away { action, place, attempts: attempt, source });
                }
                Err(Failed::Away(_)) => pause,
            };
            tracing::debug!(action, attempt, ?wait, "the server is asked again");
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(self.retry.pause_max);
            attempt += 1;
        }
    }

    fn request(&self, method: Method, url: Url, body: &Body<'_>) -> RequestBuilder {
        let request = self.client.request(method, url);
        let request = match &self.credentials {
            Credentials::Nobody => request,
            Credentials::Token(token) => request.bearer_auth(token),
            Credentials::User { name, password } => request.basic_auth(name, Some(password)),
        };
        match body {
            Body::Nothing | Body::Query(_) => request,
            Body::Json(value) => {
                request.header(CONTENT_TYPE, "application/json").body(value.to_string())
            }
            Body::Bytes(bytes) => request.body(bytes.to_vec()),
        }
    }

    async fn send(
        &self,
        action: &str,
        request: RequestBuilder,
    ) -> Result<(Answer, Option<Duration>), Failed> {
        let away = |error: reqwest::Error| Failed::Away(error.without_url());
        let mut response: Response = request.send().await.map_err(away)?;
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let mut answer = Answer {
            status: response.status(),
            body: Vec::new(),
            action: action.to_owned(),
            place: self.place(),
        };
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if answer.body.len() + chunk.len() > ARTIFACT_BYTES_MAX.max(JSON_BYTES_MAX) {
                return Err(Failed::Answer(answer.garbage("it is too large".into())));
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok((answer, retry_after))
    }
}

enum Failed {
    Away(reqwest::Error),
    Answer(TrackError),
}

impl Answer {
    /// MLflow's word for what went wrong; empty if nothing did or it is not MLflow's.
    pub(super) fn code(&self) -> String {
        if self.status.is_success() {
            return String::new();
        }
        let told: Option<Value> = serde_json::from_slice(&self.body).ok();
        let code = told.as_ref().and_then(|told| told["error_code"].as_str());
        code.unwrap_or_default().to_owned()
    }

    /// Whether what was asked for is not there.
    pub(super) fn is_absent(&self) -> bool {
        self.code() == "RESOURCE_DOES_NOT_EXIST"
    }

    /// Whether what was to be made is there.
    pub(super) fn is_there_already(&self) -> bool {
        self.code() == "RESOURCE_ALREADY_EXISTS"
    }

    /// The answer, if the server said yes.
    pub(super) fn success(self) -> Result<Self, TrackError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let hint = match self.status.as_u16() {
            401 | 403 => {
                "; set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and \
                 MLFLOW_TRACKING_PASSWORD, to somebody who may"
            }
            404 => "; check that MLFLOW_TRACKING_URI is the address of an MLflow server",
            300..=399 => "; it points elsewhere: give that address",
            _ => "",
        };
        Err(TrackError::Refused {
            status: self.status.as_u16(),
            reason: reason(&self.body),
            action: self.action,
            place: self.place,
            hint,
        })
    }

    /// The JSON of a yes.
    pub(super) fn json<T: DeserializeOwned>(self) -> Result<T, TrackError> {
        let answer = self.success()?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            answer.garbage(format!("{:?} in line {}", error.classify(), error.line()))
        })
    }

    /// The bytes of a yes.
    pub(super) fn bytes(self) -> Result<Vec<u8>, TrackError> {
        Ok(self.success()?.body)
    }

    pub(super) fn garbage(&self, reason: String) -> TrackError {
        TrackError::Garbage { action: self.action.clone(), place: self.place.clone(), reason }
    }
}

/// What was asked may have been done or not, or comes too early.
fn is_worth_another(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// What a refusal says, on one line, in brackets.
fn reason(body: &[u8]) -> String {
    let told: Option<Value> = serde_json::from_slice(body).ok();
    let message = told.as_ref().and_then(|told| told["message"].as_str());
    let text = message.map_or_else(|| String::from_utf8_lossy(body), Into::into);
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line: String = words.join(" ").chars().take(REASON_CHARS_MAX).collect();
    if line.is_empty() { line } else { format!(" ({line})") }
}

fn place_of(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    format!("{}://{}{port}{path}", url.scheme(), url.host_str().unwrap_or_default())
}
