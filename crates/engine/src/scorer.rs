//! Calls: one batch in, verdicts and new states out.

use crate::batch::Batch;
use crate::code::Instance;
use crate::error::{CallError, LoadError};
use crate::limits::Limits;
use crate::module::Module;
use std::ops::Range;
use std::time::{Duration, Instant};
use twinge_contract::abi::{self, Layout, Outcome, ROWS_MAX, VERDICT_CONTINUES, VERDICT_LATE};

/// A module ready to score; it makes a new instance whenever it has none it can trust.
#[derive(Debug)]
pub struct Scorer {
    module: Module,
    running: Option<Running>,
    busy: Duration,
}

/// How long a call may take, in deadlines of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// One.
    Usual,
    /// Ten: the second try of a call that was too slow.
    Retry,
}

impl Budget {
    fn time(self, limits: &Limits) -> Duration {
        match self {
            Self::Usual => limits.deadline,
            Self::Retry => limits.deadline.saturating_mul(10),
        }
    }
}

/// An instance and what was prepared in it.
struct Running {
    instance: Box<dyn Instance>,
    rows: usize,
    states: usize,
    layout: Option<Layout>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Running")
            .field("rows", &self.rows)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

impl Scorer {
    /// A scorer of `module`.
    pub fn new(module: &Module) -> Self {
        Self { module: module.clone(), running: None, busy: Duration::ZERO }
    }

    /// The module it runs.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// An empty batch of the module's shape.
    pub fn batch(&self) -> Batch {
        let manifest = self.module.manifest();
        Batch::new(manifest.schema.width(), manifest.state_bytes as usize)
    }

    /// Makes an instance and prepares it for one row, as a check.
    pub(crate) fn start(&mut self) -> Result<(), LoadError> {
        let (fields, state_bytes) = self.shape();
        // A machine that is busy with starting is no fault of the module.
        let mut running = Running::new(&self.module, Budget::Retry)?;
        let version = running.instance.version()?;
        if version != abi::VERSION.cast_signed() {
            return Err(LoadError::Abi(version));
        }
        running.prepare(1, 1, fields, state_bytes)?;
        self.running = Some(running);
        Ok(())
    }

    /// Scores the rows of `batch` in order and updates its states.
    ///
    /// On an error the states are as they were, scores and verdicts mean nothing, and the next call
    /// gets a new instance.
    pub fn score(
        &mut self,
        batch: &mut Batch,
        explain_all: bool,
        budget: Budget,
    ) -> Result<(), CallError> {
        let began = Instant::now();
        let result = self.try_score(batch, explain_all, budget);
        self.busy += began.elapsed();
        if result.is_err() {
            self.running = None;
            // What was read before the fault must not stay beside what parts of the batch give.
            batch.forget_verdicts();
        }
        result
    }

    fn try_score(
        &mut self,
        batch: &mut Batch,
        explain_all: bool,
        budget: Budget,
    ) -> Result<(), CallError> {
        if batch.rows() > ROWS_MAX as usize {
            return Err(CallError::Room { rows: batch.rows(), states: batch.states() });
        }
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(Running::new(&self.module, budget)?),
        };
        running.instance.set_deadline(budget.time(self.module.limits()));
        let layout =
            running.prepare(batch.rows(), batch.states(), batch.fields(), batch.state_bytes())?;
        running.write(&layout, batch)?;
        running.call(batch, explain_all)?;
        running.read(&layout, batch, explain_all)
    }

    /// Time spent in calls so far; for reports, never for a verdict.
    pub fn busy(&self) -> Duration {
        self.busy
    }

    fn shape(&self) -> (usize, usize) {
        let manifest = self.module.manifest();
        (manifest.schema.width(), manifest.state_bytes as usize)
    }
}

impl Running {
    fn new(module: &Module, budget: Budget) -> Result<Self, CallError> {
        let limits = module.limits();
        let instance = module.code().start(limits, budget.time(limits))?;
        Ok(Self { instance, rows: 0, states: 0, layout: None })
    }

    /// Makes room, growing by doubling so that batches of changing size seldom ask.
    fn prepare(
        &mut self,
        rows: usize,
        states: usize,
        fields: usize,
        state_bytes: usize,
    ) -> Result<Layout, CallError> {
        if let Some(layout) = self.layout
            && rows <= self.rows
            && states <= self.states
        {
            return Ok(layout);
        }
        // A part of a batch may bring the states of all of it, and a module need not make room for
        // more states than rows.
        let room_rows = rows.max(states).max(1).next_power_of_two().max(self.rows);
        let room_states = states.max(1).next_power_of_two().max(self.states).min(room_rows);
        let address = self.instance.prepare(room_rows as u32, room_states as u32)?;
        if address == 0 {
            return Err(CallError::Room { rows, states });
        }
        let layout = self.read_layout(address)?;
        check_layout(
            &layout,
            room_rows,
            room_states,
            fields,
            state_bytes,
            self.instance.memory().len(),
        )?;
        (self.rows, self.states, self.layout) = (room_rows, room_states, Some(layout));
        Ok(layout)
    }

