//! Decides when something has drifted.
//!
//! Events are counted in windows; at the end of each, everything that can be judged is, all at once:
//! what is improbable after correction for the number of tests, and large enough to matter, in
//! several windows in a row, is told. It is told once, and once more when it ends.

use crate::baseline::{Baseline, BaselineError};
use crate::chance::{holm, share_tail};
use crate::measure::{Measure, Test};
use crate::settings::DriftSettings;
use crate::sketch::Sketch;
pub use crate::state::DriftState;
use crate::state::{Aspect, Episode, KEPT, KEPT_OF_ANCHOR, Key, Told};
pub use crate::told::{Against, Change, Drifting, Evaluation, Mark, Observation, Subject};
use std::collections::BTreeMap;
use twinge_contract::category::{self, fnv1a};
use twinge_contract::manifest::Manifest;

/// Share of the least effect that an alarm needs to go on.
const GOES_ON: f64 = 0.7;

/// The name under which late verdicts are told.
const LATENCY: &str = "latency";

/// A watch over a stream of one module on one partition.
#[derive(Clone, Debug)]
pub struct DriftWatch {
    settings: DriftSettings,
    baselines: Vec<Watched>,
    state: DriftState,
}

#[derive(Clone, Debug)]
struct Watched {
    baseline: Baseline,
    against: Against,
    is_scores: bool,
    /// Which input each field is.
    inputs: Vec<usize>,
}

/// A test that may be about an episode.
struct Candidate {
    key: Key,
    test: Test,
    events: f64,
    effective: f64,
}

/// A candidate, and its probability after correction.
type Judged<'a> = (&'a Candidate, f64);

impl DriftWatch {
    /// A watch over a module that tells what it was trained on; nothing where it does not.
    pub fn new(
        manifest: &Manifest,
        settings: DriftSettings,
    ) -> Result<Option<Self>, BaselineError> {
        let Some(inputs) = Baseline::of_inputs(manifest)? else { return Ok(None) };
        let mut baselines = vec![(inputs, Against::Training, false)];
        let drift = manifest.drift.as_ref();
        if let Some(scores) = drift.and_then(|drift| drift.scores.as_ref()) {
            baselines.push((Baseline::of_scores(scores)?, Against::Training, true));
        }
        if let Some(anchor) = drift.and_then(|drift| drift.anchor.as_ref()) {
            baselines.push((Baseline::of_anchor(anchor)?, Against::Anchor, false));
        }
        let fields: Vec<&str> = manifest.schema.fields().collect();
        let place = |name: &str| fields.iter().position(|field| *field == name);
        let watched = baselines.into_iter().map(|(baseline, against, is_scores)| {
            // An anchor may name what this module does not read: it is not compared.
            let inputs = baseline.names().map(|name| place(name).unwrap_or(usize::MAX)).collect();
            Watched { baseline, against, is_scores, inputs }
        });
        let baselines: Vec<Watched> = watched.collect();
        let sketches = baselines.iter().map(|watched| Sketch::new(&watched.baseline)).collect();
        let state = DriftState { sketches, ..DriftState::default() };
        Ok(Some(Self { settings, baselines, state }))
    }

