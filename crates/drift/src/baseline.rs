//! A reference made ready to compare with.

use crate::chance::{chi_square_tail, kolmogorov_tail, share_tail};
use crate::measure::{
    FieldMeasures, Measure, Test, jensen_shannon, kolmogorov_smirnov, likelihood_ratio, psi,
};
use crate::sketch::Sketch;
use crate::training::{BLOCK_ROWS_MIN, BLOCK_STEP, unpack};
use thiserror::Error;
use twinge_contract::category;
use twinge_contract::manifest::{
    AnchorReference, Manifest, ReferenceHistogram, SampleInfo, ScoreReference,
};

/// The category of anomalous verdicts, and of others.
pub const ANOMALOUS: &str = "anomalous";

/// Independent events below which no distribution is judged.
const EFFECTIVE_MIN: f64 = 30.0;

/// Independent events for each bin below which a likelihood ratio is not chi-square distributed.
const EFFECTIVE_PER_BIN: f64 = 5.0;

/// The distribution of several fields in training.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    fields: Vec<Field>,
    sample: SampleInfo,
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    name: String,
    kind: Kind,
    bins: Bins,
    /// Shares of bins, and in the last place of missing.
    whole: Vec<f64>,
    /// The same in each phase of the day.
    phases: Vec<Vec<f64>>,
    spread: Vec<f64>,
    missing_spread: Vec<f64>,
    entity_spread: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Input,
    Score,
    Verdict,
}

#[derive(Clone, Debug, PartialEq)]
enum Bins {
    Bounds(Vec<f64>),
    /// Codes in ascending order, each with its bin.
    Codes(Vec<(f64, usize)>),
}

