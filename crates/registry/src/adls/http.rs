//! The HTTP client beneath `object_store`: our own `reqwest`, which speaks HTTP/1.1 alone. Its own
//! one brings HTTP/2, 200 KB of a small agent, for a client that asks one thing at a time.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use object_store::client::{
    ClientConfigKey, ClientOptions, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};

/// Sends requests.
#[derive(Clone, Debug)]
pub(super) struct Http(reqwest::Client);

impl Http {
    /// What options say of TLS and of connecting holds, and nothing else of them.
    pub(super) fn connect(options: &ClientOptions) -> Result<Self, HttpError> {
        let option = |key| options.get_config_value(&key);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("twinge/", env!("CARGO_PKG_VERSION")))
            .https_only(option(ClientConfigKey::AllowHttp).as_deref() != Some("true"));
        if let Some(timeout) = option(ClientConfigKey::ConnectTimeout).as_deref().and_then(seconds)
        {
            builder = builder.connect_timeout(timeout);
        }
        builder.build().map(Self).map_err(told)
    }
}

#[async_trait]
impl HttpService for Http {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = request.map(reqwest::Body::wrap);
        let request = reqwest::Request::try_from(request).map_err(told)?;
        let response = self.0.execute(request).await.map_err(told)?;
        let response = http::Response::<reqwest::Body>::from(response);
        Ok(response.map(|body| HttpResponseBody::new(body.map_err(told))))
    }
}

/// `object_store` itself tries nothing again here, so the kind only serves who reads the error. The
/// URL, which may hold a signature, stays out of it.
fn told(error: reqwest::Error) -> HttpError {
    let kind = match () {
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () if error.is_connect() => HttpErrorKind::Connect,
        () if error.is_decode() => HttpErrorKind::Decode,
        () => HttpErrorKind::Request,
    };
    HttpError::new(kind, error.without_url())
}

/// Whole seconds, as `object_store` tells a duration.
fn seconds(text: &str) -> Option<Duration> {
    Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A duration that is told in another way would be passed over without a word.
    #[test]
    fn the_time_to_connect_is_read() {
        for expected in [1, 5, 59] {
            let timeout = Duration::from_secs(expected);
            let options = ClientOptions::new().with_connect_timeout(timeout);
            let told = options.get_config_value(&ClientConfigKey::ConnectTimeout).unwrap();
            assert_eq!(seconds(&told), Some(timeout), "{told}");
        }
    }
}
