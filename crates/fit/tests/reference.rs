//! Detectors against those of scikit-learn and PyOD on the same rows: fixtures/reference/scores.csv,
//! made by make.py beside it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use linfa::Dataset;
use linfa::ParamGuard;
use linfa::traits::Fit;
use ndarray::Array2;
use std::collections::BTreeMap;
use twinge_fit::cells::CellsParams;
use twinge_fit::components::ComponentsParams;
use twinge_fit::extended::ExtendedForestParams;
use twinge_fit::forest::IsolationForestParams;
use twinge_fit::histogram::HistogramParams;
use twinge_fit::mahalanobis::MahalanobisParams;
use twinge_fit::mixture::MixtureParams;
use twinge_fit::neighbours::NeighboursParams;

const WIDTH: usize = 5;

struct Reference {
    records: Array2<f32>,
    columns: BTreeMap<String, Vec<f64>>,
}

impl Reference {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/reference/scores.csv");
        let mut reader = csv::Reader::from_path(path).unwrap();
        let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        let rows: Vec<Vec<f64>> = reader
            .records()
            .map(|row| row.unwrap().iter().map(|cell| cell.parse().unwrap()).collect())
            .collect();
        let records = Array2::from_shape_fn((rows.len(), WIDTH), |(row, x)| rows[row][x] as f32);
        let column = |place: usize| rows.iter().map(|row| row[place]).collect();
        let columns =
            header.into_iter().enumerate().skip(WIDTH).map(|(place, name)| (name, column(place)));
        Self { records, columns: columns.collect() }
    }

    fn dataset(&self) -> Dataset<f32, (), ndarray::Ix1> {
        Dataset::from(self.records.clone())
    }

    fn scores(&self, score: impl Fn(&[f32]) -> f64) -> Vec<f64> {
        self.records.rows().into_iter().map(|row| score(row.as_slice().unwrap())).collect()
    }

    /// Every score within `tolerance` of the reference's, relative to its size.
    fn assert_equal(&self, name: &str, tolerance: f64, scores: &[f64]) {
        for (row, (score, expected)) in scores.iter().zip(&self.columns[name]).enumerate() {
            let off = (score - expected).abs() / expected.abs().max(0.1);
            assert!(off < tolerance, "{name}, row {row}: {score} where {expected} is expected");
        }
    }

    /// Ranks agree (Spearman's coefficient), where the methods share the idea but not the formula.
    fn assert_ranks(&self, name: &str, least: f64, scores: &[f64]) {
        let reached = correlation(&ranks(scores), &ranks(&self.columns[name]));
        assert!(reached > least, "{name}: ranks correlate by {reached}");
    }
}

fn ranks(scores: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let mut ranks = vec![0.0; scores.len()];
    for (rank, row) in order.into_iter().enumerate() {
        ranks[row] = rank as f64;
    }
    ranks
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(a, b)| f(a - mean_a, b - mean_b)).sum()
    };
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
}

#[test]
fn distances_to_all_rows_are_scikit_learns() {
    let reference = Reference::read();
    for (name, farthest_only) in [("neighbours", false), ("fifth_neighbour", true)] {
        let params = NeighboursParams::new(1).bags(1, 400).neighbours(5, farthest_only);
        let fitted = params.check().unwrap().fit(&reference.dataset()).unwrap();
        let scores = reference.scores(|row| fitted.model().distance(row));
        reference.assert_equal(name, 1e-4, &scores);
    }
    // Cells count distances by the references' own scale, and one byte a coordinate is coarse.
    let fitted = CellsParams::new(1).check().unwrap().fit(&reference.dataset()).unwrap();
    let scores = reference.scores(|row| fitted.model().distance(row));
    reference.assert_ranks("neighbours", 0.8, &scores);
}

#[test]
fn covariances_are_scikit_learns() {
    let reference = Reference::read();
    let fitted = MahalanobisParams::new().check().unwrap().fit(&reference.dataset()).unwrap();
    let scores = reference.scores(|row| fitted.model().distance(row) * WIDTH as f64);
    reference.assert_equal("mahalanobis", 1e-3, &scores);
    let params = MahalanobisParams::new().kept(0.75).check().unwrap();
    let fitted = params.fit(&reference.dataset()).unwrap();
    let scores = reference.scores(|row| fitted.model().distance(row));
    reference.assert_ranks("robust_mahalanobis", 0.9, &scores);
}

#[test]
fn what_components_leave_is_scikit_learns() {
    let reference = Reference::read();
    let params = ComponentsParams::new().explained(0.999_999, 3).check().unwrap();
    let fitted = params.fit(&reference.dataset()).unwrap();
    let scores = reference.scores(|row| fitted.model().residual(row));
    reference.assert_equal("pca_residual", 1e-3, &scores);
}

#[test]
fn densities_are_scikit_learns() {
    let reference = Reference::read();
    let params = MixtureParams::new(1).clouds(1, WIDTH).check().unwrap();
    let fitted = params.fit(&reference.dataset()).unwrap();
    reference.assert_equal("gaussian", 1e-3, &reference.scores(|row| fitted.model().surprise(row)));
    let params = MixtureParams::new(1).clouds(2, WIDTH).rounds(20).check().unwrap();
    let fitted = params.fit(&reference.dataset()).unwrap();
    let scores = reference.scores(|row| fitted.model().surprise(row));
    reference.assert_ranks("mixture", 0.95, &scores);
}

#[test]
fn forests_and_histograms_rank_as_their_models() {
    let reference = Reference::read();
    let params = IsolationForestParams::new(1).trees(300).check().unwrap();
    let fitted = params.fit(&reference.dataset()).unwrap();
    let scores = reference.scores(|row| fitted.model().raw_score(row));
    reference.assert_ranks("isolation_forest", 0.97, &scores);
    let params = ExtendedForestParams::new(1).trees(300).check().unwrap();
    let fitted = params.fit(&reference.dataset()).unwrap();
    let scores = reference.scores(|row| fitted.model().raw_score(row));
    reference.assert_ranks("isolation_forest", 0.85, &scores);
    let fitted = HistogramParams::new().check().unwrap().fit(&reference.dataset()).unwrap();
    let scores = reference.scores(|row| fitted.model().rarity(row));
    reference.assert_ranks("hbos", 0.9, &scores);
}
