//! Machine code of a registry runs where somebody allowed it, and nowhere else.
#![cfg(feature = "compiler")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use clap::Parser;
use std::sync::Arc;
use std::time::Duration;
use twinge_engine::{Engine, Limits};
use twinge_platform::{Disk, RealDisk};
use twinge_registry::{MemoryStore, Registry, Store};
use twinge_stream::modules::ModuleCache;
use twinge_stream::settings::{Defaults, Flags, Settings};
use twinge_stream::trust::Trust;
use twinge_testkit::{Keys, Kind, MadeModule, statement};
use twinge_trust::{Anchor, ArtefactStatement, Digest, VerifiedModule};

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    flags: Flags,
}

/// Whether a program that was given these flags runs machine code.
fn is_allowed(more: &[&str]) -> bool {
    let defaults = Defaults {
        state: "state",
        verdicts: "-",
        input: None,
        tables: &[],
        sink_retry: Duration::ZERO,
        silence: false,
        journal_mib: 256,
        compile_verb: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let trust = folder.path().join("trust.json");
    std::fs::write(&trust, Keys::default().keyring().to_json()).unwrap();
    let flags =
        ["program", "--registry", "models", "--detector", "test", "--listen", "127.0.0.1:0"];
    let trust = ["--trust", trust.to_str().unwrap()];
    let flags = Program::parse_from(flags.iter().chain(&trust).chain(more)).flags;
    Settings::read(&flags, &defaults).unwrap().into_plan(&defaults).unwrap().allow_native
}

#[test]
fn nobody_allows_machine_code_without_saying_so() {
    assert!(!is_allowed(&[]));
    assert!(is_allowed(&["--allow-native"]));
}

#[tokio::test]
async fn machine_code_that_is_signed_runs_only_where_it_is_allowed() {
    let keys = Keys::default();
    let (made, keyring) = (MadeModule::new(Kind::Good, "1"), keys.keyring());
    let (bytes, digest) = (made.bytes(), Digest::of(&made.bytes()));
    let signed = statement(&bytes, &made.manifest()).sign(&keys.retrainer);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let registry = Registry::new(Arc::clone(&store));
    registry.put(&bytes, &signed, &keyring).await.unwrap();
    let module = VerifiedModule::verify(bytes, &signed, &keyring).unwrap();
    let code = Engine::new(Limits::default()).unwrap().precompile(&module, None).unwrap();
    let word = ArtefactStatement {
        detector: made.detector.clone(),
        module_digest: digest,
        identity: code.identity.clone(),
        digest: Digest::of(&code.bytes),
        bytes: code.bytes.len() as u64,
    };
    registry.put_artefact(&module, &code.bytes, &word.sign(&keys.native), &keyring).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    for (place, allowed) in [("default", None), ("no", Some(false)), ("yes", Some(true))] {
        let state = folder.path().join(place);
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let trust = Trust::open(Anchor::Keys(keyring.clone()), &state, disk).unwrap();
        let engine = Engine::new(Limits::default()).unwrap();
        let cache = ModuleCache::open(engine, &state, trust, false).unwrap();
        let mut cache = match allowed {
            Some(allowed) => cache.allowing_native(allowed),
            None => cache,
        };
        let registry = Some((registry.clone(), Arc::clone(&store)));
        let loaded = cache.get(&digest, registry.as_ref()).await.unwrap();
        assert_eq!(loaded.digest(), digest);
        // What runs is kept: a module beside its machine code, where that is what runs.
        let runs = allowed == Some(true);
        assert_eq!(state.join("artefacts").exists(), runs, "{place}");
    }
}
