//! Cross builds of the agent: targets, their toolchains, and what comes out.

use crate::hubs::peers;
use crate::run::{cargo, has, output, root, succeed, tell};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes that the small build may have.
const SMALL_BYTES_MAX: u64 = 6_000_000;

/// A kind of machine that the agent is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// PCs and servers.
    #[value(name = "x86_64-unknown-linux-musl")]
    X86_64,
    /// A Raspberry Pi 3 or later with a 64-bit system, and most gateways.
    #[value(name = "aarch64-unknown-linux-musl")]
    Aarch64,
    /// A Raspberry Pi 2 or later with a 32-bit system.
    #[value(name = "armv7-unknown-linux-gnueabihf")]
    Armv7,
}

/// What a target is called, and which programs of Debian it takes to build for it and to run it.
#[derive(Debug)]
struct Facts {
    triple: &'static str,
    /// As Debian calls the machine.
    debian: &'static str,
    /// As containers call it.
    container: &'static str,
    /// Compiles the C code of cryptography, and its package.
    compiler: (&'static str, &'static str),
    linker: &'static str,
    /// What the linker is told for a small build, as it lies in this folder and in its manual.
    linked_small: &'static [&'static str],
    /// Runs the result, and its package, where this machine does not.
    emulator: Option<(&'static str, &'static str)>,
}

/// No tables for walking a stack, which a panic that ends the process has no use for (1.2 MB);
/// relocations in their short form (0.5 MB); functions of the same code once (60 KB).
const LLD_SMALL: &[&str] = &["--script=no-unwind-tables.ld", "-zpack-relative-relocs", "--icf=all"];

const X86_64: Facts = Facts {
    triple: "x86_64-unknown-linux-musl",
    debian: "amd64",
    container: "amd64",
    compiler: ("musl-gcc", "musl-tools"),
    linker: "rust-lld",
    linked_small: LLD_SMALL,
    emulator: None,
};

/// The compiler is one for another C library, which is of no matter for code that calls none. Its
/// linker would look for that library, so Rust's own links.
const AARCH64: Facts = Facts {
    triple: "aarch64-unknown-linux-musl",
    debian: "arm64",
    container: "arm64",
    compiler: ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    linker: "rust-lld",
    linked_small: LLD_SMALL,
    emulator: Some(("qemu-aarch64-static", "qemu-user-static")),
};

/// Rust has no ready standard library for musl on this machine in the version used here, so the GNU
/// C library is linked in.
const ARMV7: Facts = Facts {
    triple: "armv7-unknown-linux-gnueabihf",
    debian: "armhf",
    container: "arm",
    compiler: ("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf"),
    linker: "arm-linux-gnueabihf-gcc",
    linked_small: &[],
    emulator: Some(("qemu-arm-static", "qemu-user-static")),
};

impl Target {
    pub(crate) const ALL: [Self; 3] = [Self::X86_64, Self::Aarch64, Self::Armv7];

    const fn facts(self) -> &'static Facts {
        match self {
            Self::X86_64 => &X86_64,
            Self::Aarch64 => &AARCH64,
            Self::Armv7 => &ARMV7,
        }
    }

    pub(crate) const fn triple(self) -> &'static str {
        self.facts().triple
    }

    /// As Debian calls the machine.
    pub(crate) const fn debian(self) -> &'static str {
        self.facts().debian
    }

    /// As containers call it.
    pub(crate) const fn container(self) -> &'static str {
        self.facts().container
    }

    /// Whether programs for it run here without help.
    pub(crate) fn runs_here(self) -> bool {
        cfg!(target_os = "linux") && self.triple().starts_with(std::env::consts::ARCH)
    }

    /// The program that runs others for this target, if one is needed; a sentence when it is not to
    /// be had.
    pub(crate) fn emulator(self) -> Result<Result<Option<&'static str>, String>> {
        match self.facts().emulator {
            Some((emulator, package)) if !self.runs_here() => {
                Ok(need(emulator, package)?.map_or(Ok(Some(emulator)), Err))
            }
            _ => Ok(Ok(None)),
        }
    }

    /// A sentence when it cannot be built for here.
    fn missing(self) -> Result<Option<String>> {
        let (compiler, package) = self.facts().compiler;
        if let Some(missing) = need(compiler, package)? {
            return Ok(Some(missing));
        }
        if self.has_library() {
            return Ok(None);
        }
        let triple = self.triple();
        let missing = format!("Rust's library for {triple} is missing: rustup target add {triple}");
        if !has("rustup") {
            return Ok(Some(missing));
        }
        let mut add = Command::new("rustup");
        match output(add.args(["target", "add", triple]).current_dir(root())) {
            Ok(_) => Ok(None),
            Err(error) => Ok(Some(format!("{missing} ({error:#})"))),
        }
    }

    fn has_library(self) -> bool {
        let mut rustc = Command::new("rustc");
        rustc.current_dir(root()).args(["--print", "target-libdir", "--target", self.triple()]);
        output(&mut rustc).is_ok_and(|libdir| Path::new(libdir.trim()).is_dir())
    }
}

/// What goes into the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Build {
    /// With a compiler for modules.
    Standard,
    /// With an interpreter, as few bytes as it takes.
    Small,
    /// The small one without the long optimisation, for tests of what is around it.
    QuickSmall,
}

