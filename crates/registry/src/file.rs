//! A module as a plain file: the bytes, and beside them a signed statement in `<name>.sig`.

use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;
use twinge_trust::{Envelope, Keyring, TrustError, VerifiedModule};

/// Largest module or statement file, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;

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
    /// It is larger than any module.
    #[error("{path} has {bytes} bytes, more than any module: give the file that the trainer wrote")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It has no signature.
    #[error("{path} is unsigned: put its signature beside it as {signature}, or pass --allow-unsigned", signature = signature_path(path).display())]
    Unsigned {
        /// The module.
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

/// A module's bytes and its signature, unverified.
pub fn read_signed(path: &Path) -> Result<(Vec<u8>, Option<Envelope>), FileError> {
    let bytes = read(path)?;
    let signature = match read(&signature_path(path)) {
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

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let error = |action| move |source| FileError::Io { action, path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(error("open"))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(FileError::TooLarge { path: path.to_owned(), bytes });
    }
    std::fs::read(path).map_err(error("read"))
}
