//! What lives between calls: the detector, and the region that batches lie in.
#![expect(unsafe_code, reason = "the boundary itself: raw addresses come in and go out")]

use crate::memory::{Memory, PAGE_BYTES};
use core::mem::size_of;
use twinge_contract::abi::{
    ERROR_ENTITY, ERROR_MODEL, ERROR_ROOM, FLAG_EXPLAIN_ALL, Layout, ROWS_MAX,
};
use twinge_detector::{Batch, BatchError, Detector};

/// What lives between calls.
#[derive(Debug)]
pub(crate) struct Shell {
    memory: Memory,
    detector: Option<Detector<'static>>,
    rows: u32,
    entities: u32,
    region_start: usize,
    region_end: usize,
    layout: [u32; 10],
    scratch: usize,
}

impl Shell {
    /// Before the first call.
    pub(crate) const fn new(memory: Memory) -> Self {
        Self {
            memory,
            detector: None,
            rows: 0,
            entities: 0,
            region_start: 0,
            region_end: 0,
            layout: [0; 10],
            scratch: 0,
        }
    }

    /// Makes room for a batch; where its arrays lie, or none. `model` is where the model lies.
    pub(crate) fn prepare(
        &mut self,
        model: [u32; 2],
        rows: u32,
        entities: u32,
    ) -> Option<&[u32; 10]> {
        if rows > ROWS_MAX || entities > rows {
            return None;
        }
        if self.detector.is_none() {
            self.detector = self.read(model);
        }
        // Copied out: a detector is a handful of slices, and placing arrays changes the shell.
        let detector = self.detector?;
        self.place(&detector, rows, entities).then_some(&self.layout)
    }

    /// Scores the batch that lies in the arrays.
    pub(crate) fn score(&mut self, rows: u32, entities: u32, flags: u32) -> i32 {
        let Some(detector) = &self.detector else { return ERROR_MODEL };
        if rows > self.rows || entities > self.entities {
            return ERROR_ROOM;
        }
        let layout = Layout::from_words(self.layout);
        let (rows, entities, fields) = (rows as usize, entities as usize, layout.fields as usize);
        // SAFETY: `place` put these arrays there, each long enough for the prepared numbers of rows
        // and entities, aligned to eight and apart from one another, in memory that nothing else
        // uses: `&mut self` is the only way here.
        let (mut batch, scratch) = unsafe {
            let batch = Batch {
                times: array(layout.times, rows),
                entities: array(layout.entities, rows),
                inputs: array(layout.inputs, rows * fields),
                states: array_mut(layout.states, entities * detector.state_words()),
                scores: array_mut(layout.scores, rows),
                verdicts: array_mut(layout.verdicts, rows),
                attributions: array_mut(layout.attributions, rows * (fields + 1)),
            };
            (batch, array_mut(self.scratch as u32, detector.scratch_len()))
        };
        match detector.score(&mut batch, flags & FLAG_EXPLAIN_ALL != 0, scratch) {
            Ok(()) => 0,
            Err(BatchError::Entity) => ERROR_ENTITY,
            Err(BatchError::Lengths) => ERROR_ROOM,
        }
    }

    fn read(&self, [address, length]: [u32; 2]) -> Option<Detector<'static>> {
        let end = (address as usize).checked_add(length as usize)?;
        if address == 0 || end > self.memory.end() {
            return None;
        }
        // SAFETY: the bytes lie within memory, are written by a data segment before any call, and
        // lie in front of the region, which is the only memory that is written to later.
        let model = unsafe { core::slice::from_raw_parts(address as *const u8, length as usize) };
        Detector::parse(model).ok()
    }

    /// Places the arrays of a batch; false when there is no memory for them.
    fn place(&mut self, detector: &Detector<'_>, rows: u32, entities: u32) -> bool {
        // In 64 bits: the largest batch of the largest states would wrap around in 32.
        let (rows_, entities_) = (u64::from(rows), u64::from(entities));
        let (fields, words) = (detector.fields() as u64, detector.state_words() as u64);
        let size = |bytes: usize| bytes as u64;
        let bytes: [u64; 8] = [
            rows_ * size(size_of::<f64>()),
            rows_ * size(size_of::<u32>()),
            rows_ * fields * size(size_of::<f64>()),
            entities_ * words * size(size_of::<f64>()),
            rows_ * size(size_of::<f64>()),
            rows_ * size(size_of::<u32>()),
            rows_ * (fields + 1) * size(size_of::<f32>()),
            size(detector.scratch_len() * size_of::<f32>()),
        ];
        let wanted: u64 = bytes.iter().map(|bytes| bytes.next_multiple_of(8)).sum();
        if !self.reserve(wanted) {
            return false;
        }
        let mut address = self.region_start;
        let mut addresses = [0; 8];
        for (place, bytes) in addresses.iter_mut().zip(bytes) {
            *place = address as u32;
            address += bytes.next_multiple_of(8) as usize;
        }
        let [times, entities_at, inputs, states, scores, verdicts, attributions, scratch] =
            addresses;
        (self.rows, self.entities, self.scratch) = (rows, entities, scratch as usize);
        self.layout = Layout {
            fields: fields as u32,
            state_bytes: (words * 8) as u32,
            times,
            entities: entities_at,
            inputs,
            states,
            scores,
            verdicts,
            attributions,
            reserved: 0,
        }
        .to_words();
        true
    }

    /// Makes the region at least `wanted` bytes long.
    fn reserve(&mut self, wanted: u64) -> bool {
        let have = (self.region_end - self.region_start) as u64;
        if wanted <= have {
            return true;
        }
        // The region is always the end of memory, because nothing else grows it.
        let (before, pages) = (self.memory.end(), (wanted - have).div_ceil(PAGE_BYTES as u64));
        if !self.memory.grow(pages as usize) {
            return false;
        }
        if self.region_start == 0 {
            self.region_start = before;
        }
        self.region_end = self.memory.end();
        true
    }
}

/// # Safety
/// `address` must be aligned for `T` and the start of `length` values that nothing writes to.
unsafe fn array<'a, T>(address: u32, length: usize) -> &'a [T] {
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(address as *const T, length) }
}

/// # Safety
/// As [`array`], and nothing else refers to the values.
unsafe fn array_mut<'a, T>(address: u32, length: usize) -> &'a mut [T] {
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts_mut(address as *mut T, length) }
}
