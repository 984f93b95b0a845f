//! The little linear algebra that fitting needs, in plain loops.
//!
//! ndarray's own products pick an instruction set at run time and round differently on each, so
//! nothing here calls them: what is computed here reaches the module, and has one order of sums.

use ndarray::ArrayView2;

/// A square matrix by rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Square {
    /// Rows and columns.
    pub size: usize,
    /// Values by rows.
    pub values: Vec<f64>,
}

impl Square {
    /// All zeros.
    pub fn zeros(size: usize) -> Self {
        Self { size, values: vec![0.0; size * size] }
    }

    /// One value.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.size + column]
    }

    /// One value, to change.
    pub fn at_mut(&mut self, row: usize, column: usize) -> &mut f64 {
        &mut self.values[row * self.size + column]
    }

    /// Adds to the diagonal.
    pub fn add_to_diagonal(&mut self, value: f64) {
        for place in 0..self.size {
            *self.at_mut(place, place) += value;
        }
    }

    /// The lower-triangular Cholesky factor; `None` unless the matrix is positive definite.
    pub fn cholesky(&self) -> Option<Self> {
        let mut factor = Self::zeros(self.size);
        for row in 0..self.size {
            for column in 0..=row {
                let mut sum = self.at(row, column);
                for before in 0..column {
                    sum -= factor.at(row, before) * factor.at(column, before);
                }
                *factor.at_mut(row, column) = if row == column {
                    if !(sum > 0.0 && sum.is_finite()) {
                        return None;
                    }
                    sum.sqrt()
                } else {
                    sum / factor.at(column, column)
                };
            }
        }
        Some(factor)
    }

    /// The inverse of a lower-triangular matrix.
    #[must_use]
    pub fn lower_inverse(&self) -> Self {
        let mut inverse = Self::zeros(self.size);
        for column in 0..self.size {
            *inverse.at_mut(column, column) = 1.0 / self.at(column, column);
            for row in column + 1..self.size {
                let mut sum = 0.0;
                for between in column..row {
                    sum -= self.at(row, between) * inverse.at(between, column);
                }
                *inverse.at_mut(row, column) = sum / self.at(row, row);
            }
        }
        inverse
    }

    /// Eigenvalues in falling order with their unit vectors, of a symmetric matrix (cyclic Jacobi
    /// rotations; Golub and Van Loan, section 8.5).
    pub fn eigen(mut self) -> (Vec<f64>, Vec<Vec<f64>>) {
        let size = self.size;
        let mut vectors = Self::zeros(size);
        vectors.add_to_diagonal(1.0);
        for _ in 0..SWEEPS_MAX {
            if self.largest_off_diagonal() <= 1e-12 * self.largest_on_diagonal() {
                break;
            }
            for row in 0..size {
                for column in row + 1..size {
                    self.rotate(&mut vectors, row, column);
                }
            }
        }
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|a, b| self.at(*b, *b).total_cmp(&self.at(*a, *a)).then(a.cmp(b)));
        let values = order.iter().map(|place| self.at(*place, *place)).collect();
        let vector = |place: &usize| (0..size).map(|row| vectors.at(row, *place)).collect();
        (values, order.iter().map(vector).collect())
    }

    fn largest_off_diagonal(&self) -> f64 {
        let off = |place: &usize| place / self.size != place % self.size;
        (0..self.values.len()).filter(off).map(|place| self.values[place].abs()).fold(0.0, f64::max)
    }

    fn largest_on_diagonal(&self) -> f64 {
        (0..self.size).map(|place| self.at(place, place).abs()).fold(f64::MIN_POSITIVE, f64::max)
    }

    /// One rotation that makes the value at `(p, q)` zero.
    fn rotate(&mut self, vectors: &mut Self, p: usize, q: usize) {
        let off = self.at(p, q);
        if off == 0.0 {
            return;
        }
        let theta = (self.at(q, q) - self.at(p, p)) / (2.0 * off);
        let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
        let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
        let sine = tangent * cosine;
        for k in 0..self.size {
            let (a, b) = (self.at(k, p), self.at(k, q));
            *self.at_mut(k, p) = cosine * a - sine * b;
            *self.at_mut(k, q) = sine * a + cosine * b;
        }
        for k in 0..self.size {
            let (a, b) = (self.at(p, k), self.at(q, k));
            *self.at_mut(p, k) = cosine * a - sine * b;
            *self.at_mut(q, k) = sine * a + cosine * b;
            let (a, b) = (vectors.at(k, p), vectors.at(k, q));
            *vectors.at_mut(k, p) = cosine * a - sine * b;
            *vectors.at_mut(k, q) = sine * a + cosine * b;
        }
    }
}

