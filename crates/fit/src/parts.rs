//! Fits the detectors of a plan to rows of features.

use crate::cells::{CellsError, CellsParams};
use crate::components::{ComponentsError, ComponentsParams};
use crate::config::{DetectorKind, DetectorSettings};
use crate::extended::{ExtendedForestError, ExtendedForestParams};
use crate::features::FeatureSpec;
use crate::fitted::{Detector, Fitted, FittedPart, select};
use crate::forest::ForestError;
use crate::histogram::{HistogramError, HistogramParams};
use crate::mahalanobis::{MahalanobisError, MahalanobisParams};
use crate::mixture::{MixtureError, MixtureParams};
use crate::neighbours::{NeighboursError, NeighboursParams};
use crate::random::Random;
use crate::surprise::Curve;
use crate::tails::Tails;
use crate::trim::trusted_rows;
use crate::view::View;
use linfa::ParamGuard;
use linfa::dataset::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array2, ArrayView2};
use thiserror::Error;
use twinge_detector::feature::Feature;

/// Rows that detectors are fitted to at most; forests look at fewer anyway, and distances to more
/// references than this do not fit into a module.
pub const ROWS_MAX: usize = 8_000;

/// Multiply-adds that an event may cost.
const MULTIPLY_ADDS: usize = 14_000;
/// Those of them that a mixture takes when it shares.
const MIXTURE_MULTIPLY_ADDS: usize = 4_500;
/// Directions of a mixture's clouds.
const MIXTURE_RANK: usize = 8;
/// Bytes that references may take in a module of 256 KB, and how many less for each feature, which
/// takes room in the manifest, in centres and in clouds; and what they have at least.
const REFERENCE_BYTES: usize = 146_000;
const FEATURE_BYTES: usize = 700;
const REFERENCE_BYTES_MIN: usize = 24_000;
/// Share of the rows that a Mahalanobis distance keeps of data that may not be clean.
const MAHALANOBIS_KEPT: f64 = 0.75;

/// Rows in a bag of trusted references, and the neighbour that counts.
const TRUSTED_ROWS: usize = 128;
const TRUSTED_NEIGHBOUR: usize = 3;
/// The two shapes of features that trusted references are looked at in; see
/// [`twinge_detector::view::Scale`].
const TRUSTED_DRAWS: [f32; 2] = [-3.0, 1.0];
/// Trusted rows by whose median distance a shape is brought to the unit of the other.
const UNIT_ROWS: usize = 1_000;

