//! Raw bytes over a socket: each mistake of a peer ends what it belongs to, with the right error,
//! and nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{HUB, Running, settings};
use tempfile::tempdir;

const SASL: &[u8] = b"AMQP\x03\x01\x00\x00";
const AMQP: &[u8] = b"AMQP\x00\x01\x00\x00";

const OPEN: u8 = 0x10;
const BEGIN: u8 = 0x11;
const ATTACH: u8 = 0x12;
const FLOW: u8 = 0x13;
const TRANSFER: u8 = 0x14;
const DISPOSITION: u8 = 0x15;
const DETACH: u8 = 0x16;
const END: u8 = 0x17;
const CLOSE: u8 = 0x18;

const NULL: &[u8] = &[0x40];
const TRUE: &[u8] = &[0x41];
const FALSE: &[u8] = &[0x42];

fn uint(number: u32) -> Vec<u8> {
    [&[0x70], &number.to_be_bytes()[..]].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&[0xa1, text.len() as u8], text.as_bytes()].concat()
}

fn symbol(text: &str) -> Vec<u8> {
    [&[0xa3, text.len() as u8], text.as_bytes()].concat()
}

/// A described list.
fn composite(code: u8, fields: &[&[u8]]) -> Vec<u8> {
    let inside = fields.concat();
    let size = (inside.len() as u32 + 4).to_be_bytes();
    let count = (fields.len() as u32).to_be_bytes();
    [&[0x00, 0x53, code, 0xd0], &size[..], &count, &inside].concat()
}

fn frame(kind: u8, channel: u16, body: &[u8]) -> Vec<u8> {
    let size = (body.len() as u32 + 8).to_be_bytes();
    [&size[..], &[2, kind], &channel.to_be_bytes(), body].concat()
}

fn open() -> Vec<u8> {
    frame(0, 0, &composite(OPEN, &[&text("peer")]))
}

fn begin(channel: u16) -> Vec<u8> {
    let fields: [&[u8]; 4] = [NULL, &uint(0), &uint(1_000), &uint(1_000)];
    frame(0, channel, &composite(BEGIN, &fields))
}

fn attach(channel: u16, handle: u32, is_receiver: bool, source: &str, target: &str) -> Vec<u8> {
    let role = if is_receiver { TRUE } else { FALSE };
    let name = text(&format!("link {handle}"));
    let (source, target) = (composite(0x28, &[&text(source)]), composite(0x29, &[&text(target)]));
    let fields: [&[u8]; 10] =
        [&name, &uint(handle), role, NULL, NULL, &source, &target, NULL, NULL, &uint(0)];
    frame(0, channel, &composite(ATTACH, &fields))
}

fn transfer(channel: u16, handle: u32, id: u32, more: bool, payload: &[u8]) -> Vec<u8> {
    let more = if more { TRUE } else { FALSE };
    let tag = [0xa0, 1, id as u8];
    let fields: [&[u8]; 6] = [&uint(handle), &uint(id), &tag, &uint(0), FALSE, more];
    frame(0, channel, &[composite(TRANSFER, &fields), payload.to_vec()].concat())
}

/// A message with this body.
fn message(body: &[u8]) -> Vec<u8> {
    [&[0x00, 0x53, 0x75, 0xb0], &(body.len() as u32).to_be_bytes()[..], body].concat()
}

struct Peer(TcpStream);

