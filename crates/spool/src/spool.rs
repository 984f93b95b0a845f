//! The spool: two lanes in one order, and the bounds that decide what is dropped. Does not know
//! how a lane keeps its entries (`lane`) nor what an entry means.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinge_platform::{Clock, Disk};

use crate::drops::{Cause, Dropped, Teller};
use crate::entry::{Entry, Importance, Queued};
use crate::error::SpoolError;
use crate::figures::{Figures, LaneFigures};
use crate::lane::{Batch, Lane, Place, Walk};
use crate::readable::Readable;
use crate::settings::{RESERVE_BYTES, Settings};
use crate::state::State;

/// How many sequence numbers are reserved by one write of the state.
const SEQUENCES_RESERVED: u64 = 1 << 20;
/// How often the state is read before it is given up.
const STATE_READS: usize = 3;
/// After a write that failed, appending does not try another for so long; `sync` always does.
const RETRY_MS: u64 = 1_000;

/// Entries that wait to be sent, in the order in which they were appended.
#[derive(Debug)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    directory: PathBuf,
    settings: Settings,
    lanes: [Lane; 2],
    dropped: [Dropped; 2],
    released: u64,
    sequence_next: u64,
    sequence_reserved: u64,
    /// Operating time when the spool was opened, in seconds, and the clock's time then.
    opened: (u64, u64),
    /// The second in which entries were last looked over for their age.
    expired: u64,
    /// A file is there that gives way to the state on a full disk.
    has_reserve: bool,
    /// The state on disk is older than what is true.
    is_state_stale: bool,
    /// Drops were counted since the state was written: no segment goes before it is.
    is_drop_unwritten: bool,
    failed_ms: Option<u64>,
    last_error: Option<String>,
    teller: Teller,
}

