//! The ledger of a followed file: which files stood at its path, one after the other.
//!
//! A file is known by device and inode and by how it begins, so that it is found again under another
//! name. Knows nothing of lines.

use super::error::LinesError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use twinge_platform::Disk;

/// Bytes at the beginning of a file that it is known by; fewer while it has fewer.
const HEAD_BYTES_MAX: u64 = 1024;

/// A checkpoint is at most seconds old, so that far fewer than these lie behind it.
const GENERATIONS_MAX: usize = 256;

const FORMAT: u32 = 1;

/// What is remembered of a followed file; replaced as a whole.
#[derive(Debug)]
pub(super) struct Ledger {
    disk: Arc<dyn Disk>,
    place: PathBuf,
    content: Content,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: u32,
    /// The name of the source.
    name: String,
    /// The path that is followed, for people who look.
    path: PathBuf,
    /// Files that were gone or cut before they were read to their end.
    lost: u64,
    generations: Vec<Generation>,
}

/// One of the files that stood at the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Generation {
    /// Counts them.
    pub(super) number: u64,
    pub(super) id: FileId,
    pub(super) head: Head,
    /// When it had been written to last, when it was begun.
    pub(super) modified_ms: u64,
    /// Where its reading ended and the next one's began.
    pub(super) end: Option<u64>,
}

/// What a file system tells files apart by; it is given away again when a file is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// How a file begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    bytes: u64,
    sha256: String,
}

impl FileId {
    #[cfg(unix)]
    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Elsewhere the time of a file's creation tells enough.
    #[cfg(not(unix))]
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: 0, inode: since_1970(metadata.created()).as_nanos() as u64 }
    }
}

pub(super) fn modified_ms(metadata: &Metadata) -> u64 {
    since_1970(metadata.modified()).as_millis() as u64
}

/// Zero where the file system does not know.
fn since_1970(time: io::Result<std::time::SystemTime>) -> std::time::Duration {
    time.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default()
}

impl Head {
    /// Of a file as it is now; moves its cursor.
    pub(super) fn of(file: &mut File) -> io::Result<Self> {
        Self::read(file, HEAD_BYTES_MAX)
    }

    fn read(file: &mut File, bytes_max: u64) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(Self { bytes: bytes.len() as u64, sha256: hex::encode(Sha256::digest(&bytes)) })
    }

    /// Whether a file begins so; moves its cursor.
    pub(super) fn is_of(&self, file: &mut File) -> io::Result<bool> {
        Ok(Self::read(file, self.bytes)? == *self)
    }

    /// Whether a file of `bytes` could be known much better by now.
    pub(super) fn is_short_for(&self, bytes: u64) -> bool {
        bytes.min(HEAD_BYTES_MAX) >= (self.bytes * 4).min(HEAD_BYTES_MAX) && !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.bytes == HEAD_BYTES_MAX
    }
}

impl Generation {
    /// Of a file that is begun to be read.
    pub(super) fn of(number: u64, file: &mut File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            number,
            id: FileId::of(&metadata),
            head: Head::of(file)?,
            modified_ms: modified_ms(&metadata),
            end: None,
        })
    }
}

impl Ledger {
    /// That of `path` in the directory `state`; `name` names a new one.
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        state: &Path,
        path: &Path,
        name: impl FnOnce() -> Result<String, LinesError>,
    ) -> Result<Self, LinesError> {
        let absolute = std::path::absolute(path).unwrap_or_else(|_why| path.to_owned());
        let digest = Sha256::digest(absolute.as_os_str().as_encoded_bytes());
        let place = state.join(format!("tail-{}.json", hex::encode(&digest[..8])));
        match disk.read(&place) {
            Ok(bytes) => match serde_json::from_slice::<Content>(&bytes) {
                Ok(content) if content.format == FORMAT => {
                    Ok(Self { disk: Arc::clone(disk), place, content })
                }
                _ => Err(LinesError::Ledger(place)),
            },
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                let content = Content {
                    format: FORMAT,
                    name: name()?,
                    path: absolute,
                    lost: 0,
                    generations: Vec::new(),
                };
                let mut this = Self { disk: Arc::clone(disk), place, content };
                this.save(this.content.clone())?;
                Ok(this)
            }
            Err(source) => Err(LinesError::Io { action: "read", path: place, source }),
        }
    }

    fn save(&mut self, content: Content) -> Result<(), LinesError> {
        let bytes = serde_json::to_vec_pretty(&content).expect("a ledger can be written as JSON");
        self.disk.replace(&self.place, &bytes).map_err(|source| {
            let path = self.place.clone();
            LinesError::Io { action: "write", path, source }
        })?;
        self.content = content;
        Ok(())
    }

    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    pub(super) fn name(&self) -> &str {
        &self.content.name
    }

    pub(super) fn lost(&self) -> u64 {
        self.content.lost
    }

    pub(super) fn get(&self, number: u64) -> Option<&Generation> {
        self.content.generations.iter().find(|generation| generation.number == number)
    }

    /// Whether a file is one that was read, as far as can be said without a doubt.
    pub(super) fn knows(&self, id: FileId, file: &mut File) -> io::Result<bool> {
        for known in &self.content.generations {
            if (known.id == id || known.head.is_full()) && known.head.is_of(file)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Nothing was read: there is no checkpoint.
    pub(super) fn forget(&mut self) -> Result<(), LinesError> {
        if self.content.generations.is_empty() {
            return Ok(());
        }
        self.save(Content { generations: Vec::new(), ..self.content.clone() })
    }

    /// A file was gone or cut before it was read to its end.
    pub(super) fn count_lost(&mut self) -> Result<(), LinesError> {
        self.save(Content { lost: self.content.lost + 1, ..self.content.clone() })
    }

    /// A generation is begun, and the one before ended at `end`.
    pub(super) fn begin(&mut self, next: Generation, end: Option<u64>) -> Result<(), LinesError> {
        let mut content = self.content.clone();
        content.generations.retain(|known| known.number < next.number);
        if let (Some(last), Some(end)) = (content.generations.last_mut(), end)
            && last.number + 1 == next.number
        {
            last.end = Some(end);
        }
        content.generations.push(next);
        let surplus = content.generations.len().saturating_sub(GENERATIONS_MAX);
        content.generations.drain(..surplus);
        self.save(content)
    }

    /// A generation is known better.
    pub(super) fn set_head(&mut self, number: u64, head: &Head) -> Result<(), LinesError> {
        let mut content = self.content.clone();
        for known in content.generations.iter_mut().filter(|known| known.number == number) {
            known.head.clone_from(head);
        }
        self.save(content)
    }
}
