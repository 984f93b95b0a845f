//! Machine code that a device compiled for itself, kept for its next start.
//!
//! A module is compiled in a process of its own, whose memory goes with it: compiling takes more than
//! all the rest that an agent does. What comes out is an artefact like those of docs/artefacts.md,
//! signed with the device's own key, which no other device believes and nobody has to allow: whoever
//! could make one, could make this program do anything already.

use crate::chain::chain;
use crate::error::AssemblyError;
pub use crate::module_error::CompileError;
use crate::module_error::ModuleError;
use crate::plan::Plan;
use std::error::Error;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use twinge_engine::{Engine, Limits, Module};
use twinge_platform::Disk;
use twinge_registry::{Directory, MODULE_BYTES_MAX, Registry};
use twinge_trust::{
    ArtefactStatement, Digest, Keyring, Role, SigningKey, TrustedKey, VerifiedArtefact,
    VerifiedModule,
};

type Failure = Box<dyn Error + Send + Sync>;

/// How long compiling a module may take. The largest that is accepted takes a small device a minute
/// or two.
const COMPILE_TIME_MAX: Duration = Duration::from_mins(5);

/// How much memory compiling may take, in bytes, where the system can bound it.
#[cfg(unix)]
const COMPILE_MEMORY_BYTES_MAX: u64 = 1 << 30;

/// How much processor time compiling may take, in seconds, over all processors.
#[cfg(unix)]
const COMPILE_CPU_SECONDS_MAX: u64 = 1200;

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
    ///
    /// # Errors
    /// A module that is too much to compile: this program must not try what took another one down.
    pub(crate) async fn load(
        &self,
        engine: &Engine,
        module: &VerifiedModule,
    ) -> Result<Option<Module>, ModuleError> {
        let told = |error: &(dyn Error + 'static)| {
            tracing::warn!(
                module = %module.digest(),
                error = chain(error),
                "code cannot be kept or used again; the module is compiled here"
            );
        };
        let artefact = match self.artefact(engine, module).await {
            Ok(artefact) => artefact,
            Err(error) => match error.downcast::<CompileError>() {
                Ok(source) if source.is_beyond_bounds() => {
                    return Err(ModuleError::Compile { digest: module.digest(), source: *source });
                }
                Ok(source) => {
                    told(&*source);
                    return Ok(None);
                }
                Err(error) => {
                    told(&*error);
                    return Ok(None);
                }
            },
        };
        Ok(engine.load_precompiled(module, &artefact).inspect_err(|error| told(error)).ok())
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
        let program = std::env::current_exe()?;
        let code = compile_apart(&program, self.verb, module.bytes(), COMPILE_TIME_MAX).await?;
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

/// `program`, told to compile, with an environment that has no secrets. It gets no more than
/// `time_max` for it.
async fn compile_apart(
    program: &Path,
    verb: &str,
    module: &[u8],
    time_max: Duration,
) -> Result<Vec<u8>, CompileError> {
    let failed = |source| CompileError::Process { source };
    let mut command = Command::new(program);
    command.arg(verb).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    let stdin = child.stdin.take();
    let work = async {
        // It reads all of it before it says a word, so neither waits for the other.
        let sent = match stdin {
            Some(mut stdin) => stdin.write_all(module).await,
            None => Ok(()),
        };
        Ok((sent, child.wait_with_output().await?))
    };
    // What is left behind is dropped, and with it the process ends.
    let ended = tokio::time::timeout(time_max, work).await;
    let (sent, output) =
        ended.map_err(|_elapsed| CompileError::Late { time_max })?.map_err(failed)?;
    if !output.status.success() {
        let status = output.status.to_string();
        // Its own word is 1; any other end is not its doing.
        return Err(match output.status.code() {
            Some(1) => CompileError::Refused { status },
            _ => CompileError::Killed { status },
        });
    }
    sent.map_err(failed)?;
    Ok(output.stdout)
}

/// The other side: a module comes on standard input, and its code goes to standard output. Whoever
/// asked has verified the one and loads the other, with all checks.
pub fn compile() -> ExitCode {
    let work = || -> Result<(), Failure> {
        bound_this_process()?;
        let mut bytes = Vec::new();
        io::stdin().lock().take(MODULE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        let module = VerifiedModule::allow_unsigned(bytes);
        let code = Engine::new(Limits::default())?.machine_code(&module, None)?;
        Ok(io::stdout().lock().write_all(&code.bytes)?)
    };
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::logging::fail(&anyhow::Error::from_boxed(error), 1),
    }
}

/// Lets the system end this process where it takes too much: then the program that asked goes on,
/// and on a small device nothing else has to make room. The time is for one whose asker is gone.
#[cfg(unix)]
fn bound_this_process() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let bounds =
        [(Resource::Data, COMPILE_MEMORY_BYTES_MAX), (Resource::Cpu, COMPILE_CPU_SECONDS_MAX)];
    for (resource, most) in bounds {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// Elsewhere the time alone is bound, by whoever asks.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the shape it has elsewhere")]
fn bound_this_process() -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    async fn run(program: &str, argument: &str, time_max: Duration) -> CompileError {
        let module = vec![0; 1 << 20];
        let outcome = compile_apart(Path::new(program), argument, &module, time_max).await;
        outcome.expect_err("these compile nothing")
    }

    #[tokio::test]
    async fn a_compiler_that_does_not_end_is_ended() {
        const PATIENCE: Duration = Duration::from_secs(30);
        // It neither reads nor ends; a pipe holds less than the module.
        let late = run("/bin/sleep", "60", Duration::from_millis(50)).await;
        assert!(matches!(late, CompileError::Late { .. }) && late.is_beyond_bounds(), "{late}");
        assert!(late.to_string().contains("50ms"), "{late}");
        let refused = run("/bin/sleep", "for ever", PATIENCE).await;
        assert!(!refused.is_beyond_bounds(), "{refused}");
        let absent = run("/no/such/program", "compile", PATIENCE).await;
        assert!(!absent.is_beyond_bounds(), "{absent}");
    }

    #[tokio::test]
    async fn a_compiler_that_the_system_ends_is_told_apart_from_one_that_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("killed");
        std::fs::write(&script, "kill -9 $$").unwrap();
        let script = script.to_str().unwrap();
        let killed = run("/bin/sh", script, Duration::from_secs(30)).await;
        assert!(matches!(killed, CompileError::Killed { .. }), "{killed:?}");
        assert!(killed.is_beyond_bounds(), "{killed}");
    }
}
