//! Runs in the folder `experiments/` of a registry's store, for whoever has no MLflow.
//!
//! ```text
//! experiments/<detector>/<run>.json           the run; written last, so that its files are there
//! experiments/<detector>/<run>/<path>         a file of it
//! experiments/<detector>/versions.json        model versions and aliases
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use twinge_registry::{Etag, Name, Store, StoreError, StorePath};

use crate::tracker::check_files;
use crate::{
    Alias, File, Model, ModelVersion, RUNS_MAX, Registration, Run, RunId, TrackError, Tracker,
};

/// How often a change starts over because somebody else wrote first.
const WRITE_ATTEMPTS_MAX: u32 = 8;

/// A [`Tracker`] in a store.
#[derive(Clone, Debug)]
pub struct Folder {
    store: Arc<dyn Store>,
    location: String,
}

impl Folder {
    /// The experiments of the registry in `store`; `location` is what people call it.
    pub fn new(store: Arc<dyn Store>, location: impl Into<String>) -> Self {
        Self { store, location: location.into() }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        path: &StorePath,
    ) -> Result<Option<(T, Etag)>, TrackError> {
        let Some(object) = self.store.get(path).await? else { return Ok(None) };
        let value = serde_json::from_slice(&object.bytes)
            .map_err(|source| TrackError::Malformed { path: path.to_string(), source })?;
        Ok(Some((value, object.etag)))
    }

    /// Writes what may be there already, if it is the same.
    async fn put(&self, path: &StorePath, bytes: &[u8]) -> Result<(), TrackError> {
        match self.store.create(path, bytes).await {
            Ok(_) => Ok(()),
            Err(StoreError::AlreadyExists { .. }) => {
                let there = self.store.get(path).await?;
                if there.is_some_and(|object| object.bytes == bytes) {
                    return Ok(());
                }
                Err(TrackError::Taken { path: path.to_string() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Changes versions and aliases; `change` tells whether there is anything to write.
    async fn change<T>(
        &self,
        detector: &Name,
        mut change: impl FnMut(&mut Model) -> Result<(bool, T), TrackError> + Send,
    ) -> Result<T, TrackError> {
        let path = versions_path(detector)?;
        for _ in 0..WRITE_ATTEMPTS_MAX {
            let (mut model, etag) = match self.read::<Model>(&path).await? {
                Some((model, etag)) => (model, Some(etag)),
                None => (Model::default(), None),
            };
            let (is_changed, told) = change(&mut model)?;
            if !is_changed {
                return Ok(told);
            }
            let json = json(&model);
            let written = match &etag {
                Some(etag) => self.store.replace(&path, &json, etag).await,
                None => self.store.create(&path, &json).await,
            };
            match written {
                Ok(_) => return Ok(told),
                Err(
                    StoreError::AlreadyExists { .. }
                    | StoreError::NotFound { .. }
                    | StoreError::Changed { .. },
                ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(TrackError::Contended { path: path.to_string(), attempts: WRITE_ATTEMPTS_MAX })
    }
}

#[async_trait]
impl Tracker for Folder {
    async fn record(&self, run: &Run, files: &[File]) -> Result<Vec<String>, TrackError> {
        check_files(run, files)?;
        for file in files {
            let path = file_path(&run.detector, &run.id, &file.path)?;
            self.put(&path, &file.bytes).await?;
        }
        self.put(&run_path(&run.detector, &run.id)?, &json(run)).await?;
        Ok(Vec::new())
    }

    async fn runs(&self, detector: &Name, most: usize) -> Result<Vec<Run>, TrackError> {
        let folder = format!("experiments/{detector}");
        let paths = self.store.list(&folder).await?;
        let newest = paths.iter().rev().filter(|path| is_run(path)).take(most.min(RUNS_MAX));
        let mut runs = Vec::new();
        for path in newest {
            // One that is gone by now was removed by hand.
            if let Some((run, _)) = self.read::<Run>(path).await? {
                runs.push(run.summary());
            }
        }
        Ok(runs)
    }

    async fn run(&self, detector: &Name, id: &RunId) -> Result<Option<Run>, TrackError> {
        let found = self.read(&run_path(detector, id)?).await?;
        Ok(found.map(|(run, _)| run))
    }

    async fn file(
        &self,
        detector: &Name,
        id: &RunId,
        path: &str,
    ) -> Result<Option<Vec<u8>>, TrackError> {
        crate::run::check_name("file", path)?;
        let object = self.store.get(&file_path(detector, id, path)?).await?;
        Ok(object.map(|object| object.bytes))
    }

    async fn register(
        &self,
        detector: &Name,
        registration: &Registration,
    ) -> Result<u64, TrackError> {
        self.change(detector, |model| {
            if let Some(there) = model.version_of(&registration.module_digest) {
                return Ok((false, there.number));
            }
            let number = model.versions.last().map_or(0, |last| last.number) + 1;
            model.versions.push(ModelVersion {
                number,
                module_digest: registration.module_digest.clone(),
                version: registration.version.clone(),
                run: registration.run.clone(),
            });
            Ok((true, number))
        })
        .await
    }

    async fn set_alias(
        &self,
        detector: &Name,
        alias: &Alias,
        module_digest: Option<&str>,
    ) -> Result<(), TrackError> {
        self.change(detector, |model| {
            let Some(digest) = module_digest else {
                return Ok((model.aliases.remove(alias).is_some(), ()));
            };
            let no_version = || TrackError::NoVersion {
                detector: detector.clone(),
                module_digest: digest.to_owned(),
            };
            let number = model.version_of(digest).ok_or_else(no_version)?.number;
            Ok((model.aliases.insert(alias.clone(), number) != Some(number), ()))
        })
        .await
    }

    async fn model(&self, detector: &Name) -> Result<Option<Model>, TrackError> {
        let found = self.read(&versions_path(detector)?).await?;
        Ok(found.map(|(model, _)| model))
    }

    fn place(&self) -> String {
        format!("{}/experiments", self.location.trim_end_matches('/'))
    }
}

fn run_path(detector: &Name, id: &RunId) -> Result<StorePath, StoreError> {
    StorePath::new(&format!("experiments/{detector}/{id}.json"))
}

fn file_path(detector: &Name, id: &RunId, path: &str) -> Result<StorePath, StoreError> {
    StorePath::new(&format!("experiments/{detector}/{id}/{path}"))
}

fn versions_path(detector: &Name) -> Result<StorePath, StoreError> {
    StorePath::new(&format!("experiments/{detector}/versions.json"))
}

/// `experiments/<detector>/<run>.json`.
fn is_run(path: &StorePath) -> bool {
    let mut segments = path.segments().skip(2);
    let name = segments.next().and_then(|name| name.strip_suffix(".json"));
    segments.next().is_none() && name.is_some_and(|name| name.parse::<RunId>().is_ok())
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("texts and finite numbers under text keys")
}
