//! What the page takes from the Rust side: training, and generated streams to look at.
//!
//! Nothing here scores: the browser runs the module itself, through `www/runtime`. The two halves
//! are features, so that a page that only shows a stream need not load the trainer.

#[cfg(feature = "stream")]
mod stream;
#[cfg(feature = "train")]
mod train;

#[cfg(feature = "stream")]
pub use stream::EventStream;
#[cfg(feature = "train")]
pub use train::{Trained, infer, to_toml, train};
