//! `cargo xtask bench host`: the host as a whole, on one core: from a file of events to a file of
//! verdicts, how that grows with events and entities, what an entity takes, how long the first verdict
//! takes after a start, and what the host adds to an event that comes by HTTP.

use super::peers::Peers;
use super::report;
use super::stream::{self, Latencies};
use crate::run::{cargo, output, print, root, succeed, tell};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Measure the host.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Events of the longest run.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Entities of the largest run.
    #[arg(long, default_value_t = 1_000_000)]
    entities: u64,
    /// Runs of each, of which the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Events by HTTP, and how many a second.
    #[arg(long, default_value_t = 10_000)]
    requests: u64,
    /// Events a second by HTTP.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Leave docs/benchmarks.md as it is.
    #[arg(long)]
    dry_run: bool,
}

/// Entities that a usual run has.
const ENTITIES: u64 = 10_000;
/// The core that everything runs on.
const CORE: &str = "0";
/// Longest that a run may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// `cargo xtask bench host`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    tell("Building the programs with optimisation ...");
    let build = ["build", "--quiet", "--release", "--package", "host", "--package", "trainer"];
    succeed(&mut cargo(build))?;
    let bench = Bench::prepare()?;
    let mut page = String::new();
    bench.throughput(arguments, &mut page)?;
    bench.entities(arguments, &mut page)?;
    bench.rows(arguments, &mut page)?;
    bench.first_verdict(arguments, &mut page)?;
    bench.latency(arguments, &mut page)?;
    print(&page);
    if arguments.dry_run { Ok(()) } else { report::put("host", &page) }
}

/// Programs, modules and a place for files.
pub(super) struct Bench {
    bin: PathBuf,
    directory: PathBuf,
}

/// One run of the host over a file.
#[derive(Clone, Copy, Debug)]
struct Run {
    seconds: f64,
    /// Largest memory that the process had, in bytes.
    memory: u64,
}

/// What a file of events has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) events: u64,
    pub(super) entities: u64,
    pub(super) fields: usize,
}

impl Bench {
    pub(super) fn prepare() -> Result<Self> {
        let directory = root().join("target/bench-host");
        fs::create_dir_all(&directory)?;
        let this = Self { bin: root().join("target/release"), directory };
        this.train("forest", 16, 100)?;
        this.train("small", 10, 10)?;
        Ok(this)
    }

