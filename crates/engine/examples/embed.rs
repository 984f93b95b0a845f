//! The engine inside another program: scores a file of events and prints each one's number, its
//! verdict, 1 if it came late, and the bits of its score.
//!
//! ```sh
//! cargo run --release -p twinge-engine --example embed -- MODULE.wasm EVENTS.ndjson keys/trust.json
//! ```
//!
//! Without the last argument a module is run that nobody signed.
#![expect(clippy::print_stdout, reason = "verdicts are what it prints")]

use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use twinge_contract::event::EventReader;
use twinge_engine::{Budget, Engine, Limits, Scorer};
use twinge_trust::{Envelope, Keyring, VerifiedModule};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(module), Some(events)) = (arguments.next(), arguments.next()) else {
        return Err("usage: embed MODULE.wasm EVENTS.ndjson [TRUST.json]".into());
    };
    let verified = read(&module, arguments.next().as_deref())?;
    let module = Engine::new(Limits::default())?.load(&verified)?;
    let reader = EventReader::new(&module.manifest().schema);
    // The caller keeps the states: the module remembers nothing. A program that runs for long bounds
    // them, as docs/abi.md tells.
    let mut states: HashMap<String, Vec<u8>> = HashMap::new();
    let mut scorer = Scorer::new(&module);
    let mut batch = scorer.batch();
    for (number, line) in BufReader::new(File::open(events)?).lines().enumerate() {
        let event = reader.read(line?.as_bytes())?;
        batch.clear();
        let place = batch.push_state(states.get(&event.entity).map(Vec::as_slice));
        batch.push(event.time_ms.unwrap_or_default() as f64, place, &event.inputs);
        scorer.score(&mut batch, false, Budget::Usual)?;
        states.insert(event.entity, batch.state(place).to_vec());
        let (outcome, is_late) = (batch.outcome(0).as_str(), u8::from(batch.is_late(0)));
        println!("{number} {outcome} {is_late} {:016x}", batch.score(0).to_bits());
    }
    Ok(())
}

/// A module that a trusted key signed, or one that is run on nobody's word.
fn read(module: &str, trust: Option<&str>) -> Result<VerifiedModule, Box<dyn Error>> {
    let bytes = fs::read(module)?;
    let Some(trust) = trust else { return Ok(VerifiedModule::allow_unsigned(bytes)) };
    let signature = Envelope::from_json(&fs::read(format!("{module}.sig"))?)?;
    let keyring = Keyring::from_json(&fs::read(trust)?)?;
    Ok(VerifiedModule::verify(bytes, &signature, &keyring)?)
}
