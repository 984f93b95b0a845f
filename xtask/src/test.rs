//! `cargo xtask test`: everything that must pass, fast parts first.

use crate::demo;
use crate::devices;
use crate::documents;
use crate::fleet;
use crate::hubs::{self, peers};
use crate::infrastructure;
use crate::lake;
use crate::monitoring;
use crate::page;
use crate::reference;
use crate::run::{build_programs, cargo, has, output, print, root, succeed, tell};
use crate::supply;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Everything that must pass.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only the parts whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

/// A part of the test command.
struct Part {
    name: &'static str,
    run: fn() -> Result<Done>,
}

/// How a part ended.
enum Done {
    Passed,
    /// Something is missing; the sentence tells what.
    Skipped(String),
}

const PARTS: [Part; 24] = [
    Part { name: "format", run: format },
    Part { name: "javascript runtime", run: javascript },
    Part { name: "lints", run: lints },
    Part { name: "unit and behaviour tests", run: tests },
    Part { name: "documentation tests", run: doc_tests },
    Part { name: "documentation", run: documentation },
    Part { name: "supply chain", run: supply_chain },
    Part { name: "documents", run: the_documents },
    Part { name: "store on Azurite", run: store_on_azurite },
    Part { name: "experiments on MLflow", run: experiments_on_mlflow },
    Part { name: "Python's client", run: python_client },
    Part { name: "event hubs", run: event_hubs },
    Part { name: "lake", run: the_lake },
    Part { name: "spark", run: spark_on_the_lake },
    Part { name: "fleet", run: fleet },
    Part { name: "device packages", run: device_packages },
    Part { name: "monitoring", run: monitored },
    Part { name: "infrastructure", run: deployed },
    Part { name: "demo", run: the_demo },
    Part { name: "loop on services", run: loop_on_services },
    Part { name: "runtime from another folder", run: runtime_from_another_folder },
    Part { name: "training in wasm32", run: training_in_wasm },
    Part { name: "examples", run: the_examples },
    Part { name: "page", run: the_page },
];

/// `cargo xtask test`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), Vec::new());
    for part in &PARTS {
        if arguments.only.as_ref().is_some_and(|only| !part.name.contains(only.as_str())) {
            continue;
        }
        tell(&format!("\n=== {}", part.name));
        let began = Instant::now();
        let result = (part.run)();
        let took = began.elapsed().as_secs_f64();
        match result {
            Ok(Done::Passed) => {
                passed += 1;
                tell(&format!("=== {}: passed in {took:.0} s", part.name));
            }
            Ok(Done::Skipped(missing)) if !is_ci => {
                tell(&format!("=== {}: SKIPPED: {missing}", part.name));
                skipped.push(part.name);
            }
            Ok(Done::Skipped(missing)) => {
                tell(&format!(
                    "=== {}: FAILED: {missing} (CI=true, so nothing may be missing)",
                    part.name
                ));
                failed.push(part.name);
            }
            Err(error) => {
                tell(&format!("=== {}: FAILED: {error:#}", part.name));
                failed.push(part.name);
            }
        }
    }
    print(&format!("\n{passed} passed, {} failed, {} skipped", failed.len(), skipped.len()));
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    ensure!(passed + skipped.len() > 0, "no part has a name like that");
    Ok(())
}

fn format() -> Result<Done> {
    succeed(&mut cargo(["fmt", "--all", "--check"]))?;
    Ok(Done::Passed)
}

