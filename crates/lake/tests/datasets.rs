//! Datasets are fixed: made twice they are the same bytes, and a sample of one is the same rows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::Arc;
use twinge_lake::dataset::{Names, Sample, SampleSettings, Strata};
use twinge_lake::{Dataset, Fields, Lake, LakeError, Place, Range, Row, Settings, Writer};
use twinge_registry::{MemoryStore, Store, StorePath};

const MINUTE_MS: i64 = 60_000;

fn row(partition: u64, offset: u64) -> Row {
    let (bad, flagged) = (offset % 50 == 7, offset % 40 == 3);
    let amount = if offset % 100 == 9 { 1e9 } else { (offset % 20) as f64 + 1.0 };
    Row {
        offset,
        ingested_ms: offset.cast_signed() * MINUTE_MS,
        time_ms: Some(offset.cast_signed() * MINUTE_MS),
        entity: (!bad).then(|| format!("e{}", (offset + partition) % 30)),
        id: format!("{partition}-{offset}"),
        verdict: if bad { "dead-letter" } else { "normal" }.into(),
        score: Some(0.5),
        severity: Some(if flagged { "high" } else { "none" }.into()),
        reason: bad.then(|| "no-entity".into()),
        event: format!("{{\"n\":{offset},\n\"p\":{partition}}}").into_bytes(),
        numbers: vec![amount],
        categories: vec![(offset.is_multiple_of(2)).then(|| "even".into())],
        ..Row::default()
    }
}

async fn filled(rolls: u64) -> (Arc<MemoryStore>, Lake) {
    let store = Arc::new(MemoryStore::default());
    let lake = Lake::new(store.clone());
    let fields =
        Arc::new(Fields { numeric: vec!["amount".into()], categorical: vec!["kind".into()] });
    for partition in 0..2 {
        let place = Place { source: "s".into(), partition: partition.to_string() };
        let settings = Settings { roll_rows: rolls, ..Settings::default() };
        let mut writer = Writer::open(lake.clone(), settings, "d", place).await.unwrap();
        for offset in 0..1000 {
            writer.push(&fields, row(partition, offset));
            if offset % 50 == 49 {
                writer.stage(0).await.unwrap();
                writer.roll_if_due(0).await.unwrap();
            }
        }
        writer.roll().await.unwrap();
    }
    (store, lake)
}

fn settings(strata: Strata) -> SampleSettings {
    SampleSettings {
        rows_max: 300,
        seed: 5,
        strata,
        anomalies: false,
        labels: BTreeMap::new(),
        names: Names::default(),
    }
}

async fn sample(dataset: &Dataset, lake: &Lake, settings: SampleSettings) -> String {
    let mut sample = Sample::new(settings);
    dataset.each_row(lake, |_, place, row| sample.add(place, row)).await.unwrap();
    String::from_utf8(sample.into_ndjson()).unwrap()
}

#[tokio::test]
async fn a_dataset_made_twice_has_the_same_digest_and_says_what_is_in_it() {
    let (_, lake) = filled(400).await;
    let range = Range { from_ms: 100 * MINUTE_MS, until_ms: 900 * MINUTE_MS };
    let first = Dataset::create(&lake, "d", range).await.unwrap();
    let second = Dataset::create(&lake, "d", range).await.unwrap();
    let digest = first.keep(&lake).await.unwrap();
    assert_eq!(digest, second.keep(&lake).await.unwrap());
    assert_eq!(Dataset::read(&lake, &digest).await.unwrap(), first);
    assert_eq!((first.rows, first.entities), (1568, 30));
    assert_eq!(first.quality.dead_letters["no-entity"], 32);
    assert_eq!(first.quality.out_of_range["amount"], 16);
    let amount = &first.statistics["amount"].numbers;
    assert_eq!((amount["min"], amount["max"]), (1.0, 1e9));
    assert!((9.5..=11.5).contains(&amount["p50"]), "{amount:?}");
    assert_eq!(first.statistics["kind"].categories["even"], 800);
    let findings = first.quality.findings.join("\n");
    assert!(findings.contains("`kind` is missing in 49.0 %"), "{findings}");
    assert!(findings.contains("32 events got no verdict: no-entity"), "{findings}");
}

#[tokio::test]
async fn a_sample_takes_whole_entities_or_hours_evenly_and_no_flagged_anomaly() {
    let (_, lake) = filled(400).await;
    let dataset = Dataset::create(&lake, "d", Range::ALL).await.unwrap();
    let whole =
        sample(&dataset, &lake, SampleSettings { rows_max: 10_000, ..settings(Strata::Entities) })
            .await;
    assert_eq!(whole.lines().count(), 2 * (1000 - 20 - 25));
    let entities = sample(&dataset, &lake, settings(Strata::Entities)).await;
    assert_eq!(entities, sample(&dataset, &lake, settings(Strata::Entities)).await);
    assert!((50..=300).contains(&entities.lines().count()), "{}", entities.lines().count());
    let taken = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    let number = |line: &String, name: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()[name].as_u64().unwrap()
    };
    let mut by_entity: BTreeMap<u64, usize> = BTreeMap::new();
    for line in taken(&entities) {
        *by_entity.entry((number(&line, "n") + number(&line, "p")) % 30).or_default() += 1;
    }
    for (entity, count) in by_entity {
        let all = taken(&whole)
            .iter()
            .filter(|line| (number(line, "n") + number(line, "p")) % 30 == entity)
            .count();
        assert_eq!(count, all, "entity {entity}");
    }
    let hours = sample(&dataset, &lake, settings(Strata::Hours(17))).await;
    let mut by_hour: BTreeMap<u64, usize> = BTreeMap::new();
    for line in taken(&hours) {
        *by_hour.entry(number(&line, "n") / 60).or_default() += 1;
    }
    assert!(by_hour.values().all(|count| *count == 17), "{by_hour:?}");
    assert_eq!(by_hour.len(), 17);
    // A false alarm comes back, and what was confirmed goes.
    let labels = BTreeMap::from([("0-3".to_owned(), false), ("0-4".to_owned(), true)]);
    let told = sample(
        &dataset,
        &lake,
        SampleSettings { rows_max: 10_000, labels, ..settings(Strata::Entities) },
    )
    .await;
    assert!(told.contains("{\"n\":3, \"p\":0}") && !told.contains("{\"n\":4, \"p\":0}"));
}

#[tokio::test]
async fn a_dataset_notices_that_a_file_of_it_has_changed() {
    let (store, lake) = filled(400).await;
    let dataset = Dataset::create(&lake, "d", Range::ALL).await.unwrap();
    let path = StorePath::new(&dataset.files[0].path).unwrap();
    store.delete(&path).await.unwrap();
    store.create(&path, b"something else").await.unwrap();
    let read = dataset.each_row(&lake, |_, _, _| {}).await;
    assert!(matches!(read, Err(LakeError::Altered { .. })), "{read:?}");
}
