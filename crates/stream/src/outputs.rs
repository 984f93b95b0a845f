//! Where records go by name: a file or standard output, a line each, or whatever a program adds.

use crate::extension::Extension;
use crate::sink::{HUB_PREFIX, LineFile, NOWHERE, Outputs, Sink, SinkError, file_error};
use async_trait::async_trait;
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use twinge_platform::Disk;

/// Files, standard output as `-`, nothing as `none`, and hubs where a program brings them along.
#[derive(Debug)]
pub struct Files {
    disk: Arc<dyn Disk>,
    open: Mutex<HashMap<PathBuf, Arc<Mutex<LineFile>>>>,
    extension: Option<Arc<dyn Extension>>,
}

impl Files {
    /// Outputs on a disk.
    pub fn new(disk: Arc<dyn Disk>, extension: Option<Arc<dyn Extension>>) -> Self {
        Self { disk, open: Mutex::default(), extension }
    }
}

impl Outputs for Files {
    fn open(&self, name: &str) -> Result<Box<dyn Sink>, SinkError> {
        if name == "-" {
            return Ok(Box::new(StdoutSink::default()));
        }
        if name == NOWHERE {
            return Ok(Box::new(NoSink));
        }
        if let Some(hub) = name.strip_prefix(HUB_PREFIX) {
            let extension = self.extension.as_ref().ok_or_else(|| SinkError {
                place: name.to_owned(),
                source: "this program has no Event Hubs".into(),
            })?;
            return extension.open(hub);
        }
        let path = Path::new(name);
        let mut files = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !files.contains_key(path) {
            let file = LineFile::open(self.disk.as_ref(), path)?;
            files.insert(path.to_owned(), Arc::new(Mutex::new(file)));
        }
        Ok(Box::new(FileSink { file: Arc::clone(&files[path]), pending: Vec::new() }))
    }
}

/// Lines appended to a file, which may be shared by several partitions.
#[derive(Debug)]
pub struct FileSink {
    file: Arc<Mutex<LineFile>>,
    pending: Vec<u8>,
}

impl FileSink {
    fn file(&self) -> MutexGuard<'_, LineFile> {
        // What a thread that died left half done is cut off by the next append.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Sink for FileSink {
    fn write(&mut self, _key: Option<&str>, record: &[u8]) {
        self.pending.extend_from_slice(record);
        self.pending.push(b'\n');
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut file = self.file();
        let appended = file.append(&self.pending);
        appended.map_err(|error| file_error(&file.path, error))?;
        drop(file);
        self.pending.clear();
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), SinkError> {
        let mut file = self.file();
        let synced = file.sync();
        synced.map_err(|error| file_error(&file.path, error))
    }
}

/// Lines on standard output.
#[derive(Debug, Default)]
pub struct StdoutSink {
    pending: Vec<u8>,
}

#[async_trait]
impl Sink for StdoutSink {
    fn write(&mut self, _key: Option<&str>, record: &[u8]) {
        self.pending.extend_from_slice(record);
        self.pending.push(b'\n');
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        let mut out = io::stdout().lock();
        out.write_all(&self.pending)
            .and_then(|()| out.flush())
            .map_err(|error| SinkError { place: "standard output".into(), source: error.into() })?;
        self.pending.clear();
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Keeps nothing: what was found goes elsewhere.
#[derive(Debug)]
struct NoSink;

#[async_trait]
impl Sink for NoSink {
    fn write(&mut self, _key: Option<&str>, _record: &[u8]) {}

    async fn commit(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinge_platform::SimulatedDisk;

    #[tokio::test]
    async fn a_torn_line_is_cut_and_a_full_disk_loses_nothing() {
        let disk = SimulatedDisk::new(5);
        let path = Path::new("/out/verdicts.ndjson");
        let mut file = disk.open_append(path).unwrap();
        file.append(b"one\ntw").unwrap();
        file.sync().unwrap();
        let outputs = Files::new(Arc::new(disk.clone()), None);
        let mut sink = outputs.open("/out/verdicts.ndjson").unwrap();
        sink.write(None, b"two");
        sink.commit().await.unwrap();
        disk.set_capacity(disk.used_bytes() + 3);
        sink.write(None, b"three");
        assert!(sink.commit().await.is_err());
        sink.write(None, b"four");
        assert!(sink.commit().await.is_err());
        disk.set_capacity(u64::MAX);
        sink.commit().await.unwrap();
        sink.sync().await.unwrap();
        assert_eq!(disk.read(path).unwrap(), b"one\ntwo\nthree\nfour\n");
    }

    #[tokio::test]
    async fn what_a_failed_sync_was_for_is_written_again() {
        for seed in 0..50 {
            let disk = SimulatedDisk::new(seed);
            let outputs = Files::new(Arc::new(disk.clone()), None);
            let mut sink = outputs.open("/out/verdicts.ndjson").unwrap();
            sink.write(None, b"one");
            sink.commit().await.unwrap();
            sink.sync().await.unwrap();
            sink.write(None, b"two");
            sink.commit().await.unwrap();
            disk.fail_after(0);
            sink.sync().await.unwrap_err();
            sink.write(None, b"three");
            // What is written again may fail as well.
            disk.fail_after(seed % 4);
            while sink.commit().await.is_err() {}
            while sink.sync().await.is_err() {}
            disk.crash();
            let kept = disk.read(Path::new("/out/verdicts.ndjson")).unwrap();
            assert_eq!(kept, b"one\ntwo\nthree\n", "seed {seed}");
        }
    }
}
