//! Reads a module's manifest without compiling or running anything.

use thiserror::Error;
use twinge_contract::abi::MANIFEST_SECTION;
use twinge_contract::manifest::{Manifest, ManifestError};
use wasmparser::{Parser, Payload};

/// Largest manifest, in bytes.
pub(crate) const MANIFEST_BYTES_MAX: usize = 1 << 20;

/// Largest function, in bytes. The time to compile one grows faster than its size: 2 MB take most of
/// a minute, and no detector needs a hundredth of it.
const FUNCTION_BYTES_MAX: usize = 256 << 10;

/// Why a module's manifest cannot be told.
#[derive(Debug, Error)]
pub enum InspectError {
    /// Something else than WebAssembly.
    #[error("file is no WebAssembly: give a module that `trainer train` wrote")]
    NotWasm,
    /// Not a WebAssembly module, or a truncated one.
    #[error("module is not readable WebAssembly; it may be truncated: fetch or train it again")]
    Parse(#[source] wasmparser::BinaryReaderError),
    /// No manifest.
    #[error("module has no section `{MANIFEST_SECTION}`: it is not a detector module")]
    NoManifest,
    /// Two manifests: which one counts would be a matter of taste.
    #[error("module has more than one section `{MANIFEST_SECTION}`: it was not made by a trainer")]
    SeveralManifests,
    /// A manifest beyond the bound.
    #[error("module's manifest has {0} bytes: at most {MANIFEST_BYTES_MAX} are accepted")]
    ManifestTooLarge(usize),
    /// A function beyond the bound.
    #[error(
        "module has a function of {0} bytes: at most {FUNCTION_BYTES_MAX} are accepted, so that compiling stays quick"
    )]
    FunctionTooLarge(usize),
    /// A manifest that cannot be used.
    #[error("module's manifest is not usable")]
    Manifest(#[from] ManifestError),
}

/// The manifest of a module.
pub fn manifest(module: &[u8]) -> Result<Manifest, InspectError> {
    if !module.starts_with(b"\0asm") {
        return Err(InspectError::NotWasm);
    }
    let mut found = None;
    for payload in Parser::new(0).parse_all(module) {
        let section = match payload.map_err(InspectError::Parse)? {
            Payload::CustomSection(section) => section,
            Payload::CodeSectionEntry(body) if body.range().len() > FUNCTION_BYTES_MAX => {
                return Err(InspectError::FunctionTooLarge(body.range().len()));
            }
            _ => continue,
        };
        if section.name() != MANIFEST_SECTION {
            continue;
        }
        if found.replace(section.data()).is_some() {
            return Err(InspectError::SeveralManifests);
        }
    }
    let json = found.ok_or(InspectError::NoManifest)?;
    if json.len() > MANIFEST_BYTES_MAX {
        return Err(InspectError::ManifestTooLarge(json.len()));
    }
    Ok(Manifest::parse(json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with one function of so many bytes, without a manifest: what comes first is told.
    fn module(bytes: usize) -> Vec<u8> {
        // The number of its locals and its end take a byte each.
        let body = "nop ".repeat(bytes - 2);
        wat::parse_str(format!("(module (func {body}))")).unwrap()
    }

    #[test]
    fn a_function_that_takes_minutes_to_compile_is_refused_unread() {
        let largest = manifest(&module(FUNCTION_BYTES_MAX)).unwrap_err();
        assert!(matches!(largest, InspectError::NoManifest), "{largest}");
        let larger = manifest(&module(FUNCTION_BYTES_MAX + 1)).unwrap_err();
        let InspectError::FunctionTooLarge(bytes) = larger else { panic!("{larger}") };
        assert_eq!(bytes, FUNCTION_BYTES_MAX + 1);
    }
}
