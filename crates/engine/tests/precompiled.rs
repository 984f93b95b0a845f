//! Artefacts: the same bits as the compiler gives, and a refusal of its own for each thing that
//! does not fit, next to one that does.

mod common;

use common::{
    PATIENCE, States, TrainedWorld, WORLDS, all_detectors, assert_same, counter, counter_manifest,
    engine, score_in_batches, stream, with_manifest,
};
use twinge_engine::{
    ArtefactError, Engine, Limits, LoadError, Module, Precompiled, Scorer, Strategy,
};
use twinge_trust::{
    ArtefactIdentity, ArtefactStatement, Digest, Keyring, Role, SigningKey, TrustedKey,
    VerifiedArtefact, VerifiedModule,
};

fn patient() -> Engine {
    engine(Strategy::Compile, PATIENCE)
}

/// What a holder of the native key says of some bytes, believed.
fn vouch(module: &VerifiedModule, bytes: &[u8], identity: &ArtefactIdentity) -> VerifiedArtefact {
    let key = SigningKey::from_seed([3; 32]);
    let entry = TrustedKey::new(key.public(), &[Role::Native], "builder");
    let keyring = Keyring::new(vec![entry]).expect("one key");
    let statement = ArtefactStatement {
        detector: "test".into(),
        module_digest: module.digest(),
        identity: identity.clone(),
        digest: Digest::of(bytes),
        bytes: bytes.len() as u64,
    };
    VerifiedArtefact::verify(bytes, &statement.sign(&key), &keyring, module).expect("it is signed")
}

fn verified(module: &[u8]) -> VerifiedModule {
    VerifiedModule::allow_unsigned(module)
}

fn precompiled(engine: &Engine, module: &VerifiedModule) -> Precompiled {
    engine.precompile(module, None).expect("it precompiles")
}

fn honest() -> VerifiedModule {
    verified(&with_manifest(counter(&[]), &counter_manifest().to_json()))
}

fn check_refused(module: &VerifiedModule, artefact: &VerifiedArtefact, what: &str, expected: &str) {
    let told = format!("{:?}", patient().load_precompiled(module, artefact).expect_err(what));
    assert!(told.starts_with(expected), "{what}: {told} is not {expected}");
}

/// The trained module, by way of its artefact.
fn by_artefact(world: &TrainedWorld) -> Module {
    let engine = patient();
    let module = verified(&world.trained.module);
    let made = precompiled(&engine, &module);
    let artefact = vouch(&module, &made.bytes, &made.identity);
    engine.load_precompiled(&module, &artefact).expect("the artefact loads")
}

#[test]
fn an_artefact_gives_the_bits_that_the_compiler_gives() {
    for world in all_detectors() {
        let module = by_artefact(world);
        assert_eq!(module.digest(), world.module(Strategy::Compile).digest());
        assert_eq!(module.manifest(), world.module(Strategy::Compile).manifest());
        let rows = world.rows(&mut stream(world.world, 20_261_125, 0.05), 3000);
        let score = |module: &Module| {
            let mut states = States::new();
            let mut scorer = Scorer::new(module);
            let scored = score_in_batches(&mut scorer, &rows, &[1, 64, 7, 500], true, &mut states);
            (scored, states)
        };
        let (compiled, compiled_states) = score(world.module(Strategy::Compile));
        let (loaded, loaded_states) = score(&module);
        assert_same(&world.world.to_string(), &rows, &compiled, &loaded);
        assert!(compiled_states == loaded_states, "{}: final states differ", world.world);
    }
}

#[test]
fn an_engine_says_what_it_runs_and_limits_do_not_matter_to_code() {
    let module = honest();
    let other = Engine::new(Limits { memory_bytes_max: 1 << 20, ..Limits::default() }).unwrap();
    let made = precompiled(&patient(), &module);
    assert_eq!((&made.identity, &other.identity()), (&patient().identity(), &made.identity));
    let artefact = vouch(&module, &made.bytes, &made.identity);
    assert_eq!(other.load_precompiled(&module, &artefact).unwrap().manifest().name, "counter");
}

#[test]
fn an_artefact_for_another_machine_engine_or_setting_is_refused_with_the_way_out() {
    let module = honest();
    let made = precompiled(&patient(), &module);
    let own = &made.identity;
    let cases = [
        (
            ArtefactIdentity { target: "riscv64-unknown-linux".into(), ..own.clone() },
            "Artefact(OtherTarget {",
            "--target",
        ),
        (
            ArtefactIdentity { engine_version: "wasmtime-47".into(), ..own.clone() },
            "Artefact(OtherVersion {",
            "release",
        ),
        (
            ArtefactIdentity { settings_digest: Digest::of(b"fuel"), ..own.clone() },
            "Artefact(OtherSettings {",
            "release",
        ),
    ];
    for (identity, expected, way_out) in cases {
        let artefact = vouch(&module, &made.bytes, &identity);
        check_refused(&module, &artefact, &identity.target, expected);
        let Err(LoadError::Artefact(error)) = patient().load_precompiled(&module, &artefact) else {
            panic!("{identity:?} is refused as an artefact");
        };
        assert!(error.to_string().contains(way_out), "{error}");
    }
    assert!(patient().load_precompiled(&module, &vouch(&module, &made.bytes, own)).is_ok());
}

