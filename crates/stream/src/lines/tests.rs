use super::*;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use twinge_platform::{ManualClock, SimulatedDisk};

async fn all(source: &mut Lines, most: usize) -> Vec<(u64, String)> {
    let mut lines = Vec::new();
    while let Some(delivery) = source.next(most).await.unwrap() {
        let text = |a: Arrival| (a.offset, String::from_utf8(a.bytes).unwrap());
        lines.extend(delivery.arrivals.into_iter().map(text));
    }
    lines
}

#[tokio::test]
async fn lines_are_numbered_blank_ones_passed_over_and_the_last_needs_no_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.ndjson");
    fs::write(&path, "a\r\n\nb\nc").unwrap();
    let expected = [(0, "a".to_owned()), (2, "b".to_owned()), (3, "c".to_owned())];
    for most in [1, 2, 100] {
        let mut source = Lines::replay(&path, 0).unwrap();
        assert_eq!(all(&mut source, most).await, expected);
    }
    let mut source = Lines::replay(&path, 0).unwrap();
    let first = source.next(1).await.unwrap().unwrap();
    fs::write(&path, "a\n\n").unwrap();
    let mut blank_at_end = Lines::replay(&path, 0).unwrap();
    assert_eq!(
        blank_at_end.next(9).await.unwrap().unwrap().position,
        2,
        "behind the event, not the blank line"
    );
    fs::write(&path, "a\r\n\nb\nc").unwrap();
    let mut again = Lines::replay(&path, 0).unwrap();
    again.seek(Start { offset: Some(1), position: first.position, epoch: 1 }).await.unwrap();
    assert_eq!(all(&mut again, 100).await, expected[1..]);
}

#[test]
fn a_file_that_cannot_be_replayed_is_told() {
    let none = tempfile::tempdir().unwrap().path().join("none");
    assert!(Lines::replay(&none, 0).unwrap_err().to_string().contains("cannot open"));
}

/// A directory with a log, and the state of whoever follows it.
struct Place {
    directory: tempfile::TempDir,
    disk: SimulatedDisk,
}

/// Where a reader stands: what a checkpoint would hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mark {
    offset: u64,
    position: u64,
}

/// A reader that is asked without waiting.
struct Reading {
    source: Lines,
    mark: Mark,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), disk: SimulatedDisk::new(1) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// What `copytruncate` does.
    fn copy_and_cut(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
        File::options().write(true).open(self.path(from)).unwrap().set_len(0).unwrap();
    }

    fn follow(&self) -> Lines {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(7));
        Lines::follow(&self.path("app.log"), Path::new("/state"), &disk, &clock).unwrap()
    }

    /// A reader that begins for the first time.
    async fn begin(&self) -> Reading {
        let mut source = self.follow();
        source.seek(Start::default()).await.unwrap();
        Reading { source, mark: Mark::default() }
    }

    /// A reader that goes on from a checkpoint, after a power cut.
    async fn resume(&self, mark: Mark) -> Reading {
        self.disk.crash();
        let mut source = self.follow();
        let start = Start { offset: Some(mark.offset), position: mark.position, epoch: 2 };
        assert_eq!(source.seek(start).await.unwrap(), mark.offset);
        Reading { source, mark }
    }
}

impl Reading {
    /// Lines that are there, at most so many; the offsets must be those that come next.
    fn take(&mut self, most: usize) -> Vec<String> {
        let delivery = self.source.read_lines(most).unwrap();
        for arrival in &delivery.arrivals {
            assert!(arrival.offset >= self.mark.offset, "offsets grow");
            self.mark = Mark { offset: arrival.offset + 1, position: delivery.position };
        }
        let text = |arrival: Arrival| String::from_utf8(arrival.bytes).unwrap();
        delivery.arrivals.into_iter().map(text).collect()
    }

    /// All lines that are there.
    fn rest(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let some = self.take(3);
            if some.is_empty() {
                return lines;
            }
            lines.extend(some);
        }
    }
}

#[tokio::test]
async fn a_followed_file_delivers_whole_lines_as_they_come() {
    let place = Place::new();
    place.write("app.log", "a\nb");
    let mut source = place.follow();
    assert_eq!(source.next(10).await.unwrap().unwrap().arrivals.len(), 1);
    place.write("app.log", "b\n");
    let delivery = tokio::time::timeout(Duration::from_secs(10), source.next(10)).await.unwrap();
    assert_eq!(delivery.unwrap().unwrap().arrivals[0].bytes, b"bb");
}

