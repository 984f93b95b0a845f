//! Two builds of the programs in two folders, which must give the same bytes.

use crate::devices::build::{Build, Target, command, servers};
use crate::run::{output, root, succeed, tell};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A build: what it is called, how it is made in a folder, and the programs that it leaves there.
struct Made {
    name: &'static str,
    command: fn(&Path) -> Command,
    profile: &'static str,
    programs: &'static [&'static str],
}

const TARGET: Target = Target::X86_64;

const BUILDS: [Made; 3] = [
    Made {
        name: "small agent",
        command: |folder| command(TARGET, Build::Small, folder),
        profile: Build::Small.profile(),
        programs: &["edge-agent"],
    },
    Made {
        name: "agent",
        command: |folder| command(TARGET, Build::Standard, folder),
        profile: Build::Standard.profile(),
        programs: &["edge-agent"],
    },
    Made {
        name: "servers",
        command: |folder| servers(TARGET, folder),
        profile: "release",
        programs: &["host", "trainer"],
    },
];

/// Builds what is shipped, or the build of that name, twice, in folders whose names differ in their length too.
pub(crate) fn in_two_folders(parent: &Path, only: Option<&str>) -> Result<()> {
    let folders = [parent.join("one"), parent.join("another and longer one")];
    for folder in &folders {
        copy_sources(folder)?;
    }
    for made in BUILDS.iter().filter(|made| only.is_none_or(|only| made.name == only)) {
        let (one, other) = (made.digests(&folders[0])?, made.digests(&folders[1])?);
        ensure!(one == other, "{}: {one:?} in one folder, {other:?} in another", made.name);
        tell(&format!("{}: {one:?} in both folders", made.name));
    }
    Ok(())
}

impl Made {
    /// Builds, and tells the digest of each program.
    fn digests(&self, folder: &Path) -> Result<Vec<(&'static str, String)>> {
        tell(&format!("building {} in {}", self.name, folder.display()));
        let mut build = (self.command)(folder);
        succeed(build.env_remove("CARGO_TARGET_DIR"))?;
        let built: PathBuf = folder.join("target").join(TARGET.triple()).join(self.profile);
        let digest = |program: &&'static str| {
            let bytes = fs::read(built.join(program));
            let bytes =
                bytes.with_context(|| format!("{program} was not built in {}", built.display()))?;
            Ok((*program, hex::encode(Sha256::digest(bytes))))
        };
        self.programs.iter().map(digest).collect()
    }
}

/// Copies what git would commit.
pub(crate) fn copy_sources(to: &Path) -> Result<()> {
    let mut list = Command::new("git");
    list.current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let files = output(&mut list).context("git cannot list the sources")?;
    for file in files.lines().filter(|file| root().join(file).is_file()) {
        let to = to.join(file);
        fs::create_dir_all(to.parent().unwrap_or(&to))?;
        fs::copy(root().join(file), &to).with_context(|| format!("cannot copy {file}"))?;
    }
    Ok(())
}
