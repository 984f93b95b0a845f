//! Exports, and the model's header.
#![expect(unsafe_code, reason = "names that the outside asks for, and one static that changes")]

use crate::memory::Memory;
use crate::shell::Shell;
use core::arch::wasm32;
use core::cell::UnsafeCell;
use twinge_contract::abi;

/// Where the linker put the model: address and length, written into memory before the first call.
#[repr(C, align(8))]
pub struct ModelHeader([u32; 2]);

/// Not zero, so that it has a place in the data section that the linker can find and overwrite.
#[unsafe(no_mangle)]
pub static TWINGE_MODEL: ModelHeader = ModelHeader([u32::MAX, u32::MAX]);

/// A cell for a module that has one thread by construction: shared memory is never enabled.
struct SingleThread<T>(UnsafeCell<T>);

// SAFETY: the module is built without threads and its memory is not shared.
unsafe impl<T> Sync for SingleThread<T> {}

static SHELL: SingleThread<Shell> = SingleThread(UnsafeCell::new(Shell::new(Memory)));

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
    // SAFETY: the header is a valid static. The read is volatile because the linker changes it
    // after the compiler has seen its initial value.
    let model = unsafe { (&raw const TWINGE_MODEL.0).read_volatile() };
    shell.prepare(model, rows, entities).map_or(core::ptr::null(), |layout| layout.as_ptr())
}

/// `twinge_score`: see [`abi::SCORE`].
#[unsafe(no_mangle)]
pub extern "C" fn twinge_score(rows: u32, entities: u32, flags: u32) -> i32 {
    // SAFETY: as in `twinge_prepare`.
    let shell = unsafe { &mut *SHELL.0.get() };
    shell.score(rows, entities, flags)
}
