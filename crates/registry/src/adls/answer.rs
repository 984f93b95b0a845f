//! What went wrong with a request, as types: `object_store` itself gives texts for most of it.

use std::time::Duration;

use async_trait::async_trait;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpService,
};

use super::http::Http;
use crate::StoreError;

/// Longest error document that is looked into, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 64 * 1024;
/// How much of it is told: the rest repeats the request, signature and all.
const MESSAGE_CHARS_MAX: usize = 200;

/// What the service says when it does not do as asked.
#[derive(Debug, thiserror::Error)]
#[error("the service answers {status} {code}: {message}")]
pub(super) struct Answer {
    pub(super) status: u16,
    /// As in <https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>; may
    /// be empty.
    pub(super) code: String,
    message: String,
}

impl Answer {
    /// A container that is missing is another matter: it is made by hand, or mistyped.
    pub(super) fn is_missing_blob(&self) -> bool {
        self.status == 404 && self.code != "ContainerNotFound"
    }

    /// Conflicts have many reasons, such as a container that is being deleted.
    pub(super) fn is_existing_blob(&self) -> bool {
        match self.status {
            409 => matches!(self.code.as_str(), "BlobAlreadyExists" | "PathAlreadyExists" | ""),
            412 => self.is_unmet_condition(),
            _ => false,
        }
    }

    pub(super) fn is_unmet_condition(&self) -> bool {
        self.status == 412 && matches!(self.code.as_str(), "ConditionNotMet" | "")
    }

    /// It might be done the next time, or was done this time.
    fn is_passing(&self) -> bool {
        self.status >= 500 || matches!(self.status, 408 | 429)
    }
}

/// Why a request has no result.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The service said no.
    Answer(Answer),
    /// No answer, or not all of it.
    Silence(Silence),
    /// The name is that of a folder.
    Folder,
    /// Neither: credentials that cannot be had, an answer that makes no sense.
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// What came instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Silence(String);

impl Trouble {
    pub(super) fn late(deadline: Duration) -> Self {
        Self::Silence(Silence(format!("nothing came within {} s", deadline.as_secs())))
    }

    pub(super) fn strange(what: &'static str) -> Self {
        Self::Other(format!("the service answers with {what}").into())
    }

    /// The error of an operation that ends by this.
    pub(super) fn into_error(self, action: &'static str, path: &str) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Answer(answer) if answer.is_passing() => {
                StoreError::Unanswered { action, path, source: answer.into() }
            }
            Self::Answer(answer) => StoreError::Backend { action, path, source: answer.into() },
            Self::Silence(silence) => {
                StoreError::Unanswered { action, path, source: silence.into() }
            }
            Self::Folder => {
                StoreError::Backend { action, path, source: "the name is a folder's".into() }
            }
            Self::Other(source) => StoreError::Backend { action, path, source },
        }
    }
}

impl StoreError {
    /// Whether the service knows the request and forbids it: rights are missing, or have expired.
    pub fn is_forbidden(&self) -> bool {
        let Self::Backend { source, .. } = self else { return false };
        source.downcast_ref::<Answer>().is_some_and(|answer| matches!(answer.status, 401 | 403))
    }
}

impl From<object_store::Error> for Trouble {
    fn from(error: object_store::Error) -> Self {
        let mut causes: Vec<&(dyn std::error::Error + 'static)> = Vec::new();
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(cause) = next {
            causes.push(cause);
            next = cause.source();
        }
        if let Some(answer) = causes.iter().find_map(|cause| cause.downcast_ref::<Answer>()) {
            let Answer { status, code, message } = answer;
            return Self::Answer(Answer {
                status: *status,
                code: code.clone(),
                message: message.clone(),
            });
        }
        // Never through the outer errors: they repeat the URL.
        let http = causes.iter().position(|cause| cause.downcast_ref::<HttpError>().is_some());
        if let Some(http) = http {
            let deepest = causes[http..].last().map(ToString::to_string).unwrap_or_default();
            return Self::Silence(Silence(deepest));
        }
        match error {
            // A name of a hierarchical namespace that is no file.
            object_store::Error::NotFound { .. } => Self::Folder,
            error => Self::Other(error.into()),
        }
    }
}

/// An HTTP client for which an answer that is no success is an error, an [`Answer`]. Then no text
/// has to be taken apart to know what the service said.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswersAreErrors;

impl HttpConnector for AnswersAreErrors {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(Http::connect(options).map_err(failed)?)))
    }
}

#[derive(Debug)]
struct Service(Http);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.call(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let status = response.status().as_u16();
        let code = header("x-ms-error-code");
        let length = header("content-length").and_then(|length| length.parse::<u64>().ok());
        let document = match length {
            Some(bytes) if bytes > DOCUMENT_BYTES_MAX => String::new(),
            _ => match response.into_body().bytes().await {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(_) => String::new(),
            },
        };
        let code = code.or_else(|| element(&document, "Code")).unwrap_or_default();
        let message = message(&document);
        Err(HttpError::new(HttpErrorKind::Unknown, Answer { status, code, message }))
    }
}

/// A request that has no result, as `object_store` tells it.
pub(super) fn failed(error: HttpError) -> object_store::Error {
    object_store::Error::Generic { store: "MicrosoftAzure", source: Box::new(error) }
}

/// The first line of what the document says, cut short.
fn message(document: &str) -> String {
    let text = element(document, "Message").unwrap_or_else(|| document.trim().to_owned());
    text.lines().next().unwrap_or_default().chars().take(MESSAGE_CHARS_MAX).collect()
}

/// The text of an XML element without others inside; enough for the documents of one service.
pub(super) fn element(document: &str, name: &str) -> Option<String> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_told_without_the_request_that_it_repeats() {
        let document = "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code>\
            <Message>Server failed to authenticate the request.\nRequestId:1</Message>\
            <AuthenticationErrorDetail>signature 'abc'</AuthenticationErrorDetail></Error>";
        assert_eq!(element(document, "Code").unwrap(), "AuthenticationFailed");
        assert_eq!(message(document), "Server failed to authenticate the request.");
        assert_eq!(message("plain\ntext"), "plain");
        assert_eq!(message(""), "");
        assert_eq!(message(&"x".repeat(1000)).len(), MESSAGE_CHARS_MAX);
    }
}
