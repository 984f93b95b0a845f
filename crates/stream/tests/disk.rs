//! A disk that is full or read-only for a while: what was accepted is scored when it is back, nothing
//! is accepted that could be lost, and the program goes on by itself.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::naive_bytecount,
    reason = "a test that cannot go on fails, and counts a few lines"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_drift::DriftSettings;
use twinge_platform::{Disk, SimulatedDisk, SystemClock};
use twinge_stream::assembly::{AssemblyError, DetectorPlan, Input, Origin, Plan};
use twinge_stream::device::DevicePlan;
use twinge_stream::pump::{PumpError, Report, Reports, Settings};
use twinge_stream::silence::SilenceSettings;
use twinge_testkit::{Kind, MadeModule};
use twinge_trust::Anchor;

const VERDICTS: &str = "/out/verdicts.ndjson";
const PATIENCE: Duration = Duration::from_secs(30);

struct Program {
    _directory: TempDir,
    disk: SimulatedDisk,
    intake: twinge_stream::Intake,
    reports: Reports,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<Report, AssemblyError>>,
}

/// Hands out what a program lets an extension see.
#[derive(Debug)]
struct Peep(tokio::sync::mpsc::UnboundedSender<twinge_stream::assembly::Surroundings>);

impl twinge_stream::assembly::Extension for Peep {
    fn start(&self, surroundings: twinge_stream::assembly::Surroundings) {
        self.0.send(surroundings).unwrap();
    }
}

fn plan(directory: &Path) -> Plan {
    let module = directory.join("module.wasm");
    std::fs::write(&module, MadeModule::new(Kind::Good, "1").bytes()).unwrap();
    let outputs = (VERDICTS.to_owned(), "/out/dead.ndjson".to_owned());
    Plan {
        state: directory.join("state"),
        detectors: vec![DetectorPlan {
            origin: Origin::File(module),
            verdicts: outputs.0,
            dead_letters: outputs.1,
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
            sink_retry: Duration::MAX,
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
        labels: None,
        silence: SilenceSettings { enabled: false, ..SilenceSettings::default() },
        drift: DriftSettings { enabled: false, ..DriftSettings::default() },
    }
}

impl Program {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = SimulatedDisk::new(1);
        let (sender, mut peeped) = tokio::sync::mpsc::unbounded_channel();
        let extension = Some(Arc::new(Peep(sender)) as Arc<_>);
        let simulated: Arc<dyn Disk> = Arc::new(disk.clone());
        let clock = Arc::new(SystemClock::new());
        let tracker = TaskTracker::new();
        let assembly =
            plan(directory.path()).assemble(simulated, clock, tracker, extension).await.unwrap();
        let stop = CancellationToken::new();
        let until = stop.clone();
        let running = tokio::spawn(assembly.run(until));
        let surroundings = peeped.recv().await.unwrap();
        let intake = surroundings.intake.clone().unwrap();
        let reports = surroundings.reports.clone();
        Self { _directory: directory, disk, intake, reports, stop, running }
    }

    async fn send(&self, number: usize) -> Result<usize, twinge_stream::IntakeError> {
        let bytes = format!("{{\"entity\":\"e{number}\",\"x\":0.5}}").into_bytes();
        self.intake.accept(vec![twinge_stream::Incoming { attributes: None, bytes }]).await
    }

    fn verdicts(&self) -> usize {
        let bytes = self.disk.read(&PathBuf::from(VERDICTS)).unwrap_or_default();
        bytes.iter().filter(|byte| **byte == b'\n').count()
    }

    fn trouble(&self) -> Option<String> {
        self.reports.all().into_iter().find_map(|report| report.trouble)
    }

    async fn wait_for(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !condition(self) {
            assert!(began.elapsed() < PATIENCE, "waited for {what}: {:?}", self.reports.all());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn stop(self) -> Result<Report, AssemblyError> {
        self.stop.cancel();
        let Self { intake, running, .. } = self;
        drop(intake);
        tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_for() {
    let program = Program::start().await;
    program.send(0).await.unwrap();
    program.wait_for("the first verdict", |program| program.verdicts() == 1).await;
    // Room for a few events, and for none of their verdicts.
    program.disk.set_capacity(program.disk.used_bytes() + 300);
    program.send(1).await.unwrap();
    program.wait_for("trouble", |program| program.trouble().is_some()).await;
    let mut accepted = 2;
    while program.send(accepted).await.is_ok() {
        accepted += 1;
    }
    program.disk.set_capacity(u64::MAX);
    program.wait_for("all verdicts", |program| program.verdicts() == accepted).await;
    program.wait_for("the end of trouble", |program| program.trouble().is_none()).await;
    program.send(accepted).await.unwrap();
    program.wait_for("the last verdict", |program| program.verdicts() == accepted + 1).await;
    program.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_turns_read_only_takes_nothing_and_stops_nothing() {
    let program = Program::start().await;
    program.send(0).await.unwrap();
    program.wait_for("the first verdict", |program| program.verdicts() == 1).await;
    program.disk.set_read_only(true);
    assert!(program.send(1).await.is_err());
    program.disk.set_read_only(false);
    program.send(1).await.unwrap();
    program.wait_for("the second verdict", |program| program.verdicts() == 2).await;
    program.disk.set_read_only(true);
    // Told to stop while nothing can be written, it ends all the same, and says what was not.
    let error = program.stop().await.unwrap_err();
    assert!(matches!(error, AssemblyError::Pump(PumpError::Stopped(_))), "{error}");
}
