//! MLflow's JSON, as much of it as is read and written here, and our runs in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use twinge_registry::Name;

use crate::{Lineage, Metric, Registration, Run as OurRun, Status};

/// Our id of a run.
pub(super) const RUN_TAG: &str = "twinge.run";
/// SHA-256 of a module.
pub(super) const MODULE_TAG: &str = "twinge.module";
/// A version in its maker's words.
pub(super) const VERSION_TAG: &str = "twinge.version";
const LINEAGE_TAG: &str = "twinge.lineage";
/// Tags that people gave; MLflow adds some of its own.
const OUR_TAGS: &str = "twinge.tag.";

#[derive(Debug, Deserialize)]
pub(super) struct Experiment {
    pub(super) experiment: ExperimentInfo,
}

#[derive(Debug, Deserialize)]
pub(super) struct ExperimentInfo {
    pub(super) experiment_id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Created {
    pub(super) experiment_id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RunFound {
    pub(super) run: Run,
}

#[derive(Debug, Deserialize)]
pub(super) struct RunsFound {
    #[serde(default)]
    pub(super) runs: Vec<Run>,
    #[serde(default)]
    pub(super) next_page_token: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Run {
    pub(super) info: Info,
    #[serde(default)]
    data: Data,
}

#[derive(Debug, Deserialize)]
pub(super) struct Info {
    pub(super) run_id: String,
    #[serde(default)]
    run_name: String,
    #[serde(default)]
    status: String,
    #[serde(default, deserialize_with = "whole")]
    start_time: i64,
    #[serde(default, deserialize_with = "whole")]
    end_time: i64,
    #[serde(default)]
    artifact_uri: String,
}

#[derive(Debug, Default, Deserialize)]
struct Data {
    #[serde(default)]
    params: Vec<Pair>,
    #[serde(default)]
    tags: Vec<Pair>,
    #[serde(default)]
    metrics: Vec<Point>,
}

#[derive(Debug, Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Point {
    key: String,
    #[serde(default)]
    pub(super) value: f64,
    #[serde(default, deserialize_with = "whole")]
    step: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct History {
    #[serde(default)]
    pub(super) metrics: Vec<Point>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Files {
    #[serde(default)]
    pub(super) files: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) path: String,
    #[serde(default)]
    pub(super) is_dir: bool,
    #[serde(default, deserialize_with = "size")]
    pub(super) file_size: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Versions {
    pub(super) registered_model: RegisteredModel,
}

#[derive(Debug, Deserialize)]
pub(super) struct RegisteredModel {
    #[serde(default)]
    pub(super) aliases: Vec<AliasTold>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AliasTold {
    pub(super) alias: String,
    pub(super) version: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct VersionsFound {
    #[serde(default)]
    pub(super) model_versions: Vec<Version>,
    #[serde(default)]
    pub(super) next_page_token: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Made {
    pub(super) model_version: Version,
}

#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) version: String,
    #[serde(default)]
    tags: Vec<Pair>,
}

impl Version {
    pub(super) fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.as_str())
    }
}

impl Point {
    pub(super) fn step(&self) -> u32 {
        u32::try_from(self.step).unwrap_or_default()
    }
}

impl Run {
    /// Our run, or nothing if it is not ours.
    pub(super) fn read(&self, detector: &Name) -> Option<OurRun> {
        let tag = |key: &str| self.data.tags.iter().find(|tag| tag.key == key);
        let id = tag(RUN_TAG)?.value.parse().ok()?;
        let lineage: Lineage = serde_json::from_str(&tag(LINEAGE_TAG)?.value).ok()?;
        let mut metrics: Vec<Metric> = self
            .data
            .metrics
            .iter()
            .map(|point| Metric { name: point.key.clone(), step: point.step(), value: point.value })
            .collect();
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        let ours = self.data.tags.iter().filter_map(|tag| {
            Some((tag.key.strip_prefix(OUR_TAGS)?.to_owned(), tag.value.clone()))
        });
        let parameters = self.data.params.iter().map(|pair| (pair.key.clone(), pair.value.clone()));
        Some(OurRun {
            id,
            name: self.info.run_name.clone(),
            detector: detector.clone(),
            started_ms: self.info.start_time,
            ended_ms: self.info.end_time,
            status: if self.info.status == "FINISHED" { Status::Finished } else { Status::Failed },
            parameters: parameters.collect::<BTreeMap<_, _>>(),
            metrics,
            tags: ours.collect(),
            lineage,
            artifacts: Vec::new(),
        })
    }

    /// Names of all metrics, sorted.
    pub(super) fn metric_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.data.metrics.iter().map(|point| point.key.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The path of the run's files behind the server's own store of files, or nothing if the server
    /// does not pass them on.
    pub(super) fn artifact_root(&self) -> Option<&str> {
        let rest = self.info.artifact_uri.strip_prefix("mlflow-artifacts:")?;
        let path = match rest.strip_prefix("//") {
            Some(with_host) => with_host.split_once('/')?.1,
            None => rest,
        };
        Some(path.trim_matches('/'))
    }

    /// What the server calls the kind of place where it keeps files.
    pub(super) fn artifact_scheme(&self) -> &str {
        let scheme = self.info.artifact_uri.split_once(':').map_or("a path", |(scheme, _)| scheme);
        if scheme.is_empty() { "nowhere" } else { scheme }
    }
}

/// MLflow's word for how a run ended.
pub(super) fn status(status: Status) -> &'static str {
    match status {
        Status::Finished => "FINISHED",
        Status::Failed => "FAILED",
    }
}

/// All of a run's figures and texts in one request: sending it twice changes nothing.
pub(super) fn batch(run: &OurRun, run_id: &str) -> Value {
    let metrics: Vec<Value> = run
        .metrics
        .iter()
        .map(|metric| {
            json!({
                "key": metric.name, "value": metric.value, "step": metric.step,
                "timestamp": run.ended_ms,
            })
        })
        .collect();
    let pair = |key: String, value: &str| json!({ "key": key, "value": value });
    let params: Vec<Value> =
        run.parameters.iter().map(|(key, value)| pair(key.clone(), value)).collect();
    let mut tags: Vec<Value> =
        run.tags.iter().map(|(key, value)| pair(format!("{OUR_TAGS}{key}"), value)).collect();
    let lineage = serde_json::to_string(&run.lineage).expect("texts and numbers");
    tags.push(pair(LINEAGE_TAG.to_owned(), &lineage));
    json!({ "run_id": run_id, "metrics": metrics, "params": params, "tags": tags })
}

/// A request for a version. Without a run the source is the module's place in a registry, which
/// MLflow keeps and does not open.
pub(super) fn registration(
    detector: &Name,
    registration: &Registration,
    run: Option<&Run>,
) -> Value {
    let digest = &registration.module_digest;
    let mut tags = vec![
        json!({ "key": MODULE_TAG, "value": digest }),
        json!({ "key": VERSION_TAG, "value": registration.version }),
    ];
    let mut body = json!({ "name": detector });
    match (run, &registration.run) {
        (Some(run), Some(id)) => {
            tags.push(json!({ "key": RUN_TAG, "value": id }));
            body["source"] = run.info.artifact_uri.clone().into();
            body["run_id"] = run.info.run_id.clone().into();
        }
        _ => body["source"] = format!("twinge-registry:/modules/{digest}.wasm").into(),
    }
    body["tags"] = tags.into();
    body
}

/// A whole number, which some servers write as a text.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.trim().parse().map_err(serde::de::Error::custom),
    }
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    whole(deserializer).map(|number| u64::try_from(number).unwrap_or_default())
}
