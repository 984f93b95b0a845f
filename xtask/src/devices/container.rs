//! The container: built by buildah from nothing, and the agent run in it.

use super::build::{Build, Target, folder, need};
use crate::run::{output, root, tell};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Authorities of TLS, as Debian's ca-certificates puts them together.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// buildah with a store of its own, which needs no daemon and no kernel module.
struct Buildah {
    store: PathBuf,
}

impl Buildah {
    fn command(&self, verb: &str) -> Command {
        let mut buildah = Command::new("buildah");
        buildah.args(["--storage-driver", "vfs", "--root"]).arg(self.store.join("root"));
        buildah.arg("--runroot").arg(self.store.join("run")).arg(verb);
        buildah
    }
}

/// Builds the container and runs the agent in it; a sentence when something is missing for that.
pub(crate) fn check(
    target: Target,
    build: Build,
    agent: &Path,
    workshop: &Path,
) -> Result<Option<String>> {
    if let Some(missing) = need("buildah", "buildah")? {
        return Ok(Some(missing));
    }
    if !Path::new(AUTHORITIES).is_file() {
        return Ok(Some(format!(
            "{AUTHORITIES} is missing: install Debian's package ca-certificates"
        )));
    }
    let buildah = Buildah { store: workshop.join("containers") };
    let context = put_together(agent, &workshop.join("context"))?;
    let image = format!("twinge-edge-agent:{}", build.name());
    let mut make = buildah.command("build");
    make.args(["--quiet", "--isolation", "chroot", "--format", "docker"]);
    make.args(["--platform", &format!("linux/{}", target.container()), "--tag", &image]);
    output(make.arg(&context))?;
    check_settings(&buildah, &image)?;
    if target.runs_here() {
        run_in(&buildah, &image, &workshop.join("configuration"))?;
    }
    let archive = folder(target)?.join(format!("edge-agent{}.container.tar", build.suffix()));
    if archive.exists() {
        fs::remove_file(&archive)?;
    }
    let place = format!("docker-archive:{}:{image}", archive.display());
    output(buildah.command("push").args(["--quiet", &image, &place]))?;
    tell(&format!("{}: {} bytes", archive.display(), fs::metadata(&archive)?.len()));
    Ok(None)
}

/// The folder that a container is built from: the files that the Containerfile names.
fn put_together(agent: &Path, context: &Path) -> Result<PathBuf> {
    fs::create_dir_all(context.join("state"))?;
    fs::copy(agent, context.join("edge-agent"))?;
    fs::copy(AUTHORITIES, context.join("ca-certificates.crt"))?;
    fs::copy(root().join("edge-agent/packaging/Containerfile"), context.join("Containerfile"))?;
    Ok(context.to_owned())
}

/// What an operator relies on without looking: a user without rights, a health check, a volume.
fn check_settings(buildah: &Buildah, image: &str) -> Result<()> {
    let told = output(buildah.command("inspect").args(["--type", "image", image]))?;
    let told: Value = serde_json::from_str(&told).context("buildah tells what is not JSON")?;
    let settings = &told["Docker"]["config"];
    let user = settings["User"].as_str().unwrap_or_default();
    let uid = user.split(':').next().and_then(|uid| uid.parse::<u32>().ok());
    ensure!(uid.is_some_and(|uid| uid > 0), "the container's user is {user:?}: {settings}");
    ensure!(settings["Healthcheck"]["Test"][1] == "/edge-agent", "no health check: {settings}");
    ensure!(settings["Volumes"]["/state"].is_object(), "its state is no volume: {settings}");
    Ok(())
}

/// The agent starts as the container's user, takes the example, and may write its state.
fn run_in(buildah: &Buildah, image: &str, configuration: &Path) -> Result<()> {
    fs::create_dir_all(configuration)?;
    let example = root().join("edge-agent/packaging/edge-agent.toml");
    fs::copy(example, configuration.join("edge-agent.toml"))?;
    super::trust_anchor(&configuration.join("root.json"))?;
    let container = output(buildah.command("from").args(["--pull-never", image]))?;
    let run = |arguments: &[&str]| {
        let mut run = buildah.command("run");
        run.args(["--isolation", "chroot", "--volume"]);
        run.arg(format!("{}:/etc/twinge:ro", configuration.display()));
        output(run.arg(container.trim()).arg("--").arg("/edge-agent").args(arguments))
    };
    let version = run(&["--version"])?;
    ensure!(version.contains(env!("CARGO_PKG_VERSION")), "it tells another version: {version}");
    run(&["check", "--offline", "--config", "/etc/twinge/edge-agent.toml", "--state", "/state"])?;
    Ok(())
}
