//! Any server that takes CloudEvents over HTTP: a batch as a JSON array
//! (<https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/http-protocol-binding.md>)
//! or as lines. Does not know what the events tell.

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;

use crate::event::Attributes;
use crate::request::Poster;
use crate::secret::{Secret, SecretSource};
use crate::uplink::{Limits, Outgoing, Uplink, UplinkError};

/// How a batch is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Format {
    /// `application/cloudevents-batch+json`: an array.
    #[default]
    #[serde(rename = "cloudevents-batch")]
    CloudEventsBatch,
    /// `application/x-ndjson`: an event a line.
    #[serde(rename = "ndjson")]
    Ndjson,
}

/// A server.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) poster: Poster,
    pub(crate) token: Option<SecretSource>,
    pub(crate) format: Format,
    pub(crate) limits: Limits,
}

#[async_trait]
impl Uplink for Http {
    fn limits(&self) -> Limits {
        self.limits
    }

    async fn send(&mut self, batch: &[Outgoing<'_>]) -> Result<(), UplinkError> {
        let body = self.format.encode(batch)?;
        // Read at each use: whoever renews it need not tell.
        let token = self.token.as_ref().map(SecretSource::read).transpose();
        let token = token.map_err(UplinkError::away)?;
        let headers = self.headers(token.as_ref())?;
        let answer = self.poster.post(headers, body, token.as_ref()).await?;
        self.poster.judge(&answer, &self.renewal())
    }
}

impl Http {
    fn headers(&self, token: Option<&Secret>) -> Result<HeaderMap, UplinkError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.format.content_type()));
        if let Some(token) = token {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
            let mut value = value.map_err(|_why| {
                UplinkError::away(format!("{}; no header can carry what it holds", self.renewal()))
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    fn renewal(&self) -> String {
        match &self.token {
            Some(source) => format!("put a fresh token into {source}"),
            None => "it wants a token: name its file as `token_file`".to_owned(),
        }
    }
}

impl Format {
    fn content_type(self) -> &'static str {
        match self {
            Self::CloudEventsBatch => "application/cloudevents-batch+json",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// A record that is no JSON would spoil all of its batch, so it is found here.
    fn encode(self, batch: &[Outgoing<'_>]) -> Result<Vec<u8>, UplinkError> {
        let bytes: usize = batch.iter().map(|record| record.bytes.len() + 1).sum();
        let mut body = Vec::with_capacity(bytes + 1);
        for (index, record) in batch.iter().enumerate() {
            Attributes::read(record.bytes).map_err(|reason| UplinkError::refused(index, reason))?;
            match self {
                Self::CloudEventsBatch => {
                    body.push(if index == 0 { b'[' } else { b',' });
                    body.extend_from_slice(record.bytes);
                }
                Self::Ndjson => {
                    // Within JSON, a line end can only be space between its words.
                    let one_line =
                        |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
                    body.extend(record.bytes.iter().map(one_line));
                    body.push(b'\n');
                }
            }
        }
        if self == Self::CloudEventsBatch {
            body.extend_from_slice(if batch.is_empty() { b"[]" } else { b"]" });
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(format: Format, records: &[&[u8]]) -> Result<String, UplinkError> {
        let batch: Vec<_> = records.iter().map(|bytes| Outgoing { key: None, bytes }).collect();
        format.encode(&batch).map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn a_batch_is_an_array_or_lines() {
        let records = [&b"{\"type\":\"a\"}"[..], b"{\n\"type\":\r\n\"b\"}"];
        let array = encode(Format::CloudEventsBatch, &records).unwrap();
        assert_eq!(array, "[{\"type\":\"a\"},{\n\"type\":\r\n\"b\"}]");
        let lines = encode(Format::Ndjson, &records).unwrap();
        assert_eq!(lines, "{\"type\":\"a\"}\n{ \"type\":  \"b\"}\n");
    }

    #[test]
    fn a_record_that_would_spoil_the_batch_is_named() {
        for format in [Format::CloudEventsBatch, Format::Ndjson] {
            let error = encode(format, &[b"{\"type\":\"a\"}", b"],["]).unwrap_err();
            assert!(matches!(error, UplinkError::Refused { index: Some(1), .. }), "{error:?}");
        }
    }
}
