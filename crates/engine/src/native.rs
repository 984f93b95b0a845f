//! The two places where the engine takes somebody's word for machine code.
#![expect(unsafe_code, reason = "wasmtime cannot check what its compiler was told or has made")]

use twinge_trust::VerifiedArtefact;

/// Maps an artefact's code, ready to run.
///
/// wasmtime compares version, target, settings and the CPU's features once more, and refuses what
/// differs; what the machine code does it cannot see.
pub(crate) fn deserialize(
    engine: &wasmtime::Engine,
    artefact: &VerifiedArtefact,
) -> wasmtime::Result<wasmtime::Module> {
    // SAFETY: `Module::deserialize` must be given the unmodified output of `precompile_module`.
    // A `VerifiedArtefact` is made by `VerifiedArtefact::verify` only, which asks for a signature
    // by a key with the role native over the SHA-256 and the length of exactly these bytes: a
    // holder of that key answers for their being what `Engine::precompile` made. They are behind
    // an `Arc<[u8]>` that nobody can write to, and are copied before they are looked at. Output of
    // other versions and for other machines is allowed here, and gives an error.
    unsafe { wasmtime::Module::deserialize(engine, artefact.bytes()) }
}

/// Lets compiled code use CPU features, by Cranelift's names.
#[cfg(feature = "compiler")]
pub(crate) fn allow_cpu_features(config: &mut wasmtime::Config, cpu_features: &[&str]) {
    for name in cpu_features {
        // SAFETY: the hazard is code that runs on a CPU without the feature. Code compiled under
        // this configuration is never run by the engine that has it: it leaves as bytes, which
        // name the features, and `deserialize` refuses them where the CPU lacks one. The names
        // are constants of `Target`, and say nothing but what instructions may be used.
        unsafe { config.cranelift_flag_enable(name) };
    }
}
