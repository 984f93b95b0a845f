//! The systemd unit: that it is understood, and that it exposes little.

use super::build::{Build, need};
use crate::run::{root, tell};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const UNIT: &str = "twinge-edge-agent.service";

/// Exposure that `systemd-analyze security` may find, in tenths: 2.0 of 10.
const EXPOSURE_MAX: &str = "20";

/// Checks the unit with the program in place; a sentence when it cannot be.
pub(crate) fn check(build: Build, agent: &Path, workshop: &Path) -> Result<Option<String>> {
    if let Some(missing) = need("systemd-analyze", "systemd")? {
        return Ok(Some(missing));
    }
    let folder = workshop.join("unit");
    let unit = put_in_place(build, agent, &folder)?;
    verify(&unit)?;
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--no-pager", "--offline=yes", "--threshold", EXPOSURE_MAX]);
    let exposure = analyze.arg(&unit).output().context("cannot start systemd-analyze")?;
    let table = words(&exposure);
    ensure!(exposure.status.success(), "{UNIT} exposes more than promised:\n{table}");
    let last = table.lines().rfind(|line| line.contains("exposure level"));
    let level = last.with_context(|| format!("systemd-analyze tells no exposure:\n{table}"))?;
    tell(&format!("{}: {}", build.name(), level.trim_start_matches(['→', ' '])));
    // What the drop-in is for must have come through it.
    let denied =
        table.lines().any(|line| line.contains('✓') && line.contains("MemoryDenyWriteExecute"));
    ensure!(denied == build.is_small(), "MemoryDenyWriteExecute is not as it should be:\n{table}");
    Ok(None)
}

/// The unit with its drop-in in a folder of its own, starting the program that was built.
fn put_in_place(build: Build, agent: &Path, folder: &Path) -> Result<std::path::PathBuf> {
    let packaging = root().join("edge-agent/packaging");
    let drop_ins = folder.join(format!("{UNIT}.d"));
    fs::create_dir_all(&drop_ins)?;
    let text = fs::read_to_string(packaging.join(UNIT))?;
    let start = format!("ExecStart=\"{}\"", agent.display());
    let placed = text.replace("ExecStart=/usr/bin/edge-agent", &start);
    ensure!(placed != text, "{UNIT} does not start /usr/bin/edge-agent");
    let unit = folder.join(UNIT);
    fs::write(&unit, placed)?;
    if build.is_small() {
        fs::copy(packaging.join("50-small.conf"), drop_ins.join("50-small.conf"))?;
    }
    Ok(unit)
}

/// `systemd-analyze verify` ends well after it complained of keys that it does not know, so it must
/// say nothing. It also speaks of this machine's other units, which are no matter here.
fn verify(unit: &Path) -> Result<()> {
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit).output();
    let verified = verified.context("cannot start systemd-analyze")?;
    let words = words(&verified);
    let complaints = words.lines().filter(|line| line.contains("twinge-edge-agent"));
    let complaints = complaints.collect::<Vec<_>>().join("\n");
    ensure!(complaints.is_empty(), "systemd does not understand {UNIT}:\n{complaints}");
    Ok(())
}

/// What a program said on both outputs.
fn words(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}
