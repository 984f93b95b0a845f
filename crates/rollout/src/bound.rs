//! How sure a share is: the score interval of E. B. Wilson, "Probable inference, the law of
//! succession, and statistical inference", JASA 22 (1927), 209-212, which holds for few events and
//! for shares near nothing too (L. D. Brown and others, "Interval estimation for a binomial
//! proportion", Statistical Science 16 (2001), 101-133).

/// Standard deviations on either side. Three rather than the usual two, because a rollout is looked
/// at again and again, and each look is a chance to be wrong.
const DEVIATIONS: f64 = 3.0;

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Proportion {
    pub(crate) count: f64,
    pub(crate) of: f64,
}

impl Proportion {
    pub(crate) fn new(count: f64, of: f64) -> Self {
        Self { count, of }
    }

    pub(crate) fn of_devices(count: usize, of: usize) -> Self {
        Self::new(count as f64, of as f64)
    }

    /// The share as it was seen; nothing of nothing is unknown.
    pub(crate) fn share(self) -> Option<f64> {
        (self.of > 0.0).then(|| self.count / self.of)
    }

    /// What the true share hardly lies below.
    pub(crate) fn lower(self) -> f64 {
        self.interval().0
    }

    /// What the true share hardly lies above.
    pub(crate) fn upper(self) -> f64 {
        self.interval().1
    }

    /// How likely so many or more are by chance, if the true share is that of `others`: the tail
    /// of the binomial distribution. Nobody among few others still leaves room for one more.
    pub(crate) fn chance_beside(self, others: Self) -> f64 {
        let share = (others.count + 1.0) / (others.of + 2.0);
        let mut term = (1.0 - share).powf(self.of);
        let mut fewer = 0.0;
        let mut count = 0.0;
        while count < self.count {
            fewer += term;
            term *= (self.of - count) / (count + 1.0) * share / (1.0 - share);
            count += 1.0;
        }
        (1.0_f64 - fewer).clamp(0.0, 1.0)
    }

    fn interval(self) -> (f64, f64) {
        let Some(share) = self.share() else { return (0.0, 1.0) };
        let square = DEVIATIONS * DEVIATIONS / self.of;
        let centre = share + square / 2.0;
        let spread = share * (1.0 - share) + square / 4.0;
        let spread = (spread.max(0.0) * square).sqrt();
        let within = |bound: f64| (bound / (1.0 + square)).clamp(0.0, 1.0);
        (within(centre - spread), within(centre + spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_events_prove_little() {
        let bounds = |count, of| {
            let proportion = Proportion::new(count, of);
            [proportion.lower(), proportion.upper()].map(|bound| (bound * 1000.0).round() / 1000.0)
        };
        assert_eq!(bounds(0.0, 0.0), [0.0, 1.0]);
        assert_eq!(bounds(1.0, 1.0), [0.1, 1.0]);
        assert_eq!(bounds(1.0, 3.0), [0.031, 0.885]);
        assert_eq!(bounds(0.0, 198.0), [0.0, 0.043]);
        assert_eq!(bounds(150.0, 1000.0), [0.119, 0.187]);
        assert_eq!(bounds(1.5e9, 1e10), [0.15, 0.15]);
    }

    #[test]
    fn one_of_few_is_chance_where_others_are_many() {
        let chance = |own: (usize, usize), others: (usize, usize)| {
            let of = |(count, of)| Proportion::of_devices(count, of);
            (of(own).chance_beside(of(others)) * 1000.0).round() / 1000.0
        };
        assert_eq!(chance((1, 1), (0, 198)), 0.005);
        assert_eq!(chance((1, 3), (19, 198)), 0.271);
        assert_eq!(chance((2, 2), (19, 198)), 0.01);
        assert_eq!(chance((0, 2), (0, 198)), 1.0);
        assert_eq!(chance((1, 1), (0, 0)), 0.5);
    }
}
