//! The images: built from the Dockerfile, and their programs run in them without a network.
//!
//! What is put into them here are the programs that were built for the tests, which need the C library
//! of this machine; a release puts static ones there.

use crate::hubs::peers;
use crate::run::{has, output, root};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
const PROGRAMS: [&str; 3] = ["host", "trainer", "edge-agent"];
/// Where programs that are not static find what they need.
const LIBRARIES: [&str; 3] = ["/lib64", "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu"];

struct Store(PathBuf);

impl Store {
    fn buildah(&self, words: &[&str]) -> Command {
        let mut buildah = Command::new("buildah");
        buildah.args(["--storage-driver", "vfs", "--root"]).arg(self.0.join("root"));
        buildah.arg("--runroot").arg(self.0.join("run")).args(words);
        buildah
    }
}

/// Builds and runs all of them; a sentence when a tool is missing.
pub(super) fn check(directory: &Path) -> Result<Option<String>> {
    for (program, package) in [("buildah", "buildah"), ("unshare", "util-linux")] {
        if !has(program) && !peers::install(&[package])? {
            return Ok(Some(format!("{program} is missing: install the package {package}")));
        }
    }
    let has_ip = Command::new("ip").arg("-V").output().is_ok_and(|told| told.status.success());
    if !has_ip && !peers::install(&["iproute2"])? {
        return Ok(Some("ip is missing: install the package iproute2".into()));
    }
    if !Path::new(AUTHORITIES).is_file() && !peers::install(&["ca-certificates"])? {
        return Ok(Some(format!("{AUTHORITIES} is missing: install ca-certificates")));
    }
    let store = Store(directory.join("store"));
    let binaries = put_together(&directory.join("binaries"))?;
    let contents = format!("binaries={}", binaries.display());
    for program in PROGRAMS {
        let mut build =
            store.buildah(&["build", "--quiet", "--isolation", "chroot", "--format", "docker"]);
        build.args(["--pull=never", "--build-context", &contents, "--target", program]);
        build.args(["--tag", &image(program), "--file", "infra/containers/Dockerfile", "."]);
        output(build.current_dir(root()))?;
    }
    let shop = shop(&directory.join("shop"))?;
    let told = run(&store, "trainer", &shop, "/trainer inspect --module /etc/twinge/sensors.wasm")?;
    ensure!(told.contains("sensors"), "the trainer in its image says: {told}");
    let told = run(&store, "edge-agent", &shop, "/edge-agent --version")?;
    ensure!(told.contains("edge-agent"), "the agent in its image says: {told}");
    let told = run(&store, "host", &shop, HOST)?;
    ensure!(told.contains("is ready"), "the host in its image says: {told}");
    Ok(None)
}

/// The host is asked by itself, from within its image, until it is ready.
const HOST: &str = "/host";

/// What the stage `binaries` would hold.
fn put_together(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder.join("empty"))?;
    for program in PROGRAMS {
        fs::copy(root().join("target/debug").join(program), folder.join(program))
            .with_context(|| format!("{program} is not built"))?;
    }
    fs::copy(AUTHORITIES, folder.join("ca-certificates.crt"))?;
    Ok(folder.to_owned())
}

/// A module to run.
fn shop(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let trainer = || Command::new(root().join("target/debug/trainer"));
    let data = folder.join("sensors.csv");
    let world = ["generate", "--world", "sensors", "--events", "3000", "--entities", "20", "--out"];
    output(trainer().args(world).arg(&data))?;
    let module = folder.join("sensors.wasm");
    output(trainer().args(["train", "--unsigned", "--data"]).arg(&data).arg("--out").arg(module))?;
    Ok(folder.to_owned())
}

fn image(program: &str) -> String {
    format!("twinge-{program}:check")
}

/// Runs a line in an image, in a network namespace that has nothing but loopback.
fn run(store: &Store, program: &str, shop: &Path, line: &str) -> Result<String> {
    let prefix = inside(store, program, shop)?;
    let script = if line == HOST {
        // When a program in a container ends, all others in it are ended too: who asks has one of its own.
        // buildah passes no signal on, so the host is looked for: it is the one in this network.
        let other = inside(store, program, shop)?;
        format!(
            "{prefix} {HOST} & host=$!\nready=1\nfor turn in $(seq 200); do\n\
             if {other} {HOST} health; then ready=0; echo 'host is ready'; break; fi; sleep 0.1; done\n\
             for each in $(pgrep -x host); do\n\
             if [ \"$(readlink /proc/$each/ns/net)\" = \"$(readlink /proc/$$/ns/net)\" ]; then \
             kill -TERM $each; fi; done\n\
             wait $host; ended=$?\n[ $ready = 0 ] && [ $ended = 0 ]"
        )
    } else {
        format!("{prefix} {line}")
    };
    let script = format!("ip link set lo up\n{script}");
    output(Command::new("unshare").args(["--net", "sh", "-c", &script]))
        .with_context(|| format!("{line} does not run in its image"))
}

/// What a shell writes before a line that is to run in a new container of an image.
fn inside(store: &Store, program: &str, shop: &Path) -> Result<String> {
    let mut from = store.buildah(&["from", "--pull-never", &image(program)]);
    let container = output(from.current_dir(root()))?;
    let mut inside = store.buildah(&["run", "--isolation", "chroot"]);
    inside.arg("--volume").arg(format!("{}:/etc/twinge:ro", shop.display()));
    for library in LIBRARIES.iter().filter(|library| Path::new(library).is_dir()) {
        inside.args(["--volume", &format!("{library}:{library}:ro")]);
    }
    let variables = ["TWINGE_ALLOW_UNSIGNED=true", "TWINGE_MODULE=/etc/twinge/sensors.wasm"];
    for variable in variables {
        inside.args(["--env", variable]);
    }
    inside.args([container.trim(), "--"]);
    Ok(words_of(&inside))
}

/// A command as a shell reads it.
fn words_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted =
        |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"));
    words.map(quoted).collect::<Vec<_>>().join(" ")
}
