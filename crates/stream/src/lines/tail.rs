//! A file that is followed through rotations: which file is read now, and when the next is begun.
//!
//! Files that stand at the path one after the other are generations, numbered in the
//! [ledger](super::ledger). A position holds the number and a position in that file.

use super::error::LinesError;
use super::ledger::{FileId, Generation, Ledger};
use super::reader::{Next, Reader};
use super::rotation::{Before, find, successor};
use crate::source::Start;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use twinge_platform::Disk;

/// Bits of a position that lie within a file: a terabyte.
const BYTE_BITS: u32 = 40;

/// Bytes that are looked through for a first line, which names the source.
const NAME_BYTES: u64 = 4096;

/// A followed file.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    ledger: Ledger,
    current: Option<Current>,
    /// Number of the generation behind the current one.
    next: u64,
    /// What its file comes after.
    before: Before,
    /// What is waited for was told.
    told: bool,
}

/// The generation that is read.
#[derive(Debug)]
struct Current {
    number: u64,
    reader: Reader,
    /// Its successor has been written to. Whoever writes has left this file then, so that what is
    /// read from here to its end is all there will be.
    draining: bool,
}

/// What to do when no whole line is there.
enum Step {
    /// Try again: something has changed.
    Again,
    /// This is one, though it has no end.
    Line(Vec<u8>),
    /// Later.
    Wait,
}

impl Tail {
    pub(super) fn open(
        path: &Path,
        state: &Path,
        disk: &Arc<dyn Disk>,
    ) -> Result<Self, LinesError> {
        let ledger = Ledger::open(disk, state, path, || name(path))?;
        let path = path.to_owned();
        Ok(Self { path, ledger, current: None, next: 0, before: Before::Nothing, told: false })
    }

    /// The name of the source, whatever file stands at the path.
    pub(super) fn name(&self) -> &str {
        self.ledger.name()
    }

    /// Files that were gone or cut before they were read to their end.
    pub(super) fn lost(&self) -> u64 {
        self.ledger.lost()
    }

    /// Behind the lines that were taken.
    pub(super) fn position(&self) -> Result<u64, LinesError> {
        let Some(Current { number, reader, .. }) = &self.current else {
            return Ok(self.next << BYTE_BITS);
        };
        if reader.position() >> BYTE_BITS > 0 {
            return Err(LinesError::TooLong(reader.path().to_owned()));
        }
        Ok(number << BYTE_BITS | reader.position())
    }

    pub(super) fn seek(&mut self, start: Start) -> Result<(), LinesError> {
        let (number, byte) = (start.position >> BYTE_BITS, start.position % (1 << BYTE_BITS));
        (self.current, self.before, self.next) = (None, Before::Nothing, number);
        if start.offset.is_none() {
            return self.ledger.forget();
        }
        match self.ledger.get(number).cloned() {
            Some(known) => {
                if let Some((path, file)) = self.find(&known, byte)? {
                    return self.read(&known, path, file, byte);
                }
                self.lose(known);
                Ok(())
            }
            None if start.position == 0 => Ok(()),
            None if number == 0 => self.adopt(byte),
            None => {
                let ledger = self.ledger.place().to_owned();
                Err(LinesError::Unknown { path: self.path.clone(), ledger, number })
            }
        }
    }

    /// Goes on in a checkpoint from before there were ledgers.
    fn adopt(&mut self, byte: u64) -> Result<(), LinesError> {
        let mut reader = Reader::open(&self.path)?;
        reader.seek_to(byte)?;
        let generation =
            Generation::of(0, reader.file()).map_err(|source| self.io_error("read", source))?;
        self.ledger.begin(generation.clone(), None)?;
        let file = File::open(&self.path).map_err(|source| self.io_error("open", source))?;
        self.read(&generation, self.path.clone(), file, byte)
    }

    /// The next line; `None` when there is none now.
    pub(super) fn next_line(&mut self) -> Result<Option<Vec<u8>>, LinesError> {
        loop {
            let next = match &mut self.current {
                Some(current) => current.reader.next_line()?,
                None => Next::Nothing,
            };
            let step = match next {
                Next::Line(line) => return Ok(Some(line)),
                Next::Nothing => self.at_end()?,
                Next::Cut => self.cut()?,
            };
            match step {
                Step::Again => {}
                Step::Line(line) => return Ok(Some(line)),
                Step::Wait => return Ok(None),
            }
        }
    }

    /// Everything that is there was read.
    fn at_end(&mut self) -> Result<Step, LinesError> {
        let Some(current) = &mut self.current else { return self.begin() };
        if let Some(head) = current.reader.better_head()? {
            match self.ledger.set_head(current.number, &head) {
                Ok(()) => current.reader.set_head(head),
                Err(error) => return Ok(self.wait_for(&error)),
            }
        }
        let is_closed = self.ledger.get(current.number).is_some_and(|known| known.end.is_some());
        if !is_closed && !current.draining {
            current.draining = successor(&self.path, &self.before, &self.ledger)
                .map_err(|source| look_beside(&self.path, source))?
                .is_some();
            return Ok(if current.draining { Step::Again } else { Step::Wait });
        }
        match current.reader.last_line() {
            Some(line) => Ok(Step::Line(line)),
            None => self.begin(),
        }
    }