#[test]
fn an_artefact_of_another_module_is_refused() {
    let (module, other) = (honest(), verified(&WORLDS[0].trained.module));
    let made = precompiled(&patient(), &module);
    let artefact = vouch(&module, &made.bytes, &made.identity);
    check_refused(&other, &artefact, "another module", "Artefact(OtherModule {");
    assert!(patient().load_precompiled(&module, &artefact).is_ok());
}

#[test]
fn signed_bytes_that_are_no_artefact_are_refused_and_nothing_crashes() {
    let module = honest();
    let made = precompiled(&patient(), &module);
    let program = std::fs::read("/proc/self/exe").unwrap_or_default();
    let cases = [
        ("nothing", &b""[..]),
        ("text", b"machine code"),
        ("zeros", &[0; 4096]),
        ("the module itself", module.bytes()),
        ("the head of an ELF", &made.bytes[..16]),
        ("a program", &program),
    ];
    for (what, bytes) in cases {
        let artefact = vouch(&module, bytes, &made.identity);
        check_refused(&module, &artefact, what, "Artefact(NotCode)");
    }
    for length in (0..made.bytes.len()).step_by(331) {
        let artefact = vouch(&module, &made.bytes[..length], &made.identity);
        check_refused(&module, &artefact, &format!("{length} bytes"), "Artefact(");
    }
}

/// Signed for a module whose manifest says something else, code meets the checks of any module.
#[test]
fn code_is_held_to_what_the_manifest_says() {
    let made = precompiled(&patient(), &honest());
    let mut manifest = counter_manifest();
    manifest.state_bytes = 16;
    let other = verified(&with_manifest(counter(&[]), &manifest.to_json()));
    let artefact = vouch(&other, &made.bytes, &made.identity);
    check_refused(&other, &artefact, "another state size", "Start(Layout(\"its fields");
    let bare = verified(&counter(&[]));
    check_refused(&bare, &vouch(&bare, &made.bytes, &made.identity), "bare", "Inspect(NoManifest)");
    let tight = Engine::new(Limits { module_bytes_max: 64, ..Limits::default() }).unwrap();
    let module = honest();
    let refused = tight.load_precompiled(&module, &vouch(&module, &made.bytes, &made.identity));
    assert!(matches!(refused, Err(LoadError::TooLarge { .. })), "{refused:?}");
}

#[test]
fn what_would_not_load_is_not_precompiled() {
    let memory = "(memory (export \"memory\") 2)";
    let importing = counter(&[(memory, &format!("(import \"env\" \"f\" (func)) {memory}"))]);
    let importing = verified(&with_manifest(importing, &counter_manifest().to_json()));
    let refused = patient().precompile(&importing, None);
    assert!(matches!(refused, Err(LoadError::Import(_))), "{refused:?}");
    for target in ["", "linux", "x86_64-pc-windows-msvc", "x86_64-unknown-linux-gnux32", "riscv64"]
    {
        let refused = patient().precompile(&honest(), Some(target));
        let unknown = LoadError::Artefact(ArtefactError::UnknownTarget(target.into()));
        assert_eq!(format!("{refused:?}"), format!("Err({unknown:?})"));
    }
}

#[cfg(not(feature = "cross"))]
#[test]
fn other_targets_need_the_feature_cross() {
    let refused = patient().precompile(&honest(), Some("armv7-unknown-linux-gnueabihf"));
    let missing = LoadError::Artefact(ArtefactError::NoCompilerFor("pulley32".into()));
    assert_eq!(format!("{refused:?}"), format!("Err({missing:?})"));
}

#[cfg(feature = "cross")]
#[test]
fn each_target_has_one_artefact_whatever_its_spelling() {
    let module = verified(&WORLDS[0].trained.module);
    let cases = [
        ("x86_64-unknown-linux", &["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"]),
        ("aarch64-unknown-linux", &["aarch64-unknown-linux-musl", "aarch64-linux-gnu"]),
        ("pulley32", &["armv7-unknown-linux-gnueabihf", "armv7-unknown-linux-musleabihf"]),
    ];
    let own = patient().identity().target;
    for (target, spellings) in cases {
        let made = patient().precompile(&module, Some(target)).unwrap();
        assert_eq!(made.identity.target, target);
        for spelling in spellings {
            let again = patient().precompile(&module, Some(spelling)).unwrap();
            assert!(again == made, "{spelling} differs from {target}");
        }
        if target != own {
            let artefact = vouch(&module, &made.bytes, &made.identity);
            check_refused(&module, &artefact, target, "Artefact(OtherTarget {");
            // Code for another machine, signed as if it were for this one.
            let artefact = vouch(&module, &made.bytes, &patient().identity());
            check_refused(&module, &artefact, target, "Artefact(Refused(");
        }
    }
}
