//! A module that gave verdicts, asked again. What is told of its answers is not known here.

use super::modules::Modules;
use super::words::attribution;
use serde_json::{Value, json};
use twinge_contract::audit::Audit;
use twinge_contract::manifest::Manifest;
use twinge_contract::verdict::Verdict;
use twinge_runner::Slot;

/// A module that gave verdicts.
pub(super) struct Witness {
    slot: Slot,
    manifest: Manifest,
    signer: String,
}

impl Witness {
    /// The module with a digest, ready to be asked.
    pub(super) async fn of(modules: &mut Modules, digest: &str) -> Result<Self, String> {
        let (module, signer) = modules.signed(digest).await?;
        let manifest = Manifest::clone(module.manifest());
        Ok(Self { slot: Slot::new(&module, Some(1)), manifest, signer })
    }

    /// In which ways the recorded verdict is not the one that is reached now.
    pub(super) fn differences(&mut self, audit: &Audit) -> Vec<String> {
        if Audit::new(audit.data.clone()) != *audit {
            return vec!["the record's head is not that of its verdict".into()];
        }
        match self.slot.replay(&audit.data) {
            Ok(reached) => differences(&audit.data.verdict, &reached),
            Err(reason) => vec![format!("no verdict is reached: {reason}")],
        }
    }

    pub(super) fn lineage(&self) -> Value {
        let lineage = &self.manifest.lineage;
        json!({
            "detector": self.manifest.name, "version": self.manifest.version,
            "data_digest": lineage.data_digest, "rows": lineage.rows,
            "config_digest": lineage.config_digest, "seed": lineage.seed,
            "runtime_digest": lineage.runtime_digest, "signer": self.signer,
        })
    }
}

fn differences(recorded: &Verdict, reached: &Verdict) -> Vec<String> {
    let (ours, theirs) = (&reached.data, &recorded.data);
    let mut found = Vec::new();
    let mut compare = |name: &str, recorded: String, reached: String| {
        if recorded != reached {
            found.push(format!("{name} {recorded} was recorded, {reached} is reached"));
        }
    };
    let bits = |score: f64| format!("{score} (bits {:016x})", score.to_bits());
    compare("score", bits(theirs.score), bits(ours.score));
    compare("outcome", theirs.verdict.as_str().into(), ours.verdict.as_str().into());
    compare(
        "attribution",
        attribution(&theirs.attribution, true),
        attribution(&ours.attribution, true),
    );
    compare("severity", format!("{:?}", theirs.severity), format!("{:?}", ours.severity));
    compare("version", theirs.version.to_string(), ours.version.to_string());
    compare("id", recorded.id.clone(), reached.id.clone());
    compare("entity", recorded.subject.clone(), reached.subject.clone());
    if found.is_empty() && recorded != reached {
        found.push("the rest of the verdict is another".into());
    }
    found
}
