//! Metrics to a collector, as OTLP: what Azure Monitor and others take without asking for `/metrics`.
//!
//! JSON over HTTP, as <https://opentelemetry.io/docs/specs/otlp/> has it, and the variables of
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>. Each export tells all counters since
//! the start, so one that fails is made up for by the next.

use anyhow::{Context, Result, bail, ensure};
use prometheus::Registry;
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use twinge_platform::{Clock, SystemClock};
use twinge_stream::assembly::{Extension, Surroundings, chain};

/// What a collector is asked for where only its address is given.
const PATH: &str = "/v1/metrics";
/// Cumulative, in OTLP's numbers.
const CUMULATIVE: u8 = 2;

/// Where metrics go, and how often.
#[derive(Clone, Debug)]
struct Exporter {
    url: reqwest::Url,
    /// May hold a key; never told.
    headers: HeaderMap,
    client: reqwest::Client,
    pause: Duration,
    resource: Value,
}

/// Exports around what else the host brings along.
#[derive(Debug)]
struct Exports {
    inner: Option<Arc<dyn Extension>>,
    exporter: Exporter,
}

/// What goes around `inner` where the environment names a collector.
pub(crate) fn extend(inner: Option<Arc<dyn Extension>>) -> Result<Option<Arc<dyn Extension>>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    let Some(exporter) = Exporter::from_environment(&variable)? else { return Ok(inner) };
    Ok(Some(Arc::new(Exports { inner, exporter })))
}

impl Exporter {
    fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        // Of two, that for metrics counts.
        let set = |name: &str| {
            variable(&format!("OTEL_EXPORTER_OTLP_METRICS_{name}"))
                .or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let url = match variable("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") {
            Some(url) => url,
            None => match variable("OTEL_EXPORTER_OTLP_ENDPOINT") {
                Some(base) => format!("{}{PATH}", base.trim().trim_end_matches('/')),
                None => return Ok(None),
            },
        };
        if variable("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"))
            || variable("OTEL_METRICS_EXPORTER").is_some_and(|text| text == "none")
        {
            return Ok(None);
        }
        let protocol = set("PROTOCOL").unwrap_or_else(|| "http/json".into());
        ensure!(
            protocol == "http/json",
            "OTEL_EXPORTER_OTLP_PROTOCOL is `{protocol}`, and metrics are sent as `http/json`: leave it out, \
             and give the collector's address for HTTP (port 4318)"
        );
        let url: reqwest::Url =
            url.trim().parse().context("OTEL_EXPORTER_OTLP_ENDPOINT is not an address")?;
        ensure!(
            matches!(url.scheme(), "http" | "https"),
            "OTEL_EXPORTER_OTLP_ENDPOINT begins with `{}`: use http or https",
            url.scheme()
        );
        let timeout = milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", set("TIMEOUT"), 10_000)?;
        let pause = variable("OTEL_METRIC_EXPORT_INTERVAL");
        let pause = milliseconds("OTEL_METRIC_EXPORT_INTERVAL", pause, 60_000)?;
        let headers = headers(&set("HEADERS").unwrap_or_default())?;
        let may_be_read = set("INSECURE").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        ensure!(
            headers.is_empty() || url.scheme() == "https" || is_loopback(&url) || may_be_read,
            "OTEL_EXPORTER_OTLP_HEADERS would go to {} as plain text, and most hold a key: use https, or set \
             OTEL_EXPORTER_OTLP_INSECURE=true where nobody else is on the line",
            url.host_str().unwrap_or_default()
        );
        let client = reqwest::Client::builder().timeout(timeout).build();
        let client = client.context("no client for OTLP can be made")?;
        Ok(Some(Self { url, headers, client, pause, resource: resource(variable) }))
    }

    /// Exports after every pause, and once more at the end.
    async fn run(self, registry: Registry, stop: CancellationToken) {
        let clock = SystemClock::new();
        let began_ms = clock.now_ms();
        let mut told = String::new();
        loop {
            let is_last = stop.run_until_cancelled(tokio::time::sleep(self.pause)).await.is_none();
            let families = registry.gather();
            let body = request(&families, &self.resource, began_ms, clock.now_ms());
            let trouble = match self.send(&body).await {
                Ok(()) => String::new(),
                Err(error) => format!("{error:#}"),
            };
            // What goes on for hours is told once, and so is its end.
            if trouble != told {
                if trouble.is_empty() {
                    tracing::info!("metrics are exported again");
                } else {
                    tracing::warn!(
                        error = trouble,
                        "metrics are not exported; the next export has them all"
                    );
                }
                told = trouble;
            }
            if is_last {
                return;
            }
        }
    }

    async fn send(&self, body: &Value) -> Result<()> {
        let host = self.url.host_str().unwrap_or_default();
        let post = self.client.post(self.url.clone()).headers(self.headers.clone());
        let sent = post.header("content-type", "application/json").body(body.to_string()).send();
        let answer = match sent.await {
            Ok(answer) => answer,
            // The address may hold a key, so it is not told whole.
            Err(error) => bail!("{host} does not answer: {}", chain(&error.without_url())),
        };
        ensure!(answer.status().is_success(), "{host} answers {}", answer.status());
        Ok(())
    }
}

