//! Silence is a finding too: entities whose next event does not come.
//!
//! A watch learns how far apart an entity's events are, by the time that passes here and not by any
//! clock that can be set: mean and spread of the gaps, and the longest of late. An entity that is
//! silent beyond all three is told once, until it is heard again; a night or a weekend that was told
//! once is known from then on. Where everything is silent at once, that alone is told.
//!
//! It does not know what an event holds, nor where a finding goes.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use twinge_contract::silence::{EVERYTHING, Stopped};

/// Gaps that an entity must have shown before its silence means anything.
const GAPS_MIN: u32 = 20;

/// Share of a new gap in mean and spread.
const NEW_SHARE: f64 = 0.1;

/// Spreads beyond the mean that are usual.
const SPREADS: f64 = 4.0;

/// How far beyond the longest gap of late a silence goes.
const BEYOND_LONGEST: f64 = 1.5;

/// The longest gap counts half after so long.
const HALF_LIFE_S: f64 = 7.0 * 86_400.0;

/// Entities that are watched; beyond them, new ones are not.
const ENTITIES_MAX: usize = 100_000;

/// When a silence is told: an entity that sends nothing for longer than is usual for it.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SilenceSettings {
    /// Whether it is told; without the table, by the edge agent and not by the host.
    pub enabled: bool,
    /// No silence below so many seconds is told.
    pub least_seconds: f64,
    /// How many times the usual gap an entity may be silent.
    pub factor: f64,
}

impl Default for SilenceSettings {
    fn default() -> Self {
        Self { enabled: true, least_seconds: 60.0, factor: 3.0 }
    }
}

impl SilenceSettings {
    /// Whether they make sense.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            (1.0..=31_536_000.0).contains(&self.least_seconds),
            "[silence] least_seconds must lie between 1 and 31536000"
        );
        anyhow::ensure!(
            (1.0..=1000.0).contains(&self.factor),
            "[silence] factor must lie between 1 and 1000"
        );
        Ok(())
    }
}

/// A silence, and the offset of the last event before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What stopped.
    pub stopped: Stopped,
    /// Offset of its last event.
    pub offset: u64,
}

/// The gaps of all entities in a partition.
#[derive(Clone, Debug)]
pub struct SilenceWatch {
    settings: SilenceSettings,
    entities: HashMap<String, Gaps>,
    whole: Gaps,
    /// Entities that were not heard again since they were told.
    silent: usize,
}

/// What is known of the time between events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Gaps {
    /// Time here of the last event, ms.
    last: u64,
    /// The same by the wall, for people.
    last_ms: i64,
    offset: u64,
    count: u32,
    mean_s: f64,
    spread_s: f64,
    longest_s: f64,
    told: bool,
}

/// What outlives a restart.
#[derive(Serialize, Deserialize)]
struct Saved {
    now: u64,
    whole: Gaps,
    entities: Vec<(String, Gaps)>,
}

impl SilenceWatch {
    /// A watch that knows nobody yet.
    pub fn new(settings: SilenceSettings) -> Self {
        Self { settings, entities: HashMap::new(), whole: Gaps::default(), silent: 0 }
    }

    /// Notes an event: `now` is monotonic and `ingested_ms` since 1970, both in ms. Events of one
    /// batch have one time, and count as one for the gaps.
    pub fn note(&mut self, now: u64, ingested_ms: i64, entity: &str, offset: u64) {
        self.whole.note(now, ingested_ms, offset);
        let is_full = self.entities.len() >= ENTITIES_MAX;
        match self.entities.get_mut(entity) {
            Some(gaps) => {
                self.silent -= usize::from(gaps.told);
                gaps.note(now, ingested_ms, offset);
            }
            None if is_full => {}
            None => {
                let mut gaps = Gaps::default();
                gaps.note(now, ingested_ms, offset);
                self.entities.insert(entity.to_owned(), gaps);
            }
        }
    }

    /// Those that have become silent by `now`.
    pub fn look(&mut self, now: u64) -> Vec<Finding> {
        if self.whole.told {
            return Vec::new();
        }
        if self.whole.is_silent(now, &self.settings) {
            self.whole.told = true;
            // One of one is told by its name.
            let name = match self.entities.len() {
                1 => self.entities.keys().next().cloned(),
                _ => None,
            };
            let whole = self.whole;
            return vec![whole.finding(name.unwrap_or_else(|| EVERYTHING.into()), &self.settings)];
        }
        let settings = &self.settings;
        let mut found = Vec::new();
        #[expect(clippy::iter_over_hash_type, reason = "they are put in order below")]
        for (entity, gaps) in &mut self.entities {
            if !gaps.told && gaps.is_silent(now, settings) {
                gaps.told = true;
                found.push(gaps.finding(entity.clone(), settings));
            }
        }
        self.silent += found.len();
        found.sort_by_key(|finding| finding.offset);
        found
    }

    /// Entities that were told and not heard again.
    pub fn silent(&self) -> usize {
        if self.whole.told { self.entities.len() } else { self.silent }
    }

    /// What outlives a restart, at `now`.
    pub fn save(&self, now: u64) -> Vec<u8> {
        let mut entities: Vec<_> =
            self.entities.iter().map(|(entity, gaps)| (entity.clone(), *gaps)).collect();
        entities.sort_by(|a, b| a.0.cmp(&b.0));
        let saved = Saved { now, whole: self.whole, entities };
        postcard::to_allocvec(&saved).expect("a watch holds nothing that postcard lacks")
    }

