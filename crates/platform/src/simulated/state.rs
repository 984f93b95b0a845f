//! The names and contents of a simulated disk, its limits, and which operation is to fail. Who asks
//! for an operation is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::content::Content;

/// All that a disk is.
#[derive(Debug)]
pub(super) struct State {
    pub(super) names: BTreeMap<PathBuf, u64>,
    pub(super) contents: BTreeMap<u64, Content>,
    pub(super) next_id: u64,
    pub(super) capacity_bytes: u64,
    pub(super) read_only: bool,
    pub(super) operations: u64,
    pub(super) fail_at: Option<u64>,
    pub(super) cut_at: Option<u64>,
    pub(super) locked: BTreeSet<PathBuf>,
    pub(super) crashes: u64,
    pub(super) random: u64,
}

/// What keeps an operation from being done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// It was chosen to fail.
    Failed,
    /// The power goes in the middle of it.
    Cut,
    /// The power is off.
    Off,
}

impl Trouble {
    pub(super) fn error(self) -> io::Error {
        io::Error::other(match self {
            Self::Failed => "the simulator failed this operation",
            Self::Cut | Self::Off => "the simulator cut the power",
        })
    }
}

impl State {
    pub(super) fn count(&mut self) -> Result<(), Trouble> {
        let now = self.operations;
        self.operations += 1;
        match self.cut_at {
            Some(at) if at < now => return Err(Trouble::Off),
            Some(at) if at == now => return Err(Trouble::Cut),
            _ => {}
        }
        let failed = self.fail_at.take_if(|at| *at == now).is_some();
        if failed { Err(Trouble::Failed) } else { Ok(()) }
    }

    pub(super) fn writable(&self) -> io::Result<()> {
        if self.read_only { Err(ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    /// A file that replaces another stands beside it until the rename, so it needs its own room.
    pub(super) fn fits(&self, bytes: usize) -> io::Result<()> {
        if bytes as u64 > self.room() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    pub(super) fn room(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.used_bytes())
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.contents.values().map(|content| content.bytes.len() as u64).sum()
    }

    /// Puts a durable file with these bytes in place of whatever has the name.
    pub(super) fn put(&mut self, path: &Path, bytes: &[u8]) -> u64 {
        self.forget(path);
        let id = self.next_id;
        self.next_id += 1;
        self.contents.insert(id, Content::durable(bytes));
        self.names.insert(path.to_owned(), id);
        id
    }

    pub(super) fn forget(&mut self, path: &Path) {
        if let Some(id) = self.names.remove(path) {
            self.contents.remove(&id);
        }
    }
}
