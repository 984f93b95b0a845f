//! How a live sketch compares with its baseline, field by field, and how likely chance alone is to
//! make as much of a difference. What is done about it is not known here.

use crate::baseline::{Baseline, Bins, Field, Kind};
use crate::chance::{chi_square_tail, kolmogorov_tail, share_tail};
use crate::measure::{
    FieldMeasures, Measure, Test, jensen_shannon, kolmogorov_smirnov, likelihood_ratio, psi,
};
use crate::sketch::Sketch;
use crate::training::{BLOCK_ROWS_MIN, BLOCK_STEP};

/// Independent events below which no distribution is judged.
const EFFECTIVE_MIN: f64 = 30.0;

/// Independent events for each bin below which a likelihood ratio is not chi-square distributed.
const EFFECTIVE_PER_BIN: f64 = 5.0;

impl Baseline {
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

fn share_test(measure: Measure, value: f64, expected: f64, effective: f64, rows: f64) -> Test {
    // What never happened in training can still happen: half a row of each is imagined.
    let likely = (expected * rows + 0.5) / (rows + 1.0);
    let probability = share_tail(value, likely, effective);
    Test { measure, value, effect: (value - expected).abs(), expected, probability }
}

/// The design effect of so many events in a row, between and beyond the sizes of blocks that it was
/// measured for; nothing where it was not.
fn spread_at(spread: &[f64], events: f64) -> Option<f64> {
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

fn split(shares: &[f64]) -> (&[f64], f64) {
    let (missing, bins) = shares.split_last().expect("every field has a place for what is missing");
    (bins, *missing)
}
