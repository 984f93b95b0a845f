//! Precompiled artefacts in a registry: for each module one for each target, engine version and
//! settings, with its signed statement beside it.
//!
//! The settings are in the name too, so that a new release of the engine does not take away what
//! devices of the old one still ask for. Bytes are written before their statement, as modules are:
//! a statement is never without its bytes, and a crash in between is mended by putting the
//! artefact again.
//!
//! Knows no machine code: whether an artefact runs here is for the engine to say.

use twinge_trust::{
    ArtefactIdentity, ArtefactStatement, Digest, Envelope, Keyring, Role, TrustError,
    VerifiedArtefact, VerifiedModule,
};

use crate::settle::{Decision, overwrite};
use crate::{
    ARTEFACT_BYTES_MAX, DOCUMENT_BYTES_MAX, Object, Registry, RegistryError, StoreError, StorePath,
};

impl Registry {
    /// Puts a precompiled artefact of a module with its signed statement, if it would be believed,
    /// and tells where it lies. What was there under its name before goes.
    pub async fn put_artefact(
        &self,
        module: &VerifiedModule,
        artefact: &[u8],
        statement: &Envelope,
        keyring: &Keyring,
    ) -> Result<StorePath, RegistryError> {
        let verified = VerifiedArtefact::verify(artefact, statement, keyring, module)
            .map_err(|source| untrusted(&format!("artefact of {}", module.digest()), source))?;
        let path = artefact_path(&module.digest(), verified.identity(), "cwasm")?;
        let statement_path = artefact_path(&module.digest(), verified.identity(), "json")?;
        let mend = |stored: Option<&Object>| Ok(overwrite(stored, artefact));
        self.create_or_settle(&path, artefact, ARTEFACT_BYTES_MAX, mend).await?;
        let bytes = statement.to_json();
        self.create_or_settle(&statement_path, &bytes, DOCUMENT_BYTES_MAX, |stored| {
            Ok(match stored {
                None => Decision::Write(bytes.clone(), ()),
                Some(stored) => reconcile(module, &verified, statement, stored, keyring),
            })
        })
        .await?;
        Ok(path)
    }

    /// The artefact of a module for an engine of this identity, verified, with its statement to keep
    /// beside it; nothing where nobody has put one.
    ///
    /// An error says that there is one which is not believed, or half of one: whoever can compile
    /// the module itself goes on with that.
    pub async fn fetch_artefact(
        &self,
        module: &VerifiedModule,
        identity: &ArtefactIdentity,
        keyring: &Keyring,
    ) -> Result<Option<(VerifiedArtefact, Envelope)>, RegistryError> {
        let statement_path = artefact_path(&module.digest(), identity, "json")?;
        let statement = self.store.get_within(&statement_path, DOCUMENT_BYTES_MAX).await?;
        let Some(statement) = statement else { return Ok(None) };
        let path = artefact_path(&module.digest(), identity, "cwasm")?;
        let (envelope, bytes_max) = signed_length(&statement, keyring)
            .map_err(|source| untrusted(path.as_str(), source))?;
        let Some(object) = self.store.get_within(&path, bytes_max).await? else {
            return Err(RegistryError::HalfArtefact { path: path.to_string() });
        };
        let artefact = VerifiedArtefact::verify(object.bytes, &envelope, keyring, module)
            .map_err(|source| untrusted(path.as_str(), source))?;
        if artefact.identity() != identity {
            return Err(RegistryError::OtherArtefact { path: path.to_string() });
        }
        Ok(Some((artefact, envelope)))
    }

    /// What the statements say that lie beside a module's artefacts; on nobody's word, for
    /// showing. What is no statement is left out.
    pub async fn artefacts(
        &self,
        module: &Digest,
    ) -> Result<Vec<ArtefactStatement>, RegistryError> {
        let mut statements = Vec::new();
        for path in self.store.list(&format!("artefacts/{module}")).await? {
            if path.as_str().strip_suffix(".json").is_none() {
                continue;
            }
            let found = self.store.get_within(&path, DOCUMENT_BYTES_MAX).await?;
            let Some(object) = found else { continue };
            let read = Envelope::from_json(&object.bytes)
                .and_then(|envelope| ArtefactStatement::from_json(envelope.payload_unverified()));
            match read {
                Ok(statement) => statements.push(statement),
                Err(error) => tracing::warn!(%path, %error, "this is no statement of an artefact"),
            }
        }
        Ok(statements)
    }
}

/// A statement that is believed and says the same keeps its signatures and gets ours; any other
/// makes room, for the bytes beside it are ours by now.
fn reconcile(
    module: &VerifiedModule,
    artefact: &VerifiedArtefact,
    ours: &Envelope,
    stored: &Object,
    keyring: &Keyring,
) -> Decision<()> {
    let believed = Envelope::from_json(&stored.bytes).ok().filter(|theirs| {
        VerifiedArtefact::verify(artefact.bytes().clone(), theirs, keyring, module).is_ok()
    });
    let mut merged = believed.unwrap_or_else(|| ours.clone());
    if !merged.merge_signatures(ours) {
        merged = ours.clone();
    }
    overwrite(Some(stored), &merged.to_json())
}

/// The envelope of a statement and how many bytes it vouches for: an artefact is the largest thing
/// that a device reads, so nothing of it is read on nobody's word.
fn signed_length(statement: &Object, keyring: &Keyring) -> Result<(Envelope, u64), TrustError> {
    let envelope = Envelope::from_json(&statement.bytes)?;
    let payload = envelope.verify(ArtefactStatement::PAYLOAD_TYPE, keyring, Role::Native)?;
    let bytes = ArtefactStatement::from_json(&payload)?.bytes;
    Ok((envelope, bytes.min(ARTEFACT_BYTES_MAX)))
}

fn untrusted(path: &str, source: TrustError) -> RegistryError {
    RegistryError::Untrusted { path: path.to_owned(), source }
}

fn artefact_path(
    module: &Digest,
    identity: &ArtefactIdentity,
    extension: &str,
) -> Result<StorePath, StoreError> {
    let ArtefactIdentity { target, engine_version, settings_digest } = identity;
    let name = format!("{target}-{engine_version}-{}", settings_digest.short());
    let path = StorePath::new(&format!("artefacts/{module}/{name}.{extension}"))?;
    if path.segments().count() != 3 {
        let reason = "a target and an engine version are part of one segment";
        return Err(StoreError::InvalidPath { path: path.to_string(), reason });
    }
    Ok(path)
}