    fn read_layout(&self, address: u32) -> Result<Layout, CallError> {
        let bytes = slice(self.instance.memory(), address, Layout::BYTES)
            .ok_or(CallError::Layout("layout lies outside memory"))?;
        let mut words = [0; 10];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Ok(Layout::from_words(words))
    }

    fn write(&mut self, layout: &Layout, batch: &Batch) -> Result<(), CallError> {
        let memory = self.instance.memory_mut();
        let mut write = |address: u32, bytes: &[u8]| {
            range(address, bytes.len())
                .and_then(|range| memory.get_mut(range))
                .map(|place| place.copy_from_slice(bytes))
                .ok_or(CallError::Layout("batch lies outside memory"))
        };
        write(layout.times, bytemuck::cast_slice(&batch.times))?;
        write(layout.entities, bytemuck::cast_slice(&batch.entities))?;
        write(layout.inputs, bytemuck::cast_slice(&batch.inputs))?;
        write(layout.states, &batch.states)
    }

    fn call(&mut self, batch: &Batch, explain_all: bool) -> Result<(), CallError> {
        let flags = if explain_all { abi::FLAG_EXPLAIN_ALL } else { 0 };
        let (rows, states) = (batch.rows() as u32, batch.states() as u32);
        match self.instance.score(rows, states, flags)? {
            0 => Ok(()),
            code => Err(CallError::Code(code)),
        }
    }

    /// Reads and checks everything before the states of `batch` change.
    fn read(
        &mut self,
        layout: &Layout,
        batch: &mut Batch,
        explain_all: bool,
    ) -> Result<(), CallError> {
        let memory = self.instance.memory();
        let read = |address: u32, length: usize| {
            slice(memory, address, length).ok_or(CallError::Layout("batch lies outside memory"))
        };
        let (rows, width) = (batch.rows(), batch.fields() + 1);
        let scores = read(layout.scores, rows * 8)?;
        let verdicts = read(layout.verdicts, rows * 4)?;
        let attributions = read(layout.attributions, rows * width * 4)?;
        let states = read(layout.states, batch.states.len())?;
        batch.forget_verdicts();
        batch.scores.extend(scores.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)));
        let words = verdicts.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        batch.verdicts.extend(words);
        for row in 0..rows {
            let outcome = outcome_of(batch.verdicts[row]).filter(|_| batch.scores[row].is_finite());
            let outcome = outcome.ok_or(CallError::Verdict(row))?;
            if explain_all || outcome == Outcome::Anomalous {
                let bytes = &attributions[row * width * 4..][..width * 4];
                let contributions = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
                batch.attributions.extend(contributions);
                batch.explained.push(row as u32);
            }
        }
        if !batch.attributions.iter().all(|contribution| contribution.is_finite()) {
            let row = (0..rows).find(|row| !batch.attribution(*row).iter().all(|c| c.is_finite()));
            return Err(CallError::Verdict(row.unwrap_or_default()));
        }
        batch.states.copy_from_slice(states);
        Ok(())
    }
}

/// The outcome that a verdict word tells; none where it is no verdict.
fn outcome_of(word: u32) -> Option<Outcome> {
    let flags = VERDICT_LATE | VERDICT_CONTINUES;
    Outcome::from_code(word).filter(|_| word & !(0xff | flags) == 0)
}

fn check_layout(
    layout: &Layout,
    rows: usize,
    states: usize,
    fields: usize,
    state_bytes: usize,
    memory_bytes: usize,
) -> Result<(), CallError> {
    if layout.fields as usize != fields || layout.state_bytes as usize != state_bytes {
        return Err(CallError::Layout("its fields or state size contradict the manifest"));
    }
    let arrays = [
        (layout.times, rows * 8),
        (layout.entities, rows * 4),
        (layout.inputs, rows * fields * 8),
        (layout.states, states * state_bytes),
        (layout.scores, rows * 8),
        (layout.verdicts, rows * 4),
        (layout.attributions, rows * (fields + 1) * 4),
    ];
    for (address, bytes) in arrays {
        if address % 8 != 0 {
            return Err(CallError::Layout("an address is not a multiple of eight"));
        }
        if range(address, bytes).is_none_or(|range| range.end > memory_bytes) {
            return Err(CallError::Layout("an array reaches beyond memory"));
        }
    }
    Ok(())
}

/// Where an array lies; none where an address of this machine cannot say it.
fn range(address: u32, length: usize) -> Option<Range<usize>> {
    let start = address as usize;
    Some(start..start.checked_add(length)?)
}

fn slice(memory: &[u8], address: u32, length: usize) -> Option<&[u8]> {
    memory.get(range(address, length)?)
}
