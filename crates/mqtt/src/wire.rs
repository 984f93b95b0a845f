//! Packets on the wire, in both versions: the version-neutral side of rumqttc's encoding, of which
//! nobody else knows. Knows no socket.

mod error;
mod read;
mod write;

pub(crate) use error::WireError;
pub(crate) use read::{ConnAck, Decoder, Packet};
pub(crate) use write::{
    PublishPacket, filter_problem, write_ack, write_connect, write_disconnect, write_ping,
    write_pubcomp, write_subscribe,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::Message;
    use crate::outgoing::{Options, Outgoing};
    use crate::settings::Version;
    use tokio_util::bytes::BytesMut;

    const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

    fn publish(version: Version, packet_id: u16, payload: &[u8]) -> BytesMut {
        let message = Outgoing {
            topic: "a/b".into(),
            payload: payload.to_vec().into(),
            options: Options::default(),
        };
        let mut packet = PublishPacket::new(version, message);
        packet.set_packet_id(packet_id);
        let mut out = BytesMut::new();
        packet.write(&mut out).unwrap();
        assert_eq!(out.len(), packet.bytes());
        out
    }

    fn message(packet: Option<Packet>) -> Message {
        match packet {
            Some(Packet::Publish(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn packets_are_cut_wherever_the_stream_is_split() {
        for version in VERSIONS {
            let mut stream = publish(version, 1, b"one");
            stream.extend_from_slice(&[0xd0, 0]);
            stream.extend_from_slice(&publish(version, 2, &[7; 300]));
            for split in 0..stream.len() {
                let mut decoder = Decoder::new(version, 1_000);
                let mut buffer = BytesMut::from(&stream[..split]);
                let mut packets = Vec::new();
                for rest in [&stream[split..], &[]] {
                    while let Some(packet) = decoder.next(&mut buffer).unwrap() {
                        packets.push(packet);
                    }
                    buffer.extend_from_slice(rest);
                }
                assert_eq!((packets.len(), buffer.len()), (3, 0), "split at {split}");
                assert_eq!(message(packets.pop()).payload, vec![7; 300]);
            }
        }
    }

    #[test]
    fn an_oversize_message_is_passed_over_wherever_the_stream_is_split() {
        for version in VERSIONS {
            let mut stream = publish(version, 9, &[7; 5_000]);
            let oversize = stream.len();
            stream.extend_from_slice(&publish(version, 10, b"next"));
            for split in (0..50).chain([oversize - 1, oversize, oversize + 1]) {
                let mut decoder = Decoder::new(version, 1_000);
                let mut buffer = BytesMut::from(&stream[..split]);
                let mut packets = Vec::new();
                for rest in [&stream[split..], &[]] {
                    while let Some(packet) = decoder.next(&mut buffer).unwrap() {
                        packets.push(packet);
                    }
                    buffer.extend_from_slice(rest);
                }
                assert_eq!((packets.len(), buffer.len()), (2, 0), "split at {split}");
                assert_eq!(message(packets.pop()).payload, "next");
                let first = message(packets.pop());
                assert_eq!(first.oversize_bytes, Some(oversize));
                assert_eq!((first.topic.as_str(), first.payload.len()), ("a/b", 0));
                assert_eq!(first.receipt.unwrap().packet_id, 9);
            }
        }
    }

    /// Packets with a right length and a random body, and streams that are random altogether.
    #[test]
    #[expect(clippy::print_stdout, reason = "a random test prints its seed")]
    fn random_bytes_never_panic_and_never_stall() {
        const SEED: u64 = 0x7477_696e_6765;
        println!("seed {SEED:#x}");
        // Knuth's linear congruential generator; its upper bits are random enough here.
        let mut state = SEED;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        for round in 0..200_000 {
            let version = VERSIONS[round % 2];
            let length = random() % 60;
            let mut buffer: BytesMut = (0..length).map(|_| random()).collect();
            let framed = round % 4 < 3;
            if framed {
                buffer = [&[random(), length][..], &buffer].concat().as_slice().into();
            }
            let mut decoder = Decoder::new(version, 1_000);
            let before = buffer.len();
            let first = decoder.next(&mut buffer);
            // A packet that is complete is either read or an error, never waited for.
            assert!(!framed || !matches!(first, Ok(None)), "{version:?}: {before} bytes");
            while let Ok(Some(_)) = decoder.next(&mut buffer) {}
        }
    }
}