impl Extension for Exports {
    fn inner(&self) -> Option<&dyn Extension> {
        self.inner.as_deref()
    }

    fn start(&self, surroundings: Surroundings) {
        let registry = surroundings.metrics.registry().clone();
        let run = self.exporter.clone().run(registry, surroundings.stop.clone());
        surroundings.tracker.spawn(run);
        if let Some(inner) = self.inner() {
            inner.start(surroundings);
        }
    }
}

/// Whether what goes there stays on this machine.
fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn milliseconds(name: &str, text: Option<String>, default: u64) -> Result<Duration> {
    let Some(text) = text else { return Ok(Duration::from_millis(default)) };
    let number: u64 = text
        .trim()
        .parse()
        .with_context(|| format!("{name} is `{text}`, and is a number of milliseconds"))?;
    ensure!(
        (1..=86_400_000).contains(&number),
        "{name} is {number}, and must lie between 1 and 86400000 milliseconds"
    );
    Ok(Duration::from_millis(number))
}

/// `name=value,name=value`, values as in URLs.
fn headers(text: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (number, pair) in text.split(',').filter(|pair| !pair.trim().is_empty()).enumerate() {
        let wrong =
            || format!("header {} of OTEL_EXPORTER_OTLP_HEADERS is not `name=value`", number + 1);
        let (name, value) = pair.split_once('=').with_context(wrong)?;
        let mut value = HeaderValue::from_str(&decoded(value.trim())).ok().with_context(wrong)?;
        value.set_sensitive(true);
        headers.insert(name.trim().parse::<HeaderName>().ok().with_context(wrong)?, value);
    }
    Ok(headers)
}

