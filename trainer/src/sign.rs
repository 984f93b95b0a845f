//! `trainer sign`: a signature on a module that is there already.

use crate::keys;
use crate::output::{print, tell};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use twinge_registry::file::{read_signed, signature_path};
use twinge_trust::Digest;

/// Sign a module: one that is unsigned, or whose signer is not believed any more.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The module; its signature is written beside it as NAME.sig.
    #[arg(long)]
    module: PathBuf,
    /// Key to sign with [default: your developer key].
    #[arg(long, env = "TWINGE_SIGNING_KEY")]
    key: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// `trainer sign`. A signature that is there on the same word stays beside the new one.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let key = keys::signing_key(arguments.key.as_deref())?;
    let bytes = fs::read(&arguments.module)
        .with_context(|| format!("cannot read {}", arguments.module.display()))?;
    let manifest = twinge_engine::manifest(&bytes)
        .with_context(|| format!("{} is no module", arguments.module.display()))?;
    let mut envelope = crate::train::statement(&bytes, &manifest)?.sign(&key);
    if let Ok((_, Some(there))) = read_signed(&arguments.module) {
        // Without effect if it says something else.
        envelope.merge_signatures(&there);
    }
    let path = signature_path(&arguments.module);
    keys::replace(&path, &envelope.to_json())?;
    if arguments.json {
        print(&serde_json::to_string_pretty(&serde_json::json!({
            "detector": manifest.name, "version": manifest.version, "digest": Digest::of(&bytes),
            "signed_by": key.key_id(), "file": path,
        }))?);
        return Ok(());
    }
    print(&format!("module     {} {}", manifest.name, manifest.version));
    print(&format!("digest     {}", Digest::of(&bytes)));
    print(&format!("signed by  {}", key.key_id()));
    tell(&format!("wrote {}", path.display()));
    Ok(())
}
