//! A connection from its first byte to its last, as a state machine: bytes come in, bytes and
//! jobs go out. Pure: knows no socket and no timer.

mod handshake;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::amqp::error::{AmqpError, condition};
use crate::amqp::frame::{self, RawFrame};
use crate::amqp::performative::Performative;
use crate::context::{Context, Core, Job};
use crate::mailbox::Mailbox;
use crate::session::{Fault, Session};

/// The highest channel a peer may use.
const CHANNEL_MAX: u16 = 1_023;
/// How long a peer may be silent, in milliseconds. It is announced as half of that, as the
/// specification advises.
pub(crate) const IDLE_MS: u32 = 240_000;
/// While this much waits to be kept or written, nothing more is read.
const PENDING_BYTES_MAX: usize = 8 << 20;
const OUT_BYTES_MAX: usize = 1 << 20;
/// Events are added to what is to be written up to this much.
const OUT_BYTES_WANTED: usize = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The protocol header is awaited; SASL is possible or done.
    Header {
        is_sasl_done: bool,
    },
    /// The mechanism is awaited.
    Sasl,
    /// `open` is awaited.
    Opening,
    Open,
    /// `close` was sent; only the peer's is awaited.
    Closing,
    /// What is to be written is the last.
    Done,
}

pub(crate) struct Connection {
    phase: Phase,
    context: Context,
    sessions: BTreeMap<u16, Session>,
    /// Sessions that the broker ended, until the peer has ended them too.
    ending: BTreeSet<u16>,
    /// Channels whose last session the peer ended. Python's client still detaches links on them.
    ended: BTreeSet<u16>,
    /// How long the peer lets the broker be silent, in milliseconds.
    peer_idle_ms: Option<u32>,
    /// The session whose turn it is to send.
    turn: u16,
}

impl Connection {
    pub(crate) fn new(core: Arc<Core>, mailbox: Arc<Mailbox>) -> Self {
        Self {
            phase: Phase::Header { is_sasl_done: false },
            context: Context::new(core, mailbox),
            sessions: BTreeMap::new(),
            ending: BTreeSet::new(),
            ended: BTreeSet::new(),
            peer_idle_ms: None,
            turn: 0,
        }
    }

