//! Drift in a running program: told once where verdicts go, in figures and in reports, over a restart,
//! and its end.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_contract::schema::Schema;
use twinge_drift::DriftSettings;
use twinge_fit::read::{Format, RowReader};
use twinge_fit::{Config, Table, train};
use twinge_platform::{Disk, SimulatedDisk, SystemClock};
use twinge_stream::assembly::{
    AssemblyError, DetectorPlan, Extension, Input, Origin, Plan, Surroundings,
};
use twinge_stream::device::DevicePlan;
use twinge_stream::pump::{Report, Settings};
use twinge_stream::silence::SilenceSettings;
use twinge_trust::Anchor;

const VERDICTS: &str = "/out/verdicts.ndjson";
const PATIENCE: Duration = Duration::from_mins(1);
const SEED: u64 = 21;

/// Hands out what a program lets an extension see.
#[derive(Debug)]
struct Peep(tokio::sync::mpsc::UnboundedSender<Surroundings>);

impl Extension for Peep {
    fn start(&self, surroundings: Surroundings) {
        self.0.send(surroundings).unwrap();
    }
}

/// Rows of two numbers and a colour.
struct Rows(twinge_fit::random::Random);

impl Rows {
    fn next(&mut self, shift: f64) -> (f64, f64, &'static str) {
        let colour = ["red", "green", "blue"][self.0.below(3) as usize];
        (self.0.normal() + shift, self.0.normal(), colour)
    }
}

fn module(rows: &mut Rows, path: &Path) {
    let schema = Schema {
        numeric: vec!["a".into(), "b".into()],
        categorical: vec!["colour".into()],
        ..Schema::default()
    };
    let mut csv = "a,b,colour\n".to_owned();
    for _ in 0..8000 {
        let (a, b, colour) = rows.next(0.0);
        writeln!(csv, "{a},{b},{colour}").unwrap();
    }
    let config = Config {
        name: "d".into(),
        version: "1".into(),
        schema: schema.clone(),
        ..Config::default()
    };
    let reader = RowReader::new(csv.as_bytes(), Format::Csv, &schema).unwrap();
    let table = Table::read(reader, |_| {}).unwrap();
    let trained = train(&table, &config.check().unwrap(), SEED, &mut |_| true).unwrap();
    std::fs::write(path, trained.module).unwrap();
}

fn plan(directory: &Path) -> Plan {
    Plan {
        state: directory.join("state"),
        detectors: vec![DetectorPlan {
            origin: Origin::File(directory.join("module.wasm")),
            verdicts: VERDICTS.into(),
            dead_letters: "/out/dead.ndjson".into(),
            audits: None,
        }],
        anchor: Anchor::default(),
        allow_unsigned: true,
        allow_native: false,
        compile_verb: None,
        input: Input::Pushed,
        listen: None,
        settings: Settings {
            batch_rows_max: 256,
            checkpoint_interval: Duration::from_millis(50),
            ..Settings::default()
        },
        entities_max: None,
        deadline: Duration::from_secs(5),
        poll: Duration::from_secs(5),
        report: Duration::from_mins(1),
        device: DevicePlan::default(),
        fields: None,
        rights: None,
        #[cfg(feature = "adls")]
        desk: None,
        journal_bytes_max: 64 << 20,
        silence: SilenceSettings { enabled: false, ..SilenceSettings::default() },
        // Of events that come as fast as they can be sent, all are looked at.
        labels: None,
        drift: DriftSettings { rate_max: 1_000_000, ..DriftSettings::default() },
    }
}

struct Program {
    surroundings: Surroundings,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<Report, AssemblyError>>,
    disk: SimulatedDisk,
}

impl Program {
    async fn start(directory: &Path, disk: &SimulatedDisk) -> Self {
        let (sender, mut peeped) = tokio::sync::mpsc::unbounded_channel();
        let extension = Some(Arc::new(Peep(sender)) as Arc<_>);
        let simulated: Arc<dyn Disk> = Arc::new(disk.clone());
        let (clock, tracker) = (Arc::new(SystemClock::new()), TaskTracker::new());
        let assembly = plan(directory).assemble(simulated, clock, tracker, extension);
        let assembly = assembly.await.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(assembly.run(stop.clone()));
        let surroundings = peeped.recv().await.unwrap();
        Self { surroundings, stop, running, disk: disk.clone() }
    }

