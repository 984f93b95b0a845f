//! Runs and versions on an MLflow server, over its REST API 2.0
//! (<https://mlflow.org/docs/latest/rest-api.html>), which Azure ML speaks too.
//!
//! A detector is an experiment and a registered model of its own name. A run carries the tag
//! `twinge.run`, by which it is found again: who got no answer looks before making another one.

mod client;
mod settings;
mod wire;

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};
use twinge_registry::Name;

pub use client::RetrySettings;
pub use settings::{MlflowSettings, SettingsError};

use crate::tracker::check_files;
use crate::{
    Alias, Artifact, File, Metric, Model, ModelVersion, RUNS_MAX, Registration, Run, RunId,
    TrackError, Tracker,
};
use client::{Answer, Body, Http};
use wire::{
    Experiment, Files, History, MODULE_TAG, RUN_TAG, RegisteredModel, RunFound, RunsFound, Version,
    Versions, VersionsFound,
};

const API: &str = "api/2.0/mlflow";
/// Versions in one answer, and most that are read.
const VERSIONS_PAGE: usize = 200;
const VERSIONS_MAX: usize = 20_000;
/// Folders of files that are looked into.
const FOLDERS_MAX: usize = 32;

/// A [`Tracker`] on an MLflow server.
#[derive(Debug)]
pub struct Mlflow {
    http: Http,
}

impl Mlflow {
    /// The tracker of a server. Nothing is sent yet.
    pub fn open(settings: &MlflowSettings, retry: RetrySettings) -> Result<Self, TrackError> {
        Ok(Self { http: Http::open(settings, retry)? })
    }

    async fn post(&self, action: &str, path: &str, body: &Value) -> Result<Answer, TrackError> {
        self.http.ask(action, Method::POST, &format!("{API}/{path}"), &Body::Json(body)).await
    }

    async fn get(
        &self,
        action: &str,
        path: &str,
        pairs: &[(&str, &str)],
    ) -> Result<Answer, TrackError> {
        self.http.ask(action, Method::GET, &format!("{API}/{path}"), &Body::Query(pairs)).await
    }

    /// The id of a detector's experiment, or nothing.
    async fn experiment(&self, detector: &Name) -> Result<Option<String>, TrackError> {
        let pairs = [("experiment_name", detector.as_str())];
        let answer = self.get("find experiment", "experiments/get-by-name", &pairs).await?;
        if answer.is_absent() {
            return Ok(None);
        }
        Ok(Some(answer.json::<Experiment>()?.experiment.experiment_id))
    }

    /// The id of a detector's experiment, which is made where there is none.
    async fn experiment_or_new(&self, detector: &Name) -> Result<String, TrackError> {
        if let Some(id) = self.experiment(detector).await? {
            return Ok(id);
        }
        let body = json!({ "name": detector });
        let answer = self.post("make experiment", "experiments/create", &body).await?;
        if !answer.is_there_already() {
            return Ok(answer.json::<wire::Created>()?.experiment_id);
        }
        let action = format!("find experiment {detector}");
        let place = self.http.place();
        let reason = "it was deleted there: restore it, or remove it for good".to_owned();
        let gone = || TrackError::Refused { action, place, status: 409, reason, hint: "" };
        self.experiment(detector).await?.ok_or_else(gone)
    }

    /// A run by our own id, or nothing.
    async fn find(&self, experiment: &str, id: &RunId) -> Result<Option<wire::Run>, TrackError> {
        let body = json!({
            "experiment_ids": [experiment],
            "filter": format!("tags.\"{RUN_TAG}\" = '{id}'"),
            "max_results": 1,
        });
        let answer = self.post("find run", "runs/search", &body).await?;
        Ok(answer.json::<RunsFound>()?.runs.into_iter().next())
    }

    /// A run of MLflow for ours: the one that is there, or a new one.
    async fn run_or_new(&self, experiment: &str, run: &Run) -> Result<wire::Run, TrackError> {
        if let Some(found) = self.find(experiment, &run.id).await? {
            return Ok(found);
        }
        let body = json!({
            "experiment_id": experiment,
            "run_name": run.name,
            "start_time": run.started_ms,
            "tags": [{ "key": RUN_TAG, "value": run.id }],
        });
        let answer = self.post("make run", "runs/create", &body).await?;
        Ok(answer.json::<RunFound>()?.run)
    }

