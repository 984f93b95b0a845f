//! Fitted detectors and what a module keeps of them.

use crate::cells::Cells;
use crate::components::Components;
use crate::extended::ExtendedForest;
use crate::forest::IsolationForest;
use crate::histogram::Histogram;
use crate::mahalanobis::Mahalanobis;
use crate::mixture::Mixture;
use crate::neighbours::Neighbours;
use crate::surprise::Curve;
use crate::tails::Tails;
use crate::view::View;
use ndarray::{Array2, ArrayView2, Axis};
use twinge_detector::forest::{BLOCK_ROWS, row_width};
use twinge_detector::part::{Fusion as FusionModel, Kind, Norm as NormModel, Part, Parts};

/// One fitted detector.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is documented in its own file")]
pub enum Detector {
    Forest(IsolationForest),
    Extended(ExtendedForest),
    Neighbours(Neighbours),
    Cells(Cells),
    Mixture(Mixture),
    Mahalanobis(Mahalanobis),
    Components(Components),
    Histogram(Histogram),
    Tails(Tails),
    /// Order and weights of a norm of features.
    Norm(u32, Vec<f64>),
}

impl Detector {
    fn model(&self) -> Kind<'_> {
        match self {
            Self::Forest(forest) => Kind::Forest(forest.model()),
            Self::Extended(forest) => Kind::Extended(forest.model()),
            Self::Neighbours(neighbours) => Kind::Neighbours(neighbours.model()),
            Self::Cells(cells) => Kind::Cells(cells.model()),
            Self::Mixture(mixture) => Kind::Mixture(mixture.model()),
            Self::Mahalanobis(mahalanobis) => Kind::Mahalanobis(mahalanobis.model()),
            Self::Components(components) => Kind::Components(components.model()),
            Self::Histogram(histogram) => Kind::Histogram(histogram.model()),
            Self::Tails(tails) => Kind::Tails(tails.model()),
            Self::Norm(order, weights) => Kind::Norm(NormModel { order: *order, weights }),
        }
    }
}

/// A detector, its view and its curve.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedPart {
    /// The detector.
    pub detector: Detector,
    /// The view it looks through, by number.
    pub view: u32,
    /// From raw score to surprise.
    pub curve: Curve,
}

/// All parts of a detector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fitted {
    /// Views.
    pub views: Vec<View>,
    /// Parts.
    pub parts: Vec<FittedPart>,
    /// Whether the largest surprise counts rather than their sum.
    pub takes_largest: bool,
    /// A weight for each part.
    pub weights: Vec<f64>,
}

impl Fitted {
    /// What a module keeps.
    pub fn model(&self) -> Parts<'_> {
        let mut model = Parts::default();
        for (place, view) in model.views.iter_mut().zip(&self.views) {
            *place = Some(view.model());
        }
        for (place, part) in model.parts.iter_mut().zip(&self.parts) {
            let detector = part.detector.model();
            *place = Some(Part { detector, view: part.view, curve: part.curve.model() });
        }
        model.fusion =
            FusionModel { takes_largest: u32::from(self.takes_largest), weights: &self.weights };
        model
    }

    /// Only part number `part`, its raw score as it is.
    #[must_use]
    pub fn alone(&self, part: usize) -> Self {
        let curve = Curve { raw: vec![-1e12, 1e12], value: vec![-1e12, 1e12] };
        Self {
            views: self.views.clone(),
            parts: vec![FittedPart { curve, ..self.parts[part].clone() }],
            takes_largest: false,
            weights: vec![1.0],
        }
    }

    /// Raw scores of the chosen rows of records of shape (rows, features).
    pub fn raw_scores(&self, records: ArrayView2<'_, f32>, rows: &[u32]) -> Vec<f64> {
        let (model, features) = (self.model(), records.ncols());
        let width = row_width(features);
        let mut block = vec![0.0f32; BLOCK_ROWS * width];
        let mut raw = vec![0.0; rows.len()];
        for (rows, raw) in rows.chunks(BLOCK_ROWS).zip(raw.chunks_mut(BLOCK_ROWS)) {
            for (place, row) in block.chunks_exact_mut(width).zip(rows) {
                for (value, seen) in place.iter_mut().zip(records.row(*row as usize)) {
                    *value = *seen;
                }
            }
            model.raw_scores(&block[..raw.len() * width], width, features, raw);
        }
        raw
    }
}

/// The chosen rows of records.
pub fn select(records: ArrayView2<'_, f32>, rows: &[u32]) -> Array2<f32> {
    let rows: Vec<usize> = rows.iter().map(|row| *row as usize).collect();
    records.select(Axis(0), &rows)
}