    /// Sends events, and waits until they have verdicts.
    async fn send(&self, rows: &mut Rows, count: usize, shift: f64) {
        let wanted = self.lines("verdict.v1").len() + count;
        let event = |(a, b, colour): (f64, f64, &str)| {
            let bytes = format!("{{\"a\":{a},\"b\":{b},\"colour\":\"{colour}\"}}").into_bytes();
            twinge_stream::Incoming { attributes: None, bytes }
        };
        let events: Vec<_> = (0..count).map(|_| event(rows.next(shift))).collect();
        let intake = self.surroundings.intake.clone().unwrap();
        intake.accept_patiently(events, "test").await.unwrap();
        let began = Instant::now();
        while self.lines("verdict.v1").len() < wanted {
            assert!(began.elapsed() < PATIENCE, "no verdicts came");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn lines(&self, kind: &str) -> Vec<Value> {
        let bytes = self.disk.read(&PathBuf::from(VERDICTS)).unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap();
        let wanted = format!("io.twinge.{kind}");
        text.lines()
            .filter(|line| line.contains(&wanted))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn drifts(&self) -> Vec<String> {
        let reports = self.surroundings.reports.all();
        reports.into_iter().flat_map(|report| report.drifts).map(|(_, drift)| drift.field).collect()
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drift_is_told_once_over_a_restart_and_so_is_its_end() {
    println!("seed {SEED}");
    let directory = tempfile::tempdir().unwrap();
    let disk = SimulatedDisk::new(SEED);
    let mut rows = Rows(twinge_fit::random::Random::new(SEED, 1));
    module(&mut rows, &directory.path().join("module.wasm"));
    let program = Program::start(directory.path(), &disk).await;
    program.send(&mut rows, 4000, 0.0).await;
    assert_eq!(program.lines("drift.v1"), Vec::<Value>::new());
    program.send(&mut rows, 4000, 1.0).await;
    let told = program.lines("drift.v1");
    // Scores of shifted rows drift along, and are told by themselves.
    let of_a: Vec<&Value> = told.iter().filter(|one| one["subject"] == "a").collect();
    let [drift] = of_a.as_slice() else { panic!("one is told: {told:?}") };
    let data = &drift["data"];
    assert_eq!(drift["source"], "/twinge/d");
    assert_eq!((&data["verdict"], &data["severity"]), (&"drift-begins".into(), &"medium".into()));
    assert_eq!((&data["of"], &data["against"]), (&"input".into(), &"training".into()));
    assert!(data["value"].as_f64() > data["threshold"].as_f64() && data["window_events"].is_f64());
    assert!(told.iter().all(|one| one["subject"] != "b" && one["subject"] != "colour"));
    assert!(program.drifts().contains(&"a".to_owned()));
    let metrics = program.surroundings.metrics.render();
    for part in [
        "twinge_drift_psi{detector=\"d\",field=\"a\",partition=",
        "twinge_drift_ks{detector=\"d\",field=\"b\"",
        "twinge_drift_js{",
        "twinge_drift_missing_share{",
        "twinge_drift_unseen_share{",
        "twinge_verdict_rate{",
        "twinge_late_verdict_share{",
        "twinge_drift_active{",
        "twinge_drift_alarms_total{",
    ] {
        assert!(metrics.contains(part), "{part} is not in\n{metrics}");
    }
    println!("{}", serde_json::to_string(drift).unwrap());
    let count = told.len();
    program.end().await;

    let program = Program::start(directory.path(), &disk).await;
    program.send(&mut rows, 1000, 1.0).await;
    assert!(program.drifts().contains(&"a".to_owned()), "it goes on after a restart");
    assert_eq!(program.lines("drift.v1").len(), count, "and is not told again");
    program.send(&mut rows, 8000, 0.0).await;
    let told = program.lines("drift.v1");
    let ended = told.iter().filter(|one| one["data"]["verdict"] == "drift-ends").count();
    assert_eq!((ended, told.len(), program.drifts().len()), (count, 2 * count, 0), "{told:?}");
    program.end().await;
}