impl Build {
    /// What is shipped.
    pub(crate) const SHIPPED: [Self; 2] = [Self::Standard, Self::Small];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Small => "small",
            Self::QuickSmall => "quick-small",
        }
    }

    /// What its files are called beside those of the standard build.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Standard => "",
            Self::Small => "-small",
            Self::QuickSmall => "-quick-small",
        }
    }

    /// The profile in Cargo.toml.
    pub(crate) const fn profile(self) -> &'static str {
        match self {
            Self::Standard => "release",
            Self::Small | Self::QuickSmall => self.name(),
        }
    }

    pub(crate) const fn is_small(self) -> bool {
        !matches!(self, Self::Standard)
    }

    /// The Debian package.
    pub(crate) const fn package(self) -> &'static str {
        if self.is_small() { "twinge-edge-agent-small" } else { "twinge-edge-agent" }
    }

    /// The engine has no compiler for 32-bit ARM.
    pub(crate) fn exists_for(self, target: Target) -> bool {
        self.is_small() || target != Target::Armv7
    }

    /// An error when it has become larger than promised.
    pub(crate) fn check_size(self, bytes: u64, target: Target) -> Result<()> {
        ensure!(
            self != Self::Small || bytes <= SMALL_BYTES_MAX,
            "the small build for {} has {bytes} bytes, {SMALL_BYTES_MAX} are promised",
            target.triple()
        );
        Ok(())
    }
}

/// Builds the agent and answers with the program, in target/devices; a sentence when something is
/// missing for it.
pub(crate) fn make(target: Target, build: Build) -> Result<Result<PathBuf, String>> {
    if let Some(missing) = target.missing()? {
        return Ok(Err(missing));
    }
    tell(&format!("building {} for {}", build.name(), target.triple()));
    succeed(&mut command(target, build, &root()))?;
    let built = target_folder().join(target.triple()).join(build.profile()).join("edge-agent");
    let agent = folder(target)?.join(format!("edge-agent{}", build.suffix()));
    fs::copy(&built, &agent).with_context(|| format!("cannot copy {}", built.display()))?;
    ensure_static(&agent)?;
    Ok(Ok(agent))
}

/// Compiles the agent out of a folder with the sources.
pub(crate) fn command(target: Target, build: Build, sources: &Path) -> Command {
    let mut cargo = static_build(target, sources, &flags(target.facts(), build, sources));
    cargo.args(["--package", "edge-agent", "--profile", build.profile()]);
    if build.is_small() {
        cargo.args(["--no-default-features", "--features", "small"]);
    }
    // Symbols stay in a release for whoever looks into a host; on a device they are weight.
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    cargo
}

/// Compiles host and trainer as infra/containers/Dockerfile does.
pub(crate) fn servers(target: Target, sources: &Path) -> Command {
    let mut flags = without_folders(sources);
    flags.push("-Ctarget-feature=+crt-static".into());
    let mut cargo = static_build(target, sources, &flags);
    cargo.args(["--package", "host", "--package", "trainer", "--release"]);
    cargo
}

fn static_build(target: Target, sources: &Path, flags: &[String]) -> Command {
    let facts = target.facts();
    let mut cargo = cargo(["build", "--quiet", "--locked", "--target", facts.triple]);
    let variable = facts.triple.replace('-', "_");
    cargo.env(format!("CC_{variable}"), facts.compiler.0);
    cargo.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), facts.linker);
    // Cargo's encoded form, because the folder's name may have spaces.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo.current_dir(sources);
    cargo
}

/// The caller's flags for rustc and what a device takes beyond them.
fn flags(facts: &Facts, build: Build, sources: &Path) -> Vec<String> {
    let callers = std::env::var("RUSTFLAGS").unwrap_or_default();
    let mut flags: Vec<String> = callers.split_whitespace().map(str::to_owned).collect();
    flags.extend(without_folders(sources));
    flags.push("-Ctarget-feature=+crt-static".into());
    if build.is_small() {
        flags.push("-Cforce-unwind-tables=no".into());
        let script = sources.join("xtask/src/devices/no-unwind-tables.ld");
        for argument in facts.linked_small {
            let argument = argument.replace("no-unwind-tables.ld", &script.to_string_lossy());
            flags.push(format!("-Clink-arg={argument}"));
        }
    }
    flags
}

/// Names of folders that are the same wherever the sources and those of other crates lie, so that the
/// bytes of a program tell nothing of the machine that made them.
fn without_folders(sources: &Path) -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let home = home.iter().map(|home| remap(home, "/cargo"));
    home.chain([remap(sources, "/twinge")]).collect()
}

/// The folder of what is built for a target.
pub(crate) fn folder(target: Target) -> Result<PathBuf> {
    let folder = target_folder().join("devices").join(target.triple());
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Cargo's folder of what is built.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program that asks for a loader would not start in an empty container.
fn ensure_static(program: &Path) -> Result<()> {
    let headers =
        output(Command::new("readelf").args(["--program-headers", "--wide"]).arg(program))?;
    ensure!(headers.contains("LOAD"), "{} is no program:\n{headers}", program.display());
    ensure!(
        !headers.contains("INTERP"),
        "{} is not static: it asks for a loader:\n{headers}",
        program.display()
    );
    Ok(())
}

/// Makes sure that there is a program of Debian; a sentence when it is not to be had.
pub(crate) fn need(program: &str, package: &str) -> Result<Option<String>> {
    if has(program) || (peers::install(&[package])? && has(program)) {
        return Ok(None);
    }
    Ok(Some(format!("{program} is missing: install Debian's package {package}")))
}
