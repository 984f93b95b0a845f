//! What every tracker must do, whichever it is.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use twinge_experiments::{
    Alias, AliasRole, Artifact, File, Lineage, Metric, Registration, Run, RunId, Status,
    TrackError, Tracker,
};
use twinge_registry::Name;

const BEGAN_MS: i64 = 1_769_860_800_000;

/// A run that uses everything a run can have.
pub(crate) fn run(detector: &Name, number: u32) -> (Run, Vec<File>) {
    let metric = |name: &str, step, value| Metric { name: name.into(), step, value };
    let files = vec![
        File { path: "detector.wasm".into(), bytes: (0..=255).cycle().take(70_000).collect() },
        File { path: "plots/scores.svg".into(), bytes: b"<svg>\xc3\xa4</svg>".to_vec() },
        File { path: "report.html".into(), bytes: b"<!doctype html>".to_vec() },
    ];
    let started_ms = BEGAN_MS + i64::from(number) * 60_000;
    let run = Run {
        id: RunId::new(started_ms, number),
        name: format!("{detector} run {number}, by hand"),
        detector: detector.clone(),
        started_ms,
        ended_ms: started_ms + 5_250,
        status: if number.is_multiple_of(2) { Status::Finished } else { Status::Failed },
        parameters: [("seed", "7"), ("detector.kind", "isolation-forest + \"tails\", 'ö'")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        metrics: vec![
            metric("auc_roc", 0, 0.5),
            metric("auc_roc", 1, 0.1 + 0.2),
            metric("auc_roc", 10, -1e-9),
            metric("champion/recall", 0, f64::from(number)),
        ],
        tags: [("reason".to_owned(), "drift".to_owned())].into(),
        lineage: Lineage {
            data_digest: "ab".repeat(32),
            rows: 20_000,
            config_digest: "cd".repeat(32),
            seed: u64::MAX,
            runtime_digest: "ef".repeat(32),
            module_digest: Some("01".repeat(32)),
            champion_digest: None,
        },
        artifacts: files
            .iter()
            .map(|file| Artifact { path: file.path.clone(), bytes: file.bytes.len() as u64 })
            .collect(),
    };
    (run, files)
}

/// The contract, for detectors that nobody has used yet.
pub(crate) async fn check(tracker: &dyn Tracker, detector: &Name, empty: &Name) {
    check_runs(tracker, detector, empty).await;
    check_versions(tracker, detector, empty).await;
}

async fn check_runs(tracker: &dyn Tracker, detector: &Name, empty: &Name) {
    let absent = RunId::new(0, 0);
    assert_eq!(tracker.runs(empty, 10).await.unwrap(), []);
    assert_eq!(tracker.run(empty, &absent).await.unwrap(), None);
    for number in 0..4 {
        let (run, files) = run(detector, number);
        // The second time it is there already.
        for _ in 0..2 {
            assert_eq!(tracker.record(&run, &files).await.unwrap(), Vec::<String>::new());
        }
        assert_eq!(tracker.run(detector, &run.id).await.unwrap(), Some(run.clone()));
        for file in &files {
            let bytes = tracker.file(detector, &run.id, &file.path).await.unwrap();
            assert_eq!(bytes.as_ref(), Some(&file.bytes), "{}", file.path);
        }
        assert_eq!(tracker.file(detector, &run.id, "plots/none.svg").await.unwrap(), None);
        assert!(tracker.file(detector, &run.id, "../report.html").await.is_err());
    }
    assert_eq!(tracker.run(detector, &absent).await.unwrap(), None);
    let newest: Vec<Run> = [3, 2].map(|number| run(detector, number).0.summary()).into();
    assert_eq!(tracker.runs(detector, 2).await.unwrap(), newest);
    assert_eq!(tracker.runs(detector, 100).await.unwrap().len(), 4, "each was kept once");
    let (mut wrong, files) = run(detector, 9);
    wrong.metrics[0].value = f64::NAN;
    assert!(matches!(tracker.record(&wrong, &files).await, Err(TrackError::Run(_))));
    let (unlisted, _) = run(detector, 9);
    assert!(matches!(tracker.record(&unlisted, &[]).await, Err(TrackError::Files { .. })));
    assert_eq!(tracker.run(detector, &unlisted.id).await.unwrap(), None);
}

async fn check_versions(tracker: &dyn Tracker, detector: &Name, empty: &Name) {
    assert_eq!(tracker.model(empty).await.unwrap(), None);
    let (run, _) = run(detector, 0);
    let registration = |digest: &str, run: Option<RunId>| Registration {
        module_digest: digest.repeat(32),
        version: format!("2026-{digest}"),
        run,
        now_ms: BEGAN_MS,
    };
    let versions = [registration("0a", Some(run.id.clone())), registration("0b", None)];
    for (place, version) in versions.iter().enumerate() {
        for _ in 0..2 {
            assert_eq!(tracker.register(detector, version).await.unwrap(), place as u64 + 1);
        }
    }
    let stable: Name = "stable".parse().unwrap();
    let champion = Alias::new(AliasRole::Champion, &stable);
    let challenger = Alias::new(AliasRole::Challenger, &stable);
    let elsewhere = Alias::new(AliasRole::Champion, &"plant-2".parse().unwrap());
    let digest = |version: usize| Some(versions[version].module_digest.as_str());
    let moves = [
        (&champion, digest(0)),
        (&challenger, digest(1)),
        (&elsewhere, digest(0)),
        (&challenger, None),
        (&challenger, None),
        (&champion, digest(1)),
        (&champion, digest(1)),
    ];
    for (alias, digest) in moves {
        tracker.set_alias(detector, alias, digest).await.unwrap();
    }
    let unknown = tracker.set_alias(detector, &champion, Some(&"0c".repeat(32))).await;
    assert!(matches!(unknown, Err(TrackError::NoVersion { .. })), "{unknown:?}");
    let model = tracker.model(detector).await.unwrap().unwrap();
    assert_eq!(model.versions.len(), 2);
    assert_eq!(model.versions[0].run, Some(run.id));
    assert_eq!((&*model.versions[1].version, model.versions[1].run.as_ref()), ("2026-0b", None));
    assert_eq!(model.at(&champion).unwrap().module_digest, versions[1].module_digest);
    assert_eq!(model.at(&challenger), None);
    assert_eq!(model.aliases_of(1), ["champion-plant-2"]);
    // An alias of a detector that has no versions is gone already.
    tracker.set_alias(empty, &challenger, None).await.unwrap();
}
