//! An allocator that counts what each thread holds, so that a target's memory can be bounded.
//!
//! It counts by thread: targets that run at the same time do not disturb each other, and what a
//! target's own threads take is not seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::OnceLock;

/// What one allocation may take at most, in bytes. Beyond it the program ends, for a request
/// that large would bring the machine down before anybody could count it.
pub const ALLOCATION_BYTES_MAX: usize = 1 << 30;

thread_local! {
    /// Bytes that this thread took and did not give back. Below zero where it gives back others'.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

static ON_EXCESS: OnceLock<fn(usize)> = OnceLock::new();

/// The system's allocator, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

/// Says what is to be done before the program ends for one allocation that is too large.
pub fn on_excess(tell: fn(usize)) {
    // Whoever came first says the same.
    ON_EXCESS.set(tell).ok();
}

/// Begins to count this thread's peak anew.
pub fn restart() {
    PEAK.set(HELD.get());
}

/// The most bytes that `run` held at once beyond what was held before it, on this thread; zero where
/// [`Counting`] is not the program's allocator.
pub fn peak_of(run: impl FnOnce()) -> usize {
    let before = HELD.get();
    restart();
    run();
    usize::try_from(PEAK.get() - before).unwrap_or(0)
}

fn take(bytes: usize) {
    if bytes > ALLOCATION_BYTES_MAX {
        if let Some(tell) = ON_EXCESS.get() {
            tell(bytes);
        }
        std::process::abort();
    }
    let held = HELD.get() + bytes.cast_signed();
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

fn give(bytes: usize) {
    HELD.set(HELD.get() - bytes.cast_signed());
}

#[expect(unsafe_code, reason = "an allocator is unsafe to implement; all is passed on as it came")]
// SAFETY: each call is passed on to the system's allocator with the arguments that it came with, and
// its answer is given back unchanged. Counting touches two cells of the thread, which have no
// destructor and need no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: `pointer` came from the system's allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        give(layout.size());
        take(size);
        // SAFETY: `pointer` came from the system's allocator with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
