//! Where in a log the first event is that a receiver wants. What it wants it for is not known here.

use twinge_journal::{Journal, JournalError};

use super::stored::{batch_of, first_of};
use crate::record::{Batch, Event};

/// Why a receiver cannot start where it wants to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindError {
    #[error("the supplied {what} {value} is invalid: the last in the partition is {last}")]
    Beyond { what: &'static str, value: i64, last: i64 },
    #[error("the log cannot be read")]
    Journal(#[from] JournalError),
}

/// The first event for which `wanted` holds, as it does for all after it; or the end.
pub(super) fn search(
    journal: &mut Journal,
    wanted: impl Fn(&Event<'_>) -> bool,
) -> Result<u64, FindError> {
    let end = journal.durable_end();
    let mut firsts = vec![journal.start()];
    while let Some(next) = firsts.last().and_then(|first| journal.next_segment(*first)) {
        firsts.push(next);
    }
    // The event is in the last segment that does not begin with a wanted event.
    let (mut low, mut high) = (0, firsts.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        let batch = match firsts[middle] {
            first if first < end => first_of(journal, first)?,
            first => Batch { first, ..Batch::default() },
        };
        let is_wanted = match batch.records().next() {
            Some(record) => Event::parse(record).is_some_and(|event| wanted(&event)),
            None => true,
        };
        if is_wanted { high = middle } else { low = middle + 1 }
    }
    let mut from = firsts[low.saturating_sub(1)];
    while from < end {
        let batch = batch_of(journal, from)?;
        let found = batch
            .records()
            .zip(from..)
            .find(|(record, _)| Event::parse(record).is_some_and(|event| wanted(&event)));
        match found {
            Some((_, sequence)) => return Ok(sequence),
            None => from = batch.end(),
        }
    }
    Ok(end)
}

/// One behind the last is where a receiver waits; further on belongs to another log.
pub(super) fn check_range(
    what: &'static str,
    least: i64,
    last: i64,
    bound: i64,
) -> Result<(), FindError> {
    if least > bound.saturating_add(1) {
        return Err(FindError::Beyond { what, value: least, last });
    }
    Ok(())
}