impl Peer {
    fn connect(broker: &Running) -> Self {
        let stream = TcpStream::connect(broker.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(stream)
    }

    /// A peer that is logged in with the key, so that it may use every hub.
    fn logged_in(broker: &Running) -> Self {
        let mut peer = Self::connect(broker);
        let key = broker.connection_string.split_once("SharedAccessKey=").unwrap().1;
        let key = key.split(';').next().unwrap();
        assert_eq!(peer.log_in(&format!("\0RootManageSharedAccessKey\0{key}")), 0);
        peer.send(AMQP);
        assert_eq!(peer.read(8), AMQP);
        peer
    }

    /// Tries SASL PLAIN and returns the outcome's code.
    fn log_in(&mut self, response: &str) -> u8 {
        self.send(SASL);
        assert_eq!(self.read(8), SASL);
        let (_, mechanisms) = self.frame().unwrap();
        assert!(mechanisms.windows(5).any(|name| name == b"PLAIN"));
        let response = [&[0xa0, response.len() as u8], response.as_bytes()].concat();
        self.send(&frame(1, 0, &composite(0x41, &[&symbol("PLAIN"), &response])));
        let (_, outcome) = self.frame().unwrap();
        assert_eq!(outcome[..3], [0x00, 0x53, 0x44]);
        outcome[outcome.iter().position(|byte| *byte == 0x50).unwrap() + 1]
    }

    /// A peer with an open connection.
    fn opened(broker: &Running) -> Self {
        let mut peer = Self::logged_in(broker);
        peer.send(&open());
        assert_eq!(peer.code(), OPEN);
        peer
    }

    /// A peer with a session on the channel 0.
    fn begun(broker: &Running) -> Self {
        let mut peer = Self::opened(broker);
        peer.send(&begin(0));
        assert_eq!(peer.code(), BEGIN);
        peer
    }

    /// A peer with a link to the hub at the handle 0.
    fn sender(broker: &Running) -> Self {
        let mut peer = Self::begun(broker);
        peer.send(&attach(0, 0, false, "me", HUB));
        assert_eq!(peer.code(), ATTACH);
        assert_eq!(peer.code(), FLOW);
        peer
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The next frame's channel and body; nothing at the end.
    fn frame(&mut self) -> Option<(u16, Vec<u8>)> {
        let mut head = [0; 8];
        self.0.read_exact(&mut head).ok()?;
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let body = self.read(size as usize - 8);
        Some((u16::from_be_bytes([head[6], head[7]]), body))
    }

    /// The performative of the next frame.
    fn code(&mut self) -> u8 {
        self.frame().unwrap().1[2]
    }

    /// The next frame is this performative and names this error.
    fn expect(&mut self, code: u8, condition: &str) {
        let (_, body) = self.frame().unwrap_or_else(|| panic!("the connection ended early"));
        assert_eq!(body[2], code, "{}", String::from_utf8_lossy(&body));
        let named = body.windows(condition.len()).any(|bytes| bytes == condition.as_bytes());
        assert!(named, "{condition}: {}", String::from_utf8_lossy(&body));
    }

    fn expect_end(&mut self) {
        assert_eq!(self.frame(), None);
    }

    /// Sends an event and waits until it is kept.
    fn expect_to_work(&mut self) {
        self.send(&transfer(0, 0, 7, false, &message(b"fine")));
        let (_, body) = self.frame().unwrap();
        assert_eq!(body[2], DISPOSITION);
        assert!(body.windows(3).any(|bytes| bytes == [0x00, 0x53, 0x24]), "accepted: {body:?}");
    }
}

/// Runs `mistake` beside a connection that is in use before and after.
fn beside_another(mistake: impl FnOnce(&Running)) {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let mut other = Peer::sender(&broker);
    mistake(&broker);
    other.expect_to_work();
    Peer::sender(&broker).expect_to_work();
}

#[test]
fn a_wrong_protocol_is_answered_with_the_right_one() {
    beside_another(|broker| {
        for wrong in [&b"GET / HT"[..], b"AMQP\x00\x00\x09\x01", b"AMQP\x02\x01\x00\x00"] {
            let mut peer = Peer::connect(broker);
            peer.send(wrong);
            assert_eq!(peer.read(8), SASL);
            peer.expect_end();
        }
    });
}

#[test]
fn a_wrong_password_is_refused() {
    beside_another(|broker| {
        for response in ["\0RootManageSharedAccessKey\0wrong", "\0Other\0wrong", "", "\0\0"] {
            let mut peer = Peer::connect(broker);
            assert_eq!(peer.log_in(response), 1, "{response:?}");
            peer.expect_end();
        }
    });
}

#[test]
fn a_frame_that_is_too_large_or_none_closes_the_connection() {
    beside_another(|broker| {
        for head in [[0x7f, 0xff, 0xff, 0xff, 2, 0, 0, 0], [0, 0, 0, 3, 2, 0, 0, 0]] {
            let mut peer = Peer::opened(broker);
            peer.send(&head);
            peer.expect(CLOSE, "amqp:connection:framing-error");
            peer.expect_end();
        }
    });
}

#[test]
fn garbage_closes_the_connection() {
    beside_another(|broker| {
        let nested = vec![0; 200_000];
        let endless = [0x00, 0x53, 0x11, 0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40];
        for body in [&[0xff, 0xff, 0xff][..], &nested, &endless, &[0x00, 0x53, 0x99, 0x45]] {
            let mut peer = Peer::opened(broker);
            peer.send(&frame(0, 0, body));
            peer.expect(CLOSE, "amqp:decode-error");
            peer.send(&frame(0, 0, &composite(CLOSE, &[])));
            peer.expect_end();
        }
    });
}

#[test]
fn frames_out_of_turn_close_the_connection() {
    beside_another(|broker| {
        let mut peer = Peer::logged_in(broker);
        peer.send(&attach(0, 0, false, "me", HUB));
        assert_eq!(peer.code(), OPEN);
        peer.expect(CLOSE, "amqp:not-allowed");
        // Transfers on a channel without a session, and a second open.
        for wrong in [transfer(3, 0, 0, false, b""), open()] {
            let mut peer = Peer::opened(broker);
            peer.send(&wrong);
            peer.expect(CLOSE, "amqp:not-allowed");
        }
        let mut peer = Peer::opened(broker);
        peer.send(&begin(5_000));
        peer.expect(CLOSE, "amqp:connection:framing-error");
        let mut peer = Peer::begun(broker);
        peer.send(&attach(0, 5_000, false, "me", HUB));
        peer.expect(CLOSE, "amqp:connection:framing-error");
    });
}

#[test]
fn a_handle_without_a_link_ends_the_session_alone() {
    beside_another(|broker| {
        let flow: [&[u8]; 6] = [NULL, &uint(9), &uint(0), &uint(9), &uint(8), NULL];
        let wrong = [
            transfer(0, 8, 0, false, &message(b"lost")),
            frame(0, 0, &composite(FLOW, &flow)),
            frame(0, 0, &composite(DETACH, &[&uint(8), TRUE])),
        ];
        for wrong in wrong {
            let mut peer = Peer::begun(broker);
            peer.send(&wrong);
            peer.expect(END, "amqp:session:unattached-handle");
            // What was under way is ignored, and the channel can be used again.
            peer.send(&transfer(0, 8, 1, false, b""));
            peer.send(&frame(0, 0, &composite(END, &[])));
            peer.send(&begin(0));
            assert_eq!(peer.code(), BEGIN);
        }
        let mut peer = Peer::sender(broker);
        peer.send(&attach(0, 0, false, "me", HUB));
        peer.expect(END, "amqp:session:handle-in-use");
    });
}

#[test]
fn a_link_that_cannot_be_is_detached_alone() {
    beside_another(|broker| {
        let mut peer = Peer::sender(broker);
        for (handle, is_receiver, address, condition) in [
            (1, false, "nowhere", "amqp:not-found"),
            (2, false, "events/Partitions/9", "amqp:not-found"),
            (3, false, "events/Publishers/me", "amqp:not-found"),
            (4, true, "events", "amqp:not-found"),
            (5, true, "events/ConsumerGroups/$Default/Partitions/9", "amqp:not-found"),
            (6, true, "", "amqp:not-found"),
        ] {
            let (source, target) = if is_receiver { (address, "me") } else { ("me", address) };
            peer.send(&attach(0, handle, is_receiver, source, target));
            assert_eq!(peer.code(), ATTACH, "{address}");
            peer.expect(DETACH, condition);
            peer.send(&frame(0, 0, &composite(DETACH, &[&uint(handle), TRUE])));
        }
        peer.expect_to_work();
    });
}

#[test]
fn without_a_token_there_is_no_link() {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let mut peer = Peer::connect(&broker);
    // Without SASL at all.
    peer.send(AMQP);
    assert_eq!(peer.read(8), AMQP);
    peer.send(&[open(), begin(0)].concat());
    assert_eq!((peer.code(), peer.code()), (OPEN, BEGIN));
    let partition = "events/ConsumerGroups/$Default/Partitions/0";
    for (handle, is_receiver, source, target) in [
        (0, false, "me", HUB),
        (1, true, partition, "me"),
        (2, false, "me", "$management"),
        (3, true, "$management", "me"),
    ] {
        peer.send(&attach(0, handle, is_receiver, source, target));
        assert_eq!(peer.code(), ATTACH);
        peer.expect(DETACH, "amqp:unauthorized-access");
    }
    peer.send(&attach(0, 4, false, "me", "$cbs"));
    assert_eq!((peer.code(), peer.code()), (ATTACH, FLOW));
}

#[test]
fn a_message_that_is_too_large_is_refused_and_the_link_goes_on() {
    beside_another(|broker| {
        let mut peer = Peer::sender(broker);
        let part = vec![0; 200_000];
        for _ in 0..10 {
            peer.send(&transfer(0, 0, 3, true, &part));
        }
        peer.send(&transfer(0, 0, 3, false, &part));
        peer.expect(DISPOSITION, "amqp:link:message-size-exceeded");
        peer.expect_to_work();
        // One without end is not waited for.
        for _ in 0..90 {
            peer.send(&transfer(0, 0, 4, true, &part));
        }
        peer.expect(DETACH, "amqp:link:message-size-exceeded");
    });
}

#[test]
fn a_message_that_is_none_is_refused() {
    beside_another(|broker| {
        let mut peer = Peer::sender(broker);
        for wrong in [&[1, 2, 3][..], &[0x00, 0x53, 0x75, 0xb0, 0xff, 0xff, 0xff, 0xff]] {
            peer.send(&transfer(0, 0, 3, false, wrong));
            peer.expect(DISPOSITION, "amqp:decode-error");
        }
        peer.expect_to_work();
    });
}

#[test]
fn a_receiver_that_sends_is_detached() {
    beside_another(|broker| {
        let mut peer = Peer::begun(broker);
        peer.send(&attach(0, 0, true, "events/ConsumerGroups/a/Partitions/0", "me"));
        assert_eq!(peer.code(), ATTACH);
        peer.send(&transfer(0, 0, 0, false, &message(b"by the wrong end")));
        peer.expect(DETACH, "amqp:not-allowed");
    });
}

#[test]
fn a_detach_is_answered_in_kind() {
    beside_another(|broker| {
        let mut peer = Peer::sender(broker);
        for closed in [FALSE, TRUE] {
            peer.send(&frame(0, 0, &composite(DETACH, &[&uint(0), closed])));
            let (_, body) = peer.frame().unwrap();
            // The list's items: handle, closed, error.
            let expected: [&[u8]; 3] = [&[0x43], closed, NULL];
            assert!(body.ends_with(&expected.concat()), "{body:?}");
            peer.send(&attach(0, 0, false, "me", HUB));
            assert_eq!((peer.code(), peer.code()), (ATTACH, FLOW));
        }
        peer.send(&frame(0, 0, &composite(END, &[])));
        assert_eq!(peer.code(), END);
        peer.send(&frame(0, 0, &composite(CLOSE, &[])));
        assert_eq!(peer.code(), CLOSE);
        peer.expect_end();
    });
}

#[test]
fn a_receiver_gets_as_many_as_it_has_credit_for_and_drains() {
    beside_another(|broker| {
        let mut peer = Peer::begun(broker);
        peer.send(&attach(0, 0, false, "me", "events/Partitions/2"));
        assert_eq!((peer.code(), peer.code()), (ATTACH, FLOW));
        for id in 0..5 {
            peer.send(&transfer(0, 0, id, false, &message(b"event")));
            assert_eq!(peer.code(), DISPOSITION);
        }
        peer.send(&attach(0, 1, true, "events/ConsumerGroups/a/Partitions/2", "me"));
        assert_eq!(peer.code(), ATTACH);
        let flow = |seen: u32, credit: u32, drain: &[u8]| {
            let (window, ids) = (uint(1_000), uint(5));
            let (handle, seen, credit) = (uint(1), uint(seen), uint(credit));
            let fields: [&[u8]; 9] = [
                &uint(seen_frames(&seen)),
                &window,
                &ids,
                &window,
                &handle,
                &seen,
                &credit,
                NULL,
                drain,
            ];
            frame(0, 0, &composite(FLOW, &fields))
        };
        peer.send(&flow(0, 2, FALSE));
        assert_eq!((peer.code(), peer.code()), (TRANSFER, TRANSFER));
        peer.send(&flow(2, 100, TRUE));
        assert_eq!((peer.code(), peer.code(), peer.code()), (TRANSFER, TRANSFER, TRANSFER));
        // Drained: the delivery count jumps over the credit that is given back.
        let (_, body) = peer.frame().unwrap();
        assert_eq!(body[2], FLOW);
        assert!(body.windows(3).any(|bytes| bytes == [0x52, 102, 0x43]), "{body:?}");
    });
}

/// Every delivery was one frame.
fn seen_frames(seen: &[u8]) -> u32 {
    u32::from_be_bytes(*seen.last_chunk().unwrap())
}

#[test]
fn an_idle_peer_gets_heartbeats() {
    beside_another(|broker| {
        let mut peer = Peer::logged_in(broker);
        let fields: [&[u8]; 5] = [&text("peer"), NULL, NULL, NULL, &uint(100)];
        peer.send(&frame(0, 0, &composite(OPEN, &fields)));
        assert_eq!(peer.code(), OPEN);
        for _ in 0..3 {
            assert_eq!(peer.frame(), Some((0, Vec::new())));
        }
    });
}

#[test]
fn a_stop_closes_connections() {
    let directory = tempdir().unwrap();
    let broker = Running::with(settings(directory.path()));
    let mut peer = Peer::sender(&broker);
    let stopping = std::thread::spawn(move || broker.stop());
    peer.expect(CLOSE, "amqp:connection:forced");
    peer.send(&frame(0, 0, &composite(CLOSE, &[])));
    peer.expect_end();
    stopping.join().unwrap();
}
