//! A module beside the acting one that cannot be had for a while, when a program goes on from a
//! checkpoint that names it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use async_trait::async_trait;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_drift::DriftSettings;
use twinge_platform::{Clock, RealDisk, SystemClock};
use twinge_registry::{
    Author, Directory, Etag, KnownSerial, Metadata, Name, Object, Registry, Store, StoreError,
    StorePath,
};
use twinge_stream::assembly::{AssemblyError, DetectorPlan, Extension, Origin, Plan, Surroundings};
use twinge_stream::pump::Report;
use twinge_stream::silence::SilenceSettings;
use twinge_testkit::{Keys, Kind, MadeModule, statement};
use twinge_trust::{Anchor, Digest};

const PATIENCE: Duration = Duration::from_secs(30);

/// Hands out what a program lets an extension see, and keeps it from its registry.
#[derive(Debug)]
struct Around {
    surroundings: tokio::sync::mpsc::Sender<Surroundings>,
    is_away: bool,
}

impl Extension for Around {
    fn store(&self, location: &str) -> Option<Arc<dyn Store>> {
        (self.is_away && location.ends_with("registry")).then(|| Arc::new(Away) as Arc<_>)
    }

    fn start(&self, surroundings: Surroundings) {
        self.surroundings.try_send(surroundings).unwrap();
    }
}

/// A store that nobody hears of.
#[derive(Debug)]
struct Away;

fn unanswered<T>(action: &'static str, path: &str) -> Result<T, StoreError> {
    Err(StoreError::Unanswered { action, path: path.to_owned(), source: "it is away".into() })
}

#[async_trait]
impl Store for Away {
    async fn get_within(&self, path: &StorePath, _: u64) -> Result<Option<Object>, StoreError> {
        unanswered("read", path.as_str())
    }

    async fn create_with(
        &self,
        path: &StorePath,
        _: &[u8],
        _: &Metadata,
    ) -> Result<Etag, StoreError> {
        unanswered("create", path.as_str())
    }

    async fn replace_with(
        &self,
        path: &StorePath,
        _: &[u8],
        _: &Metadata,
        _: &Etag,
    ) -> Result<Etag, StoreError> {
        unanswered("replace", path.as_str())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        unanswered("list", prefix)
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        unanswered("delete", path.as_str())
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Publishes a module beside what acts.
async fn publish(registry: &Registry, keys: &Keys, version: &str) -> Digest {
    let module = MadeModule::new(Kind::Good, version);
    let (bytes, keyring) = (module.bytes(), keys.keyring());
    let envelope = statement(&bytes, &module.manifest()).sign(&keys.retrainer);
    let author = author(keys, &keyring);
    registry.publish(&bytes, &envelope, &name("stable"), &author).await.unwrap();
    Digest::of(&bytes)
}

fn author<'a>(keys: &'a Keys, keyring: &'a twinge_trust::Keyring) -> Author<'a> {
    Author {
        key: &keys.promoter,
        keyring,
        now_ms: SystemClock::new().now_ms(),
        lifetime_ms: 86_400_000,
        known: KnownSerial::Nothing,
        promoted: None,
    }
}

fn plan(root: &Path, keys: &Keys) -> Plan {
    let output = |file: &str| root.join(file).to_string_lossy().into_owned();
    Plan {
        detectors: vec![DetectorPlan {
            origin: Origin::Channel {
                registry: output("registry"),
                detector: name("test"),
                channel: name("stable"),
            },
            verdicts: output("verdicts.ndjson"),
            dead_letters: output("dead-letters.ndjson"),
            audits: None,
        }],
        anchor: Anchor::Keys(keys.keyring()),
        silence: SilenceSettings { enabled: false, ..SilenceSettings::default() },
        drift: DriftSettings { enabled: false, ..DriftSettings::default() },
        ..Plan::new(root.join("state"))
    }
}

/// Runs the program until it says what runs, or fails.
async fn run(plan: Plan, is_away: bool) -> Result<Report, AssemblyError> {
    let (surroundings, mut peeped) = tokio::sync::mpsc::channel(1);
    let extension = Some(Arc::new(Around { surroundings, is_away }) as Arc<_>);
    let (disk, clock) = (Arc::new(RealDisk), Arc::new(SystemClock::new()));
    let assembly = plan.assemble(disk, clock, TaskTracker::new(), extension).await?;
    let stop = CancellationToken::new();
    let running = TaskTracker::new().spawn(assembly.run(stop.clone()));
    let stops = async {
        let surroundings = peeped.recv().await.unwrap();
        while surroundings.reports.all().iter().all(|report| report.runners.is_empty()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stop.cancel();
    };
    let ended = async {
        tokio::pin!(running);
        tokio::select! {
            ended = &mut running => ended.unwrap(),
            () = stops => running.await.unwrap(),
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap()
}

#[tokio::test]
async fn a_module_beside_that_cannot_be_had_now_is_waited_for_and_one_that_is_gone_goes() {
    let (directory, keys) = (tempfile::tempdir().unwrap(), Keys::default());
    let root = directory.path();
    let registry = Registry::new(Arc::new(Directory::open(root.join("registry")).unwrap()));
    let first = publish(&registry, &keys, "1").await;
    let keyring = keys.keyring();
    let promoter = author(&keys, &keyring);
    registry.promote(&name("test"), &name("stable"), &first, &promoter).await.unwrap();
    let second = publish(&registry, &keys, "2").await;
    let report = run(plan(root, &keys), false).await.unwrap();
    assert_eq!(report.runners[0].candidate, Some(second));

    // It is not in the cache any more, and the registry does not answer for a while.
    let kept = root.join(format!("state/modules/modules/{second}.wasm"));
    std::fs::remove_file(&kept).unwrap();
    let error = run(plan(root, &keys), true).await.unwrap_err();
    assert!(matches!(&error, AssemblyError::Module(error) if error.may_pass()), "{error:?}");
    let report = run(plan(root, &keys), false).await.unwrap();
    assert_eq!(report.runners[0].candidate, Some(second), "it is still there");

    // Nobody has it any more.
    std::fs::remove_file(&kept).unwrap();
    std::fs::remove_file(root.join(format!("registry/modules/{second}.wasm"))).unwrap();
    let report = run(plan(root, &keys), false).await.unwrap();
    assert_eq!((report.runners[0].champion, report.runners[0].candidate), (first, None));
}
