//! Where the modules come from that verdicts are reached again with.

use super::arguments::Arguments;
use crate::data::load_module;
use crate::place::{Missing, Reader, Source};
use crate::usage::Usage;
use anyhow::Result;
use twinge_engine::{Engine, Limits, Module};
use twinge_trust::{Digest, Provenance};

/// Where modules come from.
pub(super) enum Modules {
    File(Box<Module>),
    Registry { reader: Box<Reader>, engine: Box<Engine> },
}

impl Modules {
    pub(super) async fn open(arguments: &Arguments) -> Result<Self> {
        if let Some(path) = &arguments.module {
            return Ok(Self::File(Box::new(load_module(path, &arguments.trust)?)));
        }
        if arguments.trust.allow_unsigned {
            let reason = "is for a --module; what a registry holds is verified";
            return Err(Usage(format!("--allow-unsigned {reason}")).into());
        }
        let registry = arguments.registry.clone().unwrap_or_default();
        let source = Source { registry, trust: arguments.trust.trust.clone() };
        let reader = Box::new(Reader::open(&source, Missing::Refuse).await?);
        Ok(Self::Registry { reader, engine: Box::new(Engine::new(Limits::default())?) })
    }

    /// The module with a digest; why not, if it cannot be had.
    pub(super) async fn module(&mut self, digest: &str) -> Result<Module, String> {
        let (module, _) = self.signed(digest).await?;
        let found = module.digest().to_string();
        if found == digest {
            Ok(module)
        } else {
            Err(format!("{digest} was asked for, and {found} is given"))
        }
    }

    pub(super) async fn signed(&mut self, digest: &str) -> Result<(Module, String), String> {
        Ok(match self {
            Self::File(module) => ((**module).clone(), "verified as a file".to_owned()),
            Self::Registry { reader, engine } => {
                let fetched = fetch(reader, engine, digest).await;
                fetched.map_err(|error| format!("{error:#}"))?
            }
        })
    }
}

async fn fetch(reader: &Reader, engine: &Engine, digest: &str) -> Result<(Module, String)> {
    let digest: Digest = digest.parse()?;
    let verified = reader.registry.fetch(&digest, reader.keyring()).await?;
    let signer = match verified.provenance() {
        Provenance::Signed { key_id, role } => format!("{key_id} ({role})"),
        Provenance::Unsigned => "nobody".into(),
    };
    Ok((engine.load(&verified)?, signer))
}
