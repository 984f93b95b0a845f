//! What the cloud will never take, kept for people: a file of lines in the state directory, and the
//! one before it. Beyond their bound the older one goes, and that is told.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use twinge_platform::Disk;
use twinge_stream::sink::{LineFile, SinkError};
use twinge_uplink::{BacklogError, Refusals, Waiting};

/// Bytes of each of the two files.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Lines of what was refused.
#[derive(Debug)]
pub struct RefusedFile {
    disk: Arc<dyn Disk>,
    file: PathBuf,
    writing: Mutex<()>,
    count: AtomicU64,
}

impl RefusedFile {
    /// A file, which need not be there.
    pub fn new(disk: Arc<dyn Disk>, file: PathBuf) -> Self {
        Self { disk, file, writing: Mutex::new(()), count: AtomicU64::new(0) }
    }

    /// Those of this run.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Keeps a record, as a line; it is on disk when this returns.
    pub fn write(&self, record: &[u8], reason: &str) -> Result<(), SinkError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(record);
        let line = serde_json::json!({ "reason": reason, "record": text });
        let mut line = line.to_string().into_bytes();
        line.push(b'\n');
        let mut file = LineFile::open(self.disk.as_ref(), &self.file)?;
        if file.bytes() > 0 && file.bytes() + line.len() as u64 > FILE_BYTES_MAX {
            drop(file);
            let former = self.file.with_extension("1.ndjson");
            tracing::warn!(file = %former.display(), "refused records of before go, to make room");
            self.disk.rename(&self.file, &former).map_err(|error| self.error(error))?;
            file = LineFile::open(self.disk.as_ref(), &self.file)?;
        }
        file.append(&line).and_then(|()| file.sync()).map_err(|error| self.error(error))?;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn error(&self, source: io::Error) -> SinkError {
        SinkError { place: self.file.display().to_string(), source: source.into() }
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

    #[test]
    fn a_line_is_whole_or_not_there() {
        for seed in 0..100 {
            let disk = SimulatedDisk::new(seed);
            let path = Path::new("/state/refused.ndjson");
            let file = RefusedFile::new(Arc::new(disk.clone()), path.to_owned());
            for number in 0..4 {
                disk.cut_power_after((seed + number) % 11);
                if file.write(number.to_string().as_bytes(), "no").is_err() {
                    disk.crash();
                    file.write(number.to_string().as_bytes(), "no").unwrap();
                }
            }
            let bytes = disk.peek(path).unwrap();
            let lines: Vec<serde_json::Value> = bytes
                .split_inclusive(|byte| *byte == b'\n')
                .map(|line| serde_json::from_slice(line).unwrap())
                .collect();
            let records = lines.iter().map(|line| line["record"].as_str().unwrap());
            let mut records: Vec<&str> = records.collect();
            // One that was there when the power went may be there twice.
            records.dedup();
            assert_eq!(records, ["0", "1", "2", "3"], "seed {seed}");
        }
    }
}
