//! The device's way to a host: two requests over HTTP, bounded in time and size.

use super::{CHALLENGE_PATH, Challenge, RIGHTS_PATH, Rights, RightsPlan};
use reqwest::{Certificate, Method, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;
use twinge_registry::AdlsError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(20);
/// Largest answer, in bytes: rights for 32 detectors have about 20 KiB.
const ANSWER_BYTES_MAX: usize = 128 * 1024;
/// How much of a refusal is told.
const REASON_CHARS_MAX: usize = 200;

/// Why there are no fresh rights.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is said by its message")]
pub enum RightsError {
    #[error(
        "`rights` is not usable: {0}; write the host's address, such as https://twinge.example.com"
    )]
    Url(&'static str),
    #[error("certificates of `rights_ca` at {path} cannot be used")]
    Ca {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("rights at {path} cannot be read")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("registry is no container that rights can be asked for")]
    Location(#[from] AdlsError),
    #[error("a client of HTTP cannot be made")]
    Client(#[source] reqwest::Error),
    #[error("the host that gives rights does not answer")]
    Away(#[source] reqwest::Error),
    #[error("the host gives no rights: it answers {status}, {reason}")]
    Refused { status: StatusCode, reason: String },
    #[error("the host answers with what are no rights: {0}")]
    Garbage(String),
    #[error(
        "the host gives rights for {found} and this device follows {wanted}: let both name one registry"
    )]
    OtherRegistry { found: String, wanted: String },
    #[error("there are no rights yet: {0}; it is asked for again in a while")]
    NotYet(String),
}

/// A host, as a device sees it.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    /// The client of the host that `plan` names. Nothing is sent yet.
    pub(super) fn open(plan: &RightsPlan) -> Result<Self, RightsError> {
        // A program may be built with more than one provider of cryptography, and rustls wants to be
        // told which; whoever was first has chosen.
        rustls::crypto::ring::default_provider().install_default().ok();
        let base = base(&plan.url)?;
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            .https_only(base.scheme() == "https");
        let builder = match &plan.ca {
            Some(path) => {
                let certificates = std::fs::read(path)
                    .map_err(Into::into)
                    .and_then(|pem| Certificate::from_pem_bundle(&pem).map_err(Into::into))
                    .map_err(|source| RightsError::Ca { path: path.clone(), source })?;
                builder.tls_certs_only(certificates)
            }
            // A machine without any certificates can still ask itself.
            None if base.scheme() == "http" => builder.tls_certs_only([]).no_proxy(),
            None => builder,
        };
        Ok(Self { http: builder.build().map_err(RightsError::Client)?, base })
    }

    /// Asks for a nonce, has it signed, and trades it for rights.
    pub(super) async fn trade(
        &self,
        sign: impl FnOnce(String) -> Vec<u8>,
    ) -> Result<Rights, RightsError> {
        let challenge: Challenge = self.ask(Method::GET, CHALLENGE_PATH, Vec::new()).await?;
        self.ask(Method::POST, RIGHTS_PATH, sign(challenge.nonce)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, RightsError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        let request = self.http.request(method, url).body(body);
        let response = request.send().await.map_err(RightsError::Away)?;
        let status = response.status();
        let answer = read(response).await?;
        if status == StatusCode::OK {
            // The parser's own message is not passed on: it may quote a signature.
            return serde_json::from_slice(&answer)
                .map_err(|error| RightsError::Garbage(format!("line {} of it", error.line())));
        }
        Err(RightsError::Refused { status, reason: reason(&answer) })
    }
}

fn base(text: &str) -> Result<Url, RightsError> {
    let url = Url::parse(text).map_err(|_may_show_it| RightsError::Url("it is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RightsError::Url("a password does not belong into it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(RightsError::Url("it has a query or a fragment"));
    }
    let is_loopback = match url.host_str().map(|host| host.trim_matches(['[', ']'])) {
        Some("localhost") => true,
        Some(host) => host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback()),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback => Ok(url),
        "http" => Err(RightsError::Url("plain http would show rights to the network")),
        _ => Err(RightsError::Url("it is not https")),
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, RightsError> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(RightsError::Away)? {
        if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(RightsError::Garbage(format!("more than {ANSWER_BYTES_MAX} bytes")));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

/// What a refusal says, on one line and cut short.
fn reason(answer: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Told {
        error: String,
    }
    match serde_json::from_slice::<Told>(answer) {
        Ok(told) => told.error.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect(),
        Err(_) => "without a reason".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_the_machine_itself_are_asked() {
        for good in [
            "https://twinge.example.com",
            "https://10.0.0.1:8443/twinge/",
            "http://127.0.0.1:8080",
            "http://localhost:1",
            "http://[::1]:1",
        ] {
            assert!(base(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "twinge.example.com",
            "http://twinge.example.com",
            "http://10.0.0.1",
            "ftp://127.0.0.1",
            "https://me:topsecret@twinge.example.com",
            "https://twinge.example.com?x=topsecret",
        ] {
            let told = base(bad).unwrap_err().to_string();
            assert!(!told.contains("topsecret"), "{told}");
        }
    }

    #[test]
    fn a_refusal_is_told_on_one_short_line() {
        assert_eq!(reason(br#"{"error":"no\nmore"}"#), "nomore");
        assert_eq!(reason(b"<html>"), "without a reason");
        let long = format!("{{\"error\":\"{}\"}}", "x".repeat(5000));
        assert_eq!(reason(long.as_bytes()).len(), REASON_CHARS_MAX);
    }
}
