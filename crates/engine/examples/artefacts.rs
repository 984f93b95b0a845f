//! What a module's artefacts weigh and save: bytes and compile time for each target, and loading
//! by the compiler against loading by the artefact.
//!
//! ```sh
//! cargo run --release -p twinge-engine --features cross --example artefacts -- MODULE.wasm
//! ```
#![expect(clippy::print_stdout, reason = "figures are what it prints")]

use std::time::{Duration, Instant};
use twinge_engine::{Engine, Limits, Precompiled};
use twinge_trust::{
    ArtefactStatement, Digest, Envelope, Keyring, Role, SigningKey, TrustedKey, VerifiedArtefact,
    VerifiedModule,
};

const TARGETS: [&str; 3] =
    ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "armv7-unknown-linux-gnueabihf"];

/// Of so many tries, the middle one counts.
const TRIES: usize = 21;

fn main() {
    let path = std::env::args().nth(1).expect("usage: artefacts MODULE.wasm");
    let module = VerifiedModule::allow_unsigned(std::fs::read(path).expect("the module is there"));
    let engine = Engine::new(Limits::default()).expect("the engine starts");
    println!("module {} bytes", module.bytes().len());
    let load = median(|| drop(engine.load(&module).expect("it loads")));
    for target in TARGETS {
        let precompile = || engine.precompile(&module, Some(target)).expect("it precompiles");
        let bytes = precompile().bytes.len();
        // Precompiling loads the module first, to see that it can be.
        let took = median(|| drop(precompile())).saturating_sub(load);
        println!("{target}: {bytes} bytes, compiled in {took:?}");
    }
    let made = engine.precompile(&module, None).expect("it precompiles");
    let (envelope, keyring) = sign(&module, &made);
    let verify = || {
        VerifiedArtefact::verify(made.bytes.as_slice(), &envelope, &keyring, &module)
            .expect("it is signed")
    };
    let artefact = verify();
    let verified = median(|| drop(verify()));
    let loaded =
        median(|| drop(engine.load_precompiled(&module, &artefact).expect("the artefact loads")));
    println!("load by the compiler {load:?}");
    println!("load by the artefact {loaded:?}, and {verified:?} to verify it");
    let ratio = load.as_secs_f64() / (loaded + verified).as_secs_f64();
    println!("ratio {ratio:.1}");
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut took = [(); TRIES].map(|()| {
        let began = Instant::now();
        work();
        began.elapsed()
    });
    took.sort_unstable();
    took[TRIES / 2]
}

fn sign(module: &VerifiedModule, made: &Precompiled) -> (Envelope, Keyring) {
    let key = SigningKey::from_seed([1; 32]);
    let entry = TrustedKey::new(key.public(), &[Role::Native], "figures");
    let statement = ArtefactStatement {
        detector: String::new(),
        module_digest: module.digest(),
        identity: made.identity.clone(),
        digest: Digest::of(&made.bytes),
        bytes: made.bytes.len() as u64,
    };
    (statement.sign(&key), Keyring::new(vec![entry]).expect("one key"))
}
