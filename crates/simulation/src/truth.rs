//! What must hold of what came out, found by the obvious means: from the records alone, without the
//! code that made them.

use crate::events::{Event, Kind, decode, number_in};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What came out of one stream of events, each record once.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Verdicts by their offsets.
    pub(crate) verdicts: BTreeMap<u64, Said>,
    /// Numbers of events that could not be read, by their offsets.
    pub(crate) dead_letters: BTreeMap<u64, u64>,
    /// The bytes of each record, by its id.
    pub(crate) by_id: BTreeMap<String, Vec<u8>>,
    /// Records that were there before.
    pub(crate) repeated: u64,
}

/// What a verdict says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    pub(crate) module: String,
    pub(crate) entity: String,
    /// Events of the entity that the module had seen before, by its score.
    pub(crate) before: u64,
}

/// Reads the records of every stream in two logs, by source and partition.
pub(crate) fn read(
    verdicts: &[u8],
    dead_letters: &[u8],
) -> Result<BTreeMap<String, Records>, String> {
    let mut streams = BTreeMap::<String, Records>::new();
    for log in [verdicts, dead_letters] {
        for line in log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let text = String::from_utf8_lossy(line);
            let json: Value = serde_json::from_slice(line)
                .map_err(|error| format!("a record is torn ({error}): {text}"))?;
            let origin = &json["data"]["origin"];
            let stream =
                format!("{} {}", text_of(&origin["source"])?, text_of(&origin["partition"])?);
            streams.entry(stream).or_default().note(line, &json)?;
        }
    }
    Ok(streams)
}

impl Records {
    fn note(&mut self, line: &[u8], json: &Value) -> Result<(), String> {
        let id = text_of(&json["id"])?;
        match self.by_id.insert(id.clone(), line.to_vec()) {
            Some(before) if before == line => {
                self.repeated += 1;
                return Ok(());
            }
            Some(before) => {
                let [before, now] = [&before[..], line].map(String::from_utf8_lossy);
                return Err(format!("id {id} stands for two records: {before} and {now}"));
            }
            None => {}
        }
        let offset = json["data"]["origin"]["offset"].as_u64().ok_or("a record has no offset")?;
        let is_second = if json["type"] == "io.twinge.verdict.v1" {
            self.verdicts.insert(offset, said(json)?).is_some()
        } else {
            let original = text_of(&json["data"]["original"])?;
            let number = number_in(&original).ok_or("a dead letter is of no event")?;
            self.dead_letters.insert(offset, number).is_some()
        };
        let has_both =
            self.verdicts.contains_key(&offset) && self.dead_letters.contains_key(&offset);
        if is_second || has_both {
            return Err(format!("the event at offset {offset} has two different records: {json}"));
        }
        Ok(())
    }

    /// Everything was said by a module that may run, about an event as it was sent.
    pub(crate) fn check_events(
        &self,
        event: impl Fn(u64, u64) -> Option<Event>,
        signed: &BTreeSet<String>,
    ) -> Result<(), String> {
        for (offset, said) in &self.verdicts {
            let sent = event(*offset, said.number)
                .ok_or_else(|| format!("offset {offset}: nobody sent event {}", said.number))?;
            if !signed.contains(&said.module) {
                return Err(format!("offset {offset}: module {} was not signed", said.module));
            }
            if (&sent.entity, sent.kind, sent.number) != (&said.entity, said.kind, said.number) {
                return Err(format!("offset {offset}: {said:?} is said of {sent:?}"));
            }
        }
        Ok(())
    }

    /// No event has two verdicts, where sensors may send it twice.
    pub(crate) fn check_once(&self) -> Result<(), String> {
        let mut seen = BTreeMap::new();
        for (offset, said) in &self.verdicts {
            if let Some(before) = seen.insert(said.number, offset) {
                let number = said.number;
                return Err(format!("event {number} was scored at offsets {before} and {offset}"));
            }
        }
        Ok(())
    }

    /// Which of these events has neither a verdict nor a dead letter.
    pub(crate) fn missing(&self, numbers: &BTreeSet<u64>) -> Vec<u64> {
        let scored = self.verdicts.values().map(|said| said.number);
        let found: BTreeSet<u64> = scored.chain(self.dead_letters.values().copied()).collect();
        numbers.difference(&found).copied().collect()
    }