fn lints() -> Result<Done> {
    succeed(&mut cargo(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-Dwarnings"]))?;
    Ok(Done::Passed)
}

fn tests() -> Result<Done> {
    // Without them, the tests of brokers say themselves that they are skipped, and fail with CI=true.
    let is_there = |program: &str| Path::new("/usr/sbin").join(program).exists() || has(program);
    if !is_there("mosquitto") || !has("openssl") {
        peers::install(&["mosquitto", "openssl"])?;
    }
    succeed(&mut cargo(["test", "--quiet", "--workspace", "--lib", "--bins", "--tests"]))?;
    Ok(Done::Passed)
}

fn doc_tests() -> Result<Done> {
    succeed(&mut cargo(["test", "--quiet", "--workspace", "--doc"]))?;
    Ok(Done::Passed)
}

fn documentation() -> Result<Done> {
    let mut doc = cargo(["doc", "--quiet", "--workspace", "--no-deps"]);
    succeed(doc.env("RUSTDOCFLAGS", "-Dwarnings"))?;
    reference::check()?;
    Ok(Done::Passed)
}

/// What others wrote.
fn supply_chain() -> Result<Done> {
    Ok(supply::check()?.map_or(Done::Passed, Done::Skipped))
}

/// Every command of README and docs.
fn the_documents() -> Result<Done> {
    for program in ["curl", "jq"] {
        if !has(program) && !peers::install(&[program])? {
            return Ok(Done::Skipped(format!("{program} is missing: install it")));
        }
    }
    if let Some(missing) = node()? {
        return Ok(Done::Skipped(missing));
    }
    build_programs("dev")?;
    documents::run(&bin(), &workshop("documents")?)?;
    Ok(Done::Passed)
}

/// The loop's demo, on Azurite, a broker and MLflow.
fn loop_on_services() -> Result<Done> {
    match demo::on_services()? {
        Ok(()) => Ok(Done::Passed),
        Err(missing) => Ok(Done::Skipped(missing)),
    }
}

/// The JavaScript runtime's own tests, with a module trained for them.
fn javascript() -> Result<Done> {
    if let Some(missing) = node()? {
        return Ok(Done::Skipped(missing));
    }
    let directory = workshop("javascript")?;
    let (data, module) = (directory.join("cards.csv"), directory.join("cards.wasm"));
    build_programs("dev")?;
    let generate = [
        "generate",
        "--world",
        "cards",
        "--events",
        "5000",
        "--entities",
        "50",
        "--missing",
        "0.02",
    ];
    output(trainer().args(generate).arg("--out").arg(&data))?;
    output(trainer().args(["train", "--unsigned", "--data"]).arg(&data).arg("--out").arg(&module))?;
    let tests = root().join("www/runtime/twinge.test.mjs");
    succeed(Command::new("node").arg("--test").arg(tests).env("TWINGE_TEST_MODULE", &module))?;
    Ok(Done::Passed)
}

/// The storage contract, and attacks on what is stored, on an emulator of Azure storage that others
/// made.
fn store_on_azurite() -> Result<Done> {
    let directory = workshop("azurite")?;
    let azurite = match peers::Azurite::start(&directory)? {
        Ok(azurite) => azurite,
        Err(missing) => return Ok(Done::Skipped(missing)),
    };
    let mut test = cargo(["test", "--quiet", "--workspace", "--test", "azurite"]);
    test.args(["--test", "attacks"]);
    succeed(test.env("TWINGE_TEST_AZURITE", &azurite.connection_string))?;
    Ok(Done::Passed)
}

/// A small count of what `cargo xtask soak` does with the lake.
fn the_lake() -> Result<Done> {
    Ok(lake::run(60_000, 3)?.map_or(Done::Passed, Done::Skipped))
}

/// The example that scores a lake with Spark.
fn spark_on_the_lake() -> Result<Done> {
    Ok(lake::spark()?.map_or(Done::Passed, Done::Skipped))
}

/// The contract of trackers, and the trainer's own runs, on a server of MLflow's makers.
fn experiments_on_mlflow() -> Result<Done> {
    let directory = workshop("mlflow")?;
    let mlflow = match peers::Mlflow::start(&directory)? {
        Ok(mlflow) => mlflow,
        Err(missing) => return Ok(Done::Skipped(missing)),
    };
    let mut test = cargo(["test", "--quiet", "--workspace", "--test", "mlflow"]);
    test.args(["--test", "tracking"]);
    succeed(test.env("TWINGE_TEST_MLFLOW", &mlflow.address))?;
    Ok(Done::Passed)
}

/// Agents that follow a channel in an emulator of Azure storage.
fn fleet() -> Result<Done> {
    Ok(fleet::run(50, 2, "dev", true)?.map_or_else(Done::Skipped, |()| Done::Passed))
}

/// The edge agent as a Debian package, a unit of systemd and a container.
fn device_packages() -> Result<Done> {
    let missing = devices::quick_package()?;
    Ok(if missing.is_empty() { Done::Passed } else { Done::Skipped(missing.join("; ")) })
}

/// Another client than the one Twinge uses sends to the broker and receives from it.
fn python_client() -> Result<Done> {
    let python = match peers::python()? {
        Ok(python) => python,
        Err(missing) => return Ok(Done::Skipped(missing)),
    };
    build_programs("dev")?;
    let directory = workshop("python")?;
    peers::check_python(&python, &bin(), &directory)?;
    match peers::Azurite::start(&directory)? {
        Ok(azurite) => hubs::layout(&python, &azurite)?,
        Err(missing) => return Ok(Done::Skipped(missing)),
    }
    Ok(Done::Passed)
}

/// Small counts of what `cargo xtask soak` does.
fn event_hubs() -> Result<Done> {
    hubs::run(hubs::Amount { runs: 10, kills: 3, shared: 60_000 })?;
    Ok(Done::Passed)
}

/// Prometheus' rules and Grafana's dashboard.
fn monitored() -> Result<Done> {
    build_programs("dev")?;
    if let Err(missing) = monitoring::metrics(&bin(), &workshop("monitoring")?)? {
        return Ok(Done::Skipped(missing));
    }
    if !has("promtool") && !peers::install(&["prometheus"])? {
        return Ok(Done::Skipped("promtool is missing: install the package `prometheus`".into()));
    }
    monitoring::rules()?;
    Ok(Done::Passed)
}

/// Terraform, images, workflows.
fn deployed() -> Result<Done> {
    let missing = infrastructure::check(&workshop("infrastructure")?)?;
    Ok(if missing.is_empty() { Done::Passed } else { Done::Skipped(missing.join("; ")) })
}

/// The README's first command, as a program would read it.
fn the_demo() -> Result<Done> {
    build_programs("dev")?;
    let mut demo = Command::new(bin().join("xtask"));
    let json = output(demo.args(["demo", "--once", "--json"]))?;
    let report: Value =
        serde_json::from_str(json.trim()).with_context(|| format!("the demo printed {json}"))?;
    let number = |key: &str| {
        report[key].as_u64().with_context(|| format!("the demo tells no {key}: {report}"))
    };
    ensure!(report["identical_scores"] == true, "scores differ: {report}");
    ensure!(number("events")? == number("verdicts")?, "an event has no verdict: {report}");
    ensure!(number("windows_hit")? == number("windows")?, "a labelled window was missed: {report}");
    let outside = number("false_alarms")?;
    ensure!(outside * 100 <= number("events")?, "more than 1 % false alarms: {report}");
    tell(&report.to_string());
    if report["compared_with_node"] == true {
        return Ok(Done::Passed);
    }
    Ok(Done::Skipped("node is missing, so JavaScript's scores were not compared".into()))
}

/// The embedded runtime must not depend on the folder it was built in.
fn runtime_from_another_folder() -> Result<Done> {
    let directory = workshop("another folder")?;
    if let Err(error) = supply::copy_sources(&directory) {
        return Ok(Done::Skipped(format!("{error:#}")));
    }
    // The one that everything here was built with.
    build_programs("dev")?;
    let here = newest_runtime(&bin().join("build"))?;
    let there = runtime_digest(&directory, &directory.join("target"))?;
    ensure!(here == there, "the runtime built here is {here}, in another folder {there}");
    tell(&format!("runtime {here} in both folders"));
    Ok(Done::Passed)
}

/// Builds twinge-fit in a folder, and answers with the digest of the runtime in its output.
fn runtime_digest(folder: &Path, target: &Path) -> Result<String> {
    let mut build = cargo(["check", "--quiet", "--package", "twinge-fit", "--target-dir"]);
    succeed(build.arg(target).current_dir(folder))?;
    newest_runtime(&target.join("debug/build"))
}

/// The digest of the runtime that the latest build left.
fn newest_runtime(builds: &Path) -> Result<String> {
    let mut found = None;
    for entry in
        fs::read_dir(builds).with_context(|| format!("cannot list {}", builds.display()))?
    {
        let runtime = entry?.path().join("out/runtime.wasm");
        if let Ok(modified) = fs::metadata(&runtime).and_then(|metadata| metadata.modified()) {
            found = found.max(Some((modified, runtime)));
        }
    }
    let (_, runtime) = found.context("the build script left no runtime")?;
    Ok(hex::encode(Sha256::digest(fs::read(runtime)?)))
}

/// The same data, configuration and seed must give the same module in wasm32 under node.
fn training_in_wasm() -> Result<Done> {
    if let Some(missing) = node()? {
        return Ok(Done::Skipped(missing));
    }
    let directory = workshop("wasm training")?;
    let bindings = directory.join("bindings");
    let mut make = cargo([
        "run",
        "--quiet",
        "--package",
        "xtask",
        "--features",
        "web",
        "--",
        "bindings",
        "--node",
    ]);
    succeed(make.arg("--out").arg(&bindings))?;
    let cards = directory.join("cards.csv");
    output(
        trainer()
            .args([
                "generate",
                "--world",
                "cards",
                "--events",
                "20000",
                "--entities",
                "300",
                "--missing",
                "0.02",
                "--out",
            ])
            .arg(&cards),
    )?;
    let series = root().join("fixtures/nab/ambient_temperature_system_failure.csv");
    let cases = [
        (&series, "ambient-temperature", 7),
        (&cards, "card-payments", 7),
        (&cards, "card-payments", 8),
    ];
    let mut digests = Vec::new();
    for (data, name, seed) in cases {
        let config = root().join(format!("fixtures/demo/{name}.toml"));
        let native = directory.join("native.wasm");
        let mut train = trainer();
        train.args(["train", "--unsigned", "--seed", &seed.to_string()]);
        output(
            train.arg("--data").arg(data).arg("--config").arg(&config).arg("--out").arg(&native),
        )?;
        let native = hex::encode(Sha256::digest(fs::read(&native)?));
        let mut node = Command::new("node");
        node.arg(root().join("xtask/src/train.cjs"))
            .arg(&bindings)
            .arg(data)
            .arg(&config)
            .arg(seed.to_string());
        let in_wasm = output(&mut node)?;
        ensure!(
            native == in_wasm.trim(),
            "{name}, seed {seed}: native training gives {native}, wasm32 {in_wasm}"
        );
        tell(&format!("{name}, seed {seed}: {native} from both"));
        digests.push(native);
    }
    ensure!(digests[1] != digests[2], "another seed gave the same module");
    Ok(Done::Passed)
}

/// What `examples/` shows, compared with a host bit for bit. The script says what it skipped.
fn the_examples() -> Result<Done> {
    succeed(&mut cargo(["build", "--quiet", "--workspace", "--bins", "--example", "embed"]))?;
    let script = root().join("examples/run.sh");
    let told = output(Command::new("bash").arg(script).env("TWINGE_BIN", bin()))?;
    tell(told.trim());
    let skipped: Vec<_> = told.lines().filter(|line| line.contains(": SKIPPED: ")).collect();
    Ok(if skipped.is_empty() { Done::Passed } else { Done::Skipped(skipped.join("; ")) })
}

/// The page in Chromium and Firefox.
fn the_page() -> Result<Done> {
    Ok(page::test()?.map_or(Done::Passed, Done::Skipped))
}

fn trainer() -> Command {
    Command::new(bin().join("trainer"))
}

/// The folder of the programs.
pub(crate) fn bin() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("debug")
}

/// An empty directory for a part.
pub(crate) fn workshop(name: &str) -> Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("twinge test {name} {}", std::process::id()));
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    Ok(directory)
}

/// Makes sure that there is node; a sentence when there is none.
fn node() -> Result<Option<String>> {
    if has("node") {
        return Ok(None);
    }
    if peers::install(&["nodejs"])? {
        ensure!(has("node"), "node was installed and does not start");
        return Ok(None);
    }
    Ok(Some("node is missing: install node 20 or later".into()))
}
