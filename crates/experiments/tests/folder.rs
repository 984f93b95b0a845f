//! The folder of a registry as a tracker.

mod common;

use std::sync::Arc;

use twinge_experiments::{Folder, Registration, TrackError, Tracker};
use twinge_registry::{Directory, MemoryStore, Name, Store, StorePath};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

#[tokio::test]
async fn a_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn Store>; 2] = [
        Arc::new(MemoryStore::default()),
        Arc::new(Directory::open(folder.path().join("registry")).unwrap()),
    ];
    for store in stores {
        let tracker = Folder::new(store, "registry");
        common::check(&tracker, &name("pump"), &name("fan")).await;
    }
}

/// A crash between its files and the run leaves no run.
#[tokio::test]
async fn a_run_is_there_when_all_of_it_is() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let tracker = Folder::new(Arc::clone(&store), "registry");
    let (run, files) = common::run(&name("pump"), 1);
    let half = StorePath::new(&format!("experiments/pump/{}/detector.wasm", run.id)).unwrap();
    store.create(&half, &files[0].bytes).await.unwrap();
    assert_eq!(tracker.runs(&run.detector, 10).await.unwrap(), []);
    tracker.record(&run, &files).await.unwrap();
    assert_eq!(tracker.run(&run.detector, &run.id).await.unwrap(), Some(run.clone()));
    let mut other = run.clone();
    other.name = "another".into();
    let taken = tracker.record(&other, &files).await.unwrap_err();
    assert!(matches!(taken, TrackError::Taken { .. }), "{taken}");
}

#[tokio::test]
async fn garbage_is_told_by_its_path() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let tracker = Folder::new(Arc::clone(&store), "registry");
    let path = "experiments/pump/20260131T120000Z-0000000a.json";
    store.create(&StorePath::new(path).unwrap(), b"{\"id\":1}").await.unwrap();
    let error = tracker.runs(&name("pump"), 10).await.unwrap_err();
    assert!(error.to_string().contains(path), "{error}");
}

#[tokio::test]
async fn those_who_register_at_once_get_numbers_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Directory::open(folder.path()).unwrap());
    let tracker = Arc::new(Folder::new(store, "registry"));
    let mut set = tokio::task::JoinSet::new();
    for number in 0..4_u32 {
        let tracker = Arc::clone(&tracker);
        set.spawn(async move {
            let module_digest = format!("{number:064x}");
            let version = number.to_string();
            let registration = Registration { module_digest, version, run: None, now_ms: 0 };
            tracker.register(&name("pump"), &registration).await.unwrap()
        });
    }
    let mut numbers = set.join_all().await;
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4]);
}