#[tokio::test]
async fn a_file_that_comes_later_is_waited_for() {
    let place = Place::new();
    let mut reading = place.begin().await;
    let name = reading.source.place("d").source;
    assert!(reading.rest().is_empty());
    place.write("app.log", "");
    assert!(reading.rest().is_empty());
    let mut again = place.resume(reading.mark).await;
    place.write("app.log", "a\n");
    assert_eq!((again.rest(), reading.rest()), (vec!["a".into()], vec!["a".into()]));
    assert_eq!(place.follow().place("d").source, name, "whatever the first line became");
}

#[tokio::test]
async fn a_renamed_file_is_read_to_its_end_before_the_next() {
    let place = Place::new();
    place.write("app.log", "a\nb\n");
    let mut reading = place.begin().await;
    let name = reading.source.place("d").source;
    assert_eq!(reading.take(1), ["a"]);
    place.rename("app.log", "app.log.1");
    assert_eq!(reading.rest(), ["b"]);
    place.write("app.log", "");
    assert!(reading.rest().is_empty());
    place.write("app.log.1", "c\nd");
    assert_eq!(reading.rest(), ["c"], "who writes has not been told of the rotation yet");
    place.write("app.log", "e\n");
    assert_eq!(reading.rest(), ["d", "e"], "a last line needs no end");
    assert_eq!(reading.mark.offset, 5);
    assert_eq!((reading.source.place("d").source, reading.source.lost()), (name, 0));
}

#[tokio::test]
async fn a_file_that_was_copied_and_cut_goes_on_in_its_copy() {
    let place = Place::new();
    place.write("app.log", "a\nb\nc\nd");
    let mut reading = place.begin().await;
    assert_eq!(reading.take(1), ["a"]);
    place.write("app.log", "d\ne");
    place.copy_and_cut("app.log", "app.log.1");
    assert_eq!(reading.rest(), ["b", "c", "dd"]);
    place.write("app.log", "f\ng\nh, and longer than the file was before\n");
    assert_eq!(reading.rest(), ["e", "f", "g", "h, and longer than the file was before"]);
    place.copy_and_cut("app.log", "app.log-20260101");
    place.write("app.log", "i, and at once longer than the file was before it was cut just now\n");
    assert_eq!(reading.rest().len(), 1);
    assert_eq!((reading.mark.offset, reading.source.lost()), (9, 0));
}

#[tokio::test]
async fn a_file_that_was_cut_without_a_copy_is_told_and_counted() {
    let place = Place::new();
    place.write("app.log", "a\nhalf");
    let mut reading = place.begin().await;
    assert_eq!(reading.rest(), ["a"]);
    File::create(place.path("app.log")).unwrap();
    assert_eq!(reading.rest(), ["half"]);
    place.write("app.log", "b\n");
    assert_eq!((reading.rest(), reading.source.lost()), (vec!["b".into()], 1));
}

/// Rotates once or twice while nobody reads, in every way; `mark` is where reading stood.
async fn check_away(rotate: fn(&Place, u32), times: u32) {
    let place = Place::new();
    place.write("app.log.7", "from before anybody followed\n");
    place.write("app.log", "0a\n0b\n0c\n");
    let mut reading = place.begin().await;
    assert_eq!(reading.take(2), ["0a", "0b"]);
    let mark = reading.mark;
    drop(reading);
    let mut expected = vec!["0c".to_owned()];
    for time in 1..=times {
        rotate(&place, time);
        place.write("app.log", &format!("{time}a\n\n{time}b\n"));
        expected.extend(["a", "b"].map(|letter| format!("{time}{letter}")));
    }
    let mut reading = place.resume(mark).await;
    assert_eq!(reading.rest(), expected, "{times} rotations");
    assert_eq!((reading.mark.offset, reading.source.lost()), (u64::from(3 + 3 * times), 0));
}

#[tokio::test]
async fn rotations_while_nobody_reads_lose_nothing() {
    fn shift(place: &Place) {
        for count in (1..5).rev() {
            let name = format!("app.log.{count}");
            if place.path(&name).exists() {
                place.rename(&name, &format!("app.log.{}", count + 1));
            }
        }
    }
    let ways: [fn(&Place, u32); 5] = [
        |place, _| {
            shift(place);
            place.rename("app.log", "app.log.1");
        },
        |place, _| {
            shift(place);
            place.copy_and_cut("app.log", "app.log.1");
        },
        |place, time| place.rename("app.log", &format!("app.log-2026010{time}")),
        |place, time| place.copy_and_cut("app.log", &format!("app-2026010{time}-00.log")),
        // Once renamed and once copied.
        |place, time| {
            shift(place);
            match time % 2 {
                0 => place.copy_and_cut("app.log", "app.log.1"),
                _ => place.rename("app.log", "app.log.1"),
            }
        },
    ];
    for rotate in ways {
        for times in 0..4 {
            check_away(rotate, times).await;
        }
    }
}

