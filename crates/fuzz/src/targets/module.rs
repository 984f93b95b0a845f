//! Modules: manifest and sections, then everything that loading looks at. Nothing is scored.

use std::sync::OnceLock;
use std::time::Duration;
use twinge_contract::manifest::Manifest;
use twinge_engine::{Engine, Limits, Strategy};
use twinge_trust::VerifiedModule;

pub(super) const WORDS: &[&[u8]] = &[
    b"\0asm\x01\0\0\0",
    b"twinge.manifest",
    b"twinge_score",
    b"twinge_prepare",
    b"twinge_abi",
    b"memory",
    b"\x03\x40\x0c\x00\x0b",
    b"\x00\x0b",
    b"\x0b",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x80\x00",
    b"\xfd\x0c",
    b"\xfc\x0a",
    b"\x40\x00",
    b"\x10\x00",
    b"\"abi\":1",
    b"\"state_bytes\":",
    b"\"entities_max\":16777217",
    b"\"stream\":{}",
    b"\"schema\":",
    b"\"reference\":[{}]",
    b"1e309",
    b"null",
    b"[[[[[[[[",
];

/// A manifest alone: what was read is written and read as the same again.
pub(super) fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    let written = manifest.to_json();
    let again = Manifest::parse(&written).expect("what was written can be read");
    assert!(again.to_json() == written, "what was written is read as it was");
    assert!(manifest.schema.width() > 0, "a module has inputs");
}

/// Loading by the compiler.
pub(super) fn module(bytes: &[u8]) {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    load(ENGINE.get_or_init(|| engine(Strategy::Compile)), bytes);
}

/// Loading by the interpreter.
pub(super) fn interpreted(bytes: &[u8]) {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    load(ENGINE.get_or_init(|| engine(Strategy::Interpret)), bytes);
}

/// What runs while a module starts is stopped soon, so that many can be tried.
fn engine(strategy: Strategy) -> Engine {
    let limits = Limits {
        memory_bytes_max: 16 << 20,
        deadline: Duration::from_millis(20),
        ..Limits::default()
    };
    Engine::with_strategy(limits, strategy).expect("the engine starts here")
}

fn load(engine: &Engine, bytes: &[u8]) {
    let inspected = twinge_engine::manifest(bytes);
    let loaded = engine.load(&VerifiedModule::allow_unsigned(bytes));
    if let Ok(module) = loaded {
        let manifest = inspected.expect("what was loaded has a manifest");
        assert!(**module.manifest() == manifest, "the manifest is the one in the module");
    }
}
