//! A module that may be run. How it came to be one is not known here, but in load.rs.

use crate::code::Code;
use crate::limits::Limits;
use std::sync::Arc;
use twinge_contract::manifest::Manifest;
use twinge_trust::Digest;

/// A module that may be run, with its manifest; cheap to clone.
#[derive(Clone, Debug)]
pub struct Module {
    pub(crate) limits: Limits,
    pub(crate) code: Arc<dyn Code>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) digest: Digest,
}

impl Module {
    /// What the module tells about itself.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// SHA-256 of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn code(&self) -> &dyn Code {
        &*self.code
    }
}
