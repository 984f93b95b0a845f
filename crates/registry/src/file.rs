//! A module as a plain file: the bytes, and beside them a signed statement in `<name>.sig`. Its
//! precompiled artefacts lie beside it, each with a signed statement of its own.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use thiserror::Error;
use twinge_trust::{Envelope, Keyring, TrustError, VerifiedArtefact, VerifiedModule};

use crate::{ARTEFACT_BYTES_MAX, DOCUMENT_BYTES_MAX, MODULE_BYTES_MAX};

/// Why a module file cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("cannot {action} {path}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is larger than anything of its kind.
    #[error(
        "{path} has {bytes} bytes, and such files have {bytes_max} at most: give the file that the trainer wrote"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, as far as it was looked at.
        bytes: u64,
        /// How large it may be.
        bytes_max: u64,
    },
    /// It has no signature.
    #[error("{path} is unsigned: put its signature beside it as {signature}, or pass --allow-unsigned", signature = signature_path(path).display())]
    Unsigned {
        /// The module.
        path: PathBuf,
    },
    /// It is machine code and has no signature.
    #[error("{path} is unsigned, and machine code never runs unsigned: put its signature beside it as {signature}, or remove it to have the module compiled", signature = signature_path(path).display())]
    UnsignedArtefact {
        /// The artefact.
        path: PathBuf,
    },
    /// Its signature is not readable, not trusted, or of other bytes.
    #[error("{path} is not trusted")]
    Untrusted {
        /// The module.
        path: PathBuf,
        /// Why.
        #[source]
        source: TrustError,
    },
}

/// Where a module's signature lies.
pub fn signature_path(module: &Path) -> PathBuf {
    let mut name = module.file_name().unwrap_or_default().to_owned();
    name.push(".sig");
    module.with_file_name(name)
}

/// Where a module's artefact for a target lies: `pump.wasm` has `pump.<target>.cwasm`.
pub fn artefact_path(module: &Path, target: &str) -> PathBuf {
    module.with_extension(format!("{target}.cwasm"))
}

/// A module's bytes and its signature, unverified.
pub fn read_signed(path: &Path) -> Result<(Vec<u8>, Option<Envelope>), FileError> {
    read_with_signature(path, MODULE_BYTES_MAX)
}

fn read_with_signature(
    path: &Path,
    bytes_max: u64,
) -> Result<(Vec<u8>, Option<Envelope>), FileError> {
    let bytes = read(path, bytes_max)?;
    let signature = match read(&signature_path(path), DOCUMENT_BYTES_MAX) {
        Ok(json) => Some(json),
        Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let untrusted = |source| FileError::Untrusted { path: path.to_owned(), source };
    let envelope =
        signature.map(|json| Envelope::from_json(&json).map_err(untrusted)).transpose()?;
    Ok((bytes, envelope))
}

/// Reads a module and verifies its signature; `None` for the keys allows an unsigned one, and
/// verifies nothing.
pub fn read_verified(path: &Path, keyring: Option<&Keyring>) -> Result<VerifiedModule, FileError> {
    let (bytes, envelope) = read_signed(path)?;
    match (keyring, envelope) {
        (None, _) => Ok(VerifiedModule::allow_unsigned(bytes)),
        (Some(_), None) => Err(FileError::Unsigned { path: path.to_owned() }),
        (Some(keyring), Some(envelope)) => VerifiedModule::verify(bytes, &envelope, keyring)
            .map_err(|source| FileError::Untrusted { path: path.to_owned(), source }),
    }
}

/// Reads a precompiled artefact of a module and verifies its signature; nothing where there is no
/// such file.
pub fn read_artefact(
    path: &Path,
    module: &VerifiedModule,
    keyring: &Keyring,
) -> Result<Option<VerifiedArtefact>, FileError> {
    let (bytes, envelope) = match read_with_signature(path, ARTEFACT_BYTES_MAX) {
        Ok(found) => found,
        Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let envelope = envelope.ok_or_else(|| FileError::UnsignedArtefact { path: path.to_owned() })?;
    VerifiedArtefact::verify(bytes, &envelope, keyring, module)
        .map(Some)
        .map_err(|source| FileError::Untrusted { path: path.to_owned(), source })
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let error = |action| move |source| FileError::Io { action, path: path.to_owned(), source };
    let too_large = |bytes| FileError::TooLarge { path: path.to_owned(), bytes, bytes_max };
    let file = File::open(path).map_err(error("open"))?;
    let told = file.metadata().map_err(error("open"))?.len();
    if told > bytes_max {
        return Err(too_large(told));
    }
    let mut bytes = Vec::with_capacity(told as usize);
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(error("read"))?;
    match bytes.len() as u64 {
        read if read > bytes_max => Err(too_large(read)),
        _ => Ok(bytes),
    }
}