    /// Each score is the one that its module would have given without any disturbance: it tells how
    /// many events of its entity the module saw before, and that is counted here. A module that took
    /// over later saw all events from some offset on, which is not known: there must be one with
    /// which every score agrees.
    pub(crate) fn check_states(&self, entities_max: usize) -> Result<(), String> {
        let all: Vec<(&u64, &Said)> = self.verdicts.iter().collect();
        let mut begin = 0;
        while begin < all.len() {
            let module = &all[begin].1.module;
            let acts = all[begin..].iter().take_while(|(_, said)| said.module == *module).count();
            let is_first = begin == 0;
            let from = (0..=begin).rev().filter(|from| !is_first || *from == 0);
            let mut from =
                from.map(|from| first_wrong(&all, (from, begin, begin + acts), entities_max));
            let mut latest = None;
            let fits = from.any(|wrong| {
                latest = latest.max(wrong);
                wrong.is_none()
            });
            if !fits {
                let (offset, said) = all[latest.unwrap_or(begin)];
                return Err(format!(
                    "offset {offset}: no undisturbed run says {said:?}; the module acts from offset {}",
                    all[begin].0
                ));
            }
            begin += acts;
        }
        Ok(())
    }
}

/// The first place from `acts` on, before `end`, whose score does not tell what a module with that
/// many entities has seen which begins at `from`.
fn first_wrong(
    all: &[(&u64, &Said)],
    (from, acts, end): (usize, usize, usize),
    entities_max: usize,
) -> Option<usize> {
    // Latest last.
    let mut seen: Vec<(&str, u64)> = Vec::new();
    for (place, (_, said)) in all[..end].iter().enumerate().skip(from) {
        let known = seen.iter().position(|(entity, _)| *entity == said.entity);
        let (entity, count) = match known {
            Some(known) => seen.remove(known),
            None => (said.entity.as_str(), 0),
        };
        if place >= acts && count != said.before {
            return Some(place);
        }
        seen.push((entity, count + 1));
        if seen.len() > entities_max {
            seen.remove(0);
        }
    }
    None
}

fn said(json: &Value) -> Result<Said, String> {
    let data = &json["data"];
    let score = data["score"].as_f64().ok_or("a verdict has no score")?;
    let (number, kind, before) = decode(score);
    let outcome = if kind == Kind::Anomalous { "anomalous" } else { "normal" };
    if data["verdict"] != outcome {
        return Err(format!("score {score} does not fit its verdict: {json}"));
    }
    let (module, entity) = (text_of(&data["module"])?, text_of(&json["subject"])?);
    Ok(Said { number, kind, module, entity, before })
}

fn text_of(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{value} is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(said: &[(&str, &str, u64)]) -> Records {
        let verdicts = said.iter().enumerate().map(|(place, (entity, module, before))| {
            let said = Said {
                number: place as u64,
                kind: Kind::Normal,
                module: (*module).to_owned(),
                entity: (*entity).to_owned(),
                before: *before,
            };
            (place as u64, said)
        });
        Records { verdicts: verdicts.collect(), ..Records::default() }
    }

    #[test]
    fn a_state_that_was_lost_or_kept_too_long_is_seen() {
        let right = [("a", "m", 0), ("b", "m", 0), ("a", "m", 1), ("a", "m", 2), ("b", "m", 1)];
        records(&right).check_states(9).unwrap();
        let lost = [("a", "m", 0), ("a", "m", 1), ("a", "m", 0)];
        records(&lost).check_states(9).unwrap_err();
        let twice = [("a", "m", 0), ("a", "m", 2)];
        records(&twice).check_states(9).unwrap_err();
        let evicted = [("a", "m", 0), ("b", "m", 0), ("c", "m", 0), ("a", "m", 0)];
        records(&evicted).check_states(2).unwrap();
        records(&evicted).check_states(3).unwrap_err();
    }

    #[test]
    fn a_module_that_takes_over_has_seen_everything_from_some_offset_on() {
        let right = [("a", "m", 0), ("a", "m", 1), ("b", "m", 0), ("a", "n", 1), ("b", "n", 1)];
        records(&right).check_states(9).unwrap();
        let torn = [("a", "m", 0), ("a", "m", 1), ("b", "m", 0), ("a", "n", 1), ("b", "n", 0)];
        records(&torn).check_states(9).unwrap_err();
    }
}
