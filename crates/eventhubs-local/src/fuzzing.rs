//! What a peer sends, taken in without a socket: seams for tests that make it up. What does not hold
//! panics, for that is what such a test looks for.

use std::path::PathBuf;
use std::sync::Arc;

use twinge_platform::{ManualClock, SimulatedDisk};

use crate::amqp::frame::split_frame;
use crate::amqp::message::{Request, Sections, pairs};
use crate::amqp::performative::Performative;
use crate::amqp::sasl::SaslInit;
use crate::connection::Connection;
use crate::context::Core;
use crate::directory::KeptHub;
use crate::hub::{Hubs, Storage};
use crate::log::Retention;
use crate::mailbox::Mailbox;
use crate::record::{Batch, Event};
use crate::sas::SasKey;

/// The hub that [`converse`] has, with one partition.
pub const HUB: &str = "events";
/// The name of its key.
pub const KEY_NAME: &str = "RootManageSharedAccessKey";
/// Its key.
pub const KEY: &str = "a key";

/// Rounds of a conversation after the last byte came: each may give jobs that the next one ends.
const ROUNDS: usize = 8;

/// Reads frame after frame. What is read and written is read as the same again.
pub fn frames(mut bytes: &[u8]) {
    while let Ok(Some(frame)) = split_frame(bytes) {
        assert!(frame.length > 0 && frame.length <= bytes.len(), "a frame moves on");
        if frame.is_sasl {
            SaslInit::decode(frame.body).ok();
        } else if let Ok((performative, payload)) = Performative::decode(frame.body) {
            let mut written = Vec::new();
            performative.encode(frame.channel, &mut written);
            assert_same_again(&written);
            message(payload);
        }
        bytes = &bytes[frame.length..];
    }
}

/// What was written by the broker itself: it is compared as bytes, for a number that is none differs
/// from itself.
fn assert_same_again(written: &[u8]) {
    let Ok(Some(frame)) = split_frame(written) else { return };
    let (performative, rest) = Performative::decode(frame.body).expect("what was read is written");
    assert!(rest.is_empty(), "nothing stands behind a performative");
    let mut again = Vec::new();
    performative.encode(frame.channel, &mut again);
    assert_eq!(again, written, "what is written is read as it was");
}

/// Reads a message in every way the broker has. Whatever is taken as events is read again from what is
/// kept of them.
pub fn message(bytes: &[u8]) {
    Request::decode(bytes).ok();
    for section in Sections::of(bytes).map_while(Result::ok) {
        pairs(section.value).ok();
    }
    for is_batch in [false, true] {
        let Ok(mut batch) = Batch::of_message(bytes, is_batch) else { continue };
        batch.stamp(1_700_000_000_000, 0);
        let mut records = 0;
        for record in batch.records() {
            let event = Event::parse(record).expect("a record that was just made is one");
            let mut delivered = Vec::new();
            event.encode(records, &mut delivered);
            assert!(delivered.len() <= event.encoded_bytes_max(), "no more than was reserved");
            records += 1;
        }
        assert_eq!(records, batch.end(), "each event has a record");
    }
    if let Some(event) = Event::parse(bytes) {
        let mut delivered = Vec::new();
        event.encode(7, &mut delivered);
        assert!(delivered.len() <= event.encoded_bytes_max(), "no more than was reserved");
    }
}

/// A connection that gets these bytes, in two pieces, with a broker of its own behind it on a disk in
/// memory. Answers with what the broker writes.
pub fn converse(bytes: &[u8]) -> Vec<u8> {
    let (disk, clock) = (Arc::new(SimulatedDisk::new(0)), Arc::new(ManualClock::new(0)));
    let kept = KeptHub { name: HUB.to_owned(), partitions: 1, created_ms: 0 };
    let retention = Retention { bytes: 32 << 20, age: None };
    let storage =
        Storage { disk, clock: clock.clone(), directory: PathBuf::from("/broker"), retention };
    let hubs = Hubs::open(vec![kept], &storage).expect("an empty disk has nothing that is wrong");
    let key = SasKey::new(KEY_NAME, KEY.to_owned());
    let core = Arc::new(Core { hubs, key, accept_any_jwt: false, clock });
    let mailbox = Arc::new(Mailbox::default());
    let mut connection = Connection::new(core, Arc::clone(&mailbox));
    let mut written = Vec::new();
    let mut input = Vec::new();
    for piece in [&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]] {
        input.extend_from_slice(piece);
        let taken = connection.receive(&input);
        assert!(taken <= input.len(), "no more is taken than came");
        input.drain(..taken);
        for _ in 0..ROUNDS {
            connection.advance();
            let jobs = connection.take_jobs();
            let is_idle = jobs.is_empty() && connection.out().is_empty();
            for job in jobs {
                job.run(&mailbox);
            }
            written.append(connection.out());
            if is_idle {
                break;
            }
        }
    }
    connection.close("the test is over");
    written.append(connection.out());
    written
}
