//! A reference made ready to compare with. How that is done is not known here, but in compare.rs.

use crate::packed::unpack;
use thiserror::Error;
use twinge_contract::category;
use twinge_contract::manifest::{
    AnchorReference, Manifest, ReferenceHistogram, SampleInfo, ScoreReference,
};

/// The category of anomalous verdicts, and of others.
pub const ANOMALOUS: &str = "anomalous";

/// The distribution of several fields in training.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    pub(crate) fields: Vec<Field>,
    pub(crate) sample: SampleInfo,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) bins: Bins,
    /// Shares of bins, and in the last place of missing.
    pub(crate) whole: Vec<f64>,
    /// The same in each phase of the day.
    pub(crate) phases: Vec<Vec<f64>>,
    pub(crate) spread: Vec<f64>,
    pub(crate) missing_spread: Vec<f64>,
    pub(crate) entity_spread: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Input,
    Score,
    Verdict,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bins {
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
    pub(crate) fn expected(&self, weights: &[f64]) -> Vec<f64> {
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
