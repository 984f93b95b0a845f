//! Every row once, whatever breaks between any two writes, and whoever else writes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use async_trait::async_trait;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use twinge_lake::{Fields, Lake, Place, Range, Row, Settings, Writer};
use twinge_registry::{Etag, MemoryStore, Metadata, Object, Store, StoreError, StorePath};

const HOUR_MS: i64 = 3_600_000;

/// A store that fails for good after so many writes, as a process does that is killed.
#[derive(Debug)]
struct Mortal {
    store: Arc<MemoryStore>,
    writes_left: AtomicU64,
}

impl Mortal {
    fn write(&self) -> Result<(), StoreError> {
        let left = self
            .writes_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(|_| ()).map_err(|_none_left| StoreError::Malformed { path: "killed".into() })
    }
}

#[async_trait]
impl Store for Mortal {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        self.store.get_within(path, bytes_max).await
    }
    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        self.write()?;
        self.store.create_with(path, bytes, metadata).await
    }
    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        self.write()?;
        self.store.replace_with(path, bytes, metadata, expected).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        self.store.list(prefix).await
    }
    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.write()?;
        self.store.delete(path).await
    }
}

fn place() -> Place {
    Place { source: "a hub".into(), partition: "3".into() }
}

/// The event at an offset; a new module with another schema acts from offset 300 on.
fn event(offset: u64) -> (Arc<Fields>, Row) {
    let numeric =
        if offset < 300 { vec!["x".to_owned()] } else { vec!["x".to_owned(), "hour".to_owned()] };
    let fields = Fields { numeric, categorical: vec!["kind".into()] };
    let row = Row {
        offset,
        ingested_ms: 1_000 * offset.cast_signed(),
        time_ms: (!offset.is_multiple_of(17)).then_some((offset.cast_signed() % 5) * HOUR_MS),
        entity: Some(format!("e{}", offset % 3)),
        id: format!("id-{offset}"),
        verdict: "normal".into(),
        score: Some(offset as f64 / 7.0),
        event: if offset.is_multiple_of(13) {
            vec![0xff, 1]
        } else {
            format!("{{\"x\":{offset}}}").into_bytes()
        },
        numbers: vec![offset as f64; fields.numeric.len()],
        categories: vec![(offset.is_multiple_of(2)).then(|| "even".to_owned())],
        ..Row::default()
    };
    (Arc::new(fields), row)
}

/// Writes from where a checkpoint stands to `end`, with a checkpoint every `step` events, until it
/// is done or killed; gives the offset of the last checkpoint.
async fn run(store: Arc<dyn Store>, checkpoint: u64, end: u64, step: u64) -> u64 {
    let settings = Settings { roll_rows: 3 * step, ..Settings::default() };
    let opened = Writer::open(Lake::new(store), settings, "d", place()).await;
    let Ok(mut writer) = opened else { return checkpoint };
    let mut done = checkpoint;
    for offset in checkpoint..end {
        let (fields, row) = event(offset);
        writer.push(&fields, row);
        if (offset + 1).is_multiple_of(step) || offset + 1 == end {
            if writer.stage(0).await.is_err() || writer.roll_if_due(0).await.is_err() {
                return done;
            }
            done = offset + 1;
        }
    }
    if writer.roll().await.is_ok() { done } else { done.min(end - 1) }
}

async fn assert_once(store: Arc<MemoryStore>, end: u64, what: &str) {
    let lake = Lake::new(store.clone());
    let mut rows = Vec::new();
    let files = lake.files("d", Range::ALL).await.unwrap();
    for file in &files {
        for row in lake.rows(file).await.unwrap() {
            let (at, row) = row.unwrap();
            assert_eq!(at, place());
            assert!(file.first_ms <= row.time_ms.unwrap_or(row.ingested_ms));
            rows.push(row);
        }
    }
    rows.sort_by_key(|row| row.offset);
    let expected: Vec<Row> = (0..end).map(|offset| event(offset).1).collect();
    assert_eq!(rows.len(), expected.len(), "{what}");
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(row, expected, "{what}");
    }
    // What is not listed does not lie where readers look.
    let lying = store.list("detector=d").await.unwrap();
    let lying: Vec<&str> = lying.iter().map(StorePath::as_str).collect();
    let listed: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(lying, listed, "{what}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, rng_seed: RngSeed::Fixed(8), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_row_is_there_once_however_often_the_writer_is_killed(
        kills in proptest::collection::vec(1u64..60, 0..12),
        step in 5u64..60,
    ) {
        const END: u64 = 600;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = Arc::new(MemoryStore::default());
            let mut checkpoint = 0;
            for writes in &kills {
                let mortal = Mortal { store: store.clone(), writes_left: AtomicU64::new(*writes) };
                checkpoint = run(Arc::new(mortal), checkpoint, END, step).await;
            }
            run(store.clone(), checkpoint, END, step).await;
            assert_once(store, END, &format!("kills after {kills:?} writes, checkpoints every {step}")).await;
        });
    }
}

