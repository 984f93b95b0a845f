//! `cargo xtask devices`: the edge agent as it goes onto devices.
//!
//! Built for each kind of machine, tested there under an emulator, packed for Debian and into a
//! container. What the agent does is tested elsewhere; here it is what surrounds it.

pub(crate) mod build;
mod container;
mod debian;
mod emulate;
mod unit;

use build::{Build, Target};

use crate::run::{print, tell};
use crate::test::workshop;
use anyhow::{Result, ensure};
use clap::Subcommand;
use std::fs;
use std::path::Path;
use twinge_trust::{Keyring, Role, SigningKey, TrustedKey};

/// The edge agent as it goes onto devices.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Build it for each target, into target/devices, and print the sizes.
    Build(Selection),
    /// Run its tests against what was built, under qemu where the machine is another.
    Test(Selection),
    /// Make and check the Debian package, the unit and the container.
    Package(Selection),
}

/// What to build.
#[derive(Debug, clap::Args)]
pub(crate) struct Selection {
    /// Only these targets.
    #[arg(long = "target", value_enum)]
    targets: Vec<Target>,
    /// Only these builds [default: standard and small].
    #[arg(long = "build", value_enum)]
    builds: Vec<Build>,
}

impl Selection {
    /// Everything that is shipped.
    pub(crate) fn everything() -> Self {
        Self { targets: Vec::new(), builds: Vec::new() }
    }

    fn pairs(&self) -> Vec<(Target, Build)> {
        let targets = if self.targets.is_empty() { &Target::ALL[..] } else { &self.targets };
        let builds = if self.builds.is_empty() { &Build::SHIPPED[..] } else { &self.builds };
        let pairs = targets.iter().flat_map(|target| builds.iter().map(|build| (*target, *build)));
        pairs.filter(|(target, build)| build.exists_for(*target)).collect()
    }
}

/// `cargo xtask devices`.
pub(crate) fn run(verb: &Verb) -> Result<()> {
    let missing = match verb {
        Verb::Build(selection) => build(selection)?,
        Verb::Test(selection) => test(selection)?,
        Verb::Package(selection) => package(selection)?,
    };
    ensure!(missing.is_empty(), "not everything could be done: {}", missing.join("; "));
    Ok(())
}

/// Builds what was selected and prints the sizes; sentences about what is missing.
pub(crate) fn build(selection: &Selection) -> Result<Vec<String>> {
    let (mut rows, mut missing) = (Vec::new(), Vec::new());
    for (target, build) in selection.pairs() {
        match build::make(target, build)? {
            Ok(agent) => rows.push((target, build, fs::metadata(&agent)?.len(), agent)),
            Err(why) => missing.push(why),
        }
    }
    print(&format!("{:<32}{:<13}{:>10}  file", "target", "build", "bytes"));
    for (target, build, bytes, agent) in &rows {
        let (triple, name) = (target.triple(), build.name());
        print(&format!("{triple:<32}{name:<13}{bytes:>10}  {}", agent.display()));
    }
    for (target, build, bytes, _) in rows {
        build.check_size(bytes, target)?;
    }
    Ok(missing)
}

/// Builds what was selected and runs the tests on it; sentences about what is missing.
pub(crate) fn test(selection: &Selection) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (target, build) in selection.pairs() {
        match build::make(target, build)? {
            Ok(agent) => missing.extend(emulate::check(target, build, &agent)?),
            Err(why) => missing.push(why),
        }
    }
    Ok(missing)
}

/// Makes and checks packages, unit and containers; sentences about what is missing.
pub(crate) fn package(selection: &Selection) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (target, build) in selection.pairs() {
        let agent = match build::make(target, build)? {
            Ok(agent) => agent,
            Err(why) => {
                missing.push(why);
                continue;
            }
        };
        tell(&format!("packing {} for {}", build.name(), target.triple()));
        let workshop = workshop(&format!("packages {} {}", target.triple(), build.name()))?;
        missing.extend(debian::check(target, build, &workshop)?);
        missing.extend(unit::check(build, &agent, &workshop)?);
        missing.extend(container::check(target, build, &agent, &workshop)?);
        fs::remove_dir_all(&workshop)?;
    }
    Ok(missing)
}

/// The quick build for this machine, packed: what the test command has time for.
pub(crate) fn quick_package() -> Result<Vec<String>> {
    package(&Selection { targets: vec![Target::X86_64], builds: vec![Build::QuickSmall] })
}

/// Writes a trust anchor with fresh keys, which nobody keeps.
fn trust_anchor(file: &Path) -> Result<()> {
    let key = SigningKey::from_seed([7; 32]);
    let roles = [Role::Retrainer, Role::Promoter];
    let keyring = Keyring::default().with(TrustedKey::new(key.public(), &roles, "packages"))?;
    fs::write(file, keyring.to_json())?;
    Ok(())
}
