//! The guest shell: the exports of docs/abi.md around `twinge-detector`, and nothing else.
//!
//! It is built for wasm32-unknown-unknown by the build script of `twinge-fit`, which embeds it and
//! links trained models into it. It has no allocator: all room is one region behind the model,
//! grown when a larger batch is prepared. On other targets the crate is empty, but for tests where
//! addresses have 32 bits too, which an interpreter of Rust watches (`cargo xtask soak --only memory`).
#![cfg_attr(target_arch = "wasm32", no_std)]

#[cfg(target_arch = "wasm32")]
mod guest;
#[cfg(any(target_arch = "wasm32", all(test, target_pointer_width = "32")))]
mod memory;
#[cfg(any(target_arch = "wasm32", all(test, target_pointer_width = "32")))]
mod shell;
#[cfg(all(test, target_pointer_width = "32"))]
mod tests;