    /// Names of what is measured: inputs, `score` and `verdict`.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.baselines.iter().flat_map(|watched| watched.baseline.names())
    }

    /// What outlives a restart.
    pub fn state(&self) -> &DriftState {
        &self.state
    }

    /// Goes on from what a watch of the same module knew; answers with whether it could be used.
    pub fn resume(&mut self, state: DriftState) -> bool {
        let is_known = |key: &Key| {
            self.baselines.get(key.baseline).is_some_and(|one| key.field < one.inputs.len())
        };
        let fits = state.sketches.len() == self.state.sketches.len()
            && state.sketches.iter().zip(&self.state.sketches).all(|(a, b)| a.has_shape_of(b))
            && state.episodes.keys().all(is_known);
        if fits {
            self.state = state;
        }
        fits
    }

    /// Sketches of what is seen against each baseline, the running window included.
    pub fn sketches(&self) -> &[Sketch] {
        &self.state.sketches
    }

    /// Drifts that are told and have not ended.
    pub fn active(&self) -> Vec<Drifting> {
        let told = |(key, episode): (&Key, &Episode)| {
            let told = episode.told?;
            let (against, subject, field) = self.named(*key);
            let Told { measure, value, expected } = told;
            Some(Drifting {
                against,
                subject,
                field,
                measure,
                value,
                expected,
                since: episode.since,
            })
        };
        self.state.episodes.iter().filter_map(told).collect()
    }

    /// Takes an event; at the end of a window, answers with what it shows. Events that were taken
    /// before are passed over.
    pub fn note(&mut self, seen: &Observation<'_>) -> Option<Evaluation> {
        let state = &mut self.state;
        if seen.mark.offset < state.next_offset {
            return None;
        }
        state.next_offset = seen.mark.offset.saturating_add(1);
        if state.events == 0 {
            state.began = seen.mark;
        }
        let entity = fnv1a(seen.entity.as_bytes());
        for (watched, sketch) in self.baselines.iter().zip(&mut state.sketches) {
            watched.note(sketch, seen, entity);
        }
        if let Some((_, is_anomalous)) = seen.verdict {
            state.verdicts.note(is_anomalous);
        }
        if let Some(is_late) = seen.is_late {
            state.late.note(is_late);
        }
        state.events += 1;
        if state.events < self.settings.window_events {
            return None;
        }
        let evaluation = self.evaluate(seen.mark);
        self.forget();
        Some(evaluation)
    }

    /// Ends what has not ended: the module is no longer watched.
    pub fn close(&mut self, at: Mark) -> Vec<Change> {
        let episodes = std::mem::take(&mut self.state.episodes);
        let ends = |(key, episode): (Key, Episode)| {
            let told = episode.told?;
            let (against, subject, field) = self.named(key);
            Some(Change {
                begins: false,
                against,
                subject,
                field,
                measure: told.measure,
                value: told.value,
                expected: told.expected,
                least: self.least(told.measure),
                probability: 1.0,
                window_events: 0.0,
                effective_events: 0.0,
                since: episode.since,
                at,
            })
        };
        episodes.into_iter().filter_map(ends).collect()
    }

    fn forget(&mut self) {
        let state = &mut self.state;
        state.events = 0;
        for (watched, sketch) in self.baselines.iter().zip(&mut state.sketches) {
            sketch.forget(if watched.against == Against::Anchor { KEPT_OF_ANCHOR } else { KEPT });
        }
        state.verdicts.forget();
        state.late.forget();
    }

    fn evaluate(&mut self, at: Mark) -> Evaluation {
        self.state.windows += 1;
        let mut measures = Vec::new();
        let mut candidates = Vec::new();
        for (index, (watched, sketch)) in
            self.baselines.iter().zip(&self.state.sketches).enumerate()
        {
            if sketch.weight() < f64::from(self.settings.minimum_events) {
                continue;
            }
            for (field, one) in watched.baseline.compare(sketch).into_iter().enumerate() {
                if watched.inputs[field] == usize::MAX && !watched.is_scores {
                    continue;
                }
                candidates.extend(one.tests.iter().map(|test| Candidate {
                    key: Key { baseline: index, field, aspect: Aspect::of(test.measure) },
                    test: *test,
                    events: sketch.events(),
                    effective: one.effective_events.unwrap_or_default(),
                }));
                measures.push((watched.against, watched.subject(field), one));
            }
        }
        candidates.extend(self.latency());
        let changes = self.judge(&candidates, at);
        Evaluation {
            measures,
            verdict_rate: self.state.verdicts.share(),
            late_share: self.state.late.share(),
            changes,
            active: self.active().len(),
        }
    }

    /// Late verdicts have a bound of their own and nothing in training to be compared with.
    fn latency(&self) -> Option<Candidate> {
        let (late, allowed) = (self.state.late, self.settings.late_share);
        let share = late.share()?;
        let events = late.whole * late.whole / late.whole_squares;
        if late.whole < f64::from(self.settings.minimum_events) {
            return None;
        }
        let is_more = share > allowed;
        let test = Test {
            measure: Measure::Latency,
            value: share,
            effect: (share - allowed).max(0.0),
            expected: allowed,
            probability: if is_more { share_tail(share, allowed, events) } else { 1.0 },
        };
        let key = Key { baseline: 0, field: 0, aspect: Aspect::Latency };
        Some(Candidate { key, test, events, effective: events })
    }

    fn judge(&mut self, candidates: &[Candidate], at: Mark) -> Vec<Change> {
        let probabilities: Vec<f64> = candidates.iter().map(|one| one.test.probability).collect();
        let corrected = holm(&probabilities);
        let mut by_key: BTreeMap<Key, Vec<Judged<'_>>> = BTreeMap::new();
        for (candidate, corrected) in candidates.iter().zip(corrected) {
            by_key.entry(candidate.key).or_default().push((candidate, corrected));
        }
        let mut changes = Vec::new();
        for (key, tests) in by_key {
            let mut episode = self.state.episodes.remove(&key).unwrap_or_default();
            let (shown, crosses) = self.shown(&tests, episode.told.is_some());
            changes.extend(self.turn(key, &mut episode, shown, crosses, at));
            if episode.told.is_some() || episode.streak > 0 {
                self.state.episodes.insert(key, episode);
            }
        }
        changes
    }

    /// The most telling test of an episode, and whether it crosses its bound.
    fn shown<'a>(&self, tests: &[Judged<'a>], is_told: bool) -> (Judged<'a>, bool) {
        let needed = if is_told { GOES_ON } else { 1.0 };
        let crosses = |(one, corrected): &&Judged<'a>| {
            *corrected <= self.settings.probability
                && one.test.effect >= needed * self.least(one.test.measure)
        };
        // What is new tells most; else how many times the least effect it is.
        let telling = |(one, _): &Judged<'a>| {
            let is_new = one.test.measure == Measure::Unseen;
            let times = one.test.effect / self.least(one.test.measure).max(f64::MIN_POSITIVE);
            if is_new { f64::MAX } else { times }
        };
        let best = |a: &&Judged<'a>, b: &&Judged<'a>| telling(a).total_cmp(&telling(b));
        match tests.iter().filter(crosses).max_by(best) {
            Some(crossing) => (*crossing, true),
            None => (*tests.iter().max_by(best).expect("a key has tests"), false),
        }
    }

    /// Takes a window into an episode; answers with what begins or ends by it.
    fn turn(
        &self,
        key: Key,
        episode: &mut Episode,
        (candidate, probability): Judged<'_>,
        crosses: bool,
        at: Mark,
    ) -> Option<Change> {
        if crosses == episode.told.is_some() {
            episode.streak = 0;
            return None;
        }
        if episode.streak == 0 && crosses {
            episode.since = self.state.began;
        }
        episode.streak += 1;
        if episode.streak < self.settings.persistence {
            return None;
        }
        episode.streak = 0;
        let Test { measure, value, expected, .. } = candidate.test;
        episode.told = crosses.then_some(Told { measure, value, expected });
        let (against, subject, field) = self.named(key);
        Some(Change {
            begins: crosses,
            against,
            subject,
            field,
            measure,
            value,
            expected,
            least: self.least(measure),
            probability,
            window_events: candidate.events,
            effective_events: candidate.effective,
            since: episode.since,
            at,
        })
    }

    fn named(&self, key: Key) -> (Against, Subject, String) {
        let watched = &self.baselines[key.baseline];
        if key.aspect == Aspect::Latency {
            return (watched.against, Subject::Latency, LATENCY.to_owned());
        }
        let field = watched.baseline.names().nth(key.field).unwrap_or_default();
        (watched.against, watched.subject(key.field), field.to_owned())
    }

    fn least(&self, measure: Measure) -> f64 {
        match measure {
            Measure::Psi => self.settings.least_psi,
            Measure::Ks => self.settings.least_ks,
            Measure::Unseen | Measure::Missing | Measure::VerdictRate | Measure::Latency => {
                self.settings.least_share
            }
        }
    }
}

impl Watched {
    fn note(&self, sketch: &mut Sketch, seen: &Observation<'_>, entity: u64) {
        if self.is_scores {
            let Some((score, is_anomalous)) = seen.verdict else { return };
            let word = if is_anomalous { crate::baseline::ANOMALOUS } else { "normal" };
            let values = [score, category::code(word)];
            return sketch.note(&self.baseline, &values, seen.time_ms, entity);
        }
        let is_in_order = self.inputs.iter().enumerate().all(|(place, input)| place == *input);
        if is_in_order {
            return sketch.note(&self.baseline, seen.inputs, seen.time_ms, entity);
        }
        let value = |input: &usize| seen.inputs.get(*input).copied().unwrap_or(f64::NAN);
        let values: Vec<f64> = self.inputs.iter().map(value).collect();
        sketch.note(&self.baseline, &values, seen.time_ms, entity);
    }

    fn subject(&self, field: usize) -> Subject {
        match (self.is_scores, field) {
            (false, _) => Subject::Input,
            (true, 0) => Subject::Score,
            (true, _) => Subject::Verdicts,
        }
    }
}
