//! Machine code that a device compiled for itself, kept for its next start.
//!
//! A module is compiled in a process of its own, whose memory goes with it: compiling takes more than
//! all the rest that an agent does. What comes out is an artefact like those of docs/artefacts.md,
//! signed with the device's own key, which no other device believes and nobody has to allow: whoever
//! could make one, could make this program do anything already.

use crate::assembly::{AssemblyError, Plan};
use crate::chain::chain;
use crate::modules::ModuleError;
use std::error::Error;
use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use twinge_engine::{Engine, Limits, Module};
use twinge_platform::Disk;
use twinge_registry::{Directory, Registry};
use twinge_trust::{
    ArtefactStatement, Digest, Keyring, Role, SigningKey, TrustedKey, VerifiedArtefact,
    VerifiedModule,
};

type Failure = Box<dyn Error + Send + Sync>;

/// What a device keeps compiled.
#[derive(Debug)]
pub struct OwnCode {
    key: SigningKey,
    keyring: Keyring,
    kept: Registry,
    /// The argument by which this program compiles: see [`compile`].
    verb: &'static str,
}

impl OwnCode {
    /// What is kept beside a plan's state, where the device's key lies too; nothing for a program
    /// that keeps no code.
    pub(crate) fn of(plan: &Plan, disk: &dyn Disk) -> Result<Option<Self>, AssemblyError> {
        let Some(verb) = plan.compile_verb else { return Ok(None) };
        let key = crate::device::key(&plan.state.join("device.key"), disk)?;
        let own = TrustedKey::new(key.public(), &[Role::Native], "this device");
        let kept = Directory::open(plan.state.join("compiled")).map_err(ModuleError::Cache)?;
        Ok(Some(Self {
            keyring: Keyring::new(vec![own]).expect("one key is there once"),
            key,
            kept: Registry::new(Arc::new(kept)),
            verb,
        }))
    }

    /// A module by its kept code, made first where there is none; nothing where that does not work,
    /// of which a word goes to the log.
    pub(crate) async fn load(&self, engine: &Engine, module: &VerifiedModule) -> Option<Module> {
        let told = |error: &(dyn Error + 'static)| {
            tracing::warn!(
                module = %module.digest(),
                error = chain(error),
                "code cannot be kept or used again; the module is compiled here"
            );
        };
        let artefact = match self.artefact(engine, module).await {
            Ok(artefact) => artefact,
            Err(error) => {
                told(&*error);
                return None;
            }
        };
        engine.load_precompiled(module, &artefact).inspect_err(|error| told(error)).ok()
    }

    async fn artefact(
        &self,
        engine: &Engine,
        module: &VerifiedModule,
    ) -> Result<VerifiedArtefact, Failure> {
        let (digest, identity) = (module.digest(), engine.identity());
        match self.kept.fetch_artefact(module, &identity, &self.keyring).await {
            Ok(Some((artefact, _))) => {
                tracing::debug!(module = %digest, "code from an earlier start is run");
                return Ok(artefact);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(
                module = %digest,
                error = chain(&error),
                "kept code is not what this device made, and is made anew"
            ),
        }
        let (verb, bytes) = (self.verb, module.bytes().to_vec());
        let code = tokio::task::spawn_blocking(move || compile_apart(verb, &bytes)).await??;
        let statement = ArtefactStatement {
            detector: twinge_engine::manifest(module.bytes())?.name,
            module_digest: digest,
            identity,
            digest: Digest::of(&code),
            bytes: code.len() as u64,
        };
        let envelope = statement.sign(&self.key);
        self.kept.put_artefact(module, &code, &envelope, &self.keyring).await?;
        Ok(VerifiedArtefact::verify(code, &envelope, &self.keyring, module)?)
    }
}

/// This program, told to compile, with an environment that has no secrets.
fn compile_apart(verb: &str, module: &[u8]) -> io::Result<Vec<u8>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(verb).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    // It reads all of it before it says a word, so neither waits for the other.
    let sent = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(module));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("compiling ended with {}", output.status)));
    }
    sent.map(|()| output.stdout)
}

/// The other side: a module comes on standard input, and its code goes to standard output. Whoever
/// asked has verified the one and loads the other, with all checks.
pub fn compile() -> ExitCode {
    let work = || -> Result<(), Failure> {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes)?;
        let module = VerifiedModule::allow_unsigned(bytes);
        let code = Engine::new(Limits::default())?.machine_code(&module, None)?;
        Ok(io::stdout().lock().write_all(&code.bytes)?)
    };
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::program::fail(&anyhow::Error::from_boxed(error), 1),
    }
}