#[tokio::test]
async fn a_rotated_file_that_is_gone_is_told_and_counted_and_the_next_is_read() {
    for times in [1, 2] {
        let place = Place::new();
        place.write("app.log", "a\nb\n");
        let mut reading = place.begin().await;
        assert_eq!(reading.take(1), ["a"]);
        let mark = reading.mark;
        drop(reading);
        fs::remove_file(place.path("app.log")).unwrap();
        place.write("app.log.2.gz", "packed");
        if times == 2 {
            place.write("app.log.1", "between\n");
        }
        place.write("app.log", "c\n");
        let mut reading = place.resume(mark).await;
        let lines = reading.rest();
        assert_eq!(lines, ["between", "c"][2 - times..]);
        assert_eq!((reading.source.lost(), reading.mark.offset), (1, 1 + times as u64));
        assert_eq!(place.resume(reading.mark).await.source.lost(), 1, "counted once and kept");
    }
}

#[tokio::test]
async fn what_was_begun_before_a_crash_is_begun_again_in_the_same_way() {
    let place = Place::new();
    place.write("app.log", "a\nb\n");
    let mut reading = place.begin().await;
    assert_eq!(reading.take(1), ["a"]);
    let mark = reading.mark;
    place.rename("app.log", "app.log.1");
    place.write("app.log", "c\nd\n");
    let first = [reading.rest(), vec![format!("{:?}", reading.mark)]];
    // Somebody still had the old file open: nobody may see this once it was left.
    place.write("app.log.1", "late\n");
    let mut again = place.resume(mark).await;
    assert_eq!([again.rest(), vec![format!("{:?}", again.mark)]], first);
    // The same, and the file that was begun has moved on too.
    place.rename("app.log.1", "app.log.2");
    place.rename("app.log", "app.log.1");
    place.write("app.log", "e\n");
    assert_eq!(place.resume(mark).await.rest(), ["b", "c", "d", "e"]);
}

#[tokio::test]
async fn a_full_disk_holds_the_next_file_back_until_there_is_room() {
    let place = Place::new();
    place.write("app.log", "a\n");
    let mut reading = place.begin().await;
    assert_eq!(reading.rest(), ["a"]);
    place.rename("app.log", "app.log.1");
    place.write("app.log", "b\n");
    place.disk.set_capacity(place.disk.used_bytes());
    assert!(reading.rest().is_empty(), "what is not written down cannot be found again");
    place.disk.set_capacity(u64::MAX);
    assert_eq!(reading.rest(), ["b"]);
}

#[tokio::test]
async fn a_checkpoint_from_before_ledgers_is_carried_on() {
    let place = Place::new();
    place.write("app.log", "a\nb\n");
    let first_line = hex::encode(&Sha256::digest("a")[..16]);
    let mut reading = place.resume(Mark { offset: 1, position: 2 }).await;
    assert_eq!(reading.source.place("d").source, format!("tail-{first_line}"));
    assert_eq!(reading.rest(), ["b"]);
    place.disk.remove(&ledger_of(&place)).unwrap();
    let beyond = Start { offset: Some(9), position: 99, epoch: 1 };
    let refused = place.follow().seek(beyond).await;
    assert!(
        matches!(refused, Err(SourceError::Lines(LinesError::Cut { position: 99, .. }))),
        "{refused:?}"
    );
}

fn ledger_of(place: &Place) -> PathBuf {
    place.disk.list(Path::new("/state")).unwrap().remove(0)
}

#[tokio::test]
async fn checkpoints_and_ledgers_that_do_not_belong_together_are_refused() {
    let place = Place::new();
    place.write("app.log", "a\n");
    let start = Start { offset: Some(1), position: 3 << 40 | 2, epoch: 1 };
    let refused = place.follow().seek(start).await.unwrap_err();
    let SourceError::Lines(error) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("generation 3"), "{error}");
    place.disk.replace(&ledger_of(&place), b"{}").unwrap();
    let disk: Arc<dyn Disk> = Arc::new(place.disk.clone());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(7));
    let opened = Lines::follow(&place.path("app.log"), Path::new("/state"), &disk, &clock);
    assert!(matches!(opened, Err(LinesError::Ledger(_))));
}

