//! How large what lies in a registry may be. Whoever may write to the storage chooses the size of
//! what devices read before they can look at a signature, so each kind of object has the bound that
//! it needs, and writers keep it too: what nobody could read is not written.

use crate::OBJECT_BYTES_MAX;

/// Largest signed document, in bytes: a channel, a root, a statement with all its signatures. The
/// largest channel that a policy and a history allow has some tens of KiB, and carries a second one
/// along.
pub const DOCUMENT_BYTES_MAX: u64 = 1024 * 1024;

/// Largest module, in bytes: that of an engine with default limits.
pub const MODULE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Largest precompiled artefact, in bytes. It is read as far as its signed statement says, and no
/// further.
pub const ARTEFACT_BYTES_MAX: u64 = OBJECT_BYTES_MAX;

/// Largest report of a device, in bytes; its enrolment is part of it.
pub const REPORT_BYTES_MAX: usize = 1024 * 1024;

/// How often an operation starts over because somebody else wrote first.
pub const WRITE_ATTEMPTS_MAX: u32 = 8;