impl Spool {
    /// Opens the spool in a directory, or begins one there. Whatever is damaged is counted and
    /// passed over.
    ///
    /// # Errors
    /// `Settings`; `Disk` and `Segments` when the directory cannot be read, or when the state can be
    /// neither read nor written.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        directory: &Path,
        settings: Settings,
    ) -> Result<Self, SpoolError> {
        settings.check()?;
        let disk: Arc<dyn Disk> = Arc::new(Readable(disk));
        let listed = disk.list(directory);
        let listed = listed.map_err(|source| SpoolError::of_disk("list", directory, source))?;
        let has_reserve = listed.contains(&reserve_path(directory));
        let (state, is_unread) = read_state(&*disk, directory);
        let open_lane = |importance: Importance| {
            let lane_state = &state.lanes[importance.index()];
            Lane::open(disk.clone(), directory, importance, &settings, lane_state)
        };
        let lanes = [open_lane(Importance::Normal)?, open_lane(Importance::Anomalous)?];
        let mut spool = Self {
            opened: (state.second, clock.monotonic_ms()),
            disk,
            clock,
            directory: directory.to_owned(),
            settings,
            lanes,
            dropped: [state.lanes[0].dropped, state.lanes[1].dropped],
            released: state.released,
            sequence_next: state.sequence_reserved,
            sequence_reserved: state.sequence_reserved,
            expired: 0,
            has_reserve,
            is_state_stale: true,
            is_drop_unwritten: false,
            failed_ms: None,
            last_error: None,
            teller: Teller::default(),
        };
        spool.go_on_after_last();
        spool.count_passed();
        let written = spool.reserve_sequences();
        if is_unread {
            // Numbers begin anew, and to a state that can be read again later, entries with such
            // numbers would be released ones.
            written?;
        }
        spool.tell();
        Ok(spool)
    }

    /// Takes an entry and returns its sequence number. It is in memory, and durable only after
    /// [`sync`](Self::sync). Where memory is full it is written out; where that fails too, the
    /// oldest normal entries in memory are dropped, and counted, and anomalous ones when there
    /// are no normal ones.
    ///
    /// # Errors
    /// `EntrySize`: the entry was not taken.
    pub fn append(&mut self, entry: Entry) -> Result<u64, SpoolError> {
        let (bytes, entry_bytes_max) = (entry.length(), self.settings.entry_bytes_max());
        if bytes > entry_bytes_max {
            return Err(SpoolError::EntrySize { bytes, entry_bytes_max });
        }
        let sequence = self.sequence_next;
        self.sequence_next += 1;
        let second = self.second();
        self.lane(entry.importance).push(Queued { sequence, second, entry });
        if self.sequence_next >= self.sequence_reserved {
            // What fails is in the figures.
            self.reserve_sequences().ok();
        }
        if self.memory_bytes() > self.settings.memory_bytes_max {
            self.relieve_memory();
        }
        self.expire();
        self.tell();
        Ok(sequence)
    }

    /// Makes durable every entry that was appended and neither released nor dropped.
    ///
    /// # Errors
    /// `Segments`, `Disk`: what was not written is still in memory; call again.
    /// [`is_backpressure`](SpoolError::is_backpressure) tells a full disk.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        self.expire();
        let written = self.write_out();
        self.note_outcome(&written);
        self.write_stale_state();
        self.tell();
        written
    }

    /// The oldest entries in order: up to `entries_max`, and up to `bytes_max` of messages and
    /// keys, but one however long if there is one. They stay until they are released.
    ///
    /// # Errors
    /// `Segments`, `Disk`: the oldest cannot be read; call again. A place that stays unreadable
    /// for a minute counts as damaged.
    pub fn peek(
        &mut self,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Queued>, SpoolError> {
        self.expire();
        let mut found: Vec<Queued> = Vec::new();
        let mut places = [0, 0];
        let mut room = bytes_max;
        while found.len() < entries_max {
            let next = match self.next_after(&mut places) {
                Ok(Some(next)) => next,
                Err(error) if found.is_empty() => return Err(error),
                Ok(None) | Err(_) => break,
            };
            if next.entry.length() > room && !found.is_empty() {
                break;
            }
            room = room.saturating_sub(next.entry.length());
            found.push(next.clone());
        }
        self.count_passed();
        self.tell();
        Ok(found)
    }

    /// Says that all entries up to this sequence number have arrived upstream. Segments that hold
    /// nothing else are removed. How far it is, is durable with the next [`sync`](Self::sync): a
    /// crash before it brings entries back.
    pub fn release(&mut self, through: u64) {
        let through = through.min(self.sequence_next.saturating_sub(1));
        for importance in Importance::ALL {
            self.lane(importance).release(through);
        }
        self.count_passed();
        if let Err(error) = self.reclaim() {
            self.last_error = Some(error.chain());
        }
        self.tell();
    }

    /// Calls `visit` for every entry in order, from disk and from memory, and returns how many
    /// there were. Releases nothing, and holds a few entries in memory at a time.
    ///
    /// # Errors
    /// `Segments`, `Disk`: an entry cannot be read; those before it were visited.
    pub fn walk(&mut self, mut visit: impl FnMut(&Queued)) -> Result<u64, SpoolError> {
        let mut walks = [self.lanes[0].walk()?, self.lanes[1].walk()?];
        let mut visited = 0;
        while let Some(index) = next_walk(&walks) {
            if let Some(queued) = &walks[index].current {
                visit(queued);
                visited += 1;
            }
            self.lanes[index].advance(&mut walks[index])?;
        }
        Ok(visited)
    }

    /// Whether its calls may wait for a disk.
    pub fn may_wait(&self) -> bool {
        self.disk.may_wait()
    }

    /// What the spool holds and what it has given up.
    pub fn figures(&mut self) -> Figures {
        let seconds = Importance::ALL.map(|importance| {
            self.lane(importance).get(0).ok().flatten().map(|oldest| oldest.second)
        });
        self.count_passed();
        let oldest = seconds.into_iter().flatten().min();
        Figures {
            normal: self.lane_figures(Importance::Normal),
            anomalous: self.lane_figures(Importance::Anomalous),
            oldest_age_seconds: oldest.map(|second| self.second().saturating_sub(second)),
            bytes_max: self.settings.bytes_max,
            released: self.released,
            last_error: self.last_error.clone(),
        }
    }

    fn lane_figures(&self, importance: Importance) -> LaneFigures {
        let lane = &self.lanes[importance.index()];
        LaneFigures {
            entries: lane.entries(),
            memory_entries: lane.memory_entries(),
            disk_bytes: lane.disk_bytes(),
            memory_bytes: lane.memory_bytes() as u64,
            dropped: self.dropped[importance.index()],
        }
    }

    fn lane(&mut self, importance: Importance) -> &mut Lane {
        &mut self.lanes[importance.index()]
    }

    fn memory_bytes(&self) -> usize {
        self.lanes.iter().map(Lane::memory_bytes).sum()
    }

    /// Operating time in seconds. Only the monotonic clock moves it.
    fn second(&self) -> u64 {
        let (second, opened_ms) = self.opened;
        second + self.clock.monotonic_ms().saturating_sub(opened_ms) / 1_000
    }

    /// The next entry of both lanes after those that `places` counts.
    fn next_after(&mut self, places: &mut [usize; 2]) -> Result<Option<&Queued>, SpoolError> {
        let mut sequences = [None, None];
        for importance in Importance::ALL {
            let index = importance.index();
            let queued = self.lanes[index].get(places[index])?;
            sequences[index] = queued.map(|queued| queued.sequence);
        }
        let Some(index) = first_of(sequences) else { return Ok(None) };
        let place = places[index];
        places[index] += 1;
        self.lanes[index].get(place)
    }

    /// Sequence and time go on after the last entry on disk, also if the state was lost.
    fn go_on_after_last(&mut self) {
        let last = self.lanes.iter().filter_map(Lane::last_on_disk);
        let last = last.reduce(|a, b| Place {
            sequence: a.sequence.max(b.sequence),
            second: a.second.max(b.second),
        });
        if let Some(last) = last {
            self.sequence_next = self.sequence_next.max(last.sequence + 1);
            self.opened.0 = self.opened.0.max(last.second);
        }
        let cursors = self.lanes.iter().map(Lane::cursor).max().unwrap_or(0);
        self.sequence_next = self.sequence_next.max(cursors + 1);
    }

    fn reserve_sequences(&mut self) -> Result<(), SpoolError> {
        self.sequence_reserved = self.sequence_next + SEQUENCES_RESERVED;
        let written = self.write_state();
        self.note_outcome(&written);
        written
    }

    fn note_drop(&mut self, importance: Importance, cause: Cause, count: u64) {
        if count == 0 {
            return;
        }
        self.dropped[importance.index()].add(cause, count);
        self.teller.note(importance, cause, count);
        self.is_state_stale = true;
        self.is_drop_unwritten = true;
    }

    fn note_outcome(&mut self, written: &Result<(), SpoolError>) {
        match written {
            Ok(()) => {
                self.failed_ms = None;
                self.last_error = None;
            }
            Err(error) => {
                self.failed_ms = Some(self.clock.monotonic_ms());
                self.last_error = Some(error.chain());
            }
        }
    }

    fn count_passed(&mut self) {
        for importance in Importance::ALL {
            let passed = self.lane(importance).take_passed();
            self.released += passed.on_disk + passed.in_memory;
            // The live path writes nothing: what was never on disk leaves the state as it is.
            self.is_state_stale |= passed.on_disk > 0;
            self.note_drop(importance, Cause::Damage, passed.damaged);
        }
    }

    fn tell(&mut self) {
        self.teller.tell(self.clock.monotonic_ms());
    }

    /// Drops what is too old. At most once in a second of operating time.
    fn expire(&mut self) {
        let second = self.second();
        if second == self.expired {
            return;
        }
        self.expired = second;
        self.lanes.iter_mut().for_each(|lane| lane.set_second(second));
        let age_max = self.settings.age_seconds_max;
        for importance in Importance::ALL {
            let mut count = 0;
            let lane = self.lane(importance);
            // What cannot be read now is looked at again in a second.
            while let Ok(Some(oldest)) = lane.get(0)
                && second.saturating_sub(oldest.second) > age_max
            {
                lane.pop();
                count += 1;
            }
            self.note_drop(importance, Cause::Age, count);
        }
        self.count_passed();
    }

    fn relieve_memory(&mut self) {
        let now_ms = self.clock.monotonic_ms();
        if self.failed_ms.is_none_or(|failed| now_ms >= failed + RETRY_MS) {
            let written = self.write_out();
            self.note_outcome(&written);
        }
        for importance in Importance::ALL {
            let mut count = 0;
            while self.memory_bytes() > self.settings.memory_bytes_max
                && self.lane(importance).pop_memory().is_some()
            {
                count += 1;
            }
            self.note_drop(importance, Cause::Room, count);
        }
    }

    /// Anomalous entries first: they get the room.
    fn write_out(&mut self) -> Result<(), SpoolError> {
        self.make_room(0, Importance::Anomalous)?;
        let anomalous = self.write_lane(Importance::Anomalous);
        let normal = self.write_lane(Importance::Normal);
        anomalous.and(normal)?;
        self.reclaim()
    }

    /// A state that cannot be written endangers no entry: a crash would bring released ones back.
    fn write_stale_state(&mut self) {
        if !self.is_state_stale {
            return;
        }
        let mut written = self.write_state();
        if written.as_ref().is_err_and(SpoolError::is_backpressure)
            && self.drop_oldest_segment(Importance::Normal).unwrap_or(false)
        {
            written = self.write_state();
        }
        if let Err(error) = written {
            self.last_error = Some(error.chain());
        }
    }

    fn write_lane(&mut self, importance: Importance) -> Result<(), SpoolError> {
        let written = self.write_batches(importance);
        // Also after an error: what was appended before it is made durable.
        let committed = self.lane(importance).commit();
        written.and(committed)
    }

    fn write_batches(&mut self, importance: Importance) -> Result<(), SpoolError> {
        while let Some(batch) = self.lane(importance).next_batch() {
            if self.make_room(batch.disk_bytes, importance)? {
                self.append_batch(importance, &batch)?;
            } else {
                // Nothing may go for these, so they go themselves.
                self.lane(importance).commit()?;
                let popped =
                    (0..batch.entries()).filter_map(|_| self.lane(importance).pop_memory());
                let count = popped.count() as u64;
                self.note_drop(importance, Cause::Room, count);
            }
        }
        Ok(())
    }

    /// Where the disk is fuller than the spool's bound, the oldest normal entries make room.
    fn append_batch(&mut self, importance: Importance, batch: &Batch) -> Result<(), SpoolError> {
        loop {
            match self.lane(importance).append(batch) {
                Err(error) if error.is_backpressure() => {
                    self.lane(importance).commit()?;
                    if !self.drop_oldest_segment(Importance::Normal)? {
                        return Err(error);
                    }
                }
                appended => return appended,
            }
        }
    }

    /// Drops segments until so many more bytes fit: normal ones, and anomalous ones only for
    /// anomalous entries. False when nothing is left that may go.
    fn make_room(&mut self, needed: u64, importance: Importance) -> Result<bool, SpoolError> {
        let bytes_max = self.settings.segments_bytes_max();
        while self.lanes.iter().map(Lane::segment_bytes).sum::<u64>() + needed > bytes_max {
            self.lane(importance).commit()?;
            let has_room = self.drop_oldest_segment(Importance::Normal)?
                || importance == Importance::Anomalous
                    && self.drop_oldest_segment(Importance::Anomalous)?;
            if !has_room {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// False when there is none. What could not be removed before is removed first.
    fn drop_oldest_segment(&mut self, importance: Importance) -> Result<bool, SpoolError> {
        if self.lane(importance).is_reclaimable() {
            self.reclaim()?;
            return Ok(true);
        }
        let sequence_next = self.sequence_next;
        let Some(count) = self.lane(importance).pass_segment(sequence_next) else {
            return Ok(false);
        };
        self.note_drop(importance, Cause::Room, count);
        self.reclaim()?;
        Ok(true)
    }

    /// Removes the segments that were passed. Drops are counted durably before.
    fn reclaim(&mut self) -> Result<(), SpoolError> {
        let is_counted_first =
            self.is_drop_unwritten && self.lanes.iter().any(Lane::is_reclaimable);
        let counted = if is_counted_first { self.write_state() } else { Ok(()) };
        // A disk without even the room that is reserved has some for the count only afterwards.
        if counted.as_ref().is_err_and(|error| !error.is_backpressure()) {
            return counted;
        }
        let [normal, anomalous] = &mut self.lanes;
        let reclaimed = normal.reclaim().and(anomalous.reclaim());
        let counted = if counted.is_err() { self.write_state() } else { Ok(()) };
        reclaimed.and(counted)
    }

    fn write_state(&mut self) -> Result<(), SpoolError> {
        let mut state = State {
            sequence_reserved: self.sequence_reserved,
            second: self.second(),
            released: self.released,
            ..State::default()
        };
        for (index, lane) in self.lanes.iter().enumerate() {
            state.lanes[index].cursor = lane.cursor();
            state.lanes[index].dropped = self.dropped[index];
            state.lanes[index].dictionary_next = lane.dictionary_next();
        }
        let (path, file) = (state_path(&self.directory), state.to_file());
        let mut replaced = self.disk.replace(&path, &file);
        if replaced.as_ref().is_err_and(|error| error.kind() == ErrorKind::StorageFull)
            && self.has_reserve
            && self.disk.remove(&reserve_path(&self.directory)).is_ok()
        {
            self.has_reserve = false;
            replaced = self.disk.replace(&path, &file);
        }
        replaced.map_err(|source| SpoolError::of_disk("write", &path, source))?;
        self.is_state_stale = false;
        self.is_drop_unwritten = false;
        self.reserve_room();
        Ok(())
    }

    /// Keeps room for the next state on a disk that others fill. Where there is none now, there may
    /// be when the state is written again.
    fn reserve_room(&mut self) {
        if !self.has_reserve {
            let path = reserve_path(&self.directory);
            let reserved = self.disk.create_new(&path, &[0; RESERVE_BYTES as usize]);
            self.has_reserve = match reserved {
                Ok(()) => true,
                Err(error) => error.kind() == ErrorKind::AlreadyExists,
            };
        }
    }
}

fn next_walk(walks: &[Walk; 2]) -> Option<usize> {
    let sequence = |walk: &Walk| walk.current.as_ref().map(|queued| queued.sequence);
    first_of([sequence(&walks[0]), sequence(&walks[1])])
}

/// Which of two lanes has the lower sequence number.
fn first_of(sequences: [Option<u64>; 2]) -> Option<usize> {
    match sequences {
        [None, None] => None,
        [Some(_), None] => Some(0),
        [None, Some(_)] => Some(1),
        [Some(normal), Some(anomalous)] => Some(usize::from(anomalous < normal)),
    }
}

fn state_path(directory: &Path) -> PathBuf {
    directory.join("state")
}

fn reserve_path(directory: &Path) -> PathBuf {
    directory.join("reserve")
}

/// The state, and whether one may be there that cannot be read. A state that is lost costs counts and
/// brings released entries back, and no more; so it is not given up for a disk that fails once.
fn read_state(disk: &dyn Disk, directory: &Path) -> (State, bool) {
    let path = state_path(directory);
    let mut tries = 1;
    loop {
        match disk.read(&path) {
            Ok(file) => {
                let state = State::from_file(&file).unwrap_or_else(|| {
                    tracing::warn!(path = %path.display(), "the spool's state is damaged: counts are lost");
                    State::default()
                });
                return (state, false);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return (State::default(), false),
            Err(error) if tries == STATE_READS => {
                tracing::warn!(path = %path.display(), %error, "the spool's state cannot be read: counts are lost");
                return (State::default(), true);
            }
            Err(_) => tries += 1,
        }
    }
}
