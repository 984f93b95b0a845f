//! What tests of several crates need: detector modules made by hand that go wrong in a known way,
//! and the keys and statements to publish them with.
//!
//! Only tests link this. It knows no files, no stores and no engine.
#![forbid(unsafe_code)]

mod keys;
mod module;

pub use keys::{Keys, statement};
pub use module::{Kind, MadeModule};