    /// Puts the files where the server keeps them; a note where it does not keep them itself.
    async fn upload(&self, run: &wire::Run, files: &[File]) -> Result<Vec<String>, TrackError> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let Some(root) = run.artifact_root() else {
            return Ok(vec![format!(
                "{} keeps files elsewhere ({}), where only its own client can write: {} files of \
                 the run are not there; start the server with --artifacts-destination to have them",
                self.http.place(),
                run.artifact_scheme(),
                files.len()
            )]);
        };
        for file in files {
            let path = format!("api/2.0/mlflow-artifacts/artifacts/{root}/{}", file.path);
            let action = format!("keep file {}", file.path);
            let body = Body::Bytes(&file.bytes);
            self.http.ask(&action, Method::PUT, &path, &body).await?.success()?;
        }
        Ok(Vec::new())
    }

    /// Every step of every metric.
    async fn history(&self, run: &wire::Run) -> Result<Vec<Metric>, TrackError> {
        let mut metrics = Vec::new();
        for name in run.metric_names() {
            let pairs = [("run_id", run.info.run_id.as_str()), ("metric_key", name.as_str())];
            let answer = self.get("read metric", "metrics/get-history", &pairs).await?;
            let mut steps = BTreeMap::new();
            for point in answer.json::<History>()?.metrics {
                steps.insert(point.step(), point.value);
            }
            let points =
                steps.into_iter().map(|(step, value)| Metric { name: name.clone(), step, value });
            metrics.extend(points);
        }
        Ok(metrics)
    }

    /// The files below a run's root, sorted by path.
    async fn files(&self, run_id: &str) -> Result<Vec<Artifact>, TrackError> {
        let (mut folders, mut files) = (vec![String::new()], Vec::new());
        let mut looked_at = 0;
        while let Some(folder) = folders.pop() {
            looked_at += 1;
            if looked_at > FOLDERS_MAX {
                break;
            }
            let mut pairs = vec![("run_id", run_id)];
            if !folder.is_empty() {
                pairs.push(("path", &folder));
            }
            let answer = self.get("list files", "artifacts/list", &pairs).await?;
            for entry in answer.json::<Files>()?.files {
                if entry.is_dir {
                    folders.push(entry.path);
                } else {
                    files.push(Artifact { path: entry.path, bytes: entry.file_size });
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// A version by its module, or nothing.
    async fn version(&self, detector: &Name, digest: &str) -> Result<Option<u64>, TrackError> {
        let versions = self.versions(detector).await?;
        let found = versions.into_iter().find(|version| version.tag(MODULE_TAG) == Some(digest));
        found.map(|version| self.number(&version)).transpose()
    }

    async fn versions(&self, detector: &Name) -> Result<Vec<Version>, TrackError> {
        let filter = format!("name='{detector}'");
        let page = VERSIONS_PAGE.to_string();
        let (mut versions, mut token) = (Vec::new(), String::new());
        while versions.len() < VERSIONS_MAX {
            let mut pairs = vec![("filter", filter.as_str()), ("max_results", &page)];
            if !token.is_empty() {
                pairs.push(("page_token", &token));
            }
            let answer = self.get("list versions", "model-versions/search", &pairs).await?;
            let mut found: VersionsFound = answer.json()?;
            versions.append(&mut found.model_versions);
            if found.next_page_token.is_empty() {
                break;
            }
            token = found.next_page_token;
        }
        Ok(versions)
    }

    fn number(&self, version: &Version) -> Result<u64, TrackError> {
        version.version.parse().map_err(|_not_a_number| TrackError::Garbage {
            action: "read version".to_owned(),
            place: self.http.place(),
            reason: "a version that is no number".to_owned(),
        })
    }
}

#[async_trait]
impl Tracker for Mlflow {
    async fn record(&self, run: &Run, files: &[File]) -> Result<Vec<String>, TrackError> {
        check_files(run, files)?;
        let experiment = self.experiment_or_new(&run.detector).await?;
        let there = self.run_or_new(&experiment, run).await?;
        let id = there.info.run_id.as_str();
        let batch = wire::batch(run, id);
        self.post("keep figures", "runs/log-batch", &batch).await?.success()?;
        let notes = self.upload(&there, files).await?;
        let update = json!({
            "run_id": id, "status": wire::status(run.status), "end_time": run.ended_ms,
        });
        self.post("end run", "runs/update", &update).await?.success()?;
        Ok(notes)
    }

    async fn runs(&self, detector: &Name, most: usize) -> Result<Vec<Run>, TrackError> {
        let most = most.min(RUNS_MAX);
        let Some(experiment) = self.experiment(detector).await? else { return Ok(Vec::new()) };
        // Of the experiment's runs only ours count: others may track there too.
        let (mut runs, mut token) = (Vec::new(), String::new());
        while runs.len() < most {
            let mut body = json!({
                "experiment_ids": [experiment],
                "filter": format!("tags.\"{RUN_TAG}\" LIKE '%Z-%'"),
                "order_by": ["attributes.start_time DESC"],
                "max_results": (most - runs.len()).min(200),
            });
            if !token.is_empty() {
                body["page_token"] = token.into();
            }
            let found: RunsFound = self.post("list runs", "runs/search", &body).await?.json()?;
            runs.extend(found.runs.iter().filter_map(|run| run.read(detector)));
            if found.next_page_token.is_empty() {
                break;
            }
            token = found.next_page_token;
        }
        // Within a second the server's order is its own.
        runs.sort_by(|a, b| b.id.cmp(&a.id));
        Ok(runs)
    }

    async fn run(&self, detector: &Name, id: &RunId) -> Result<Option<Run>, TrackError> {
        let Some(experiment) = self.experiment(detector).await? else { return Ok(None) };
        let Some(found) = self.find(&experiment, id).await? else { return Ok(None) };
        let Some(mut run) = found.read(detector) else { return Ok(None) };
        run.metrics = self.history(&found).await?;
        if found.artifact_root().is_some() {
            run.artifacts = self.files(&found.info.run_id).await?;
        }
        Ok(Some(run))
    }

    async fn file(
        &self,
        detector: &Name,
        id: &RunId,
        path: &str,
    ) -> Result<Option<Vec<u8>>, TrackError> {
        crate::run::check_name("file", path)?;
        let Some(experiment) = self.experiment(detector).await? else { return Ok(None) };
        let Some(found) = self.find(&experiment, id).await? else { return Ok(None) };
        let Some(root) = found.artifact_root() else { return Ok(None) };
        let path = format!("api/2.0/mlflow-artifacts/artifacts/{root}/{path}");
        let answer = self.http.ask("read file", Method::GET, &path, &Body::Nothing).await?;
        if answer.is_absent() { Ok(None) } else { answer.bytes().map(Some) }
    }

    async fn register(
        &self,
        detector: &Name,
        registration: &Registration,
    ) -> Result<u64, TrackError> {
        let body = json!({ "name": detector });
        let answer = self.post("make model", "registered-models/create", &body).await?;
        if !answer.is_there_already() {
            answer.success()?;
        }
        if let Some(number) = self.version(detector, &registration.module_digest).await? {
            return Ok(number);
        }
        let run = match &registration.run {
            Some(id) => match self.experiment(detector).await? {
                Some(experiment) => self.find(&experiment, id).await?,
                None => None,
            },
            None => None,
        };
        let body = wire::registration(detector, registration, run.as_ref());
        let answer = self.post("make version", "model-versions/create", &body).await?;
        let version = answer.json::<wire::Made>()?.model_version;
        self.number(&version)
    }

    async fn set_alias(
        &self,
        detector: &Name,
        alias: &Alias,
        module_digest: Option<&str>,
    ) -> Result<(), TrackError> {
        let path = "registered-models/alias";
        let Some(digest) = module_digest else {
            let body = json!({ "name": detector, "alias": alias });
            let body = Body::Json(&body);
            let path = format!("{API}/{path}");
            let answer = self.http.ask("remove alias", Method::DELETE, &path, &body).await?;
            return if answer.is_absent() { Ok(()) } else { answer.success().map(drop) };
        };
        let no_version = || TrackError::NoVersion {
            detector: detector.clone(),
            module_digest: digest.to_owned(),
        };
        let number = self.version(detector, digest).await?.ok_or_else(no_version)?;
        let body = json!({ "name": detector, "alias": alias, "version": number.to_string() });
        self.post("set alias", path, &body).await?.success().map(drop)
    }

    async fn model(&self, detector: &Name) -> Result<Option<Model>, TrackError> {
        let pairs = [("name", detector.as_str())];
        let answer = self.get("read model", "registered-models/get", &pairs).await?;
        if answer.is_absent() {
            return Ok(None);
        }
        let told: RegisteredModel = answer.json::<Versions>()?.registered_model;
        let mut model = Model::default();
        for version in self.versions(detector).await? {
            // What others registered under the name is not ours to tell about.
            let Some(digest) = version.tag(MODULE_TAG) else { continue };
            model.versions.push(ModelVersion {
                number: self.number(&version)?,
                module_digest: digest.to_owned(),
                version: version.tag(wire::VERSION_TAG).unwrap_or_default().to_owned(),
                run: version.tag(RUN_TAG).and_then(|id| id.parse().ok()),
            });
        }
        model.versions.sort_by_key(|version| version.number);
        for alias in told.aliases {
            if let Ok(number) = alias.version.parse() {
                model.aliases.insert(Alias::found(alias.alias), number);
            }
        }
        Ok(Some(model))
    }

    fn place(&self) -> String {
        self.http.place()
    }
}
