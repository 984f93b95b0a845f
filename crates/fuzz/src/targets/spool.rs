//! Files of a spool: whatever lies there, it opens, passes over what is damaged, and keeps what it is
//! given.

use super::files::{files, mend_sealed, mend_segment, segment_name};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use twinge_platform::{Disk as _, ManualClock, SimulatedDisk};
use twinge_spool::{Entry, Importance, Settings, Spool};

const FOLDER: &str = "/spool";

/// The first byte says whether checksums are made right; tags are 0 for the state, 1 and 2 for
/// segments, 3 and 4 for dictionaries of the one and the other importance.
pub(super) fn spool(bytes: &[u8]) {
    let Some((flags, rest)) = bytes.split_first() else { return };
    let disk = SimulatedDisk::new(u64::from(*flags));
    for file in files(rest) {
        let mut content = file.bytes.to_vec();
        if flags & 1 == 1 && matches!(file.tag % 5, 1 | 2) {
            mend_segment(&mut content);
        } else if flags & 1 == 1 {
            mend_sealed(&mut content);
        }
        disk.replace(&path_of(file.tag, &content), &content).expect("the disk is sound");
    }
    let open = || {
        let settings =
            Settings { bytes_max: 4 << 20, age_seconds_max: 1 << 40, memory_bytes_max: 256 << 10 };
        let clock = Arc::new(ManualClock::new(0));
        Spool::open(Arc::new(disk.clone()), clock, Path::new(FOLDER), settings)
    };
    let mut spool = open().expect("a spool opens, whatever is damaged");
    spool.peek(1000, 1 << 20).expect("the disk is sound");
    // Records with right checksums can have sequence numbers in any order: a spool goes on after the
    // last of them, which is the largest where it wrote them itself.
    let mut largest = 0;
    let walked = spool.walk(|queued| largest = largest.max(queued.sequence));
    walked.expect("the disk is sound");
    let entry = |importance| Entry {
        importance,
        key: Some("pump-7".to_owned()),
        bytes: b"what the spool was given by this target".to_vec(),
    };
    let given = Importance::ALL
        .map(|importance| spool.append(entry(importance)).expect("it is not too large"));
    assert!(given[0] < given[1], "sequence numbers grow");
    spool.sync().expect("the disk is sound and has room");
    let before = spool.walk(|_| {}).expect("the disk is sound");
    drop(spool);
    disk.crash();
    let mut spool = open().expect("it opens again");
    let mut found = 0;
    let after = spool.walk(|queued| found += u64::from(given.contains(&queued.sequence)));
    assert_eq!(after.expect("the disk is sound"), before, "nothing is lost by a power cut");
    assert!(found >= 2, "what was synced is there");
    if largest < given[0] {
        spool.release(given[1]);
        assert_eq!(spool.walk(|_| {}).expect("the disk is sound"), 0, "nothing waits");
    }
}

fn path_of(tag: u8, content: &[u8]) -> PathBuf {
    let folder = Path::new(FOLDER);
    match tag % 5 {
        0 => folder.join("state"),
        1 => folder.join("normal").join(segment_name(content)),
        2 => folder.join("anomalous").join(segment_name(content)),
        3 => folder.join("normal").join("0000000001.dictionary"),
        _ => folder.join("anomalous").join("0000000001.dictionary"),
    }
}