/// A reference that cannot be compared with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BaselineError {
    /// Bounds that do not ascend, or shares that do not sum to 1.
    #[error("drift reference of field `{field}` is not usable: {what}; train the module again")]
    Field {
        /// The field.
        field: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A sample that says nothing.
    #[error("drift reference has a sample that is not usable: {0}; train the module again")]
    Sample(&'static str),
}

impl Baseline {
    /// The inputs that a module was trained on; nothing where it does not tell. Without a sample, as
    /// in modules of former trainers, they are measured and not judged.
    pub fn of_inputs(manifest: &Manifest) -> Result<Option<Self>, BaselineError> {
        if manifest.reference.is_empty() {
            return Ok(None);
        }
        let drift = manifest.drift.as_ref();
        let sample = drift.map(|drift| drift.sample.clone()).unwrap_or_default();
        Self::new(&manifest.reference, Kind::Input, sample).map(Some)
    }

    /// Scores and verdicts of rows held back, in this order.
    pub fn of_scores(reference: &ScoreReference) -> Result<Self, BaselineError> {
        let scores = Field::new(&reference.scores, Kind::Score, &reference.sample)?;
        let verdicts = Field::new(&reference.verdicts, Kind::Verdict, &reference.sample)?;
        let sample = reference.sample.clone();
        check(&sample)?;
        Ok(Self { fields: vec![scores, verdicts], sample })
    }

    /// The inputs of the first module of a line.
    pub fn of_anchor(anchor: &AnchorReference) -> Result<Self, BaselineError> {
        Self::new(&anchor.reference, Kind::Input, anchor.sample.clone())
    }

    fn new(
        reference: &[ReferenceHistogram],
        kind: Kind,
        sample: SampleInfo,
    ) -> Result<Self, BaselineError> {
        check(&sample)?;
        let fields = reference.iter().map(|one| Field::new(one, kind, &sample));
        Ok(Self { fields: fields.collect::<Result<_, _>>()?, sample })
    }

    /// Names of the fields, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }

    /// Number of bins of each field.
    pub(crate) fn bins(&self) -> impl Iterator<Item = usize> {
        self.fields.iter().map(|field| field.whole.len() - 1)
    }

    pub(crate) fn phases(&self) -> usize {
        self.sample.phase_rows.len()
    }

    /// The bin of a value; nothing where it is missing.
    pub(crate) fn bin(&self, field: usize, value: f64) -> Option<usize> {
        let field = &self.fields[field];
        if !value.is_finite() {
            return None;
        }
        Some(match &field.bins {
            Bins::Bounds(bounds) => bounds.partition_point(|bound| *bound < value),
            Bins::Codes(codes) => {
                match codes.binary_search_by(|(code, _)| code.total_cmp(&value)) {
                    Ok(place) => codes[place].1,
                    Err(_) => codes.len(),
                }
            }
        })
    }

    /// How each field of a sketch compares; the sketch is of this baseline.
    pub fn compare(&self, sketch: &Sketch) -> Vec<FieldMeasures> {
        let fields = self.fields.iter().zip(&sketch.fields);
        fields.map(|(field, counts)| self.compare_field(field, counts, sketch)).collect()
    }

    fn compare_field(&self, field: &Field, counts: &[f64], sketch: &Sketch) -> FieldMeasures {
        let expected = field.expected(&sketch.phases);
        let ((here, missing), (there, missing_there)) = (split(counts), split(&expected));
        let weight = sketch.weight().max(f64::MIN_POSITIVE);
        let (present, present_there) = (weight - missing, 1.0 - missing_there);
        let rows = self.sample.rows.max(1) as f64;
        // Of the events that have the field, here and in training.
        let events = sketch.events() * (present / weight);
        let effective = self
            .variance(field, sketch, events)
            .map(|variance| 1.0 / variance)
            .filter(|effective| *effective >= EFFECTIVE_MIN);
        // Shares as counts of so many events as they were made of, for halves to be imagined in.
        let there: Vec<f64> = there.iter().map(|share| share * rows).collect();
        let scale = effective.unwrap_or(events) / present.max(f64::MIN_POSITIVE);
        let here: Vec<f64> = here.iter().map(|count| count * scale).collect();
        let is_number = matches!(field.bins, Bins::Bounds(_));
        let last_share = |counts: &[f64], whole: f64| {
            if whole > 0.0 { counts.last().copied().unwrap_or(0.0) / whole } else { 0.0 }
        };
        let mut measures = FieldMeasures {
            field: field.name.clone(),
            psi: psi(&here, &there),
            js: jensen_shannon(&here, &there),
            ks: is_number.then(|| kolmogorov_smirnov(&here, &there)),
            missing: [missing / weight, missing_there],
            unseen: (!is_number).then(|| {
                let seen_there = last_share(&there, present_there * rows);
                [last_share(&here, present * scale), seen_there]
            }),
            effective_events: effective,
            tests: Vec::new(),
        };
        if field.kind != Kind::Verdict
            && let Some(effective) = effective
        {
            measures.judge_values(&here, &there, effective, rows);
        }
        match field.kind {
            Kind::Input => measures.tests.extend(self.judge_missing(field, sketch, &measures)),
            Kind::Score => {}
            Kind::Verdict => {
                let (rate, usual) =
                    (here[0] / here.iter().sum::<f64>().max(1e-300), there[0] / rows);
                measures.tests.extend(effective.map(|effective| {
                    share_test(Measure::VerdictRate, rate, usual, effective, rows)
                }));
            }
        }
        measures
    }

    fn judge_missing(
        &self,
        field: &Field,
        sketch: &Sketch,
        measures: &FieldMeasures,
    ) -> Option<Test> {
        // Where nothing was ever missing, there is no variation to go by but chance.
        let spread: &[f64] =
            if field.missing_spread.is_empty() && field.whole[field.whole.len() - 1] == 0.0 {
                if self.sample.rows == 0 { &[] } else { &[1.0] }
            } else {
                &field.missing_spread
            };
        let variance = self.variance_of(spread, field.entity_spread, sketch, sketch.events())?;
        let effective = 1.0 / variance;
        let [here, there] = measures.missing;
        let rows = self.sample.rows as f64;
        (effective >= EFFECTIVE_MIN)
            .then(|| share_test(Measure::Missing, here, there, effective, rows))
    }

    fn variance(&self, field: &Field, sketch: &Sketch, events: f64) -> Option<f64> {
        self.variance_of(&field.spread, field.entity_spread, sketch, events)
    }

    /// The variance of a difference between shares here and in training, in units of the variance
    /// of one event: what the window's own events leave open, what the reference's rows do, and
    /// which entities the window happens to have.
    fn variance_of(
        &self,
        spread: &[f64],
        entity_spread: f64,
        sketch: &Sketch,
        events: f64,
    ) -> Option<f64> {
        if events < 1.0 || self.sample.rows == 0 {
            return None;
        }
        let of_window = spread_at(spread, events)? / events;
        let rows = self.sample.rows as f64;
        let of_rows = |rows: f64| Some(spread_at(spread, rows)? / rows);
        let of_reference = if self.phases() == 0 {
            of_rows(rows)?
        } else {
            let whole: f64 = sketch.phases.iter().sum();
            let parts = sketch.phases.iter().zip(&self.sample.phase_rows);
            let mut sum = 0.0;
            for (weight, rows) in parts {
                let share = weight / whole.max(f64::MIN_POSITIVE);
                sum += share * share * of_rows(rows.max(1.0))?;
            }
            sum
        };
        let entities =
            (1.0 / sketch.entities().max(1.0) - 1.0 / self.sample.entities.max(1.0)).max(0.0);
        Some(of_window + of_reference + entity_spread * entities)
    }
}

impl FieldMeasures {
    fn judge_values(&mut self, here: &[f64], there: &[f64], effective: f64, rows: f64) {
        if let Some([unseen, usual]) = self.unseen {
            self.tests.push(share_test(Measure::Unseen, unseen, usual, effective, rows));
        }
        if let Some(ks) = self.ks {
            let probability = kolmogorov_tail(ks, effective);
            let (measure, expected) = (Measure::Ks, 0.0);
            self.tests.push(Test { measure, value: ks, effect: ks, expected, probability });
        }
        let bins = here.iter().zip(there).filter(|(here, there)| **here + **there > 0.0).count();
        if bins > 1 && effective >= EFFECTIVE_PER_BIN * bins as f64 {
            let ratio = effective * likelihood_ratio(here, there);
            let probability = chi_square_tail(ratio, (bins - 1) as f64);
            let (measure, value) = (Measure::Psi, self.psi);
            self.tests.push(Test { measure, value, effect: value, expected: 0.0, probability });
        }
    }
}

impl Field {
    fn new(
        reference: &ReferenceHistogram,
        kind: Kind,
        sample: &SampleInfo,
    ) -> Result<Self, BaselineError> {
        let wrong = |what| BaselineError::Field { field: reference.field.clone(), what };
        let bins = if reference.categories.is_empty() {
            let is_bound = |bound: &f64| bound.is_finite();
            if !reference.bounds.iter().all(is_bound)
                || !reference.bounds.is_sorted_by(|a, b| a < b)
            {
                return Err(wrong("its bounds are not ascending numbers"));
            }
            Bins::Bounds(reference.bounds.clone())
        } else {
            let names = reference.categories.iter().enumerate();
            let mut codes: Vec<_> = names.map(|(bin, name)| (category::code(name), bin)).collect();
            codes.sort_by(|a, b| a.0.total_cmp(&b.0));
            Bins::Codes(codes)
        };
        let count = reference.bounds.len().max(reference.categories.len()) + 1;
        if reference.shares.len() != count {
            return Err(wrong("it has not one share for each bin"));
        }
        let mut whole = reference.shares.clone();
        whole.push(reference.missing);
        normalise(&mut whole).ok_or_else(|| wrong("its shares do not sum to 1"))?;
        let phases = unpack(&reference.phases, count + 1, sample.phase_rows.len());
        let mut phases = phases.ok_or_else(|| wrong("its phases are not readable"))?;
        for shares in &mut phases {
            normalise(shares).ok_or_else(|| wrong("the shares of a phase do not sum to 1"))?;
        }
        let is_spread = |spread: &f64| spread.is_finite() && *spread >= 1.0;
        let spreads = reference.spread.iter().chain(&reference.missing_spread);
        if !spreads.clone().all(is_spread) || !(0.0..=1.0).contains(&reference.entity_spread) {
            return Err(wrong("its spread is out of range"));
        }
        Ok(Self {
            name: reference.field.clone(),
            kind,
            bins,
            whole,
            phases,
            spread: reference.spread.clone(),
            missing_spread: reference.missing_spread.clone(),
            entity_spread: reference.entity_spread,
        })
    }

    /// Shares that are to be expected of events around the phases of the day with these weights.
    fn expected(&self, weights: &[f64]) -> Vec<f64> {
        let sum: f64 = weights.iter().sum();
        if self.phases.is_empty() || sum <= 0.0 {
            return self.whole.clone();
        }
        let mut expected = vec![0.0; self.whole.len()];
        for (shares, weight) in self.phases.iter().zip(weights) {
            for (all, share) in expected.iter_mut().zip(shares) {
                *all += share * weight / sum;
            }
        }
        expected
    }
}

fn share_test(measure: Measure, value: f64, expected: f64, effective: f64, rows: f64) -> Test {
    // What never happened in training can still happen: half a row of each is imagined.
    let likely = (expected * rows + 0.5) / (rows + 1.0);
    let probability = share_tail(value, likely, effective);
    Test { measure, value, effect: (value - expected).abs(), expected, probability }
}

/// The design effect of so many events in a row, between and beyond the sizes of blocks that it was
/// measured for; nothing where it was not.
pub(crate) fn spread_at(spread: &[f64], events: f64) -> Option<f64> {
    let last = spread.len().checked_sub(1)?;
    let place = libm::log(events.max(1.0) / BLOCK_ROWS_MIN) / libm::log(BLOCK_STEP);
    if place <= 0.0 {
        return Some(spread[0]);
    }
    let below = (place as usize).min(last);
    let grows = |from: f64, to: f64, steps: f64| libm::log(to / from) / steps;
    let slope = if below < last {
        grows(spread[below], spread[below + 1], 1.0)
    } else if last > 0 {
        grows(spread[last - 1], spread[last], 1.0)
    } else {
        // As if it had grown evenly from single rows on.
        grows(1.0, spread[0], libm::log(BLOCK_ROWS_MIN) / libm::log(BLOCK_STEP))
    };
    // Rows that never become independent let it grow as their number does, and no faster.
    let slope = slope.clamp(0.0, libm::log(BLOCK_STEP));
    Some(spread[below] * libm::exp(slope * (place - below as f64)))
}

fn check(sample: &SampleInfo) -> Result<(), BaselineError> {
    let is_count = |count: &f64| count.is_finite() && *count >= 0.0;
    if !is_count(&sample.entities) || !sample.phase_rows.iter().all(is_count) {
        return Err(BaselineError::Sample("it counts rows or entities that are none"));
    }
    if sample.phase_rows.len() > 288 {
        return Err(BaselineError::Sample("its day has more than 288 phases"));
    }
    Ok(())
}

fn split(shares: &[f64]) -> (&[f64], f64) {
    let (missing, bins) = shares.split_last().expect("every field has a place for what is missing");
    (bins, *missing)
}

/// Brings shares that sum to about 1 to exactly that.
fn normalise(shares: &mut [f64]) -> Option<()> {
    let is_share = |share: &f64| (0.0..=1.0 + 1e-6).contains(share);
    let sum: f64 = shares.iter().sum();
    if !shares.iter().all(is_share) || !(0.9..=1.1).contains(&sum) {
        return None;
    }
    for share in shares {
        *share /= sum;
    }
    Some(())
}
