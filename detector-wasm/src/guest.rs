//! Exports, memory and the model's header.
#![expect(unsafe_code, reason = "the boundary itself: raw addresses come in and go out")]

use core::arch::wasm32;
use core::cell::UnsafeCell;
use core::mem::size_of;
use twinge_contract::abi::{
    self, ERROR_ENTITY, ERROR_MODEL, ERROR_ROOM, FLAG_EXPLAIN_ALL, Layout, ROWS_MAX,
};
use twinge_detector::{Batch, BatchError, Detector};

/// Where the linker put the model: address and length, written into memory before the first call.
#[repr(C, align(8))]
pub struct ModelHeader([u32; 2]);

/// Not zero, so that it has a place in the data section that the linker can find and overwrite.
#[unsafe(no_mangle)]
pub static TWINGE_MODEL: ModelHeader = ModelHeader([u32::MAX, u32::MAX]);

/// What lives between calls.
struct Shell {
    detector: Option<Detector<'static>>,
    rows: u32,
    entities: u32,
    region_start: usize,
    region_end: usize,
    layout: [u32; 10],
    scratch: usize,
}

/// A cell for a module that has one thread by construction: shared memory is never enabled.
struct SingleThread<T>(UnsafeCell<T>);

// SAFETY: the module is built without threads and its memory is not shared.
unsafe impl<T> Sync for SingleThread<T> {}

static SHELL: SingleThread<Shell> = SingleThread(UnsafeCell::new(Shell {
    detector: None,
    rows: 0,
    entities: 0,
    region_start: 0,
    region_end: 0,
    layout: [0; 10],
    scratch: 0,
}));

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    wasm32::unreachable()
}

/// `twinge_abi`: see [`abi::ABI`].
#[unsafe(no_mangle)]
pub extern "C" fn twinge_abi() -> u32 {
    abi::VERSION
}

/// `twinge_prepare`: see [`abi::PREPARE`].
#[unsafe(no_mangle)]
pub extern "C" fn twinge_prepare(rows: u32, entities: u32) -> *const u32 {
    // SAFETY: exports are called one at a time and none calls another, so this is the only
    // reference.
    let shell = unsafe { &mut *SHELL.0.get() };
    if rows > ROWS_MAX || entities > rows {
        return core::ptr::null();
    }
    if shell.detector.is_none() {
        shell.detector = detector();
    }
    // Copied out: a detector is a handful of slices, and `prepare` changes the shell.
    let Some(detector) = shell.detector else { return core::ptr::null() };
    if shell.prepare(&detector, rows, entities) { shell.layout.as_ptr() } else { core::ptr::null() }
}

/// `twinge_score`: see [`abi::SCORE`].
#[unsafe(no_mangle)]
pub extern "C" fn twinge_score(rows: u32, entities: u32, flags: u32) -> i32 {
    // SAFETY: as in `twinge_prepare`.
    let shell = unsafe { &mut *SHELL.0.get() };
    let Some(detector) = &shell.detector else { return ERROR_MODEL };
    if rows > shell.rows || entities > shell.entities {
        return ERROR_ROOM;
    }
    let layout = Layout::from_words(shell.layout);
    let (rows, entities, fields) = (rows as usize, entities as usize, layout.fields as usize);
    // SAFETY: `prepare` placed these arrays, each long enough for the prepared numbers of rows and
    // entities, aligned to eight and apart from one another, in memory that nothing else uses.
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
        (batch, array_mut(shell.scratch as u32, detector.scratch_len()))
    };
    match detector.score(&mut batch, flags & FLAG_EXPLAIN_ALL != 0, scratch) {
        Ok(()) => 0,
        Err(BatchError::Entity) => ERROR_ENTITY,
        Err(BatchError::Lengths) => ERROR_ROOM,
    }
}

fn detector() -> Option<Detector<'static>> {
    // SAFETY: the header is a valid static. The read is volatile because the linker changes it
    // after the compiler has seen its initial value.
    let [address, length] = unsafe { (&raw const TWINGE_MODEL.0).read_volatile() };
    let end = (address as usize).checked_add(length as usize)?;
    if end > wasm32::memory_size::<0>() * PAGE_BYTES {
        return None;
    }
    // SAFETY: the bytes lie within memory, are written by a data segment before any call, and lie
    // in front of the region, which is the only memory that is written to later.
    let model = unsafe { core::slice::from_raw_parts(address as *const u8, length as usize) };
    Detector::parse(model).ok()
}

const PAGE_BYTES: usize = 65_536;

impl Shell {
    /// Places the arrays of a batch; false when there is no memory for them.
    fn prepare(&mut self, detector: &Detector<'_>, rows: u32, entities: u32) -> bool {
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
        let pages = (wanted - have).div_ceil(PAGE_BYTES as u64);
        let before = wasm32::memory_grow::<0>(pages as usize);
        if before == usize::MAX {
            return false;
        }
        if self.region_start == 0 {
            self.region_start = before * PAGE_BYTES;
        }
        self.region_end = (before + pages as usize) * PAGE_BYTES;
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