/// A text in which `%20` stands for a blank, and so on.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, later)) = rest.split_first() {
        let digits = later.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        (rest, ()) = match byte.filter(|_| *first == b'%') {
            Some(byte) => (&later[2..], bytes.push(byte)),
            None => (later, bytes.push(*first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Who exports: `OTEL_RESOURCE_ATTRIBUTES`, and `OTEL_SERVICE_NAME` over it.
fn resource(variable: &dyn Fn(&str) -> Option<String>) -> Value {
    let mut attributes = vec![("service.name".to_owned(), "twinge-host".to_owned())];
    attributes.push(("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
    let given = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let given = given.split(',').filter_map(|pair| pair.split_once('='));
    let given = given.map(|(name, value)| (name.trim().to_owned(), decoded(value.trim())));
    let name = variable("OTEL_SERVICE_NAME").map(|name| ("service.name".to_owned(), name));
    for (name, value) in given.chain(name) {
        attributes.retain(|(other, _)| *other != name);
        attributes.push((name, value));
    }
    json!({ "attributes": attributes.iter().map(|(name, value)| attribute(name, value)).collect::<Vec<_>>() })
}

fn attribute(name: &str, value: &str) -> Value {
    json!({ "key": name, "value": { "stringValue": value } })
}

/// An `ExportMetricsServiceRequest`.
fn request(families: &[MetricFamily], resource: &Value, began_ms: i64, now_ms: i64) -> Value {
    let times = (nanoseconds(began_ms), nanoseconds(now_ms));
    let metrics: Vec<Value> =
        families.iter().filter_map(|family| metric(family, (&times.0, &times.1))).collect();
    let scope = json!({ "name": "twinge", "version": env!("CARGO_PKG_VERSION") });
    json!({ "resourceMetrics": [{
        "resource": resource,
        "scopeMetrics": [{ "scope": scope, "metrics": metrics }],
    }] })
}

/// 64-bit numbers are texts in OTLP's JSON.
fn nanoseconds(milliseconds: i64) -> String {
    (i128::from(milliseconds) * 1_000_000).to_string()
}

fn metric(family: &MetricFamily, times: (&str, &str)) -> Option<Value> {
    let points = |value: fn(&Metric) -> f64| -> Vec<Value> {
        let finite = |metric: &&Metric| value(metric).is_finite();
        family.get_metric().iter().filter(finite).map(|one| point(one, value(one), times)).collect()
    };
    let mut metric = json!({ "name": family.name(), "description": family.help() });
    match family.get_field_type() {
        MetricType::COUNTER => {
            let points = points(|metric| metric.get_counter().get_value());
            metric["sum"] = json!({
                "dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true,
            });
        }
        MetricType::GAUGE => {
            metric["gauge"] =
                json!({ "dataPoints": points(|metric| metric.get_gauge().get_value()) });
        }
        MetricType::HISTOGRAM => {
            let points: Vec<Value> =
                family.get_metric().iter().map(|one| distribution(one, times)).collect();
            metric["histogram"] =
                json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE });
        }
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    }
    Some(metric)
}

fn attributes(labels: &[LabelPair]) -> Vec<Value> {
    labels.iter().map(|label| attribute(label.name(), label.value())).collect()
}

fn point(metric: &Metric, value: f64, (began, now): (&str, &str)) -> Value {
    json!({
        "attributes": attributes(metric.get_label()),
        "startTimeUnixNano": began, "timeUnixNano": now, "asDouble": value,
    })
}

/// Prometheus counts what is at most a bound, OTLP what lies between two.
fn distribution(metric: &Metric, (began, now): (&str, &str)) -> Value {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count();
    let (mut bounds, mut counts, mut below) = (Vec::new(), Vec::new(), 0);
    for bucket in histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite()) {
        bounds.push(bucket.upper_bound());
        counts.push((bucket.cumulative_count() - below).to_string());
        below = bucket.cumulative_count();
    }
    counts.push((count - below).to_string());
    json!({
        "attributes": attributes(metric.get_label()),
        "startTimeUnixNano": began, "timeUnixNano": now,
        "count": count.to_string(), "sum": histogram.get_sample_sum(),
        "explicitBounds": bounds, "bucketCounts": counts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts};
    use std::collections::BTreeMap;

    fn exporter(variables: &[(&str, &str)]) -> Result<Option<Exporter>> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        Exporter::from_environment(&|name| variables.get(name).map(|text| (*text).to_owned()))
    }

    #[test]
    fn headers_go_to_no_other_machine_in_the_clear() {
        let key = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hush");
        for address in ["http://collector:4318", "http://10.0.0.2", "http://[fe80::1]:4318"] {
            let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", address);
            let error = format!("{:#}", exporter(&[base, key]).unwrap_err());
            assert!(error.contains("OTLP_INSECURE") && !error.contains("hush"), "{error}");
            let allowed = ("OTEL_EXPORTER_OTLP_INSECURE", "true");
            assert!(exporter(&[base, key, allowed]).unwrap().is_some());
            assert!(exporter(&[base]).unwrap().is_some(), "without headers nothing is told");
        }
        for address in ["http://localhost:4318", "http://[::1]:4318", "https://collector"] {
            let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", address);
            assert!(exporter(&[base, key]).unwrap().is_some(), "{address}");
        }
    }

    #[test]
    fn the_environment_is_read_as_the_specification_says() {
        assert!(exporter(&[]).unwrap().is_none());
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        let found = exporter(&[base]).unwrap().unwrap();
        assert_eq!(found.url.as_str(), "http://collector:4318/v1/metrics");
        assert_eq!(found.pause, Duration::from_mins(1));
        let found = exporter(&[
            base,
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://other/in"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b,x=1"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,region=west"),
            ("OTEL_SERVICE_NAME", "fraud"),
        ]);
        let found = found.unwrap().unwrap();
        assert_eq!(found.url.as_str(), "https://other/in");
        assert_eq!(found.headers["api-key"], "a b");
        assert!(!format!("{found:?}").contains("a b"), "a key is told");
        let attributes = found.resource["attributes"].to_string();
        assert!(attributes.contains("\"fraud\"") && attributes.contains("\"west\""));
        assert!(!attributes.contains("\"no\""), "{attributes}");
        assert!(exporter(&[base, ("OTEL_METRICS_EXPORTER", "none")]).unwrap().is_none());
        for (name, text, word) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/json"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http or https"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "soon", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "header 1"),
        ] {
            let error = format!("{:#}", exporter(&[base, (name, text)]).unwrap_err());
            assert!(error.contains(word) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn counters_and_histograms_are_told_as_otlp_has_them() {
        let registry = Registry::new();
        let events = IntCounterVec::new(Opts::new("events", "Events."), &["detector"]).unwrap();
        let times = HistogramOpts::new("seconds", "Time.").buckets(vec![0.1, 1.0]);
        let times = Histogram::with_opts(times).unwrap();
        registry.register(Box::new(events.clone())).unwrap();
        registry.register(Box::new(times.clone())).unwrap();
        events.with_label_values(&["d"]).inc_by(3);
        for time in [0.05, 0.5, 0.5, 7.0] {
            times.observe(time);
        }
        let told = request(&registry.gather(), &json!({}), 1000, 2000);
        let metrics = &told["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        let counter = &metrics[0]["sum"];
        assert_eq!(counter["isMonotonic"], true);
        assert_eq!(counter["dataPoints"][0]["asDouble"], 3.0);
        assert_eq!(counter["dataPoints"][0]["startTimeUnixNano"], "1000000000");
        assert_eq!(counter["dataPoints"][0]["attributes"][0]["value"]["stringValue"], "d");
        let histogram = &metrics[1]["histogram"]["dataPoints"][0];
        assert_eq!(histogram["bucketCounts"], json!(["1", "2", "1"]));
        assert_eq!((&histogram["count"], &histogram["sum"]), (&json!("4"), &json!(8.05)));
    }
}
