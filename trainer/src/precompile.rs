//! `trainer precompile`: machine code of a module, for devices without a compiler.

use crate::keys;
use crate::output::{print, tell};
use crate::place::{Missing, Reader, Source, block_on};
use crate::usage::Usage;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use twinge_engine::{ArtefactError, Engine, Limits, LoadError, Precompiled};
use twinge_registry::Registry;
use twinge_registry::file::{artefact_path, read_verified, signature_path};
use twinge_trust::{
    ArtefactStatement, Digest, Envelope, Keyring, Role, SigningKey, VerifiedArtefact,
    VerifiedModule,
};

/// Compile a module to machine code for devices that have no compiler, and sign it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The module, with its signature beside it.
    #[arg(long)]
    module: PathBuf,
    /// Target triple to compile for; given more than once for several [default: this machine's].
    #[arg(long = "target")]
    targets: Vec<String>,
    /// Key to sign with; it must hold the role native.
    #[arg(long, env = "TWINGE_NATIVE_KEY")]
    key: PathBuf,
    /// Keys that are trusted, the native one among them [default: your developer key].
    #[arg(long, env = "TWINGE_TRUST")]
    trust: Option<PathBuf>,
    /// Directory for NAME.TARGET.cwasm and its signature [default: beside the module].
    #[arg(long, conflicts_with = "registry")]
    out: Option<PathBuf>,
    /// Registry to put the artefacts into instead: a directory or an address.
    #[arg(long)]
    registry: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// An artefact that is ready to be written.
struct Made {
    code: Precompiled,
    envelope: Envelope,
    took: Duration,
}

/// `trainer precompile`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    block_on(async {
        let (registry, keyring) = open(arguments).await?;
        let key = keys::read_key(&arguments.key)?;
        check_role(&key, &keyring, arguments)?;
        let module = read_verified(&arguments.module, Some(&keyring))?;
        let engine = Engine::new(Limits::default())?;
        let mut made = Vec::new();
        for target in targets(arguments) {
            let artefact = make(&engine, &module, target, &key, &keyring)
                .with_context(|| format!("cannot precompile {}", arguments.module.display()))?;
            made.push(artefact);
        }
        // Nothing is written before everything is made.
        let places = match registry {
            Some((location, registry)) => {
                put(location, &registry, &module, &made, &keyring).await?
            }
            None => write(arguments, &made)?,
        };
        report(&made, &places, arguments.json)
    })
}

/// The registry, if there is to be one, and the keys to sign by.
async fn open(arguments: &Arguments) -> Result<(Option<(&str, Registry)>, Keyring)> {
    let Some(location) = &arguments.registry else {
        return Ok((None, keys::keyring_to_sign_by(arguments.trust.as_deref())?));
    };
    let source = Source { registry: location.clone(), trust: arguments.trust.clone() };
    let reader = Reader::open(&source, Missing::Make).await?;
    reader.check_current()?;
    let keyring = reader.keyring().clone();
    Ok((Some((location, reader.registry)), keyring))
}

fn targets(arguments: &Arguments) -> Vec<Option<&str>> {
    if arguments.targets.is_empty() {
        return vec![None];
    }
    arguments.targets.iter().map(|target| Some(target.as_str())).collect()
}

fn check_role(key: &SigningKey, keyring: &Keyring, arguments: &Arguments) -> Result<()> {
    if keyring.allows(&key.key_id(), Role::Native) {
        return Ok(());
    }
    let trust = arguments
        .trust
        .as_ref()
        .map_or("the developer's trust.json".into(), |path| path.display().to_string());
    Err(Usage(format!(
        "key {} of {} does not hold the role native in {trust}: devices would refuse its machine \
         code; make one with `trainer keygen --role native --name native`, or give the trust.json \
         that names it with --trust",
        key.key_id(),
        arguments.key.display()
    ))
    .into())
}

/// Compiles, signs, and checks that what was made would be believed; what is for this machine is
/// run once as well.
fn make(
    engine: &Engine,
    module: &VerifiedModule,
    target: Option<&str>,
    key: &SigningKey,
    keyring: &Keyring,
) -> Result<Made> {
    let began = Instant::now();
    let code = engine.precompile(module, target).map_err(usage)?;
    let took = began.elapsed();
    let statement = ArtefactStatement {
        detector: twinge_engine::manifest(module.bytes())?.name,
        module_digest: module.digest(),
        identity: code.identity.clone(),
        digest: Digest::of(&code.bytes),
        bytes: code.bytes.len() as u64,
    };
    let envelope = statement.sign(key);
    let artefact = VerifiedArtefact::verify(code.bytes.as_slice(), &envelope, keyring, module)?;
    if code.identity == engine.identity() {
        engine.load_precompiled(module, &artefact)?;
    }
    Ok(Made { code, envelope, took })
}

fn usage(error: LoadError) -> anyhow::Error {
    match error {
        LoadError::Artefact(error @ ArtefactError::UnknownTarget(_)) => {
            Usage(error.to_string()).into()
        }
        error => error.into(),
    }
}

async fn put(
    location: &str,
    registry: &Registry,
    module: &VerifiedModule,
    made: &[Made],
    keyring: &Keyring,
) -> Result<Vec<String>> {
    let mut places = Vec::new();
    for Made { code, envelope, .. } in made {
        let path = registry
            .put_artefact(module, &code.bytes, envelope, keyring)
            .await
            .with_context(|| format!("cannot write to {location}"))?;
        places.push(format!("{}/{path}", location.trim_end_matches('/')));
    }
    Ok(places)
}

/// Signature first: code whose signature is of other code would be refused, a signature without
/// its code hurts nobody.
fn write(arguments: &Arguments, made: &[Made]) -> Result<Vec<String>> {
    let module = match (&arguments.out, arguments.module.file_name()) {
        (Some(out), Some(name)) => {
            fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
            out.join(name)
        }
        _ => arguments.module.clone(),
    };
    let mut places = Vec::new();
    for Made { code, envelope, .. } in made {
        let path = artefact_path(&module, &code.identity.target);
        let files =
            [(signature_path(&path), envelope.to_json()), (path.clone(), code.bytes.clone())];
        for (path, bytes) in files {
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        places.push(path.display().to_string());
    }
    Ok(places)
}

fn report(made: &[Made], places: &[String], json: bool) -> Result<()> {
    if json {
        let artefacts = made.iter().zip(places).map(|(made, place)| {
            serde_json::json!({
                "target": made.code.identity.target, "bytes": made.code.bytes.len(),
                "digest": Digest::of(&made.code.bytes), "place": place,
            })
        });
        let artefacts: Vec<serde_json::Value> = artefacts.collect();
        print(&serde_json::to_string_pretty(&serde_json::json!({ "artefacts": artefacts }))?);
        return Ok(());
    }
    print(&format!("{:<22} {:>9}  {:<64} {:>9}", "target", "bytes", "digest", "time"));
    for Made { code, took, .. } in made {
        print(&format!(
            "{:<22} {:>9}  {} {:>6.1} ms",
            code.identity.target,
            code.bytes.len(),
            Digest::of(&code.bytes),
            took.as_secs_f64() * 1000.0
        ));
    }
    for place in places {
        tell(&format!("wrote {place}"));
    }
    tell(
        "devices run machine code only with --allow-native and a root or trust.json with this key",
    );
    Ok(())
}
