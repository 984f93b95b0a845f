//! MQTT as it comes from a broker: the first byte says which version.

use twinge_mqtt::{Version, fuzzing};

pub(super) const WORDS: &[&[u8]] = &[
    b"\x20\x02\x00\x00",
    b"\x30\x00",
    b"\x32\x07\x00\x03a/b\x00\x01",
    b"\x40\x02\x00\x01",
    b"\x50\x02\x00\x01",
    b"\x62\x02\x00\x01",
    b"\x70\x02\x00\x01",
    b"\x90\x03\x00\x01\x00",
    b"\xd0\x00",
    b"\xe0\x00",
    b"\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff",
    b"\x80\x80\x80\x00",
    b"\x00\x00",
    b"\x26\x00\x01a\x00\x01b",
    b"\x03\x00\x01j",
    b"\x0b\x01",
    b"\x23\x00\x01",
];

pub(super) fn packets(bytes: &[u8]) {
    let Some((version, stream)) = bytes.split_first() else { return };
    let version = if version & 1 == 0 { Version::V311 } else { Version::V5 };
    fuzzing::packets(version, stream);
}
