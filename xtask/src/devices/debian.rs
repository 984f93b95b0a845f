//! The Debian package: made by cargo-deb, installed into a root of its own, and the agent run in it.

use super::build::{Build, Target, folder, need, target_folder};
use crate::run::{cargo, output, root, succeed, tell};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes the packages.
const CARGO_DEB: &str = "cargo-deb@3.8.0";

/// What every package must hold.
const CONTENTS: [&str; 8] = [
    "./usr/bin/edge-agent",
    "./etc/twinge/edge-agent.toml",
    "./usr/lib/systemd/system/twinge-edge-agent.service",
    "./usr/lib/sysusers.d/twinge-edge-agent.conf",
    "./usr/share/doc/twinge-edge-agent/README.md",
    "./usr/share/doc/twinge-edge-agent/trust.md",
    "./usr/share/doc/twinge-edge-agent/Containerfile",
    "/copyright",
];

/// Complaints that do not fit: the program is static because one file must run everywhere, `--help` is
/// its manual, and the first line of its description is the crate's.
const SUPPRESSED: &str = "statically-linked-binary,shared-library-lacks-prerequisites,\
    no-changelog,no-manual-page,description-synopsis-starts-with-article";

/// Makes the package and checks it; sentences about what is missing.
pub(crate) fn check(target: Target, build: Build, workshop: &Path) -> Result<Vec<String>> {
    if let Some(missing) = need("dpkg-deb", "dpkg")? {
        return Ok(vec![missing]);
    }
    let cargo_deb = match cargo_deb() {
        Ok(cargo_deb) => cargo_deb,
        Err(missing) => return Ok(vec![missing]),
    };
    let package = make(&cargo_deb, target, build)?;
    tell(&format!("{}: {} bytes", package.display(), fs::metadata(&package)?.len()));
    check_contents(&package, build)?;
    let mut missing = Vec::new();
    missing.extend(lint(&package)?);
    missing.extend(install(&package, target, build, &workshop.join("root"))?);
    Ok(missing)
}

/// The program that makes packages; a sentence when it is not to be had.
fn cargo_deb() -> Result<PathBuf, String> {
    let folder = root().join("target/tools/cargo-deb");
    let program = folder.join("bin/cargo-deb");
    if !program.is_file() {
        tell("installing cargo-deb");
        let mut install = cargo(["install", "--quiet", "--locked", CARGO_DEB, "--root"]);
        // It compresses one file now and then: minutes of optimisation would be lost on it.
        install.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        if let Err(error) = succeed(install.arg(&folder)) {
            return Err(format!("cargo-deb cannot be installed: {error:#}"));
        }
    }
    Ok(program)
}

/// Packs the program that was built last for this target and profile.
fn make(cargo_deb: &Path, target: Target, build: Build) -> Result<PathBuf> {
    let folder = folder(target)?;
    let mut command = Command::new(cargo_deb);
    command.current_dir(root()).env("CARGO_TARGET_DIR", target_folder());
    command.args(["--quiet", "--package", "edge-agent", "--no-build", "--no-strip"]);
    command.args(["--target", target.triple(), "--profile", build.profile()]);
    if build.is_small() {
        command.args(["--variant", "small"]);
    }
    let file = folder.join(format!("twinge-edge-agent{}_{}.deb", build.suffix(), target.debian()));
    output(command.arg("--output").arg(&file))?;
    Ok(file)
}

fn check_contents(package: &Path, build: Build) -> Result<()> {
    let contents = output(Command::new("dpkg-deb").arg("--contents").arg(package))?;
    for path in CONTENTS {
        ensure!(contents.contains(path), "{path} is not in {}:\n{contents}", package.display());
    }
    let has_drop_in = contents.contains("twinge-edge-agent.service.d/50-small.conf");
    ensure!(has_drop_in == build.is_small(), "the drop-in is in the wrong package:\n{contents}");
    for line in contents.lines() {
        let is_roots = line.contains(" 0/0 ") || line.contains(" root/root ");
        ensure!(is_roots, "a file belongs to somebody else: {line}");
        ensure!(!line[4..10].contains('w'), "others than root may write a file: {line}");
    }
    let conffiles = output(Command::new("dpkg-deb").arg("--info").arg(package).arg("conffiles"))?;
    ensure!(conffiles.trim() == "/etc/twinge/edge-agent.toml", "conffiles: {conffiles}");
    Ok(())
}

