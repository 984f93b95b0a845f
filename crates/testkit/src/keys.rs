//! One key for each role, a root that names them, and statements.

use serde_json::Value;
use twinge_contract::manifest::Manifest;
use twinge_trust::{Digest, Keyring, Role, Root, SigningKey, Statement, TrustedKey, TrustedRoot};

/// Keys of a fleet, the same in every run.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Signs roots.
    pub root: SigningKey,
    /// Signs for the shadow.
    pub retrainer: SigningKey,
    /// Signs for canary and champion.
    pub promoter: SigningKey,
    /// Signs precompiled artefacts.
    pub native: SigningKey,
    /// Enrols devices.
    pub enroller: SigningKey,
}

impl Default for Keys {
    fn default() -> Self {
        let key = |seed| SigningKey::from_seed([seed; 32]);
        Self {
            root: key(0xa0),
            retrainer: key(0xa1),
            promoter: key(0xa2),
            native: key(0xa3),
            enroller: key(0xa4),
        }
    }
}

impl Keys {
    /// What each key may sign for.
    pub fn keyring(&self) -> Keyring {
        let entries = [
            (&self.root, Role::Root),
            (&self.retrainer, Role::Retrainer),
            (&self.promoter, Role::Promoter),
            (&self.native, Role::Native),
            (&self.enroller, Role::Device),
        ];
        let entry = |(key, role): (&SigningKey, Role)| {
            TrustedKey::new(key.public(), &[role], &role.to_string())
        };
        Keyring::new(entries.into_iter().map(entry).collect()).expect("five different keys")
    }

    /// The first root, which never expires.
    pub fn root(&self) -> TrustedRoot {
        let root = Root { version: 1, expires_ms: i64::MAX, threshold: 1, keyring: self.keyring() };
        TrustedRoot::anchor(root.sign(&[&self.root])).expect("it signed itself")
    }
}

/// The statement on a module, from its manifest.
pub fn statement(module: &[u8], manifest: &Value) -> Statement {
    let read: Manifest =
        serde_json::from_value(manifest.clone()).expect("a manifest as modules have it");
    Statement {
        detector: read.name,
        version: read.version,
        module_digest: Digest::of(module),
        module_bytes: module.len() as u64,
        manifest: manifest.clone(),
        metrics: Value::Null,
    }
}
