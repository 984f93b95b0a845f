//! The settings of an engine: what they are, what they come to for a target, and the identity that
//! an artefact must have been compiled with to run under them.

use std::env::consts::{ARCH, OS};
use std::fmt::Write;
use twinge_trust::{ArtefactIdentity, Digest};
use wasmtime::{Config, ModuleVersionStrategy};

/// Raised when artefacts must be compiled anew although no setting changed, as after a correction
/// in the compiler of the same version.
const REVISION: u32 = 1;

/// One table, applied and digested, so that the two cannot part. What is not named here is as the
/// engine's version has it.
const SETTINGS: [(&str, bool, Set); 4] = [
    ("epoch_interruption", true, Config::epoch_interruption),
    ("wasm_memory64", false, Config::wasm_memory64),
    ("wasm_multi_memory", false, Config::wasm_multi_memory),
    ("wasm_relaxed_simd", false, Config::wasm_relaxed_simd),
];

type Set = fn(&mut Config, bool) -> &mut Config;

/// A kind of machine that artefacts are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    X86_64Linux,
    Aarch64Linux,
    Pulley32,
}

impl Target {
    /// Reads a target triple. Of it, wasmtime compares architecture and operating system only:
    /// vendor and C library make no difference to code that calls neither.
    pub(crate) fn parse(triple: &str) -> Option<Self> {
        let (architecture, rest) = triple.split_once('-').unwrap_or((triple, ""));
        let rest = rest.trim_start_matches("unknown-");
        let linux = |libraries: &[&str]| {
            let library = rest.strip_prefix("linux").map(|library| library.trim_start_matches('-'));
            library.is_some_and(|library| libraries.contains(&library))
        };
        match architecture {
            "x86_64" if linux(&["", "gnu", "musl"]) => Some(Self::X86_64Linux),
            "aarch64" if linux(&["", "gnu", "musl"]) => Some(Self::Aarch64Linux),
            "armv7" if linux(&["", "gnueabihf", "musleabihf", "gnueabi", "musleabi"]) => {
                Some(Self::Pulley32)
            }
            "pulley32" if rest.is_empty() => Some(Self::Pulley32),
            _ => None,
        }
    }

    /// The one spelling that identities have.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::X86_64Linux => "x86_64-unknown-linux",
            Self::Aarch64Linux => "aarch64-unknown-linux",
            Self::Pulley32 => "pulley32",
        }
    }

    /// CPU features beyond the architecture's first machines that the code may use, by
    /// Cranelift's names.
    pub(crate) fn cpu_features(self) -> &'static [&'static str] {
        match self {
            Self::X86_64Linux => {
                &["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt", "has_cmpxchg16b"]
            }
            Self::Aarch64Linux | Self::Pulley32 => &[],
        }
    }
}

/// The settings of every engine.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    for (_, value, set) in SETTINGS {
        set(&mut config, value);
    }
    config
}

/// What artefacts for `target` are compiled with.
pub(crate) fn identity_of(target: Target) -> ArtefactIdentity {
    identity(target.triple(), target.cpu_features())
}

/// What an artefact must have been compiled with to run on this machine. There may be machines
/// that nobody can precompile for: they have an identity that no artefact has.
pub(crate) fn own_identity() -> ArtefactIdentity {
    // wasmtime has machine code for neither of the 32-bit architectures, and interprets.
    let host = if cfg!(any(target_arch = "arm", target_arch = "x86")) {
        "pulley32".to_owned()
    } else {
        format!("{ARCH}-unknown-{OS}")
    };
    match Target::parse(&host) {
        Some(target) => identity_of(target),
        None => identity(&host, &[]),
    }
}

fn identity(target: &str, cpu_features: &[&str]) -> ArtefactIdentity {
    ArtefactIdentity {
        target: target.to_owned(),
        engine_version: engine_version(),
        settings_digest: Digest::of(description(cpu_features).as_bytes()),
    }
}

/// wasmtime takes artefacts of its own major version.
fn engine_version() -> String {
    format!("wasmtime-{}", ModuleVersionStrategy::WasmtimeVersion.as_str())
}

fn description(cpu_features: &[&str]) -> String {
    let mut text = format!("twinge engine settings, revision {REVISION}\n");
    for (name, value, _) in SETTINGS {
        writeln!(text, "{name} = {value}").expect("a string takes all");
    }
    for name in cpu_features {
        writeln!(text, "cpu {name}").expect("a string takes all");
    }
    text
}
