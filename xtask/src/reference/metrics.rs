//! Every metric, where the source registers it: a program tells only those that something happened to.

use super::cell;
use super::source::{Sources, text};
use crate::run::root;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use syn::visit::Visit;
use syn::{Expr, ExprCall, Ident};

/// Parts of the page: who tells these metrics, and where they are registered.
const GROUPS: [(&str, &str, &str); 3] = [
    (
        "Host and edge agent",
        "Both programs tell them at `GET /metrics`, where they listen for HTTP.",
        "crates/stream/src/metrics.rs",
    ),
    ("Alerts of the host", "With `[alerts]` in its configuration.", "host/src/alerts/metrics.rs"),
    ("Edge agent", "What belongs to a device.", "edge-agent/src/metrics.rs"),
];

/// Files that name metrics, all of which have to be there.
const NAMING: [&str; 3] =
    ["infra/monitoring/rules.yml", "infra/monitoring/grafana.json", "docs/operations.md"];

/// Words that look like metrics and are columns of the lake or attributes of events.
const NO_METRICS: [&str; 4] = ["twinge_event", "twinge_reason", "twinge_time", "twinge_verdict"];

/// A metric as it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Metric {
    kind: &'static str,
    labels: Vec<String>,
    help: String,
}

/// The page.
pub(super) fn page() -> Result<String> {
    let sources = Sources::default();
    let mut page = "# Metrics\n\n\
        What `GET /metrics` tells, in Prometheus' text format, and what a host exports as OTLP. A metric with labels is \
        there once something happened to it. What to do about them is in [operations.md](../operations.md).\n"
        .to_owned();
    let mut names = BTreeSet::new();
    for (title, about, file) in GROUPS {
        write!(page, "\n## {title}\n\n{about}\n\n")?;
        page.push_str("| Metric | Kind | Labels | What it says |\n|---|---|---|---|\n");
        for (name, metric) in registered(&sources, Path::new(file))? {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".into() } else { labels.join(", ") };
            writeln!(page, "| `{name}` | {} | {labels} | {} |", metric.kind, cell(&metric.help))?;
            ensure!(names.insert(name.clone()), "{name} is registered twice");
        }
    }
    check(&names)?;
    Ok(page)
}

/// Whether every metric that rules, dashboard and handbook name is there.
fn check(names: &BTreeSet<String>) -> Result<()> {
    for file in NAMING {
        let text =
            fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {file}"))?;
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        let words = words.filter(|word| word.starts_with("twinge_") && !word.ends_with('_'));
        for word in words.filter(|word| !NO_METRICS.contains(word)) {
            ensure!(names.contains(word), "{file} names the metric {word}, which no program tells");
        }
    }
    Ok(())
}

/// The metrics that a file registers, by name.
fn registered(sources: &Sources, file: &Path) -> Result<BTreeMap<String, Metric>> {
    let source = sources.file(file)?;
    let mut search =
        Search { sources, file, found: BTreeMap::new(), named: BTreeSet::new(), broken: None };
    search.visit_file(&source);
    if let Some(error) = search.broken {
        return Err(error.context(format!("in {}", file.display())));
    }
    for name in &search.named {
        ensure!(
            search.found.contains_key(name),
            "{} names {name}, and it is not seen how it is registered: call `counter` or `gauge` with name, help and labels",
            file.display()
        );
    }
    Ok(search.found)
}

struct Search<'s> {
    sources: &'s Sources,
    file: &'s Path,
    found: BTreeMap<String, Metric>,
    /// Every text that looks like a metric's name.
    named: BTreeSet<String>,
    broken: Option<anyhow::Error>,
}

impl<'ast> Visit<'ast> for Search<'_> {
    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Err(error) = self.take(call) {
            self.broken.get_or_insert(error);
        }
        syn::visit::visit_expr_call(self, call);
    }

    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        if literal.value().starts_with("twinge_") {
            self.named.insert(literal.value());
        }
    }
}

impl Search<'_> {
    fn take(&mut self, call: &ExprCall) -> Result<()> {
        let Expr::Path(function) = &*call.func else { return Ok(()) };
        let segments: Vec<&Ident> = function.path.segments.iter().map(|part| &part.ident).collect();
        let last = segments.last().context("a call of nothing")?.to_string();
        let kind = match segments.as_slice() {
            [of, new] if *new == "new" => kind_of(&of.to_string()),
            [_] => kind_of(&last),
            _ => None,
        };
        let Some(kind) = kind else { return Ok(()) };
        let mut arguments: Vec<&Expr> = call.args.iter().collect();
        // `Opts::new(name, help)`, then the labels.
        if let Some(Expr::Call(options)) = arguments.first().copied() {
            arguments.splice(0..1, options.args.iter());
        }
        let texts: Vec<String> = arguments.iter().map_while(|argument| text(argument)).collect();
        let [name, help] = texts.as_slice() else { return Ok(()) };
        let labels = match arguments.get(2) {
            Some(labels) => self.labels(labels).with_context(|| format!("labels of {name}"))?,
            None => Vec::new(),
        };
        self.found.insert(name.clone(), Metric { kind, labels, help: help.clone() });
        Ok(())
    }

    /// Labels as they are written, or those of a constant.
    fn labels(&self, labels: &Expr) -> Result<Vec<String>> {
        match labels {
            Expr::Reference(inner) => self.labels(&inner.expr),
            Expr::Array(array) => {
                array.elems.iter().map(|label| text(label).context("a label is no text")).collect()
            }
            Expr::Path(path) => {
                let name =
                    path.path.get_ident().context("labels that are no constant")?.to_string();
                self.labels(&self.sources.constant(self.file, &name)?)
            }
            _ => bail!("they are neither a list nor a constant"),
        }
    }
}

/// The kind of metric that a type or a function of this name makes.
fn kind_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "IntCounterVec" | "IntCounter" | "CounterVec" | "Counter" | "counter" => "counter",
        "IntGaugeVec" | "IntGauge" | "GaugeVec" | "Gauge" | "gauge" | "count" => "gauge",
        "HistogramVec" | "Histogram" | "histogram" => "histogram",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_that_is_named_elsewhere_is_registered() {
        assert!(
            page().unwrap().contains(
                "| `twinge_events_total` | counter | `detector`, `version`, `partition` |"
            )
        );
        assert!(check(&BTreeSet::new()).is_err());
    }
}
