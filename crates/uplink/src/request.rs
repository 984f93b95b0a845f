//! One POST and what its answer means, for clouds that speak HTTP. Does not know what is sent.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, StatusCode};
use url::{Host, Url};

use crate::drain::chain;
use crate::http_date;
use crate::secret::Secret;
use crate::uplink::UplinkError;

/// How long a connection may take to be made, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// So much of an answer is read for people.
const DETAIL_BYTES_MAX: usize = 2_048;
const DETAIL_CHARS_MAX: usize = 300;
/// Clocks that differ by more than this are told: tokens depend on them.
const CLOCK_DIFFERENCE_MAX_S: i64 = 300;

/// A client for one place.
#[derive(Debug)]
pub(crate) struct Poster {
    client: Client,
    url: Url,
    now_s: fn() -> i64,
}

/// What a place answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    retry_after: Option<Duration>,
    /// Its clock less this one, in seconds.
    ahead_s: Option<i64>,
    detail: String,
}

impl Poster {
    /// A client for a URL that [`parse_url`] let pass. With a CA file only those certificates are
    /// trusted; else the system's.
    pub(crate) fn new(url: Url, answer: Duration, ca_file: Option<&Path>) -> Result<Self, String> {
        rustls::crypto::ring::default_provider().install_default().ok();
        // A redirect would carry the token elsewhere.
        let builder = Client::builder().redirect(Policy::none());
        let mut builder = builder.timeout(answer).connect_timeout(CONNECT.min(answer));
        if url.scheme() == "http" {
            // To this machine: no proxy is in between, and no certificates are needed.
            builder = builder.no_proxy().tls_certs_only([]);
        } else if let Some(path) = ca_file {
            builder = builder.tls_certs_only(certificates(path)?);
        }
        let client =
            builder.build().map_err(|error| format!("no client for it: {}", chain(&error)))?;
        Ok(Self { client, url, now_s: system_now_s })
    }

    /// Posts, and reads what was answered. `secret` is what no error may show.
    pub(crate) async fn post(
        &self,
        headers: HeaderMap,
        body: Vec<u8>,
        secret: Option<&Secret>,
    ) -> Result<Answer, UplinkError> {
        let request = self.client.post(self.url.clone()).headers(headers).body(body);
        match request.send().await {
            Ok(response) => Ok(Answer::read(response, secret, (self.now_s)()).await),
            Err(error) => Err(UplinkError::away(format!("{}: {}", self.place(), told(error)))),
        }
    }

    /// What an answer means: only success is success.
    pub(crate) fn judge(&self, answer: &Answer, renewal: &str) -> Result<(), UplinkError> {
        let Answer { status, retry_after, detail, .. } = answer;
        let place = self.place();
        let away = |reason| Err(UplinkError::Away { reason, retry_after: *retry_after });
        match status.as_u16() {
            200..=299 => Ok(()),
            400 | 413 | 422 => Err(UplinkError::Refused {
                index: None,
                reason: format!("{place} answered {status}{detail}"),
            }),
            401 | 403 => {
                let clocks = answer.clocks();
                away(format!("{place} answered {status}{detail}; {renewal}{clocks}"))
            }
            404 | 410 => away(format!(
                "{place} answered {status}{detail}; correct the address or make what it names"
            )),
            408 | 425 | 429 | 500..=599 => away(format!("{place} answered {status}{detail}")),
            _ => away(format!(
                "{place} answered {status}{detail}, which such a place should not; check the address"
            )),
        }
    }

    /// The URL without anything that could be secret.
    fn place(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{host}{port}{}", self.url.scheme(), self.url.path())
    }
}

impl Answer {
    async fn read(mut response: Response, secret: Option<&Secret>, now_s: i64) -> Self {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let date_s = header(DATE).and_then(http_date::parse);
        let retry_after =
            header(RETRY_AFTER).and_then(|text| retry_after(text, date_s.unwrap_or(now_s)));
        let status = response.status();
        let mut body = Vec::new();
        // What is answered beside the status is for people: if it breaks off, the status stands.
        while body.len() < DETAIL_BYTES_MAX
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
        let detail = detail(&body, secret);
        Self { status, retry_after, ahead_s: date_s.map(|date_s| date_s - now_s), detail }
    }

    fn clocks(&self) -> String {
        match self.ahead_s {
            Some(ahead_s) if ahead_s.abs() > CLOCK_DIFFERENCE_MAX_S => format!(
                "; the clocks differ: its clock is {ahead_s} s ahead of this device's, set that one right"
            ),
            _ => String::new(),
        }
    }
}

/// How long to stay away: seconds, or a time by the place's own clock.
fn retry_after(text: &str, date_s: i64) -> Option<Duration> {
    let seconds = match text.trim().parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_no_number) => (http_date::parse(text.trim())? - date_s).max(0).unsigned_abs(),
    };
    Some(Duration::from_secs(seconds))
}

/// What an answer says, on one line.
fn detail(body: &[u8], secret: Option<&Secret>) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(DETAIL_BYTES_MAX)]).into_owned();
    let text = match secret {
        Some(secret) => text.replace(secret.expose(), "(secret)"),
        None => text,
    };
    let words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let text: String = words.join(" ").chars().take(DETAIL_CHARS_MAX).collect();
    if text.is_empty() { text } else { format!(" ({text})") }
}

fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let what = if error.is_timeout() {
        "it did not answer in time"
    } else if error.is_connect() {
        "it cannot be reached"
    } else {
        "the connection broke"
    };
    format!("{what} ({})", chain(&error))
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, String> {
    let pem =
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{} holds no certificate in PEM", path.display())),
        Err(error) => Err(format!("{}: {}", path.display(), chain(&error))),
    }
}

/// Reads an address: `https`, or `http` to this machine alone, without secrets in it.
pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no address: {error}"))?;
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err("has no host; write https://host/path".to_owned()),
    };
    match url.scheme() {
        "https" => {}
        "http" if is_loopback => {}
        "http" => {
            return Err(
                "is plain http to another machine, where all could be read; use https".to_owned()
            );
        }
        _ => return Err("is neither https nor http; write https://host/path".to_owned()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or password; keep secrets in a file".to_owned());
    }
    Ok(url)
}

fn system_now_s() -> i64 {
    use twinge_platform::{Clock, SystemClock};
    SystemClock::new().now_ms().div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_time() {
        let date_s = http_date::parse("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (text, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-3", None),
        ] {
            assert_eq!(retry_after(text, date_s), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn an_address_is_safe_or_refused() {
        for good in
            ["https://cloud/x", "http://127.0.0.1:1/x", "http://[::1]/x", "http://localhost/"]
        {
            assert!(parse_url(good).is_ok(), "{good}");
        }
        for (bad, told) in [
            ("cloud", "no address"),
            ("http://cloud/x", "plain http"),
            ("http://127.0.0.1.example/x", "plain http"),
            ("ftp://cloud", "neither"),
            ("https://user:hush@cloud/", "user or password"),
            ("https://hush@cloud/", "user or password"),
        ] {
            let error = parse_url(bad).unwrap_err();
            assert!(error.contains(told) && !error.contains("hush"), "{bad}: {error}");
        }
    }

    #[test]
    fn an_answer_is_one_short_line_without_the_secret() {
        let secret = Secret::new("hush");
        assert_eq!(detail(b"\n a\r\n\x1b[1m b hush\0", Some(&secret)), " (a [1m b (secret))");
        assert_eq!(detail(b" \n", None), "");
        assert!(detail(&[b'x'; 9_999], None).len() < 400);
    }
}
