//! A batch cut into the parts that are still to be sent, in order. Pure: knows no record and no
//! cloud.

use std::collections::VecDeque;
use std::ops::Range;

/// What is left of a batch.
#[derive(Debug)]
pub(crate) struct Parts(VecDeque<Range<usize>>);

impl Parts {
    /// A batch of so many records in one part.
    pub(crate) fn of(count: usize) -> Self {
        Self(std::iter::once(0..count).collect())
    }

    /// The part to send next, which is never empty.
    pub(crate) fn next(&mut self) -> Option<Range<usize>> {
        while self.0.front().is_some_and(Range::is_empty) {
            self.0.pop_front();
        }
        self.0.front().cloned()
    }

    /// So many records at the start are done with.
    pub(crate) fn done(&mut self, count: usize) {
        if let Some(part) = self.0.front_mut() {
            part.start += count;
        }
    }

    /// The first `tried` records were refused together, for the one at `index` if that is known.
    /// Cuts them apart; `true` when the first stands alone and is the one at fault.
    pub(crate) fn narrow(&mut self, tried: usize, index: Option<usize>) -> bool {
        if tried <= 1 {
            return true;
        }
        let Some(part) = self.0.pop_front() else { return true };
        let (start, end) = (part.start, part.start + tried);
        if end < part.end {
            self.0.push_front(end..part.end);
        }
        let cuts = match index.filter(|index| *index < tried) {
            // Those before it may pass, then it stands alone, then those behind it.
            Some(index) => {
                [start..start + index, start + index..start + index + 1, start + index + 1..end]
            }
            None => [start..start + tried / 2, start + tried / 2..end, end..end],
        };
        for cut in cuts.into_iter().rev().filter(|cut| !cut.is_empty()) {
            self.0.push_front(cut);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a batch whose `bad` records are refused; returns what arrived, what was refused and
    /// how many tries it took.
    fn sent(
        count: usize,
        admitted: usize,
        bad: &[usize],
        tells_index: bool,
    ) -> (Vec<usize>, Vec<usize>, u32) {
        let (mut arrived, mut refused, mut tries) = (Vec::new(), Vec::new(), 0);
        let mut parts = Parts::of(count);
        while let Some(part) = parts.next() {
            let part = part.start..part.end.min(part.start + admitted);
            tries += 1;
            match part.clone().position(|record| bad.contains(&record)) {
                None => {
                    arrived.extend(part.clone());
                    parts.done(part.len());
                }
                Some(index) => {
                    if parts.narrow(part.len(), tells_index.then_some(index)) {
                        refused.push(part.start);
                        parts.done(1);
                    }
                }
            }
        }
        (arrived, refused, tries)
    }

    #[test]
    fn bad_records_are_found_and_the_others_arrive_in_order() {
        for (count, admitted, bad) in [
            (1, 9, vec![]),
            (1, 9, vec![0]),
            (7, 9, vec![3]),
            (8, 3, vec![0, 7]),
            (100, 1_000, vec![17, 18, 99]),
            (100, 10, (0..100).collect()),
        ] {
            for tells_index in [false, true] {
                let (arrived, refused, _) = sent(count, admitted, &bad, tells_index);
                assert_eq!(refused, bad);
                let good: Vec<_> = (0..count).filter(|record| !bad.contains(record)).collect();
                assert_eq!(arrived, good, "{count} by {admitted} without {bad:?}");
            }
        }
    }

    #[test]
    fn one_bad_record_costs_few_tries() {
        assert!(sent(1_024, 1_024, &[700], false).2 <= 22);
        assert!(sent(1_024, 1_024, &[700], true).2 <= 4);
    }
}