/// Why a detector cannot be fitted.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is documented in its own file")]
pub enum PartError {
    #[error("isolation forest cannot be fitted")]
    Forest(#[from] ForestError),
    #[error("extended forest cannot be fitted")]
    Extended(#[from] ExtendedForestError),
    #[error("neighbours cannot be fitted")]
    Neighbours(#[from] NeighboursError),
    #[error("neighbours in cells cannot be fitted")]
    Cells(#[from] CellsError),
    #[error("mixture cannot be fitted")]
    Mixture(#[from] MixtureError),
    #[error("mahalanobis distance cannot be fitted")]
    Mahalanobis(#[from] MahalanobisError),
    #[error("components cannot be fitted")]
    Components(#[from] ComponentsError),
    #[error("histograms cannot be fitted")]
    Histogram(#[from] HistogramError),
    /// The caller said stop.
    #[error("training was cancelled")]
    Cancelled,
}

/// What is fitted, with which settings.
#[derive(Clone, Copy, Debug)]
pub struct Fitter<'a> {
    /// Kinds, in order.
    pub kinds: &'a [DetectorKind],
    /// Settings.
    pub settings: &'a DetectorSettings,
    /// Features of the records.
    pub specs: &'a [FeatureSpec],
    /// Whether the rows are believed to be clean.
    pub clean: bool,
    /// Seed.
    pub seed: u64,
}

/// Views by number, as [`Fitter::views`] makes them.
const STANDARD: u32 = 0;
const SHAPED: u32 = 1;

impl Fitter<'_> {
    /// The views that the kinds look through.
    pub fn views(&self, records: ArrayView2<'_, f32>) -> Vec<View> {
        let looks = |kind: &DetectorKind| {
            !matches!(
                kind,
                DetectorKind::IsolationForest
                    | DetectorKind::Tails
                    | DetectorKind::TrustedNeighbours
            ) && kind.channels().is_empty()
        };
        if self.kinds.iter().any(looks) {
            vec![View::standard(records), View::shaped(records)]
        } else {
            Vec::new()
        }
    }

    /// Fits all kinds to records of shape (rows, features), each with raw scores as they are.
    pub fn fit(
        &self,
        records: ArrayView2<'_, f32>,
        views: &[View],
        tell: &mut dyn FnMut(f64) -> bool,
    ) -> Result<Fitted, PartError> {
        let mut fitted = Fitted { views: views.to_vec(), ..Fitted::default() };
        let seen: Vec<Array2<f32>> = views.iter().map(|view| view.see(records)).collect();
        for (place, kind) in self.kinds.iter().enumerate() {
            if !tell(place as f64 / self.kinds.len() as f64) {
                return Err(PartError::Cancelled);
            }
            if *kind == DetectorKind::TrustedNeighbours {
                self.fit_trusted(records, &mut fitted, tell)?;
                continue;
            }
            let view = if *kind == DetectorKind::Neighbours { SHAPED } else { STANDARD };
            let seen = seen.get(view as usize);
            let detector = self.fit_kind(*kind, records, seen)?;
            fitted.push(detector, view, Curve::identity(), 1.0);
        }
        let total: f64 = fitted.weights.iter().sum();
        for weight in &mut fitted.weights {
            *weight /= total;
        }
        Ok(fitted)
    }

    fn fit_kind(
        &self,
        kind: DetectorKind,
        records: ArrayView2<'_, f32>,
        seen: Option<&Array2<f32>>,
    ) -> Result<Detector, PartError> {
        let plain = || DatasetBase::from(records);
        let seen = seen.map_or_else(|| records.reborrow(), Array2::view);
        let width = seen.ncols();
        let seen = || DatasetBase::from(seen);
        Ok(match kind {
            DetectorKind::IsolationForest => {
                Detector::Forest(self.settings.forest(self.seed).check()?.fit(&plain())?)
            }
            DetectorKind::ExtendedForest => {
                let params = ExtendedForestParams::new(self.seed)
                    .trees(self.settings.trees.min(64))
                    .sample_rows(self.settings.sample_rows);
                Detector::Extended(params.check()?.fit(&seen())?)
            }
            DetectorKind::Neighbours => {
                let shared = self.kinds.contains(&DetectorKind::Mixture);
                let of_mixture = if shared { mixture_clouds(width) * cloud_cost(width) } else { 0 };
                let left = MULTIPLY_ADDS.saturating_sub(of_mixture).max(4096);
                let bytes = REFERENCE_BYTES.saturating_sub(FEATURE_BYTES * width);
                let bytes = bytes.max(REFERENCE_BYTES_MIN);
                let params = CellsParams::new(self.seed).budget(bytes, left);
                Detector::Cells(params.check()?.fit(&seen())?)
            }
            DetectorKind::Mixture => {
                let params =
                    MixtureParams::new(self.seed).clouds(mixture_clouds(width), MIXTURE_RANK);
                Detector::Mixture(params.check()?.fit(&seen())?)
            }
            DetectorKind::Mahalanobis => {
                let kept = if self.clean { 1.0 } else { MAHALANOBIS_KEPT };
                Detector::Mahalanobis(MahalanobisParams::new().kept(kept).check()?.fit(&seen())?)
            }
            DetectorKind::Components => {
                Detector::Components(ComponentsParams::new().check()?.fit(&seen())?)
            }
            DetectorKind::Histogram => {
                Detector::Histogram(HistogramParams::new().check()?.fit(&seen())?)
            }
            DetectorKind::Tails => Detector::Tails(Tails::fit(records)),
            DetectorKind::Series => self.norm(kind, 2),
            DetectorKind::Wander | DetectorKind::Ratio | DetectorKind::TrustedNeighbours => {
                self.norm(kind, 0)
            }
        })
    }

    /// A norm over the channels that a kind looks at: of order 2 the root of their mean square.
    fn norm(&self, kind: DetectorKind, order: u32) -> Detector {
        let is_its_own = |spec: &&FeatureSpec| {
            let name = spec.to_string();
            spec.feature == Feature::Surprise
                && kind.channels().iter().any(|channel| name.ends_with(&format!(":{channel}")))
        };
        let count = self.specs.iter().filter(is_its_own).count().max(1) as f64;
        let weight = if order == 2 { 1.0 / count } else { 1.0 };
        let weights =
            self.specs.iter().map(|spec| if is_its_own(&spec) { weight } else { 0.0 }).collect();
        Detector::Norm(order, weights)
    }

    /// Bags of trusted rows in two shapes of the features, each distance over its usual size.
    fn fit_trusted(
        &self,
        records: ArrayView2<'_, f32>,
        fitted: &mut Fitted,
        tell: &mut dyn FnMut(f64) -> bool,
    ) -> Result<(), PartError> {
        let trusted = trusted_rows(records, self.seed, tell).ok_or(PartError::Cancelled)?;
        let trusted = records.select(ndarray::Axis(0), &trusted);
        let views = TRUSTED_DRAWS.map(|draw| View::drawn(trusted.view(), draw));
        let width = views[0].width().max(1);
        let bags = (MULTIPLY_ADDS / (TRUSTED_ROWS * width)).clamp(2, 4);
        let rows = (MULTIPLY_ADDS / (bags * width)).clamp(32, TRUSTED_ROWS);
        for (place, view) in views.into_iter().enumerate() {
            let seen = view.see(trusted.view());
            let own_bags = (bags + 1 - place) / 2;
            let params = NeighboursParams::new(self.seed.wrapping_add(place as u64 + 1))
                .bags(own_bags, rows)
                .neighbours(TRUSTED_NEIGHBOUR, true);
            let neighbours = params.check()?.fit(&DatasetBase::from(seen.view()))?;
            let unit = usual_distance(&neighbours, &seen, self.seed);
            let curve = Curve { raw: vec![0.0, unit], value: vec![0.0, 1.0] };
            fitted.views.push(view);
            let number = fitted.views.len() as u32 - 1;
            fitted.push(Detector::Neighbours(neighbours), number, curve, own_bags as f64);
        }
        Ok(())
    }
}

impl Fitted {
    fn push(&mut self, detector: Detector, view: u32, curve: Curve, weight: f64) {
        // A part that looks at features as they are has no view; the first number is as good as any.
        let view = if (view as usize) < self.views.len() { view } else { 0 };
        self.parts.push(FittedPart { detector, view, curve });
        self.weights.push(weight);
    }
}

/// The median distance of trusted rows.
fn usual_distance(
    neighbours: &crate::neighbours::Neighbours,
    seen: &Array2<f32>,
    seed: u64,
) -> f64 {
    let rows = seen.nrows() as u32;
    let chosen = Random::new(seed, u64::MAX - 1).distinct(rows.min(UNIT_ROWS as u32), rows);
    let model = neighbours.model();
    let mut distances: Vec<f64> = select(seen.view(), &chosen)
        .rows()
        .into_iter()
        .map(|row| model.distance(crate::means::slice(&row)))
        .collect();
    distances.sort_unstable_by(f64::total_cmp);
    let median = distances[distances.len() / 2];
    if median > 1e-9 { median } else { 1.0 }
}

/// Multiply-adds that a cloud costs.
fn cloud_cost(width: usize) -> usize {
    width * (width.min(MIXTURE_RANK) + 1)
}

fn mixture_clouds(width: usize) -> usize {
    (MIXTURE_MULTIPLY_ADDS / cloud_cost(width)).clamp(4, 16)
}