    /// A forest on numbers as they are, of events of many entities.
    fn train(&self, name: &str, fields: usize, trees: u32) -> Result<()> {
        let names: Vec<String> = (0..fields).map(|field| format!("\"x{field}\"")).collect();
        let config = format!(
            "name = \"{name}\"\n[schema]\nentity = \"device\"\ntime = \"time\"\ntime_format = \"epoch-ms\"\nnumeric = [{}]\n\
             [features]\nnumeric = [\"value\"]\ntime = []\n\
             [detector]\nkind = \"isolation-forest\"\ntrees = {trees}\nsample_rows = 256\n\
             [threshold]\nfalse_alarm_rate = 0.001\n[stream]\nwarm_up_events = 0\n",
            names.join(", ")
        );
        fs::write(self.path(&format!("{name}.toml")), config)?;
        let data = self.events(Shape { events: 20_000, entities: 500, fields })?;
        let mut train = Command::new(self.bin.join("trainer"));
        train.args(["train", "--unsigned", "--data"]).arg(data).arg("--config");
        train.arg(self.path(&format!("{name}.toml"))).arg("--out").arg(self.module(name));
        output(&mut train).map(drop)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn module(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.wasm"))
    }

    /// A file of events, which is kept for the next time.
    pub(super) fn events(&self, shape: Shape) -> Result<PathBuf> {
        let Shape { events, entities, fields } = shape;
        let path = self.path(&format!("{events}-{entities}-{fields}.ndjson"));
        if !path.is_file() {
            let part = path.with_extension("part");
            let mut file = BufWriter::new(File::create(&part)?);
            let mut numbers = Numbers(events ^ entities);
            let mut line = String::new();
            for event in 0..events {
                stream::write_event(&mut line, event, numbers.next() % entities, fields, || {
                    numbers.normal()
                })?;
                file.write_all(line.as_bytes())?;
            }
            file.flush()?;
            fs::rename(part, &path)?;
        }
        Ok(path)
    }

    /// A host on one core, from a state that it does not have yet.
    pub(super) fn host(&self, module: &Path, state: &Path) -> Command {
        let mut host = Command::new("taskset");
        host.args(["-c", CORE]).arg(self.bin.join("host"));
        host.args(["--allow-unsigned", "--entities-max", "1100000", "--module"]).arg(module);
        host.arg("--state").arg(state).arg("--verdicts").arg(self.path("verdicts.ndjson"));
        host.arg("--dead-letters").arg(self.path("dead-letters.ndjson"));
        host.env("RUST_LOG", "warn").stdin(Stdio::null());
        host
    }

    fn fresh(&self) -> PathBuf {
        let state = self.path("state");
        drop(fs::remove_dir_all(&state));
        drop(fs::remove_file(self.path("verdicts.ndjson")));
        state
    }

    fn replay(&self, module: &str, shape: Shape) -> Result<Run> {
        let events = self.events(shape)?;
        let mut host = self.host(&self.module(module), &self.fresh());
        let began = Instant::now();
        let mut host = host.arg("--replay").arg(events).spawn().context("taskset cannot start")?;
        let mut memory = 0;
        loop {
            memory = memory.max(resident(host.id()).unwrap_or(0));
            if let Some(status) = host.try_wait()? {
                ensure!(status.success(), "the host ended with {status}");
                break;
            }
            if began.elapsed() > PATIENCE {
                host.kill()?;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let seconds = began.elapsed().as_secs_f64();
        let verdicts = fs::read(self.path("verdicts.ndjson"))?;
        let lines = verdicts.split(|byte| *byte == b'\n').count() as u64 - 1;
        ensure!(lines == shape.events, "{} events gave {lines} verdicts", shape.events);
        Ok(Run { seconds, memory })
    }

    fn median(&self, module: &str, shape: Shape, rounds: usize) -> Result<Run> {
        let mut runs: Vec<Run> =
            (0..rounds).map(|_| self.replay(module, shape)).collect::<Result<_>>()?;
        runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        Ok(runs[rounds / 2])
    }

    fn throughput(&self, arguments: &Arguments, page: &mut String) -> Result<()> {
        let Arguments { events, rounds, .. } = *arguments;
        let line = |name: &str, shape: Shape, run: Run| {
            let Shape { events, entities, fields } = shape;
            let rate = events as f64 / run.seconds;
            format!("| {name}, {fields} numbers, {entities} entities | {rate:.0} events/s |\n")
        };
        page.push_str("| from a file of events to a file of verdicts, one core | |\n|---|---|\n");
        for (name, module, fields) in
            [("forest of 100 trees", "forest", 16), ("forest of 10 trees", "small", 10)]
        {
            tell(&format!("{name} ..."));
            let shape = Shape { events, entities: ENTITIES, fields };
            let run = self.median(module, shape, rounds)?;
            page.push_str(&line(name, shape, run));
            if module == "small" {
                tell("River's half-space trees ...");
                let place = root().join("target/bench-peers/f100-16");
                let mut peers = Peers::start(&place, 100, 16)?.map_err(anyhow::Error::msg)?;
                let river = peers.river()?;
                let times = events as f64 / run.seconds / river;
                writeln!(
                    page,
                    "| River, half-space trees, 10 of height 8, 10 numbers, JSON in and out | {river:.0} \
                     events/s: the row above is {times:.0} times as fast |"
                )?;
            }
        }
        page.push('\n');
        Ok(())
    }

    fn entities(&self, arguments: &Arguments, page: &mut String) -> Result<()> {
        page.push_str("| entities | µs an event | times as with the fewest | largest memory |\n|---|---|---|---|\n");
        let (mut first, mut measured) = (None, Vec::new());
        let mut entities = 1000;
        while entities <= arguments.entities {
            tell(&format!("{entities} entities ..."));
            let shape = Shape { events: arguments.events, entities, fields: 16 };
            let run = self.median("forest", shape, arguments.rounds)?;
            let cost = run.seconds * 1e6 / arguments.events as f64;
            let times = cost / *first.get_or_insert(cost);
            let megabytes = run.memory as f64 / 1e6;
            writeln!(page, "| {entities} | {cost:.2} | {times:.2} | {megabytes:.0} MB |")?;
            measured.push((distinct(shape), run.memory));
            entities *= 10;
        }
        let ((few, least), (many, most)) = (measured[0], measured[measured.len() - 1]);
        let each = (most as f64 - least as f64) / (many - few).max(1.0);
        writeln!(
            page,
            "\nAn entity takes {each:.0} bytes, by the difference of the last row and the first.\n"
        )?;
        Ok(())
    }

    fn rows(&self, arguments: &Arguments, page: &mut String) -> Result<()> {
        let shape = |events| Shape { events, entities: ENTITIES, fields: 16 };
        let start = self.median("forest", shape(1), arguments.rounds)?.seconds;
        let mut points = Vec::new();
        page.push_str("| events | seconds, less the start |\n|---|---|\n");
        for part in [8, 4, 2, 1] {
            let events = arguments.events / part;
            let seconds = self.median("forest", shape(events), arguments.rounds)?.seconds - start;
            writeln!(page, "| {events} | {seconds:.2} |")?;
            points.push((events as f64, seconds));
        }
        writeln!(page, "\nSlope on logarithms: {:.2}.\n", report::slope(&points))?;
        Ok(())
    }

    /// From the start of the process to the first verdict in its file, the module being known.
    fn first_verdict(&self, arguments: &Arguments, page: &mut String) -> Result<()> {
        tell("starting ...");
        let mut times = Vec::new();
        for _ in 0..arguments.rounds.max(7) {
            times.push(stream::first_verdict(self)?);
        }
        times.sort();
        let middle = times[times.len() / 2].as_secs_f64() * 1e3;
        writeln!(
            page,
            "From the start of the process to the first verdict, with the module's code kept from before: {middle:.0} ms.\n"
        )?;
        Ok(())
    }

    fn latency(&self, arguments: &Arguments, page: &mut String) -> Result<()> {
        tell("events by HTTP ...");
        let Latencies { median, most_of, worst } =
            stream::latencies(self, &self.fresh(), arguments.requests, arguments.rate)?;
        writeln!(
            page,
            "From sending an event by HTTP to its verdict in the file, at {} events a second, one a request: median {median:.1} ms, p99 {most_of:.1} ms, worst {worst:.1} ms. The event is on the disk before it is answered.\n",
            arguments.rate
        )?;
        Ok(())
    }
}

/// Entities that a file of so many events drawn at random has, as is expected.
fn distinct(shape: Shape) -> f64 {
    let entities = shape.entities as f64;
    entities * (1.0 - (-(shape.events as f64) / entities).exp())
}

/// Bytes of memory that a process has.
fn resident(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Numbers that look random and are the same each time (Steele, Lea and Flood, OOPSLA 2014).
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A sum of twelve: near enough to normal.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}
