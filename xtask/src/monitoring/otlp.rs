//! What a host exports as OTLP, read by a collector that has the schema of OTLP's makers.

use super::{Child, PATIENCE};
use crate::hubs::peers;
use crate::run::root;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The schema, pinned.
const PACKAGES: [&str; 2] = ["opentelemetry-proto==1.38.0", "protobuf==6.33.0"];

/// A collector in a process of its own.
pub(super) struct Collector {
    _process: Child,
    names: PathBuf,
    endpoint: String,
}

impl Collector {
    /// Starts one; a sentence when it is not to be had.
    pub(super) fn start(directory: &Path) -> Result<std::result::Result<Self, String>> {
        let python = match peers::python_with("otlp", &PACKAGES)? {
            Ok(python) => python,
            Err(missing) => return Ok(Err(missing)),
        };
        let names = directory.join("exported");
        let mut collector = Command::new(python);
        collector.arg(root().join("xtask/src/monitoring/collector.py")).arg(&names);
        let collector = collector.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut process = Child(collector.context("the collector does not start")?);
        let out = process.0.stdout.take().context("the collector has no output")?;
        let mut port = String::new();
        BufReader::new(out).read_line(&mut port)?;
        let port: u16 = port.trim().parse().context("the collector tells no port")?;
        Ok(Ok(Self { _process: process, names, endpoint: format!("http://127.0.0.1:{port}") }))
    }

    /// Says to a host where it is.
    pub(super) fn tell(&self, host: &mut Command) {
        host.env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.endpoint);
        host.env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret");
        host.env("OTEL_METRIC_EXPORT_INTERVAL", "100");
    }

    /// Waits until it knows each of these metrics; what it could not read is an error.
    pub(super) fn wait_for(&self, told: &BTreeSet<String>) -> Result<()> {
        let began = Instant::now();
        loop {
            let text = fs::read_to_string(&self.names).unwrap_or_default();
            let names: BTreeSet<String> = text.lines().map(str::to_owned).collect();
            let error = names.iter().find(|name| name.starts_with("error"));
            ensure!(error.is_none(), "the collector cannot read what is exported: {error:?}");
            // Parts of a histogram are one metric there.
            let missing = told.iter().find(|name| {
                let whole = ["_bucket", "_sum", "_count"]
                    .into_iter()
                    .find_map(|end| name.strip_suffix(end));
                !names.contains(*name) && !whole.is_some_and(|whole| names.contains(whole))
            });
            let Some(missing) = missing else { return Ok(()) };
            ensure!(began.elapsed() < PATIENCE, "{missing} is not exported, only {names:?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