/// An application that writes numbered lines in pieces and is rotated, and a reader that is killed:
/// each line comes once, in order, and always at the same offset.
#[tokio::test]
async fn any_rotation_and_any_restart_lose_no_line_and_repeat_none() {
    let seed = std::env::var("TWINGE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) * 2 + 1);
    #[expect(clippy::print_stderr, reason = "who sees it fail needs the seed")]
    {
        eprintln!("TWINGE_TEST_SEED={seed}");
    }
    let mut random = Random(seed);
    for _ in 0..60 {
        Model::new().run(&mut random).await;
    }
}

struct Model {
    place: Place,
    /// Files that were rotated away; as many are kept.
    rotated: u64,
    /// Text that was written, and what is still to come of a line.
    lines: Vec<String>,
    pending: String,
    /// What was delivered, with the place behind it.
    delivered: Vec<(String, Mark)>,
}

impl Model {
    fn new() -> Self {
        let place = Place::new();
        Self { place, rotated: 0, lines: vec![], pending: String::new(), delivered: vec![] }
    }

    async fn run(mut self, random: &mut Random) {
        // Of what was rotated away before there was a first file, nobody knows.
        self.lines.push("first".into());
        self.place.write("app.log", "first\n");
        let mut reading = self.place.begin().await;
        self.deliver(&mut reading, 1);
        for _ in 0..200 {
            match random.below(12) {
                0..4 => self.write(random),
                4 => self.rotate(random.below(2) == 0),
                5..10 => self.deliver(&mut reading, random.below(5) as usize + 1),
                _ => {
                    // From a checkpoint that is anything up to the latest place.
                    let kept = self.delivered.len() as u64;
                    let kept = (kept - random.below(kept.min(30) + 1)) as usize;
                    self.delivered.truncate(kept);
                    let mark = self.delivered.last().map_or(Mark::default(), |(_, mark)| *mark);
                    reading = self.place.resume(mark).await;
                }
            }
        }
        // The last file may lack its end; it has one when the next is there.
        self.finish_line();
        self.rotate(false);
        self.lines.push("last".into());
        self.place.write("app.log", "last\n");
        loop {
            let before = self.delivered.len();
            self.deliver(&mut reading, 100);
            if self.delivered.len() == before {
                break;
            }
        }
        let delivered: Vec<&String> = self.delivered.iter().map(|(line, _)| line).collect();
        assert_eq!(delivered, self.lines.iter().collect::<Vec<_>>());
        assert_eq!(reading.source.lost(), 0);
    }

    fn deliver(&mut self, reading: &mut Reading, most: usize) {
        // One at a time, so that there is a place behind each.
        for _ in 0..most {
            for line in reading.take(1) {
                let index = self.delivered.len();
                assert_eq!(line, self.lines[index], "line {index}");
                self.delivered.push((line, reading.mark));
            }
        }
    }

    /// Appends part of a line or several.
    fn write(&mut self, random: &mut Random) {
        for _ in 0..random.below(4) {
            if self.pending.is_empty() {
                let length = [3, 30, 700][random.below(3) as usize];
                // The first character is every line's own: files are known by how they begin.
                let first = char::from_u32(0x4E00 + self.lines.len() as u32).unwrap();
                let line = format!("{first}{}", "x".repeat(length));
                self.lines.push(line.clone());
                self.pending = line + "\n";
            }
            let mut now = random.below(self.pending.len() as u64) as usize + 1;
            while !self.pending.is_char_boundary(now) {
                now += 1;
            }
            let rest = self.pending.split_off(now);
            self.place.write("app.log", &std::mem::replace(&mut self.pending, rest));
        }
    }

    fn finish_line(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            self.place.write("app.log", &pending);
        }
    }

    /// The application ends its line in the old file, or leaves it without its end.
    fn rotate(&mut self, by_copy: bool) {
        if self.pending.len() > 1 {
            self.finish_line();
        }
        self.pending.clear();
        if !self.place.path("app.log").exists() {
            return;
        }
        for count in (1..=self.rotated).rev() {
            self.place.rename(&format!("app.log.{count}"), &format!("app.log.{}", count + 1));
        }
        self.rotated += 1;
        if by_copy {
            self.place.copy_and_cut("app.log", "app.log.1");
        } else {
            self.place.rename("app.log", "app.log.1");
        }
    }
}

/// xorshift64*, enough to shuffle.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }
}