    /// The file has become shorter or another under our hands. Where it was copied before, the copy
    /// has the rest.
    fn cut(&mut self) -> Result<Step, LinesError> {
        let Some(current) = &mut self.current else { return Ok(Step::Again) };
        let (number, position) = (current.number, current.reader.position());
        let known = self.ledger.get(number).cloned();
        let known = known.expect("what is read was written into the ledger before");
        if let Some((path, file)) = self.find(&known, position)? {
            self.read(&known, path, file, position)?;
            return Ok(Step::Again);
        }
        // Half a line is all there will be of it.
        if let Some(line) = self.current.as_mut().and_then(|current| current.reader.last_line()) {
            return Ok(Step::Line(line));
        }
        self.lose(known);
        self.before = Before::Nothing;
        Ok(Step::Again)
    }

    /// Begins the generation behind the current one.
    fn begin(&mut self) -> Result<Step, LinesError> {
        if let Some(known) = self.ledger.get(self.next).cloned() {
            return self.begin_again(known);
        }
        let next = successor(&self.path, &self.before, &self.ledger)
            .map_err(|source| look_beside(&self.path, source))?;
        let Some(next) = next else {
            let why = "it is not there, or has no whole line yet";
            let missing = io::Error::new(io::ErrorKind::NotFound, why);
            return Ok(self.wait_for(&self.io_error("find a line in", missing)));
        };
        let opened = File::open(&next.path)
            .and_then(|mut file| Ok((Generation::of(self.next, &mut file)?, file)));
        let (generation, file) = match opened {
            Ok((generation, file)) if generation.id == next.id => (generation, file),
            // Another file has got the name since.
            Ok(_) => return Ok(Step::Wait),
            Err(source) => {
                return Ok(self.wait_for(&LinesError::Io {
                    action: "open",
                    path: next.path,
                    source,
                }));
            }
        };
        let end = self.current.as_ref().map(|current| current.reader.position());
        if let Err(error) = self.ledger.begin(generation.clone(), end) {
            return Ok(self.wait_for(&error));
        }
        if generation.number > 0 {
            tracing::info!(path = %self.path.display(), file = %next.path.display(), generation = generation.number, "a followed file was rotated");
        }
        self.read(&generation, next.path, file, 0)?;
        Ok(Step::Again)
    }

    /// Begins a generation that a run before had begun.
    fn begin_again(&mut self, known: Generation) -> Result<Step, LinesError> {
        match self.find(&known, known.end.unwrap_or(0))? {
            Some((path, file)) => self.read(&known, path, file, 0)?,
            None => self.lose(known),
        }
        Ok(Step::Again)
    }

    /// Goes on in a generation.
    fn read(
        &mut self,
        generation: &Generation,
        path: PathBuf,
        file: File,
        byte: u64,
    ) -> Result<(), LinesError> {
        let mut reader = Reader::new(path, file);
        let metadata = reader.file().metadata();
        let metadata = metadata.map_err(|source| reader.io_error("measure", source))?;
        reader.set_limit(generation.end.unwrap_or(u64::MAX));
        reader.set_head(generation.head.clone());
        reader.seek_to(byte)?;
        self.before = Before::File(FileId::of(&metadata));
        self.next = generation.number + 1;
        self.current = Some(Current { number: generation.number, reader, draining: false });
        self.told = false;
        Ok(())
    }

    /// A generation cannot be read to its end.
    fn lose(&mut self, known: Generation) {
        if let Err(error) = self.ledger.count_lost() {
            tracing::warn!(%error, "a lost file could not be counted");
        }
        tracing::error!(path = %self.path.display(), generation = known.number, lost = self.ledger.lost(), "a followed file was removed, compressed or cut before it was read to its end, and events in it may be lost: let the rotation keep more files, and compress the last one later (delaycompress)");
        (self.current, self.next) = (None, known.number + 1);
        self.before = Before::Gone(known);
    }

    fn find(
        &self,
        generation: &Generation,
        bytes: u64,
    ) -> Result<Option<(PathBuf, File)>, LinesError> {
        find(&self.path, generation, bytes).map_err(|source| self.io_error("look for", source))
    }

    /// Says what is waited for, unless it was said.
    fn wait_for(&mut self, error: &LinesError) -> Step {
        if !std::mem::replace(&mut self.told, true) {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(%error, reason, "a followed file waits until this is over");
        }
        Step::Wait
    }

    fn io_error(&self, action: &'static str, source: io::Error) -> LinesError {
        LinesError::Io { action, path: self.path.clone(), source }
    }
}

fn look_beside(path: &Path, source: io::Error) -> LinesError {
    LinesError::Io { action: "look beside", path: path.to_owned(), source }
}

/// A source is named after its first line, so that a state that was removed leads to the same
/// events, or by chance where that line is still to come.
fn name(path: &Path) -> Result<String, LinesError> {
    use sha2::{Digest, Sha256};
    use std::io::Read;
    let error = |source| LinesError::Io { action: "name", path: path.to_owned(), source };
    let mut start = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(NAME_BYTES).read_to_end(&mut start).map_err(error)?,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => 0,
        Err(source) => {
            return Err(LinesError::Io { action: "open", path: path.to_owned(), source });
        }
    };
    let mut seed = [0; 16];
    // Half a first line would give another name than the whole one.
    if start.contains(&b'\n') || start.len() as u64 == NAME_BYTES {
        let first_line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        seed.copy_from_slice(&Sha256::digest(first_line)[..16]);
    } else {
        let chance = getrandom::fill(&mut seed);
        chance.map_err(|source| error(io::Error::other(source.to_string())))?;
    }
    Ok(format!("tail-{}", hex::encode(seed)))
}
