//! What the page is built and tested with: packages of npm, and browsers of Debian.

use super::www;
use crate::hubs::peers::install;
use crate::run::{has, output, succeed, tell};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest node that the page's tools run on.
const NODE: (u32, u32) = (20, 19);

/// A sentence when node is missing or too old.
pub(super) fn node() -> Result<Option<String>> {
    if !has("node") && !install(&["nodejs", "npm"])? {
        return Ok(Some("node is missing: install node 20.19 or later with npm".into()));
    }
    if !has("npm") && !install(&["npm"])? {
        return Ok(Some("npm is missing: install node 20.19 or later with npm".into()));
    }
    let version = output(Command::new("node").arg("--version"))?;
    let mut parts = version.trim().trim_start_matches('v').split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else {
        return Ok(Some(format!("node says it is {version}, which is no version")));
    };
    let is_old = (major, minor) < NODE;
    Ok(is_old.then(|| format!("node {} is too old: install node 20.19 or later", version.trim())))
}

/// Installs the page's packages as the lock file has them, unless that was done.
pub(super) fn packages() -> Result<()> {
    if let Some(missing) = node()? {
        anyhow::bail!(missing);
    }
    let lock = fs::read(www().join("package-lock.json")).context("www/package-lock.json")?;
    let (digest, done) = (hex::encode(Sha256::digest(lock)), www().join("node_modules/.installed"));
    if fs::read_to_string(&done).is_ok_and(|text| text == digest) {
        return Ok(());
    }
    tell("installing the page's packages");
    succeed(Command::new("npm").current_dir(www()).args([
        "ci",
        "--silent",
        "--no-audit",
        "--no-fund",
    ]))?;
    fs::write(&done, digest).with_context(|| format!("cannot write {}", done.display()))
}

/// The browsers, by their paths.
#[derive(Debug)]
pub(super) struct Browsers {
    pub(super) chromium: PathBuf,
    pub(super) firefox: PathBuf,
}

/// Debian's browsers; a sentence when one is missing.
pub(super) fn browsers() -> Result<std::result::Result<Browsers, String>> {
    let missing: Vec<&str> =
        ["chromium", "firefox-esr"].into_iter().filter(|name| find(name).is_none()).collect();
    if !missing.is_empty() && !install(&missing)? {
        return Ok(Err(format!("install {}", missing.join(" and "))));
    }
    let (chromium, firefox) = (find("chromium"), find("firefox-esr"));
    ensure!(chromium.is_some() && firefox.is_some(), "a browser was installed and is not there");
    let (Some(chromium), Some(firefox)) = (chromium, firefox) else {
        return Ok(Err("install chromium and firefox-esr".into()));
    };
    Ok(Ok(Browsers { chromium, firefox }))
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| Path::is_file(path))
}
