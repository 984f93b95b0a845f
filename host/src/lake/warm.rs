//! The events of a partition from before a detector's beginning, out of the lake.

use std::collections::BTreeMap;
use twinge_lake::{FileFacts, Lake, LakeError, Range, Row};
use twinge_runner::{Arrival, Place};

/// The latest events before `offset`, at most so many, in the order of their offsets. They are the
/// same whichever detector they were scored by, so another's do where a detector has none.
pub(super) async fn latest(
    lake: &Lake,
    place: &Place,
    offset: u64,
    most: usize,
) -> Result<Vec<Arrival>, LakeError> {
    let own = of_detector(lake, &place.detector, place, offset, most).await?;
    if !own.is_empty() {
        return Ok(own);
    }
    for other in lake.detectors().await? {
        let found = of_detector(lake, &other, place, offset, most).await?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

async fn of_detector(
    lake: &Lake,
    detector: &str,
    place: &Place,
    offset: u64,
    most: usize,
) -> Result<Vec<Arrival>, LakeError> {
    let mut files: Vec<FileFacts> = lake.files(detector, Range::ALL).await?;
    // The latest first, so that most of a long past need not be read.
    files.sort_by_key(|file| std::cmp::Reverse(next_offset(&file.path).unwrap_or(u64::MAX)));
    let mut kept: BTreeMap<u64, Arrival> = BTreeMap::new();
    for file in files {
        let first = kept.first_key_value().filter(|_| kept.len() == most).map(|(first, _)| *first);
        if first.zip(next_offset(&file.path)).is_some_and(|(first, next)| next <= first) {
            continue;
        }
        for row in lake.rows(&file).await? {
            let (of, row) = row?;
            let is_of_partition =
                (&*of.source, &*of.partition) == (&*place.source, &*place.partition);
            if !is_of_partition || row.offset >= offset {
                continue;
            }
            let is_full = kept.len() == most;
            if is_full && kept.keys().next().is_some_and(|first| row.offset < *first) {
                continue;
            }
            kept.insert(row.offset, arrival(row));
            if kept.len() > most {
                kept.pop_first();
            }
        }
    }
    Ok(kept.into_values().collect())
}

/// The offset after a file's last row, as its name tells; that of a compacted one does not.
fn next_offset(path: &str) -> Option<u64> {
    path.rsplit('/').next()?.rsplit('-').nth(1)?.parse().ok()
}

fn arrival(row: Row) -> Arrival {
    Arrival {
        offset: row.offset,
        ingested_ms: row.ingested_ms,
        attributes: row.attributes(),
        key: row.key,
        bytes: row.event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_where_a_file_ends_unless_it_is_compacted() {
        let folder = "detector=d/date=2026-01-01/hour=00";
        assert_eq!(
            next_offset(&format!("{folder}/p-0-100-00012345-0a0b0c0d.parquet")),
            Some(12_345)
        );
        assert_eq!(
            next_offset(&format!("{folder}/compacted-0123456789abcdef01234567.parquet")),
            None
        );
    }
}
