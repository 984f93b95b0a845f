//! Code that is interpreted: wasmi behind the seam, for machines that nobody compiles for and
//! programs that have no room for a compiler.
//!
//! Deadlines are time, and what wasmi counts is fuel, about one unit an instruction. So a call runs
//! in slices of fuel and looks at the clock between them. Neither fuel nor clock reaches a score:
//! a call goes on exactly where it paused, or never.

use crate::code::{Code, Instance, TABLE_ELEMENTS_MAX, TABLES_MAX};
use crate::error::{CallError, LoadError};
use crate::limits::Limits;
use crate::start_section;
use std::time::{Duration, Instant};
use twinge_contract::abi;
use wasmi::{
    CompilationMode, Config, CustomFuelCosts, ExternType, Linker, Memory, OperatorCost, Store,
    StoreLimits, StoreLimitsBuilder, TrapCode, TypedFunc, TypedResumableCall, ValType, WasmParams,
    WasmResults,
};

/// Fuel between two looks at the clock, and the most that a stretch of code may take before it comes
/// to a loop or a call: some microseconds on a desktop, less than a millisecond on a small board.
/// The longest stretch of a trained module takes 2,478.
///
/// It bounds the stack, too: wasmi goes on from one instruction to the next by a call, which an
/// optimised build makes a jump for all but a few, and a pause gives back what they took.
const SLICE: u64 = 10_000;

/// Fuel of an instruction that stays a call of some 200 bytes of stack: a slice has room for 400.
const COST_OF_A_CALL: u8 = 25;

/// One instruction that fills or copies all of memory takes this part of a slice.
const SLICE_PART_OF_ALL_MEMORY: u64 = 2;

/// Calls within calls, and the bytes of their values: about what compiled code has room for on its
/// stack of 512 KiB. They lie in memory of their own, so that no depth can end the process.
const CALL_DEPTH_MAX: usize = 10_000;
const STACK_BYTES_MAX: usize = 1 << 20;

/// An interpreter; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Interpreter(wasmi::Engine);

impl Interpreter {
    pub(crate) fn new(limits: &Limits) -> Self {
        let mut config = Config::default();
        config
            .consume_fuel(true)
            .operator_cost(operator_cost())
            .fuel_cost(fuel_costs(limits))
            .compilation_mode(CompilationMode::Eager)
            .ignore_custom_sections(true)
            .set_max_recursion_depth(CALL_DEPTH_MAX)
            .set_max_stack_height(STACK_BYTES_MAX)
            .wasm_multi_memory(false)
            .wasm_relaxed_simd(false);
        Self(wasmi::Engine::new(&config))
    }

    /// Checks a module and translates it to what the interpreter runs.
    pub(crate) fn translate(&self, module: &[u8]) -> Result<wasmi::Module, LoadError> {
        let refused = |error: wasmi::Error| LoadError::Compile(Box::new(error));
        // What is checked is the module as it was signed, and all of it before any is translated: the
        // translator counts on code that is valid, and asserts in vain where it is not.
        wasmi::Module::validate(&self.0, module).map_err(refused)?;
        let rewritten = start_section::as_export(module);
        wasmi::Module::new(&self.0, rewritten.as_deref().unwrap_or(module)).map_err(refused)
    }
}

fn operator_cost() -> OperatorCost {
    OperatorCost {
        memory_grow: COST_OF_A_CALL,
        table_grow: COST_OF_A_CALL,
        i8x16_shuffle: COST_OF_A_CALL,
        ..OperatorCost::default()
    }
}

fn fuel_costs(limits: &Limits) -> CustomFuelCosts {
    let all_of_memory = SLICE / SLICE_PART_OF_ALL_MEMORY;
    let bytes_copied = (limits.memory_bytes_max as u64).div_ceil(all_of_memory).max(1);
    CustomFuelCosts {
        bytes_copied_per_fuel: u32::try_from(bytes_copied).unwrap_or(u32::MAX),
        // Code is translated when it is loaded, before there is any fuel.
        fuel_per_bytes_translated: 0,
        fuel_per_bytes_validated: 0,
    }
}

impl Code for wasmi::Module {
    fn import(&self) -> Option<String> {
        self.imports().next().map(|import| format!("{}.{}", import.module(), import.name()))
    }

    fn has_memory(&self, name: &str) -> bool {
        // Shared ones and those of 64 bits are switched off.
        matches!(self.get_export(name), Some(ExternType::Memory(_)))
    }

