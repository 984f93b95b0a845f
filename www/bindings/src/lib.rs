//! Training in the browser: the same crate that the trainer uses, compiled to WebAssembly.
//!
//! The module that comes out has the digest that native training gives. It is unsigned, because a
//! page has no key. Nothing here scores: the browser runs the module itself.

use twinge_contract::manifest::Manifest;
use twinge_fit::read::{RowReader, format_of};
use twinge_fit::{Config, Table};
use wasm_bindgen::prelude::wasm_bindgen;

/// A trained module and what it says about itself.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Trained {
    module: Vec<u8>,
    manifest: Manifest,
}

#[wasm_bindgen]
impl Trained {
    /// The module's bytes.
    pub fn module(&self) -> Vec<u8> {
        self.module.clone()
    }

    /// The manifest as JSON.
    pub fn manifest(&self) -> String {
        String::from_utf8_lossy(&self.manifest.to_json()).into_owned()
    }
}

/// Guesses a `detector.toml` from data; `file_name` tells the format.
#[wasm_bindgen]
pub fn infer(data: &[u8], file_name: &str, detector_name: &str) -> Result<String, String> {
    let inferred = twinge_fit::infer::infer(data, format_of(file_name, data))
        .map_err(|error| chain(&error))?;
    let config = Config {
        name: detector_name.to_owned(),
        version: "1".to_owned(),
        schema: inferred.schema,
        ..Config::default()
    };
    Ok(config.to_toml())
}

/// Trains on data by a `detector.toml`.
#[wasm_bindgen]
pub fn train(data: &[u8], file_name: &str, config: &str, seed: u64) -> Result<Trained, String> {
    let valid = Config::parse(config).and_then(Config::check).map_err(|error| chain(&error))?;
    let rows = RowReader::new(data, format_of(file_name, data), &valid.written.schema)
        .map_err(|error| chain(&error))?;
    let table = Table::read(rows, |_| {}).map_err(|error| chain(&error))?;
    let trained =
        twinge_fit::train(&table, &valid, seed, &mut |_| true).map_err(|error| chain(&error))?;
    Ok(Trained { module: trained.module, manifest: trained.manifest })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
