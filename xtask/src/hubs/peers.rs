//! Programs that others made, to test against: Azurite, and Python's client of Event Hubs.

use super::programs::{Broker, Process, wait_for};
use crate::run::{has, output, root, succeed, tell};
use anyhow::{Context, Result, bail, ensure};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages of Python, pinned.
const PYTHON: [&str; 2] = ["azure-eventhub==5.15.1", "azure-eventhub-checkpointstoreblob==1.2.0"];

/// Azurite, pinned: later ones want node 22.
const AZURITE: &str = "azurite@3.35.0";

/// The account that every emulator of Azure storage has, with its published key.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Installs packages for Python, pinned.
const UV: &str = "uv==0.13.9";

/// MLflow, pinned.
const MLFLOW: &str = "mlflow==3.17.2";

/// A folder under target/ that keeps what was installed.
pub(crate) fn tools(name: &str) -> PathBuf {
    root().join("target/tools").join(name)
}

/// Python with the client; a sentence when that is not to be had.
pub(crate) fn python() -> Result<std::result::Result<PathBuf, String>> {
    python_with("python", &PYTHON)
}

/// Python with packages, in a folder of that name; a sentence when that is not to be had.
pub(crate) fn python_with(
    name: &str,
    packages: &[&str],
) -> Result<std::result::Result<PathBuf, String>> {
    let venv = tools(name);
    let (python, done) =
        (venv.join("bin/python"), venv.join(format!("{} is installed", packages.join(" "))));
    if done.is_file() {
        return Ok(Ok(python));
    }
    if !has("python3") {
        return Ok(Err("python3 is missing: install it with its module venv".into()));
    }
    tell(&format!("installing {} for Python", packages.join(", ")));
    let made = output(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    if made.is_err() && !install(&["python3-venv"])? {
        return Ok(Err("python3 has no venv: install python3-venv".into()));
    }
    if !python.is_file() {
        output(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    if let Err(error) = install_for(&python, packages) {
        return Ok(Err(format!("{} cannot be installed: {error:#}", packages.join(", "))));
    }
    std::fs::write(done, "")?;
    Ok(Ok(python))
}

/// By uv, which takes seconds for what takes pip minutes; by pip where uv does not work.
fn install_for(python: &Path, packages: &[&str]) -> Result<()> {
    let pip = |python: &Path, packages: &[&str]| {
        let mut pip = Command::new(python);
        output(pip.args(["-m", "pip", "install", "--quiet"]).args(packages))
    };
    let with_uv = || {
        let venv = tools("uv");
        let uv = venv.join("bin/uv");
        if !uv.is_file() {
            output(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            pip(&venv.join("bin/python"), &[UV])?;
        }
        let mut install = Command::new(uv);
        install.args(["pip", "install", "--quiet", "--python"]).arg(python);
        output(install.args(packages))
    };
    if let Err(error) = with_uv() {
        tell(&format!("uv does not install them, so pip does: {error:#}"));
        pip(python, packages)?;
    }
    Ok(())
}

/// An MLflow server. It has workers of its own, which end when it is asked to stop.
#[derive(Debug)]
pub(crate) struct Mlflow {
    process: Process,
    /// Its address.
    pub(crate) address: String,
}

impl Mlflow {
    /// Starts it on a free port; a sentence when it is not to be had.
    pub(crate) fn start(directory: &Path) -> Result<std::result::Result<Self, String>> {
        let python = match python_with("mlflow", &[MLFLOW])? {
            Ok(python) => python,
            Err(missing) => return Ok(Err(missing)),
        };
        let port = free_port()?;
        let mut server = Command::new(python);
        server.args(["-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]);
        server.args(["--port", &port.to_string(), "--backend-store-uri"]);
        server.arg(format!("sqlite:///{}", directory.join("mlflow.db").display()));
        server.arg("--artifacts-destination").arg(directory.join("artifacts"));
        // Nobody is told of what is tested.
        server.env("MLFLOW_DISABLE_TELEMETRY", "true").env("DO_NOT_TRACK", "true");
        server.current_dir(directory).stdout(std::process::Stdio::null());
        let process = Process::start(&mut server, directory.join("mlflow.log"))?;
        let mut server = Self { process, address: format!("http://127.0.0.1:{port}") };
        wait_for("MLflow to listen", || {
            server.process.check()?;
            Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        Ok(Ok(server))
    }
}

impl Drop for Mlflow {
    /// SIGTERM, so that it ends its workers too; what does not obey is killed.
    fn drop(&mut self) {
        if let Err(error) = self.process.stop() {
            tell(&format!("MLflow did not stop: {error:#}"));
        }
    }
}

/// Azurite in a process of its own.
#[derive(Debug)]
pub(crate) struct Azurite {
    _process: Process,
    /// URL of the account's blob service.
    pub(crate) endpoint: String,
    /// How to connect.
    pub(crate) connection_string: String,
}

impl Azurite {
    /// Starts it on a free port; a sentence when it is not to be had.
    pub(crate) fn start(directory: &Path) -> Result<std::result::Result<Self, String>> {
        let folder = tools("azurite");
        let script = folder.join("node_modules/azurite/dist/src/blob/main.js");
        if !script.is_file() {
            if !has("npm") && !install(&["npm"])? {
                return Ok(Err("npm is missing: install node 20 with npm".into()));
            }
            tell("installing Azurite");
            std::fs::create_dir_all(&folder)?;
            let mut npm = Command::new("npm");
            npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&folder);
            if let Err(error) = succeed(npm.arg(AZURITE)) {
                return Ok(Err(format!("Azurite cannot be installed: {error:#}")));
            }
        }
        ensure!(script.is_file(), "{} is not there after installing Azurite", script.display());
        let port = free_port()?;
        let mut node = Command::new("node");
        node.arg(script).args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
        node.args(["--inMemoryPersistence", "--skipApiVersionCheck", "--disableProductStyleUrl"]);
        // It is new for each run: one that has seen much becomes slow, and then ignores SIGTERM.
        node.args(["--disableTelemetry", "--silent"]).stdout(std::process::Stdio::null());
        let mut process = Process::start(&mut node, directory.join("azurite.log"))?;
        wait_for("Azurite to listen", || {
            process.check()?;
            Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        let endpoint = format!("http://127.0.0.1:{port}/{ACCOUNT}");
        let connection_string = format!(
            "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint};"
        );
        Ok(Ok(Self { _process: process, endpoint, connection_string }))
    }
}

/// Python's client against the broker.
pub(crate) fn check_python(python: &Path, bin: &Path, directory: &Path) -> Result<()> {
    let broker = Broker::start(bin, directory.join("python broker"), &["events=4"])?;
    let text = std::fs::read_to_string(&broker.connection_string)?;
    let script = root().join("crates/eventhubs-local/tests/python/peer.py");
    // The key is in the environment, not among the arguments that every user sees.
    let mut peer = Command::new(python);
    let told = output(peer.arg(script).env("EVENTHUB_CONNECTION_STRING", text.trim()))?;
    tell(told.trim());
    let checks = told.lines().filter(|line| line.starts_with("ok ")).count();
    ensure!(checks >= 6, "only {checks} checks were made:\n{told}");
    Ok(())
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?.port())
}

/// Installs packages of Debian when that is possible; whether it was.
pub(crate) fn install(packages: &[&str]) -> Result<bool> {
    let is_root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !is_root || !has("apt-get") {
        return Ok(false);
    }
    tell(&format!("installing {}", packages.join(" ")));
    succeed(Command::new("apt-get").args(["update", "-qq"]))?;
    let installed = succeed(Command::new("apt-get").args(["install", "-y", "-qq"]).args(packages));
    if let Err(error) = installed {
        bail!("{}: {error:#}", packages.join(" "));
    }
    Ok(true)
}