    fn has_function(&self, name: &str, parameters: usize) -> bool {
        let Some(ExternType::Func(function)) = self.get_export(name) else {
            return false;
        };
        function.params().len() == parameters
            && function.results().len() == 1
            && function.params().iter().chain(function.results()).all(|kind| *kind == ValType::I32)
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
    deadline: Deadline,
}

/// Until when calls may go on.
#[derive(Clone, Copy)]
struct Deadline {
    began: Instant,
    time: Duration,
}

impl Deadline {
    fn within(time: Duration) -> Self {
        Self { began: Instant::now(), time }
    }

    fn has_passed(self) -> bool {
        self.began.elapsed() >= self.time
    }
}

impl Running {
    fn start(code: &wasmi::Module, limits: &Limits, time: Duration) -> Result<Self, CallError> {
        let deadline = Deadline::within(time);
        let limits = StoreLimitsBuilder::new()
            .memory_size(limits.memory_bytes_max)
            .table_elements(TABLE_ELEMENTS_MAX)
            .instances(1)
            .memories(1)
            .tables(TABLES_MAX)
            .build();
        let mut store = Store::new(code.engine(), limits);
        store.limiter(|limits| limits);
        store.set_fuel(SLICE).map_err(call_error)?;
        let instance = Linker::new(code.engine())
            .instantiate_and_start(&mut store, code)
            .map_err(call_error)?;
        if let Some(start) = instance.get_func(&store, start_section::NAME) {
            let start: TypedFunc<(), ()> = start.typed(&store).map_err(call_error)?;
            call(&mut store, deadline, start, ())?;
        }
        let memory =
            instance.get_memory(&store, abi::MEMORY).ok_or(CallError::Layout("no memory"))?;
        let version = instance.get_typed_func(&store, abi::ABI).map_err(call_error)?;
        let prepare = instance.get_typed_func(&store, abi::PREPARE).map_err(call_error)?;
        let score = instance.get_typed_func(&store, abi::SCORE).map_err(call_error)?;
        Ok(Self { store, memory, version, prepare, score, deadline })
    }
}

impl Instance for Running {
    fn set_deadline(&mut self, time: Duration) {
        self.deadline = Deadline::within(time);
    }

    fn version(&mut self) -> Result<i32, CallError> {
        call(&mut self.store, self.deadline, self.version, ())
    }

    fn prepare(&mut self, rows: u32, states: u32) -> Result<u32, CallError> {
        call(&mut self.store, self.deadline, self.prepare, (rows, states))
    }

    fn score(&mut self, rows: u32, states: u32, flags: u32) -> Result<i32, CallError> {
        call(&mut self.store, self.deadline, self.score, (rows, states, flags))
    }

    fn memory(&self) -> &[u8] {
        self.memory.data(&self.store)
    }

    fn memory_mut(&mut self) -> &mut [u8] {
        self.memory.data_mut(&mut self.store)
    }
}

/// Runs a function slice by slice, to its end or to the deadline.
fn call<Parameters: WasmParams, Results: WasmResults>(
    store: &mut Store<StoreLimits>,
    deadline: Deadline,
    function: TypedFunc<Parameters, Results>,
    parameters: Parameters,
) -> Result<Results, CallError> {
    store.set_fuel(SLICE).map_err(call_error)?;
    let mut call = function.call_resumable(&mut *store, parameters).map_err(call_error)?;
    loop {
        call = match call {
            TypedResumableCall::Finished(results) => return Ok(results),
            TypedResumableCall::OutOfFuel(_) if deadline.has_passed() => {
                return Err(CallError::Deadline);
            }
            TypedResumableCall::OutOfFuel(paused) if paused.required_fuel() > SLICE => {
                return Err(CallError::Trap(format!(
                    "{} instructions in a row: the interpreter takes {SLICE}",
                    paused.required_fuel()
                )));
            }
            TypedResumableCall::OutOfFuel(paused) => {
                store.set_fuel(SLICE).map_err(call_error)?;
                paused.resume(&mut *store).map_err(call_error)?
            }
            TypedResumableCall::HostTrap(_) => {
                return Err(CallError::Trap("a function of the host, which has none".into()));
            }
        };
    }
}

/// Traps are told in the words of compiled code: what a dead letter says does not depend on what
/// ran the module.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn call_error(error: wasmi::Error) -> CallError {
    match error.as_trap_code() {
        Some(TrapCode::OutOfFuel) => CallError::Deadline,
        Some(trap) => CallError::Trap(format!("wasm trap: {trap}")),
        None => CallError::Trap(error.to_string()),
    }
}
