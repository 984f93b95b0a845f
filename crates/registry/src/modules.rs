//! Modules with their statements. Which channel points at one is not known here.
//!
//! A module is written before its statement, so that whatever a statement speaks of is there.

use twinge_trust::{Digest, Envelope, Keyring, VerifiedModule};

use crate::settle::{Decision, overwrite};
use crate::{
    DOCUMENT_BYTES_MAX, MODULE_BYTES_MAX, Object, Registry, RegistryError, StoreError, StorePath,
};

impl Registry {
    /// Puts a module with its signed statement and leaves all channels alone: what a statement
    /// needs whose signer was revoked.
    pub async fn put(
        &self,
        module: &[u8],
        statement: &Envelope,
        keyring: &Keyring,
    ) -> Result<(), RegistryError> {
        let path = module_path(&Digest::of(module), "wasm")?;
        let verified = VerifiedModule::verify(module, statement, keyring)
            .map_err(|source| RegistryError::Untrusted { path: path.to_string(), source })?;
        self.put_module(&path, module).await?;
        self.put_statement(&verified, statement, keyring).await
    }

    /// The bytes of a module, which are those that the digest names, on nobody's word: to be
    /// signed anew, never to be run.
    pub async fn module_unverified(&self, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        let path = module_path(digest, "wasm")?;
        let bytes = self.get_part(digest, &path, MODULE_BYTES_MAX).await?;
        let found = Digest::of(&bytes);
        if found == *digest {
            return Ok(bytes);
        }
        Err(RegistryError::OtherModule { wanted: *digest, found })
    }

    /// A module, verified: the one with this digest and no other, by a statement that a trusted
    /// key signed.
    pub async fn fetch(
        &self,
        digest: &Digest,
        keyring: &Keyring,
    ) -> Result<VerifiedModule, RegistryError> {
        let path = module_path(digest, "wasm")?;
        let bytes = self.get_part(digest, &path, MODULE_BYTES_MAX).await?;
        let statement_path = module_path(digest, "json")?;
        let statement = self.get_part(digest, &statement_path, DOCUMENT_BYTES_MAX).await?;
        let module = Envelope::from_json(&statement)
            .and_then(|envelope| VerifiedModule::verify(bytes, &envelope, keyring))
            .map_err(|source| RegistryError::Untrusted { path: path.to_string(), source })?;
        if module.digest() != *digest {
            return Err(RegistryError::OtherModule { wanted: *digest, found: module.digest() });
        }
        Ok(module)
    }

    /// Other bytes under the module's digest can only be damage, which is mended.
    pub(crate) async fn put_module(
        &self,
        path: &StorePath,
        module: &[u8],
    ) -> Result<(), RegistryError> {
        let mend = |stored: Option<&Object>| Ok(overwrite(stored, module));
        self.create_or_settle(path, module, MODULE_BYTES_MAX, mend).await
    }

    pub(crate) async fn put_statement(
        &self,
        module: &VerifiedModule,
        ours: &Envelope,
        keyring: &Keyring,
    ) -> Result<(), RegistryError> {
        let path = module_path(&module.digest(), "json")?;
        let bytes = ours.to_json();
        self.create_or_settle(&path, &bytes, DOCUMENT_BYTES_MAX, |stored| match stored {
            None => Ok(Decision::Write(bytes.clone(), ())),
            Some(stored) => reconcile(module, ours, stored, keyring),
        })
        .await
    }

    pub(crate) async fn get_part(
        &self,
        digest: &Digest,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let object = self.store.get_within(path, bytes_max).await?;
        let missing = || RegistryError::NoModule { digest: *digest, path: path.to_string() };
        object.map(|object| object.bytes).ok_or_else(missing)
    }
}

/// What to do when the module has a statement already. A trusted one stays, with our signatures
/// added if it says the same; what nobody believes makes room for ours.
fn reconcile(
    module: &VerifiedModule,
    ours: &Envelope,
    stored: &Object,
    keyring: &Keyring,
) -> Result<Decision<()>, RegistryError> {
    let believed = Envelope::from_json(&stored.bytes).ok().and_then(|theirs| {
        let theirs_verified = VerifiedModule::verify(module.bytes().clone(), &theirs, keyring);
        theirs_verified.ok().map(|verified| (theirs, verified))
    });
    let Some((theirs, verified)) = believed else {
        tracing::warn!(digest = %module.digest(), "statement that nobody signed is replaced");
        return Ok(Decision::Write(ours.to_json(), ()));
    };
    let mut merged = theirs.clone();
    if merged.merge_signatures(ours) {
        let same = merged == theirs;
        return Ok(if same { Decision::Keep(()) } else { Decision::Write(merged.to_json(), ()) });
    }
    let known_as = |module: &VerifiedModule| {
        module.statement().map(|said| format!("{} {}", said.detector, said.version))
    };
    let published = known_as(&verified);
    if published == known_as(module) {
        return Ok(Decision::Keep(()));
    }
    let published = published.unwrap_or_default();
    Err(RegistryError::StatementDiffers { digest: module.digest(), published })
}

pub(crate) fn module_path(digest: &Digest, extension: &str) -> Result<StorePath, StoreError> {
    StorePath::new(&format!("modules/{digest}.{extension}"))
}
