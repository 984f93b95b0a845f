//! Who a device or host is: a name, a ring, a key of its own, and the word of whoever enrolled it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use twinge_platform::Disk;
use twinge_registry::StorePath;
use twinge_rollout::Device;
use twinge_trust::{DeviceEnvelope, Enrolment, Envelope, SigningKey, TrustError};

/// What an operator says of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicePlan {
    /// Its name; made from its key where nothing is said.
    pub name: Option<String>,
    /// Its ring.
    pub ring: Option<String>,
    /// The file of its enrolment, if it is not `enrolment.json` beside its state.
    pub enrolment: Option<PathBuf>,
}

/// A device with its key.
#[derive(Clone, Debug)]
pub struct DeviceIdentity {
    device: Device,
    key: SigningKey,
    enrolment: Option<Envelope>,
}

/// Why a device cannot say who it is.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is said by its message")]
pub enum DeviceError {
    #[error("device's file {path} cannot be used")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("device's file {path} is not what it should be")]
    Content {
        path: PathBuf,
        #[source]
        source: TrustError,
    },
    #[error(
        "device name `{0}` is not usable: take at most 100 letters, digits and . _ = $ -, not a dot first"
    )]
    Name(String),
    #[error(
        "{path} enrols `{enrolled}` and this device is `{name}`: give --device {enrolled}, or enrol this one"
    )]
    OtherDevice { path: PathBuf, enrolled: String, name: String },
    #[error("no randomness to make a device key from: {0}")]
    Random(getrandom::Error),
}

impl DeviceIdentity {
    /// Reads the device's key from `state`, or makes one on the first start.
    pub fn open(
        plan: &DevicePlan,
        state: &Path,
        disk: &Arc<dyn Disk>,
    ) -> Result<Self, DeviceError> {
        let key = key(&state.join("device.key"), disk.as_ref())?;
        let default = state.join("enrolment.json");
        let path = plan.enrolment.as_ref().unwrap_or(&default);
        let enrolment = enrolment(path, plan.enrolment.is_some(), disk.as_ref())?;
        let enrolled = match &enrolment {
            Some(envelope) => Some(
                Enrolment::read(envelope)
                    .map_err(|source| DeviceError::Content { path: path.clone(), source })?,
            ),
            None => None,
        };
        let enrolled = enrolled.map(|enrolment| enrolment.device);
        let own = format!("device-{}", key.key_id());
        let name = plan.name.clone().or_else(|| enrolled.clone()).unwrap_or(own);
        if let Some(enrolled) = enrolled.filter(|enrolled| *enrolled != name) {
            return Err(DeviceError::OtherDevice { path: path.clone(), enrolled, name });
        }
        if name.len() > 100 || name.contains('/') || StorePath::new(&name).is_err() {
            return Err(DeviceError::Name(name));
        }
        Ok(Self { device: Device { name, ring: plan.ring.clone() }, key, enrolment })
    }

    /// Name and ring.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether somebody enrolled it; by whom is for others to check.
    pub fn is_enrolled(&self) -> bool {
        self.enrolment.is_some()
    }

    /// The key to enrol it with.
    pub fn public_key(&self) -> twinge_trust::PublicKey {
        self.key.public()
    }

    /// Signs what it has to say.
    pub fn sign(&self, payload_type: &str, payload: Vec<u8>) -> Vec<u8> {
        DeviceEnvelope::sign(payload_type, payload, &self.key, self.enrolment.clone()).to_json()
    }
}

/// The key in a file, made on the first start.
pub(crate) fn key(path: &Path, disk: &dyn Disk) -> Result<SigningKey, DeviceError> {
    let error = |source| DeviceError::File { path: path.to_owned(), source };
    match disk.read(path) {
        Ok(bytes) => SigningKey::from_text(&String::from_utf8_lossy(&bytes))
            .map_err(|source| DeviceError::Content { path: path.to_owned(), source }),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(DeviceError::Random)?;
            let key = SigningKey::from_seed(seed);
            disk.create_private(path, key.to_text().as_bytes()).map_err(error)?;
            Ok(key)
        }
        Err(source) => Err(error(source)),
    }
}

fn enrolment(
    path: &Path,
    is_named: bool,
    disk: &dyn Disk,
) -> Result<Option<Envelope>, DeviceError> {
    match disk.read(path) {
        Ok(bytes) => Envelope::from_json(&bytes)
            .map(Some)
            .map_err(|source| DeviceError::Content { path: path.to_owned(), source }),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound && !is_named => Ok(None),
        Err(source) => Err(DeviceError::File { path: path.to_owned(), source }),
    }
}