    /// Takes in what is whole at the start of `bytes` and returns its length.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            let length = match self.phase {
                Phase::Header { is_sasl_done } => self.on_header(rest, is_sasl_done),
                Phase::Done => return bytes.len(),
                _ => self.on_bytes(rest),
            };
            match length {
                0 => return taken,
                length => taken += length,
            }
        }
    }

    /// Acts on what other threads have told, and prepares what is to be written.
    pub(crate) fn advance(&mut self) {
        for letter in Arc::clone(&self.context.mailbox).take() {
            self.on_letter(letter);
        }
        for session in self.sessions.values_mut() {
            session.send_settlements(&mut self.context);
        }
        while self.context.out.len() < OUT_BYTES_WANTED && self.send_events() {}
    }

    /// Closes the connection by the broker.
    pub(crate) fn close(&mut self, reason: &str) {
        self.fail(AmqpError::new(condition::CONNECTION_FORCED, reason));
    }

    /// Frames to be written.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.context.out
    }

    pub(crate) fn take_jobs(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.context.jobs)
    }

    pub(crate) fn wants_input(&self) -> bool {
        self.context.pending_bytes < PENDING_BYTES_MAX && self.context.out.len() < OUT_BYTES_MAX
    }

    /// Whether the handshake is over.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Done)
    }

    /// Whether nothing more is read, and what is to be written is the last.
    pub(crate) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    pub(crate) fn peer_idle_ms(&self) -> Option<u32> {
        self.peer_idle_ms.filter(|_| self.phase == Phase::Open)
    }

    fn on_bytes(&mut self, bytes: &[u8]) -> usize {
        match frame::split_frame(bytes) {
            Ok(None) => 0,
            Ok(Some(frame)) => {
                self.on_frame(&frame);
                frame.length
            }
            Err(_) if self.phase == Phase::Closing => {
                self.phase = Phase::Done;
                bytes.len()
            }
            Err(reason) => {
                self.fail(AmqpError::new(condition::FRAMING_ERROR, reason));
                // Where the next frame begins is not known any more.
                self.phase = Phase::Done;
                bytes.len()
            }
        }
    }

    fn on_frame(&mut self, frame: &RawFrame<'_>) {
        if (self.phase == Phase::Sasl) != frame.is_sasl {
            return self.fail(AmqpError::new(condition::NOT_ALLOWED, "SASL at the wrong time"));
        }
        if frame.is_sasl {
            return self.on_sasl(frame.body);
        }
        // An empty frame only says that the peer lives.
        if frame.body.is_empty() {
            return;
        }
        match Performative::decode(frame.body) {
            Ok((performative, payload)) => {
                if let Err(fault) = self.on_performative(frame.channel, performative, payload) {
                    self.on_fault(frame.channel, fault);
                }
            }
            Err(_) if self.phase == Phase::Closing => {}
            Err(error) => {
                self.fail(AmqpError::new(condition::DECODE_ERROR, error.to_string()));
            }
        }
    }

    fn on_performative(
        &mut self,
        channel: u16,
        performative: Performative,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let not_allowed =
            |text: &str| Fault::Connection(AmqpError::new(condition::NOT_ALLOWED, text));
        match (self.phase, performative) {
            (Phase::Closing, Performative::Close(_)) => {
                self.phase = Phase::Done;
                Ok(())
            }
            (Phase::Closing | Phase::Done, _) => Ok(()),
            (Phase::Opening, Performative::Open(open)) => {
                self.on_open(&open);
                Ok(())
            }
            (Phase::Open, Performative::Close(error)) => {
                self.on_close(error);
                Ok(())
            }
            (Phase::Open, Performative::Open(_)) => Err(not_allowed("a second open")),
            (Phase::Open, performative) => self.on_session_frame(channel, performative, payload),
            (_, _) => Err(not_allowed("a frame before open")),
        }
    }

    fn on_close(&mut self, error: Option<AmqpError>) {
        if let Some(error) = error {
            tracing::debug!(
                condition = error.condition,
                reason = error.description,
                "a peer closed its connection with an error"
            );
        }
        self.sessions.clear();
        self.context.send(0, Performative::Close(None));
        self.phase = Phase::Done;
    }

    /// Ends the connection with an error, in the way of the phase it is in.
    fn fail(&mut self, error: AmqpError) {
        tracing::info!(
            condition = error.condition,
            reason = error.description,
            "a connection is closed"
        );
        self.sessions.clear();
        match self.phase {
            Phase::Header { .. } | Phase::Sasl => self.phase = Phase::Done,
            Phase::Opening | Phase::Open => {
                if self.phase == Phase::Opening {
                    self.send_open();
                }
                self.context.send(0, Performative::Close(Some(error)));
                self.phase = Phase::Closing;
            }
            Phase::Closing | Phase::Done => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;
    use twinge_platform::{ManualClock, SimulatedDisk};

    use super::*;
    use crate::amqp::frame::{AMQP_HEADER, SASL_HEADER, split_frame};
    use crate::amqp::performative::{
        Attach, Begin, Flow, Open, Role, SenderSettles, Terminus, Transfer,
    };
    use crate::amqp::value::Value;
    use crate::directory::KeptHub;
    use crate::hub::{Hubs, Storage};
    use crate::log::Retention;
    use crate::sas::SasKey;

    fn core() -> Arc<Core> {
        let clock: Arc<dyn twinge_platform::Clock> = Arc::new(ManualClock::new(1_000));
        let storage = Storage {
            disk: Arc::new(SimulatedDisk::new(1)),
            clock: Arc::clone(&clock),
            directory: PathBuf::from("/broker"),
            retention: Retention { bytes: 1 << 20, age: None },
        };
        let hub = KeptHub { name: "events".to_owned(), partitions: 1, created_ms: 0 };
        let hubs = Hubs::open(vec![hub], &storage).unwrap();
        let key = SasKey::new("Root", "secret".to_owned());
        Arc::new(Core { hubs, key, accept_any_jwt: false, clock })
    }

    fn terminus(code: u64, address: &str) -> Terminus {
        Terminus(Value::described(code, Value::List(vec![Value::string(address)])))
    }

    fn attach(handle: u32, role: Role, address: &str) -> Performative {
        let (source, target) = match role {
            Role::Sender => (terminus(0x28, "me"), terminus(0x29, address)),
            Role::Receiver => (terminus(0x28, address), terminus(0x29, "me")),
        };
        Performative::Attach(Box::new(Attach {
            name: format!("link {handle}"),
            handle,
            role,
            sender_settles: SenderSettles::Mixed,
            source,
            target,
            initial_delivery_count: Some(0),
            message_bytes_max: None,
            properties: Vec::new(),
        }))
    }

    fn transfer(handle: u32, payload: &[u8], bytes: &mut Vec<u8>) {
        let start = bytes.len();
        let transfer = Transfer { handle, delivery_id: Some(0), ..Transfer::default() };
        Performative::Transfer(transfer).encode(0, bytes);
        bytes.extend(payload);
        let size = (bytes.len() - start) as u32;
        bytes[start..start + 4].copy_from_slice(&size.to_be_bytes());
    }

    /// All that a client sends which logs in, sends an event, receives it and asks for properties.
    fn conversation() -> Vec<Vec<u8>> {
        let mut parts = vec![SASL_HEADER.to_vec()];
        let mut login = vec![0, 0, 0, 0, 2, 1, 0, 0];
        let fields = vec![Value::symbol("PLAIN"), Value::Binary(b"\0Root\0secret".to_vec())];
        Value::described(0x41, Value::List(fields)).encode(&mut login);
        login[3] = login.len() as u8;
        parts.push(login);
        parts.push(AMQP_HEADER.to_vec());
        let flow = Flow {
            next_incoming_id: Some(0),
            incoming_window: 100,
            handle: Some(1),
            delivery_count: Some(0),
            link_credit: Some(10),
            ..Flow::default()
        };
        let begin = Begin {
            remote_channel: None,
            next_outgoing_id: 0,
            incoming_window: 100,
            outgoing_window: 100,
            handle_max: 9,
        };
        let open = Open {
            container_id: "peer".to_owned(),
            frame_bytes_max: 4_096,
            channel_max: 9,
            idle_ms: None,
        };
        for performative in [
            Performative::Open(open),
            Performative::Begin(begin),
            attach(0, Role::Sender, "events"),
            attach(1, Role::Receiver, "events/consumergroups/a/partitions/0"),
            attach(2, Role::Sender, "$management"),
            attach(3, Role::Receiver, "$management"),
            Performative::Flow(Flow { handle: Some(3), ..flow.clone() }),
            Performative::Flow(flow),
        ] {
            parts.push(Vec::new());
            performative.encode(0, parts.last_mut().unwrap());
        }
        let property = |name, value| (Value::string(name), Value::string(value));
        let request = vec![
            property("operation", "READ"),
            property("type", "com.microsoft:eventhub"),
            property("name", "events"),
        ];
        let mut message = Vec::new();
        Value::described(0x74, Value::Map(request)).encode(&mut message);
        parts.push(Vec::new());
        transfer(2, &message, parts.last_mut().unwrap());
        parts.push(Vec::new());
        transfer(0, b"\x00\x53\x75\xa0\x05event", parts.last_mut().unwrap());
        parts
    }

    /// Runs jobs and waits for the log until nothing more happens.
    fn settle(connection: &mut Connection) {
        for _ in 0..50 {
            connection.advance();
            let mailbox = Arc::clone(&connection.context.mailbox);
            for job in connection.take_jobs() {
                job.run(&mailbox);
            }
            if connection.context.pending_bytes > 0 {
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        }
    }

    fn codes(mut bytes: &[u8]) -> Vec<u8> {
        let mut codes = Vec::new();
        while let Ok(Some(frame)) = split_frame(bytes) {
            codes.push(frame.body[2]);
            bytes = &bytes[frame.length..];
        }
        codes
    }

    #[test]
    fn a_client_is_served_whatever_the_pieces_of_its_bytes() {
        let bytes = conversation().concat();
        for piece in [1, 7, 64, bytes.len()] {
            let mut connection = Connection::new(core(), Arc::default());
            let mut input = Vec::new();
            for piece in bytes.chunks(piece) {
                input.extend_from_slice(piece);
                let taken = connection.receive(&input);
                input.drain(..taken);
            }
            settle(&mut connection);
            assert!(input.is_empty() && connection.is_open());
            let out = std::mem::take(connection.out());
            let mechanisms = split_frame(&out[8..]).unwrap().unwrap().length;
            let outcome = split_frame(&out[8 + mechanisms..]).unwrap().unwrap().length;
            let mut codes = codes(&out[8 + mechanisms + outcome + 8..]);
            codes.sort_unstable();
            // open, begin, 4 attaches, 2 flows, 2 transfers, 2 dispositions.
            let expected = [0x10, 0x11, 0x12, 0x12, 0x12, 0x12, 0x13, 0x13, 0x14, 0x14, 0x15];
            codes.dedup_by(|one, two| one == two && *one == 0x15);
            assert_eq!(codes, expected, "in pieces of {piece}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_mutated_conversation_never_panics(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut parts = conversation();
            let handshake = parts.split_off(4);
            let mut bytes = std::mem::replace(&mut parts, handshake).concat();
            for index in order {
                let part = parts.remove(index.index(parts.len()));
                parts.push(part);
            }
            let handshake = bytes.len();
            bytes.extend(parts.concat());
            for (at, byte) in changes {
                let at = handshake + at.index(bytes.len() - handshake);
                bytes[at] = byte;
            }
            let mut connection = Connection::new(core(), Arc::default());
            let taken = connection.receive(&bytes);
            prop_assert!(taken <= bytes.len());
            settle(&mut connection);
            connection.close("the test is over");
            settle(&mut connection);
        }
    }
}
