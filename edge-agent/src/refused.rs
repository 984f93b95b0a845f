//! What the cloud will never take, kept for people: a file of lines in the state directory, and the
//! one before it. Beyond their bound the older one goes, and that is told.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use twinge_platform::Disk;
use twinge_uplink::{BacklogError, Refusals, Waiting};

/// Bytes of each of the two files.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Lines of what was refused.
#[derive(Debug)]
pub(crate) struct RefusedFile {
    disk: Arc<dyn Disk>,
    file: PathBuf,
    writing: Mutex<()>,
    count: AtomicU64,
}

impl RefusedFile {
    /// A file, which need not be there.
    pub(crate) fn new(disk: Arc<dyn Disk>, file: PathBuf) -> Self {
        Self { disk, file, writing: Mutex::new(()), count: AtomicU64::new(0) }
    }

    /// Those of this run.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Keeps a record, as a line; it is on disk when this returns.
    pub(crate) fn write(&self, record: &[u8], reason: &str) -> io::Result<()> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(record);
        let line = serde_json::json!({ "reason": reason, "record": text });
        let mut line = line.to_string().into_bytes();
        line.push(b'\n');
        let mut file = self.disk.open_append(&self.file)?;
        let before = file.len()?;
        if before > 0 && before + line.len() as u64 > FILE_BYTES_MAX {
            drop(file);
            let former = self.file.with_extension("1.ndjson");
            tracing::warn!(file = %former.display(), "refused records of before go, to make room");
            self.disk.rename(&self.file, &former)?;
            file = self.disk.open_append(&self.file)?;
        }
        file.append(&line)?;
        file.sync()?;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Refusals for RefusedFile {
    fn keep(&self, record: &Waiting, reason: &str) -> Result<(), BacklogError> {
        Ok(self.write(&record.bytes, reason)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use twinge_platform::SimulatedDisk;

    #[test]
    fn what_was_refused_is_kept_within_bounds() {
        let simulated = SimulatedDisk::new(3);
        let path = Path::new("/state/refused.ndjson");
        let file = RefusedFile::new(Arc::new(simulated.clone()), path.to_owned());
        file.write(b"{\"x\":1}", "no").unwrap();
        assert_eq!(
            simulated.read(path).unwrap(),
            b"{\"reason\":\"no\",\"record\":\"{\\\"x\\\":1}\"}\n"
        );
        let large = vec![b'x'; 9 << 20];
        for _ in 0..3 {
            file.write(&large, "large").unwrap();
        }
        assert!(simulated.used_bytes() < 2 * FILE_BYTES_MAX + 1000);
        assert_eq!(file.count(), 4);
    }
}