/// Debian's own check; a sentence when it is missing.
fn lint(package: &Path) -> Result<Option<String>> {
    if let Some(missing) = need("lintian", "lintian")? {
        return Ok(Some(missing));
    }
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--suppress-tags", SUPPRESSED]);
    let told = lintian.arg(package).output().context("cannot start lintian")?;
    ensure!(
        told.status.success(),
        "lintian does not like {}:\n{}{}",
        package.display(),
        String::from_utf8_lossy(&told.stdout),
        String::from_utf8_lossy(&told.stderr)
    );
    Ok(None)
}

/// Installs the package into an empty root, then once more over a changed configuration, and takes it
/// away again; a sentence when that cannot be done.
fn install(package: &Path, target: Target, build: Build, root: &Path) -> Result<Option<String>> {
    if output(Command::new("id").arg("-u"))?.trim() != "0" {
        return Ok(Some("installing a package into a root of its own takes root".into()));
    }
    prepare(root)?;
    dpkg(root, &["--install"], Some(package))?;
    let users = fs::read_to_string(root.join("etc/passwd")).context("no user was made")?;
    ensure!(users.contains("twinge-edge:x:"), "the agent's user was not made:\n{users}");
    let wanted = root.join("etc/systemd/system/multi-user.target.wants/twinge-edge-agent.service");
    ensure!(!wanted.is_symlink(), "the package starts an agent that nobody configured");
    if target.runs_here() {
        run_in(root)?;
    }
    let configuration = root.join("etc/twinge/edge-agent.toml");
    let changed = format!("{}\n# Changed by hand.\n", fs::read_to_string(&configuration)?);
    fs::write(&configuration, &changed)?;
    dpkg(root, &["--install"], Some(package))?;
    ensure!(fs::read_to_string(&configuration)? == changed, "an update took a change away");
    let state = root.join("var/lib/twinge-edge");
    fs::create_dir_all(&state)?;
    fs::write(state.join("device.key"), "kept")?;
    dpkg(root, &["--remove", build.package()], None)?;
    ensure!(!root.join("usr/bin/edge-agent").exists(), "the program was not removed");
    dpkg(root, &["--purge", build.package()], None)?;
    ensure!(!configuration.exists(), "the configuration was not purged");
    ensure!(state.join("device.key").is_file(), "purging took the device's key away");
    Ok(None)
}

/// An empty root with a database of packages.
fn prepare(root: &Path) -> Result<()> {
    for folder in ["var/lib/dpkg/updates", "var/lib/dpkg/info", "etc", "run"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(root.join("var/lib/dpkg/status"), "")?;
    Ok(())
}

/// dpkg on another root. The package's scripts run with this machine's programs and are told the
/// root; a `/run` of their own keeps them from this machine's systemd.
fn dpkg(root: &Path, verb: &[&str], package: Option<&Path>) -> Result<()> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", "mount -t tmpfs none /run && exec dpkg \"$@\"", "dpkg"]);
    unshare.arg(format!("--root={}", root.display()));
    unshare.args(["--force-script-chrootless", "--force-depends", "--force-architecture"]);
    unshare.args(["--force-confold", "--log=/dev/null"]).args(verb).args(package);
    output(unshare.env("DEBIAN_FRONTEND", "noninteractive")).map(|_| ())
}

/// The installed program starts, in a root in which nothing else is, and takes the configuration
/// that came with it once there is a trust anchor.
fn run_in(root: &Path) -> Result<()> {
    let chroot = |arguments: &[&str]| {
        output(Command::new("chroot").arg(root).arg("/usr/bin/edge-agent").args(arguments))
    };
    let version = chroot(&["--version"])?;
    ensure!(version.contains(env!("CARGO_PKG_VERSION")), "it tells another version: {version}");
    super::trust_anchor(&root.join("etc/twinge/root.json"))?;
    chroot(&["check", "--offline", "--config", "/etc/twinge/edge-agent.toml"])?;
    Ok(())
}
