//! The words that both sides of the WebAssembly boundary speak.
//!
//! [`abi`] and [`category`] are plain numbers and are all that the guest links. The rest, behind
//! the feature `host`, is what programs read and write around a module: the [`schema`] of its
//! input, its [`manifest`], the [`event`]s it is fed, the [`verdict`]s it gives, the [`audit`] records
//! they can be reached again from, the [`silence`] of what stopped, the [`drift`] of what changed, the
//! [`alert`]s that people get and the [`label`]s that they give.
//!
//! This crate knows nothing of how scores are made, of WebAssembly engines, of files or networks.
#![cfg_attr(not(feature = "host"), no_std)]
#![forbid(unsafe_code)]

pub mod abi;
#[cfg(feature = "host")]
pub mod alert;
#[cfg(feature = "host")]
pub mod audit;
pub mod category;
#[cfg(feature = "host")]
pub mod drift;
#[cfg(feature = "host")]
pub mod event;
#[cfg(feature = "host")]
pub mod label;
#[cfg(feature = "host")]
pub mod manifest;
#[cfg(feature = "host")]
pub mod schema;
#[cfg(feature = "host")]
pub mod silence;
#[cfg(feature = "host")]
pub mod text;
#[cfg(feature = "host")]
pub mod time;
#[cfg(feature = "host")]
pub mod verdict;
