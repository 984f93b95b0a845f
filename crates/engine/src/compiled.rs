//! Code that the CPU runs, compiled here or elsewhere: wasmtime behind the seam.
//!
//! Deadlines are counted in ticks of a clock, which compiled code looks at in every loop and call.

use crate::code::{Code, Instance, TABLE_ELEMENTS_MAX, TABLES_MAX};
use crate::load::{Limits, LoadError};
use crate::scorer::CallError;
use crate::settings;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use twinge_contract::abi;
use wasmtime::{
    ExternType, Memory, Store, StoreLimits, StoreLimitsBuilder, Trap, TypedFunc, ValType,
};

/// How often the clock that deadlines are measured by advances.
const TICK: Duration = Duration::from_millis(5);

/// wasmtime and its clock, which begin when they are first needed; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runtime(Arc<OnceLock<wasmtime::Engine>>);

impl Runtime {
    /// The engine, started if need be.
    pub(crate) fn engine(&self) -> Result<&wasmtime::Engine, LoadError> {
        if let Some(engine) = self.0.get() {
            return Ok(engine);
        }
        let engine = wasmtime::Engine::new(&settings::config())
            .map_err(|error| LoadError::Engine(error.into()))?;
        start_clock(&engine);
        // Of two threads that come here at once one has made an engine for nothing, and the clock
        // of that one ends with it.
        Ok(self.0.get_or_init(|| engine))
    }

    /// Compiles a module.
    #[cfg(feature = "compiler")]
    pub(crate) fn compile(&self, module: &[u8]) -> Result<wasmtime::Module, LoadError> {
        wasmtime::Module::new(self.engine()?, module)
            .map_err(|error| LoadError::Compile(error.into()))
    }
}

/// Deadlines count ticks of this clock. It ends with the engine.
fn start_clock(engine: &wasmtime::Engine) {
    let weak = engine.weak();
    let tick = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    thread::Builder::new()
        .name("twinge-clock".into())
        .spawn(tick)
        .expect("a thread can be started");
}

impl Code for wasmtime::Module {
    fn import(&self) -> Option<String> {
        self.imports().next().map(|import| format!("{}.{}", import.module(), import.name()))
    }

    fn has_memory(&self, name: &str) -> bool {
        match self.get_export(name) {
            Some(ExternType::Memory(memory)) => !memory.is_shared() && !memory.is_64(),
            _ => false,
        }
    }

    fn has_function(&self, name: &str, parameters: usize) -> bool {
        let Some(ExternType::Func(function)) = self.get_export(name) else {
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
    store: Store<StoreLimits>,
    memory: Memory,
    version: TypedFunc<(), i32>,
    prepare: TypedFunc<(u32, u32), u32>,
    score: TypedFunc<(u32, u32, u32), i32>,
}

impl Running {
    fn start(code: &wasmtime::Module, limits: &Limits, time: Duration) -> Result<Self, CallError> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(limits.memory_bytes_max)
            .table_elements(TABLE_ELEMENTS_MAX)
            .instances(1)
            .memories(1)
            .tables(TABLES_MAX)
            .build();
        let mut store = Store::new(code.engine(), limits);
        store.limiter(|limits| limits);
        store.set_epoch_deadline(ticks(time));
        let instance = wasmtime::Instance::new(&mut store, code, &[]).map_err(call_error)?;
        let memory =
            instance.get_memory(&mut store, abi::MEMORY).ok_or(CallError::Layout("no memory"))?;
        let version = instance.get_typed_func(&mut store, abi::ABI).map_err(call_error)?;
        let prepare = instance.get_typed_func(&mut store, abi::PREPARE).map_err(call_error)?;
        let score = instance.get_typed_func(&mut store, abi::SCORE).map_err(call_error)?;
        Ok(Self { store, memory, version, prepare, score })
    }
}

impl Instance for Running {
    fn set_deadline(&mut self, time: Duration) {
        self.store.set_epoch_deadline(ticks(time));
    }

    fn version(&mut self) -> Result<i32, CallError> {
        self.version.call(&mut self.store, ()).map_err(call_error)
    }

    fn prepare(&mut self, rows: u32, states: u32) -> Result<u32, CallError> {
        self.prepare.call(&mut self.store, (rows, states)).map_err(call_error)
    }

    fn score(&mut self, rows: u32, states: u32, flags: u32) -> Result<i32, CallError> {
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
