//! Training in the browser: the same crate that the trainer uses, compiled to WebAssembly.
//!
//! The module that comes out has the digest that native training gives. It is unsigned, because a
//! page has no key.

use js_sys::Function;
use serde_json::json;
use twinge_contract::manifest::Manifest;
use twinge_fit::read::{RowReader, format_of};
use twinge_fit::{Config, Progress, Table};
use wasm_bindgen::JsValue;
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

/// Guesses from data which column means what; `file_name` tells the format. Answers with JSON:
/// `schema`, and `notes` about columns left out.
#[wasm_bindgen]
pub fn infer(data: &[u8], file_name: &str) -> Result<String, String> {
    let inferred = twinge_fit::infer::infer(data, format_of(file_name, data))
        .map_err(|error| chain(&error))?;
    Ok(json!({ "schema": inferred.schema, "notes": inferred.notes }).to_string())
}

/// The `detector.toml` of a configuration given as JSON, checked.
#[wasm_bindgen]
pub fn to_toml(config: &str) -> Result<String, String> {
    let config: Config = serde_json::from_str(config).map_err(|error| chain(&error))?;
    Ok(config.check().map_err(|error| chain(&error))?.written.to_toml())
}

/// Trains on data by a `detector.toml`. `progress`, if there is one, is called with a step and the
/// share of it that is done.
#[wasm_bindgen]
#[expect(clippy::needless_pass_by_value, reason = "wasm-bindgen hands over what is optional")]
pub fn train(
    data: &[u8],
    file_name: &str,
    config: &str,
    seed: u64,
    progress: Option<Function>,
) -> Result<Trained, String> {
    let tell = |step: &str, share: f64| {
        if let Some(progress) = &progress {
            // Whether the listener is well is no matter of training.
            drop(progress.call2(&JsValue::NULL, &step.into(), &share.into()));
        }
    };
    let valid = Config::parse(config).and_then(Config::check).map_err(|error| chain(&error))?;
    let rows = RowReader::new(data, format_of(file_name, data), &valid.written.schema)
        .map_err(|error| chain(&error))?;
    let expected = if progress.is_some() { lines(data) } else { 1.0 };
    let table = Table::read(rows, |read| tell("reading rows", (read as f64 / expected).min(1.0)))
        .map_err(|error| chain(&error))?;
    let trained = twinge_fit::train(&table, &valid, seed, &mut |Progress { step, share }| {
        tell(step, share);
        true
    })
    .map_err(|error| chain(&error))?;
    Ok(Trained { module: trained.module, manifest: trained.manifest })
}

fn lines(data: &[u8]) -> f64 {
    data.split(|byte| *byte == b'\n').count() as f64
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_becomes_a_configuration() {
        let csv = b"time,sensor,x\n2026-01-01T00:00:00Z,a,1\n2026-01-01T00:00:01Z,a,2\n";
        let guess: serde_json::Value = serde_json::from_str(&infer(csv, "a.csv").unwrap()).unwrap();
        let config = json!({ "name": "a", "schema": guess["schema"] }).to_string();
        let toml = to_toml(&config).unwrap();
        assert!(toml.contains("numeric = [\"x\"]"), "{toml}");
        assert!(to_toml("{\"name\":\"No\"}").is_err());
    }

    #[test]
    fn errors_are_told_with_their_causes() {
        assert!(infer(b"", "a.csv").unwrap_err().contains("empty"));
        let config = "name = \"a\"\n[schema]\nnumeric = [\"x\"]\n";
        let error = train(b"y\n1\n", "a.csv", config, 0, None).unwrap_err();
        assert!(error.contains("no column `x`"), "{error}");
    }
}