#[tokio::test]
async fn of_two_that_believe_to_own_a_partition_one_lists_each_row() {
    let store = Arc::new(MemoryStore::default());
    let settings = Settings { roll_rows: 40, ..Settings::default() };
    let open = || Writer::open(Lake::new(store.clone()), settings, "d", place());
    let (mut old, mut new) = (open().await.unwrap(), open().await.unwrap());
    for offset in 0..200 {
        for (writer, step) in [(&mut old, 25), (&mut new, 40)] {
            let (fields, row) = event(offset);
            writer.push(&fields, row);
            if (offset + 1) % step == 0 {
                writer.stage(0).await.unwrap();
                writer.roll_if_due(0).await.unwrap();
            }
        }
    }
    old.roll().await.unwrap();
    new.roll().await.unwrap();
    assert_once(store, 200, "two writers").await;
}

/// A store in which another writer opens the partition just before a roll is listed.
#[derive(Debug)]
struct Meddling {
    store: Arc<MemoryStore>,
    meddled: AtomicU64,
}

#[async_trait]
impl Store for Meddling {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        self.store.get_within(path, bytes_max).await
    }
    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        if path.as_str().starts_with("_manifest/") {
            self.meddled.fetch_add(1, Ordering::SeqCst);
            let lake = Lake::new(self.store.clone());
            Writer::open(lake, Settings::default(), "d", place()).await.unwrap();
        }
        self.store.create_with(path, bytes, metadata).await
    }
    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        self.store.replace_with(path, bytes, metadata, expected).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        self.store.list(prefix).await
    }
    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.store.delete(path).await
    }
}

#[tokio::test]
async fn who_opens_a_partition_takes_no_file_from_a_roll_that_is_about_to_be_listed() {
    let store = Arc::new(MemoryStore::default());
    let meddling = Arc::new(Meddling { store: store.clone(), meddled: AtomicU64::new(0) });
    run(meddling.clone(), 0, 600, 20).await;
    assert!(meddling.meddled.load(Ordering::SeqCst) > 3);
    assert_once(store, 600, "opened while it rolls").await;
}

#[tokio::test]
async fn compaction_changes_no_row_and_expiry_takes_whole_days() {
    let store = Arc::new(MemoryStore::default());
    run(store.clone(), 0, 600, 20).await;
    let lake = Lake::new(store.clone());
    let kept = lake.compact("d", i64::MAX).await.unwrap();
    assert!(kept.files_after < kept.files_before && kept.files_after <= 12, "{kept:?}");
    assert_once(store.clone(), 600, "compacted").await;
    assert_eq!(lake.compact("d", i64::MAX).await.unwrap().rows, 0);
    assert!(lake.expire("d", "tomorrow").await.is_err());
    assert_eq!(lake.expire("d", "1970-01-01").await.unwrap().rows, 0);
    let kept = lake.expire("d", "1970-01-02").await.unwrap();
    assert_eq!((kept.rows, kept.files_after), (600, 0));
    assert!(lake.files("d", Range::ALL).await.unwrap().is_empty());
    assert!(store.list("detector=d").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_file_that_was_altered_or_taken_away_is_told() {
    let store = Arc::new(MemoryStore::default());
    run(store.clone(), 0, 60, 20).await;
    let lake = Lake::new(store.clone());
    let file = lake.files("d", Range::ALL).await.unwrap().remove(0);
    let path = StorePath::new(&file.path).unwrap();
    store.delete(&path).await.unwrap();
    let gone = lake.rows(&file).await.unwrap_err();
    assert!(gone.to_string().contains("is listed and not there"), "{gone}");
    store.create(&path, b"PAR1, and nothing else").await.unwrap();
    let altered = lake.rows(&file).await.unwrap_err();
    assert!(altered.to_string().contains("was listed with"), "{altered}");
}
