//! Code that the CPU runs, compiled here or elsewhere: wasmtime behind the seam.
//!
//! Deadlines are counted in ticks of a clock, which compiled code looks at in every loop and call.

use crate::clock::{Clock, TICK};
use crate::code::{Code, Instance, TABLE_ELEMENTS_MAX, TABLES_MAX};
use crate::error::{CallError, LoadError};
use crate::limits::Limits;
use crate::settings;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use twinge_contract::abi;
use wasmtime::{
    ExternType, Memory, Store, StoreLimits, StoreLimitsBuilder, Trap, TypedFunc, ValType,
};

/// wasmtime and its clock, which begin when they are first needed; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runtime(Arc<OnceLock<Begun>>);

#[derive(Debug)]
struct Begun {
    engine: wasmtime::Engine,
    clock: Clock,
}

impl Runtime {
    fn begun(&self) -> Result<&Begun, LoadError> {
        if let Some(begun) = self.0.get() {
            return Ok(begun);
        }
        let engine = wasmtime::Engine::new(&settings::config())
            .map_err(|error| LoadError::Engine(error.into()))?;
        let weak = engine.weak();
        let clock = Clock::start(move || {
            if let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
            }
        });
        // Of two threads that come here at once one has made an engine for nothing, and the clock
        // of that one ends with it.
        Ok(self.0.get_or_init(|| Begun { engine, clock }))
    }

    /// The engine, started if need be.
    pub(crate) fn engine(&self) -> Result<&wasmtime::Engine, LoadError> {
        self.begun().map(|begun| &begun.engine)
    }

    /// Code of the engine, with what bounds its calls.
    pub(crate) fn code(&self, module: wasmtime::Module) -> Result<Compiled, LoadError> {
        Ok(Compiled { module, clock: self.begun()?.clock.clone() })
    }

    /// Compiles a module.
    #[cfg(feature = "compiler")]
    pub(crate) fn compile(&self, module: &[u8]) -> Result<Compiled, LoadError> {
        let compiled = wasmtime::Module::new(self.engine()?, module)
            .map_err(|error| LoadError::Compile(error.into()))?;
        self.code(compiled)
    }
}

/// A module's machine code.
#[derive(Debug)]
pub(crate) struct Compiled {
    module: wasmtime::Module,
    clock: Clock,
}

impl Code for Compiled {
    fn import(&self) -> Option<String> {
        self.module.imports().next().map(|import| format!("{}.{}", import.module(), import.name()))
    }

    fn has_memory(&self, name: &str) -> bool {
        match self.module.get_export(name) {
            Some(ExternType::Memory(memory)) => !memory.is_shared() && !memory.is_64(),
            _ => false,
        }
    }

    fn has_function(&self, name: &str, parameters: usize) -> bool {
        let Some(ExternType::Func(function)) = self.module.get_export(name) else {
            return false;
        };
        function.params().len() == parameters
            && function.results().len() == 1
            && function.params().chain(function.results()).all(|kind| matches!(kind, ValType::I32))
    }

    fn start(&self, limits: &Limits, time: Duration) -> Result<Box<dyn Instance>, CallError> {
        Ok(Box::new(Running::start(self, limits, time)?))
    }
}

struct Running {
    clock: Clock,
    store: Store<StoreLimits>,
    memory: Memory,
    version: TypedFunc<(), i32>,
    prepare: TypedFunc<(u32, u32), u32>,
    score: TypedFunc<(u32, u32, u32), i32>,
}

impl Running {
    fn start(code: &Compiled, limits: &Limits, time: Duration) -> Result<Self, CallError> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(limits.memory_bytes_max)
            .table_elements(TABLE_ELEMENTS_MAX)
            .instances(1)
            .memories(1)
            .tables(TABLES_MAX)
            .build();
        let mut store = Store::new(code.module.engine(), limits);
        store.limiter(|limits| limits);
        store.set_epoch_deadline(ticks(time));
        let call = code.clock.call();
        let instance =
            wasmtime::Instance::new(&mut store, &code.module, &[]).map_err(call_error)?;
        drop(call);
        let memory =
            instance.get_memory(&mut store, abi::MEMORY).ok_or(CallError::Layout("no memory"))?;
        let version = instance.get_typed_func(&mut store, abi::ABI).map_err(call_error)?;
        let prepare = instance.get_typed_func(&mut store, abi::PREPARE).map_err(call_error)?;
        let score = instance.get_typed_func(&mut store, abi::SCORE).map_err(call_error)?;
        Ok(Self { clock: code.clock.clone(), store, memory, version, prepare, score })
    }
}

impl Instance for Running {
    fn set_deadline(&mut self, time: Duration) {
        self.store.set_epoch_deadline(ticks(time));
    }

    fn version(&mut self) -> Result<i32, CallError> {
        let _call = self.clock.call();
        self.version.call(&mut self.store, ()).map_err(call_error)
    }

    fn prepare(&mut self, rows: u32, states: u32) -> Result<u32, CallError> {
        let _call = self.clock.call();
        self.prepare.call(&mut self.store, (rows, states)).map_err(call_error)
    }

    fn score(&mut self, rows: u32, states: u32, flags: u32) -> Result<i32, CallError> {
        let _call = self.clock.call();
        self.score.call(&mut self.store, (rows, states, flags)).map_err(call_error)
    }

    fn memory(&self) -> &[u8] {
        self.memory.data(&self.store)
    }

    fn memory_mut(&mut self) -> &mut [u8] {
        self.memory.data_mut(&mut self.store)
    }
}

/// At least `time`: the tick that is under way does not count.
fn ticks(time: Duration) -> u64 {
    let ticks = time.as_millis().div_ceil(TICK.as_millis()).max(1);
    u64::try_from(ticks).map_or(u64::MAX / 2, |ticks| ticks + 1)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn call_error(error: wasmtime::Error) -> CallError {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => CallError::Deadline,
        Some(trap) => CallError::Trap(trap.to_string()),
        None => CallError::Trap(format!("{error:#}")),
    }
}
