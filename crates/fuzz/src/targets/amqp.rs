//! AMQP as the local broker takes it: frames, messages, and a connection from its first byte on.

use twinge_eventhubs_local::fuzzing;

pub(super) const WORDS: &[&[u8]] = &[
    b"AMQP\x00\x01\x00\x00",
    b"AMQP\x03\x01\x00\x00",
    b"\x00\x53\x10",
    b"\x00\x53\x11",
    b"\x00\x53\x12",
    b"\x00\x53\x13",
    b"\x00\x53\x14",
    b"\x00\x53\x15",
    b"\x00\x53\x16",
    b"\x00\x53\x17",
    b"\x00\x53\x18",
    b"\x00\x53\x72",
    b"\x00\x53\x73",
    b"\x00\x53\x75\xa0",
    b"\xc0\x00\x00",
    b"\x45",
    b"\x40",
    b"\x41",
    b"\x43",
    b"\x70\xff\xff\xff\xff",
    b"\xd0\x00\x00\x00\x04\xff\xff\xff\xff",
    b"\xd1\x00\x00\x00\x04\x00\x00\x00\x02",
    b"\xf0\x00\x00\x00\x05\x00\x00\xff\xff\x40",
    b"\xe0\x01\xff\x45",
    b"x-opt-partition-key",
    b"apache.org:selector-filter:string",
    b"amqp.annotation.x-opt-offset > '-1'",
    b"events/ConsumerGroups/$Default/Partitions/0",
    b"$management",
    b"$cbs",
    b"com.microsoft:epoch",
];

pub(super) fn frame(bytes: &[u8]) {
    fuzzing::frames(bytes);
}

pub(super) fn message(bytes: &[u8]) {
    fuzzing::message(bytes);
}

/// The conversation is logged in: the corpus holds the key.
pub(super) fn connection(bytes: &[u8]) {
    fuzzing::converse(bytes);
}
