//! One task for each sink takes alerts out of its outbox and sends them, in order.

use super::desk::Desk;
use anyhow::{Context, ensure};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use sha2::Sha256;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use twinge_alerts::settings::WebhookSettings;
use twinge_contract::alert::Alert;
use twinge_stream::assembly::chain;
use twinge_stream::sink::Sink;

/// How often an outbox is looked into when nobody says that something waits.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a post may take, its answer included.
const POST: Duration = Duration::from_secs(10);
/// How long a sink may still be sent to when the host stops; the rest waits for the next start.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Shortest secret: one that is guessed is none.
const SECRET_BYTES_MIN: usize = 16;
/// Holds `sha256=` and the HMAC of the body, in hexadecimal digits.
const SIGNATURE: &str = "x-twinge-signature";

/// A way out.
#[derive(Debug)]
pub(super) enum Way {
    /// A line in the log.
    Log,
    /// A hub.
    Hub(Box<dyn Sink>),
    /// A POST.
    Webhook(Webhook),
}

/// Where alerts are posted.
pub(super) struct Webhook {
    name: String,
    url: Url,
    secret: Option<Vec<u8>>,
    client: reqwest::Client,
}

impl fmt::Debug for Webhook {
    /// Neither the secret nor the address, which may hold a token, in any log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Webhook").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why an alert was not sent.
struct Refused {
    reason: String,
    /// Another try would not help.
    is_final: bool,
}

impl Way {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Log => "log",
            Self::Hub(_) => "hub",
            Self::Webhook(webhook) => &webhook.name,
        }
    }

    async fn send(&mut self, alert: &Alert) -> Result<(), Refused> {
        let again = |reason| Refused { reason, is_final: false };
        let body = serde_json::to_vec(alert)
            .map_err(|error| Refused { reason: error.to_string(), is_final: true })?;
        match self {
            Self::Log => {
                log(alert);
                Ok(())
            }
            Self::Hub(sink) => {
                sink.write(Some(&alert.subject), &body);
                sink.commit().await.map_err(|error| again(chain(&error)))?;
                sink.sync().await.map_err(|error| again(chain(&error)))
            }
            Self::Webhook(webhook) => webhook.post(body).await,
        }
    }
}

impl Webhook {
    pub(super) fn new(settings: &WebhookSettings) -> anyhow::Result<Self> {
        let WebhookSettings { name, url, .. } = settings;
        let url = Url::parse(url)
            .with_context(|| format!("the address of webhook `{name}` is not usable"))?;
        let is_here = url.host_str().is_some_and(|host| {
            host == "localhost"
                || host
                    .trim_matches(['[', ']'])
                    .parse()
                    .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        });
        ensure!(
            url.scheme() == "https" || (url.scheme() == "http" && is_here),
            "webhook `{name}` needs an https address: alerts are read by others on their way"
        );
        rustls::crypto::ring::default_provider().install_default().ok();
        // A redirect would carry alerts elsewhere.
        let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let builder = if is_here { builder.no_proxy().tls_certs_only([]) } else { builder };
        let client = builder.timeout(POST).build().context("no client for webhooks")?;
        Ok(Self { name: name.clone(), url, secret: secret(settings)?, client })
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), Refused> {
        let mut request = self.client.post(self.url.clone());
        request = request.header(
            CONTENT_TYPE,
            HeaderValue::from_static("application/cloudevents+json; charset=utf-8"),
        );
        if let Some(secret) = &self.secret {
            request = request.header(SIGNATURE, signature(secret, &body));
        }
        let answer = request
            .body(body)
            .send()
            .await
            .map_err(|error| Refused { reason: chain(&error.without_url()), is_final: false })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        // Too early, too much, or a deployment between two versions: the others stay wrong.
        let is_final = status.is_client_error()
            && !matches!(status.as_u16(), 401 | 403 | 404 | 408 | 425 | 429);
        Err(Refused { reason: format!("it answered {status}"), is_final })
    }
}

/// `sha256=` and the HMAC-SHA256 of a body.
fn signature(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key may have any length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

fn secret(settings: &WebhookSettings) -> anyhow::Result<Option<Vec<u8>>> {
    let name = &settings.name;
    let text = match (&settings.secret_file, &settings.secret_env) {
        (Some(path), _) => std::fs::read_to_string(path).with_context(|| {
            format!("cannot read the secret of webhook `{name}` in {}", path.display())
        })?,
        (None, Some(variable)) => std::env::var(variable).with_context(|| {
            format!("the secret of webhook `{name}` is not in variable {variable}")
        })?,
        (None, None) => return Ok(None),
    };
    let secret = text.trim().as_bytes().to_vec();
    ensure!(
        secret.len() >= SECRET_BYTES_MIN,
        "the secret of webhook `{name}` has fewer than {SECRET_BYTES_MIN} characters"
    );
    Ok(Some(secret))
}

fn log(alert: &Alert) {
    let data = &alert.data;
    tracing::warn!(
        kind = data.kind.as_str(),
        state = data.state.as_str(),
        detector = data.detector,
        entity = alert.subject,
        severity = ?data.severity,
        count = data.count,
        first = data.first,
        episode = data.episode,
        runbook = data.runbook,
        "alert: {}",
        data.message
    );
}

/// Sends what waits for one sink.
pub(super) struct Sender {
    way: Way,
    name: String,
    desk: Arc<Desk>,
}

impl Sender {
    pub(super) fn new(way: Way, desk: Arc<Desk>) -> Self {
        Self { name: way.name().to_owned(), way, desk }
    }

    /// Until `stop` is cancelled, and then a little longer for what waits already.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if !self.send_next().await {
                let desk = Arc::clone(&self.desk);
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = desk.waiting.notified() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        }
        let until = Instant::now() + LAST_WORDS;
        let drained = async { while self.send_next().await {} };
        if tokio::time::timeout_at(until, drained).await.is_err() {
            tracing::warn!(
                sink = self.name,
                "alerts still wait to be sent; they go out at the next start"
            );
        }
    }

    /// Answers with whether there was something to send.
    async fn send_next(&mut self) -> bool {
        let Some(alert) = self.desk.next(&self.name) else { return false };
        match self.way.send(&alert).await {
            Ok(()) => self.desk.sent(&self.name, &alert.id),
            Err(Refused { reason, is_final }) => {
                self.desk.failed(&self.name, &alert, &reason, is_final);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_published_one() {
        // RFC 4231, test case 2.
        assert_eq!(
            signature(b"Jefe", b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn an_address_that_others_read_along_is_refused() {
        let webhook = |url: &str| {
            let url = url.to_owned();
            Webhook::new(&WebhookSettings { name: "ops".into(), url, ..WebhookSettings::default() })
        };
        assert!(webhook("https://example.com/hook").is_ok());
        assert!(webhook("http://127.0.0.1:9/hook").is_ok());
        assert!(webhook("http://[::1]:9/hook").is_ok());
        for url in ["http://example.com/hook", "ftp://127.0.0.1/", "hook"] {
            assert!(webhook(url).is_err(), "{url}");
        }
    }
}
