//! The slow, obvious way to score: natively, one event after the other, with a plain list of
//! entities. What everything else must agree with, bit for bit.

use anyhow::{Context, Result, anyhow};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use twinge_contract::abi::Outcome;
use twinge_contract::event::EventReader;
use twinge_contract::manifest::Manifest;
use twinge_detector::{Batch, Detector};
use twinge_fit::link::model_of;

/// A verdict in short, for comparing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    /// Its word.
    pub(crate) outcome: String,
    /// Bits of the score.
    pub(crate) score: u64,
}

/// Scores a file of events; what cannot be read is left out. By line number, from 0.
pub(crate) fn score(
    module: &Path,
    manifest: &Manifest,
    events: &Path,
    entities_max: usize,
) -> Result<BTreeMap<u64, Short>> {
    let bytes =
        std::fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let model = model_of(&bytes).context("the module was not linked by this trainer")?;
    let detector =
        Detector::parse(bytemuck::cast_slice(&model)).map_err(|error| anyhow!("{error}"))?;
    let reader = EventReader::new(&manifest.schema);
    let text = std::fs::read_to_string(events)
        .with_context(|| format!("cannot read {}", events.display()))?;
    let mut entities = Entities::default();
    let mut verdicts = BTreeMap::new();
    let mut scratch = vec![0.0; detector.scratch_len()];
    for (line, event) in text.lines().enumerate() {
        let Ok(event) = reader.read(event.as_bytes()) else { continue };
        let state = entities.admit(&event.entity, detector.state_words(), entities_max);
        let (mut score, mut verdict) = ([0.0], [0]);
        let mut attribution = vec![0.0; detector.fields() + 1];
        let mut batch = Batch {
            times: &[event.time_ms.unwrap_or(0) as f64],
            entities: &[0],
            inputs: &event.inputs,
            states: state,
            scores: &mut score,
            verdicts: &mut verdict,
            attributions: &mut attribution,
        };
        detector.score(&mut batch, false, &mut scratch).map_err(|error| anyhow!("{error}"))?;
        let outcome = Outcome::from_code(verdict[0]).context("no verdict")?.as_str().to_owned();
        verdicts.insert(line as u64, Short { outcome, score: score[0].to_bits() });
    }
    Ok(verdicts)
}

/// States by entity, with the number of the event that saw each last.
#[derive(Default)]
struct Entities {
    states: HashMap<String, (u64, Vec<f64>)>,
    by_age: BTreeMap<u64, String>,
    events: u64,
}

impl Entities {
    fn admit(&mut self, entity: &str, words: usize, most: usize) -> &mut [f64] {
        self.events += 1;
        match self.states.get(entity) {
            Some((last_seen, _)) => {
                self.by_age.remove(last_seen);
            }
            None if self.states.len() == most => {
                if let Some((_, oldest)) = self.by_age.pop_first() {
                    self.states.remove(&oldest);
                }
            }
            None => {}
        }
        self.by_age.insert(self.events, entity.to_owned());
        let entry = self.states.entry(entity.to_owned()).or_insert_with(|| (0, vec![0.0; words]));
        entry.0 = self.events;
        &mut entry.1
    }
}
