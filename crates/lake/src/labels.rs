//! What people said of verdicts, beside the events that they said it of.
//!
//! A host has a journal of labels that only grows. Its lines are copied in pieces, each named by the
//! bytes that it covers, so that a copy begun anew after a crash finds what is there already.

use crate::error::LakeError;
use crate::lake::{Lake, digest};

/// Where labels lie.
const FOLDER: &str = "_labels";
/// Longest piece, in bytes, unless one line is longer.
const PIECE_BYTES_MAX: usize = 4 << 20;

/// A journal of labels in a lake.
#[derive(Debug)]
pub struct LabelJournal {
    lake: Lake,
    folder: String,
    /// Bytes of the journal that the lake has.
    kept: u64,
}

impl LabelJournal {
    /// The journal that begins with this line, which tells it from every other: it says who said
    /// what, and the millisecond at which it came in.
    pub async fn open(lake: Lake, first_line: &[u8]) -> Result<Self, LakeError> {
        let folder = format!("{FOLDER}/{}", &digest(first_line)[..16]);
        let ends = lake.list(&folder).await?;
        let kept = ends.iter().filter_map(|path| Some(parts_of(path)?.2)).max().unwrap_or(0);
        Ok(Self { lake, folder, kept })
    }

    /// Bytes of the journal that the lake has: whatever comes next begins there.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Keeps whole lines that follow.
    pub async fn keep(&mut self, mut lines: &[u8]) -> Result<(), LakeError> {
        while !lines.is_empty() {
            let (piece, rest) = lines.split_at(whole_lines(lines));
            let end = self.kept + piece.len() as u64;
            let path = format!("{}/{:012}-{end:012}.ndjson", self.folder, self.kept);
            // One that is there already has the same bytes: the journal only grows.
            self.lake.create(&path, piece).await?;
            (self.kept, lines) = (end, rest);
        }
        Ok(())
    }
}

impl Lake {
    /// Every line of every journal of labels, the journals one after the other. A piece whose writing was
    /// answered by an error may be there all the same, and a longer one that begins where it does: what
    /// both cover is told once.
    pub async fn labels(&self) -> Result<Vec<u8>, LakeError> {
        let mut paths = self.list(FOLDER).await?;
        paths.sort_unstable();
        let (mut all, mut journal, mut told) = (Vec::new(), String::new(), 0);
        for path in paths {
            let Some((folder, from, end)) = parts_of(&path) else { continue };
            if folder != journal {
                (journal, told) = (folder.to_owned(), 0);
            }
            if end <= told {
                continue;
            }
            let known = usize::try_from(told.saturating_sub(from)).unwrap_or(usize::MAX);
            let piece = self.get(&path).await?.ok_or(LakeError::Gone(path))?;
            all.extend(piece.get(known..).unwrap_or_default());
            told = end;
        }
        Ok(all)
    }
}

/// The bytes up to the end of a line that make a piece.
fn whole_lines(lines: &[u8]) -> usize {
    let within = &lines[..lines.len().min(PIECE_BYTES_MAX)];
    let end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n').map(|place| place + 1);
    end(within)
        .or_else(|| lines.iter().position(|byte| *byte == b'\n').map(|place| place + 1))
        .unwrap_or(lines.len())
}

/// The journal's folder, and the bytes that a piece covers.
fn parts_of(path: &str) -> Option<(&str, u64, u64)> {
    let (folder, name) = path.rsplit_once('/')?;
    let (from, end) = name.strip_suffix(".ndjson")?.split_once('-')?;
    Some((folder, from.parse().ok()?, end.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use twinge_registry::MemoryStore;

    #[tokio::test]
    async fn a_journal_is_copied_once_however_often_the_copy_begins() {
        let lake = Lake::new(Arc::new(MemoryStore::default()));
        let (first, second) = (b"{\"label\":1}\n", b"{\"label\":22}\n{\"label\":3}\n");
        let mut journal = LabelJournal::open(lake.clone(), first).await.unwrap();
        journal.keep(first).await.unwrap();
        // It ends here, and the next one knows how far it came.
        let mut journal = LabelJournal::open(lake.clone(), first).await.unwrap();
        assert_eq!(journal.kept(), first.len() as u64);
        journal.keep(second).await.unwrap();
        assert_eq!(lake.labels().await.unwrap(), [&first[..], &second[..]].concat());
        let mut other = LabelJournal::open(lake.clone(), b"{}\n").await.unwrap();
        other.keep(b"{}\n").await.unwrap();
        assert_eq!(lake.labels().await.unwrap().len(), first.len() + second.len() + 3);
    }

    #[tokio::test]
    async fn a_piece_that_was_written_though_an_error_was_answered_is_told_once() {
        let lake = Lake::new(Arc::new(MemoryStore::default()));
        let (first, more) = (&b"{\"label\":1}\n"[..], &b"{\"label\":2}\n"[..]);
        LabelJournal::open(lake.clone(), first).await.unwrap().keep(first).await.unwrap();
        // Whoever heard of an error begins there again, with what has come meanwhile.
        let mut journal =
            LabelJournal { kept: 0, ..LabelJournal::open(lake.clone(), first).await.unwrap() };
        let both = [first, more].concat();
        journal.keep(&both).await.unwrap();
        assert_eq!(lake.labels().await.unwrap(), both);
    }

    #[test]
    fn pieces_end_with_a_line() {
        assert_eq!(whole_lines(b"ab\ncd\n"), 6);
        assert_eq!(whole_lines(b"ab\ncd"), 3);
        let long = [vec![b'x'; PIECE_BYTES_MAX + 5], b"\nab\n".to_vec()].concat();
        assert_eq!(whole_lines(&long), PIECE_BYTES_MAX + 6);
    }
}
