//! What tests of several crates need: detector modules made by hand that go wrong in a known way,
//! the keys and statements to publish them with, and programs that run while a test looks at them.
//!
//! Only tests link this. It knows no stores and no engine.
#![forbid(unsafe_code)]

mod keys;
mod module;
pub mod program;

pub use keys::{Keys, statement};
pub use module::{Kind, MadeModule, TELL};
