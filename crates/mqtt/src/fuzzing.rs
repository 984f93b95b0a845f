//! What a broker sends, read without a socket: a seam for tests that make it up. What does not hold
//! panics, for that is what such a test looks for.

use tokio_util::bytes::{Bytes, BytesMut};

use crate::outgoing::{Options, Outgoing};
use crate::settings::Version;
use crate::wire::{Decoder, Packet, PublishPacket};

/// What [`packets`] takes as a packet at most, in bytes.
const PACKET_BYTES_MAX: usize = 4 << 10;
/// What comes at once in the second reading.
const PIECE_BYTES: usize = 7;

/// Reads packets as they come, once all at a time and once in pieces: both find the same. Whatever was
/// published can be published again and is read as it was.
pub fn packets(version: Version, bytes: &[u8]) {
    let at_once = read(version, &[bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(PIECE_BYTES).collect();
    let told = |packets: &[Packet]| format!("{packets:?}");
    let in_pieces = read(version, &pieces);
    assert_eq!(told(&at_once), told(&in_pieces), "where a stream is cut changes nothing");
    for packet in at_once {
        if let Packet::Publish(message) = packet
            && message.oversize_bytes.is_none()
        {
            assert_published_again(version, &message.topic, message.payload);
        }
    }
}

fn read(version: Version, pieces: &[&[u8]]) -> Vec<Packet> {
    let mut decoder = Decoder::new(version, PACKET_BYTES_MAX);
    let (mut buffer, mut packets) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let before = buffer.len();
            match decoder.next(&mut buffer) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(_) => return packets,
            }
            assert!(buffer.len() < before, "each packet takes bytes");
        }
    }
    packets
}

fn assert_published_again(version: Version, topic: &str, payload: Bytes) {
    let options = Options::default();
    let outgoing = Outgoing { topic: topic.to_owned(), payload: payload.clone(), options };
    let mut packet = PublishPacket::new(version, outgoing);
    packet.set_packet_id(1);
    let mut written = BytesMut::new();
    // A topic for wildcards cannot be published to, whoever sent it.
    if packet.write(&mut written).is_err() || written.len() > PACKET_BYTES_MAX {
        return;
    }
    let Some(Packet::Publish(message)) = read(version, &[&written]).pop() else {
        panic!("what was published is a publish: {topic:?}");
    };
    assert_eq!((message.topic.as_str(), message.payload), (topic, payload));
}