/// Sweeps of Jacobi rotations at most; ten are usual.
const SWEEPS_MAX: usize = 30;

/// Weighted mean and covariance of records of shape (rows, features).
pub fn mean_and_covariance(records: ArrayView2<'_, f32>, weights: &[f64]) -> (Vec<f64>, Square) {
    let size = records.ncols();
    let total: f64 = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let mut mean = vec![0.0; size];
    for (row, weight) in records.rows().into_iter().zip(weights) {
        for (mean, value) in mean.iter_mut().zip(row) {
            *mean += weight * f64::from(*value);
        }
    }
    for mean in &mut mean {
        *mean /= total;
    }
    let mut covariance = Square::zeros(size);
    let mut centred = vec![0.0; size];
    for (row, weight) in records.rows().into_iter().zip(weights) {
        if *weight == 0.0 {
            continue;
        }
        for ((centred, value), mean) in centred.iter_mut().zip(row).zip(&mean) {
            *centred = f64::from(*value) - mean;
        }
        for (place, a) in centred.iter().enumerate() {
            let (a, sums) = (a * weight, &mut covariance.values[place * size..][..=place]);
            for (sum, b) in sums.iter_mut().zip(&centred) {
                *sum += a * b;
            }
        }
    }
    for row in 0..size {
        for column in 0..=row {
            let value = covariance.at(row, column) / total;
            *covariance.at_mut(row, column) = value;
            *covariance.at_mut(column, row) = value;
        }
    }
    (mean, covariance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use ndarray::Array2;

    fn covariance_of_random_rows() -> Square {
        let mut random = Random::new(5, 0);
        let records = Array2::from_shape_fn((40, 6), |_| random.unit() as f32);
        mean_and_covariance(records.view(), &[1.0; 40]).1
    }

    #[test]
    fn a_cholesky_factor_and_its_inverse_give_the_matrix_back() {
        let matrix = covariance_of_random_rows();
        let factor = matrix.cholesky().unwrap();
        let inverse = factor.lower_inverse();
        for row in 0..6 {
            for column in 0..6 {
                let product: f64 = (0..6).map(|k| factor.at(row, k) * factor.at(column, k)).sum();
                assert!((product - matrix.at(row, column)).abs() < 1e-12);
                let unit: f64 = (0..6).map(|k| factor.at(row, k) * inverse.at(k, column)).sum();
                assert!((unit - f64::from(u8::from(row == column))).abs() < 1e-9);
            }
        }
        assert_eq!(Square::zeros(3).cholesky(), None);
    }

    #[test]
    fn eigenvectors_are_turned_into_multiples_of_themselves() {
        let matrix = covariance_of_random_rows();
        let (values, vectors) = matrix.clone().eigen();
        assert!(values.is_sorted_by(|a, b| a >= b));
        for (value, vector) in values.iter().zip(&vectors) {
            for row in 0..6 {
                let turned: f64 = (0..6).map(|k| matrix.at(row, k) * vector[k]).sum();
                assert!((turned - value * vector[row]).abs() < 1e-9);
            }
        }
    }
}