    /// Goes on from what was saved. Time in which nobody watched does not count.
    pub fn restore(settings: SilenceSettings, bytes: &[u8], now: u64) -> Option<Self> {
        let saved: Saved = postcard::from_bytes(bytes).ok()?;
        let shift = |mut gaps: Gaps| {
            gaps.last = (gaps.last + now).saturating_sub(saved.now);
            gaps
        };
        let entities: HashMap<_, _> =
            saved.entities.into_iter().map(|(entity, gaps)| (entity, shift(gaps))).collect();
        let silent = entities.values().filter(|gaps| gaps.told).count();
        Some(Self { settings, entities, whole: shift(saved.whole), silent })
    }
}

impl Gaps {
    fn note(&mut self, now: u64, ingested_ms: i64, offset: u64) {
        let before = std::mem::replace(&mut self.last, now);
        (self.last_ms, self.offset, self.told) = (ingested_ms, offset, false);
        if self.count == 0 {
            self.count = 1;
            return;
        }
        if now == before {
            return;
        }
        let gap = now.saturating_sub(before) as f64 / 1000.0;
        // The first gaps count evenly, so that the very first one is not believed for long.
        let share = NEW_SHARE.max(1.0 / f64::from(self.count));
        let off = (gap - self.mean_s).abs();
        self.mean_s += share * (gap - self.mean_s);
        self.spread_s += share * (if self.count == 1 { 0.0 } else { off } - self.spread_s);
        self.longest_s = gap.max(self.longest_s * 0.5_f64.powf(gap / HALF_LIFE_S));
        self.count = self.count.saturating_add(1);
    }

    fn allowed_s(&self, settings: &SilenceSettings) -> f64 {
        let usual = settings.factor * (self.mean_s + SPREADS * self.spread_s);
        usual.max(BEYOND_LONGEST * self.longest_s).max(settings.least_seconds)
    }

    fn is_silent(&self, now: u64, settings: &SilenceSettings) -> bool {
        let silent = now.saturating_sub(self.last) as f64 / 1000.0;
        self.count > GAPS_MIN && silent > self.allowed_s(settings)
    }

    fn finding(&self, entity: String, settings: &SilenceSettings) -> Finding {
        let stopped = Stopped {
            entity,
            last_ms: self.last_ms,
            usual_gap_s: self.mean_s,
            allowed_gap_s: self.allowed_s(settings),
        };
        Finding { stopped, offset: self.offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: SilenceSettings =
        SilenceSettings { enabled: true, least_seconds: 5.0, factor: 3.0 };

    /// Two entities, one event a second each, for `seconds`; `b` stops after `b_until`.
    fn run(watch: &mut SilenceWatch, from: u64, seconds: u64, b_until: u64) -> Vec<(u64, Finding)> {
        let mut found = Vec::new();
        for second in from..from + seconds {
            watch.note(second * 1000, second.cast_signed(), "a", second * 2);
            if second < b_until {
                watch.note(second * 1000, second.cast_signed(), "b", second * 2 + 1);
            }
            found.extend(watch.look(second * 1000 + 500).into_iter().map(|one| (second, one)));
        }
        found
    }

    #[test]
    fn one_that_stops_is_told_once_until_it_is_heard_again() {
        let mut watch = SilenceWatch::new(SETTINGS);
        let found = run(&mut watch, 0, 100, 60);
        assert_eq!(found.len(), 1, "{found:?}");
        let (second, finding) = &found[0];
        assert_eq!((*second, finding.stopped.entity.as_str(), finding.offset), (64, "b", 119));
        assert_eq!((finding.stopped.last_ms, watch.silent()), (59, 1));
        assert!((finding.stopped.usual_gap_s - 1.0).abs() < 1e-9);
        // The gap of forty seconds is known from now on; one half as long again is told.
        assert!(run(&mut watch, 100, 50, 150).is_empty());
        assert_eq!(watch.silent(), 0);
        assert!(run(&mut watch, 150, 55, 0).is_empty());
        assert_eq!(run(&mut watch, 205, 20, 0).len(), 1);
    }

    #[test]
    fn silence_of_everything_is_one_finding() {
        let mut watch = SilenceWatch::new(SETTINGS);
        assert!(run(&mut watch, 0, 60, 60).is_empty());
        assert!(watch.look(63_000).is_empty());
        let found = watch.look(66_000);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].stopped.entity.as_str(), found[0].offset), (EVERYTHING, 119));
        assert!(watch.look(90_000).is_empty());
        assert_eq!(watch.silent(), 2);
    }

    #[test]
    fn those_who_are_hardly_known_are_not_judged() {
        let mut watch = SilenceWatch::new(SETTINGS);
        assert!(run(&mut watch, 0, 200, 15).is_empty());
    }

    #[test]
    fn a_restart_forgets_nobody_and_counts_no_time_that_it_was_off() {
        let mut watch = SilenceWatch::new(SETTINGS);
        assert!(run(&mut watch, 0, 100, 98).is_empty());
        let saved = watch.save(99_500);
        // The monotonic clock of another run.
        let mut watch = SilenceWatch::restore(SETTINGS, &saved, 7_000).unwrap();
        assert!(watch.look(7_001).is_empty());
        let found = run(&mut watch, 7, 10, 0);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].1.stopped.entity, "b");
        assert!(SilenceWatch::restore(SETTINGS, &saved[..saved.len() - 1], 0).is_none());
    }
}
