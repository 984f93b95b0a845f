//! What peers say to each other in frames. Knows the wire, not what a peer may say when.
//!
//! Written frames carry every field, explicit nulls to the end: Python's client indexes fields
//! that other clients leave out. Read frames may leave trailing fields out.

use super::code;
use super::error::AmqpError;
use super::fields::{Fields, error_field, optional};
use super::frame::{AMQP_FRAME, HEAD_BYTES, begin_frame, encode_frame, end_frame};
use super::value::{DecodeError, Reader, Value};

type Result<T> = std::result::Result<T, DecodeError>;

/// What peers say to each other on an open connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Performative {
    Open(Open),
    Begin(Begin),
    Attach(Box<Attach>),
    Flow(Flow),
    Transfer(Transfer),
    Disposition(Disposition),
    Detach(Detach),
    End(Option<AmqpError>),
    Close(Option<AmqpError>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Open {
    pub(crate) container_id: String,
    pub(crate) frame_bytes_max: u32,
    pub(crate) channel_max: u16,
    pub(crate) idle_ms: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Begin {
    pub(crate) remote_channel: Option<u16>,
    pub(crate) next_outgoing_id: u32,
    pub(crate) incoming_window: u32,
    pub(crate) outgoing_window: u32,
    pub(crate) handle_max: u32,
}

/// Which end of a link the sender of a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Sender,
    Receiver,
}

/// How deliveries of a link are settled by its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SenderSettles {
    Unsettled,
    Settled,
    Mixed,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attach {
    pub(crate) name: String,
    pub(crate) handle: u32,
    pub(crate) role: Role,
    pub(crate) sender_settles: SenderSettles,
    pub(crate) source: Terminus,
    pub(crate) target: Terminus,
    pub(crate) initial_delivery_count: Option<u32>,
    pub(crate) message_bytes_max: Option<u64>,
    pub(crate) properties: Vec<(Value, Value)>,
}

/// A source or target, kept as it came: it is echoed in the answer. Null refuses a link.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terminus(pub(crate) Value);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) next_incoming_id: Option<u32>,
    pub(crate) incoming_window: u32,
    pub(crate) next_outgoing_id: u32,
    pub(crate) outgoing_window: u32,
    pub(crate) handle: Option<u32>,
    pub(crate) delivery_count: Option<u32>,
    pub(crate) link_credit: Option<u32>,
    pub(crate) available: Option<u32>,
    pub(crate) drain: bool,
    pub(crate) echo: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) handle: u32,
    pub(crate) delivery_id: Option<u32>,
    pub(crate) message_format: Option<u32>,
    pub(crate) settled: bool,
    pub(crate) more: bool,
    pub(crate) aborted: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Disposition {
    pub(crate) role: Role,
    pub(crate) first: u32,
    pub(crate) last: Option<u32>,
    pub(crate) settled: bool,
    pub(crate) state: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Detach {
    pub(crate) handle: u32,
    pub(crate) closed: bool,
    pub(crate) error: Option<AmqpError>,
}

const SOURCE_FIELDS: usize = 11;

const TARGET_FIELDS: usize = 7;

const SOURCE_FILTER: usize = 7;

impl Performative {
    /// Reads a frame's performative and returns what follows it, a transfer's payload.
    pub(crate) fn decode(body: &[u8]) -> Result<(Self, &[u8])> {
        let mut reader = Reader::new(body);
        let (descriptor, mut fields) = Fields::parse(reader.value()?)?;
        let performative = match descriptor {
            code::OPEN => Self::Open(Open::decode(&mut fields)?),
            code::BEGIN => Self::Begin(Begin::decode(&mut fields)?),
            code::ATTACH => Self::Attach(Box::new(Attach::decode(&mut fields)?)),
            code::FLOW => Self::Flow(Flow::decode(&mut fields)?),
            code::TRANSFER => Self::Transfer(Transfer::decode(&mut fields)?),
            code::DISPOSITION => Self::Disposition(Disposition::decode(&mut fields)?),
            code::DETACH => Self::Detach(Detach::decode(&mut fields)?),
            code::END => Self::End(AmqpError::from_value(fields.next())),
            code::CLOSE => Self::Close(AmqpError::from_value(fields.next())),
            _ => return Err(DecodeError::Field("performative")),
        };
        Ok((performative, reader.rest()))
    }

    /// Appends a whole frame with this performative and no payload.
    pub(crate) fn encode(self, channel: u16, out: &mut Vec<u8>) {
        let (descriptor, fields) = match self {
            Self::Open(open) => (code::OPEN, open.into_fields()),
            Self::Begin(begin) => (code::BEGIN, begin.into_fields()),
            Self::Attach(attach) => (code::ATTACH, attach.into_fields()),
            Self::Flow(flow) => (code::FLOW, flow.into_fields()),
            Self::Transfer(transfer) => (code::TRANSFER, transfer.into_fields()),
            Self::Disposition(disposition) => (code::DISPOSITION, disposition.into_fields()),
            Self::Detach(detach) => (code::DETACH, detach.into_fields()),
            Self::End(error) => (code::END, vec![error_field(error)]),
            Self::Close(error) => (code::CLOSE, vec![error_field(error)]),
        };
        encode_frame(AMQP_FRAME, channel, descriptor, fields, out);
    }
}

/// Where and how a delivery is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeliveryHead {
    pub(crate) channel: u16,
    pub(crate) handle: u32,
    pub(crate) delivery_id: u32,
    pub(crate) settled: bool,
}

/// The length of a transfer frame without its payload, in bytes.
pub(crate) const TRANSFER_HEAD_BYTES: usize = HEAD_BYTES + 30;

/// Appends a transfer frame whose payload `payload` writes. This runs once for each event
/// delivered, so it does not go through [`Value`].
pub(crate) fn encode_transfer(
    head: DeliveryHead,
    more: bool,
    out: &mut Vec<u8>,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let flag = |set: bool| if set { 0x41 } else { 0x42 };
    let start = begin_frame(AMQP_FRAME, head.channel, out);
    out.extend([0x00, 0x53, code::TRANSFER as u8, 0xc0, 25, 11, 0x70]);
    out.extend(head.handle.to_be_bytes());
    out.push(0x70);
    out.extend(head.delivery_id.to_be_bytes());
    out.extend([0xa0, 4]);
    out.extend(head.delivery_id.to_be_bytes());
    // Message format 0; then settled, more, receiver-settle-mode, state, resume, aborted,
    // batchable.
    out.extend([0x43, flag(head.settled), flag(more), 0x40, 0x40, 0x42, 0x42, 0x42]);
    payload(out);
    end_frame(start, out);
}

/// The state of a delivery that was taken.
pub(crate) fn accepted() -> Value {
    Value::described(code::ACCEPTED, Value::List(Vec::new()))
}

/// The state of a delivery that was not taken, and why.
pub(crate) fn rejected(error: &AmqpError) -> Value {
    Value::described(code::REJECTED, Value::List(vec![error.to_value()]))
}

impl Open {
    fn decode(fields: &mut Fields) -> Result<Self> {
        let container_id = fields.text("container-id")?.unwrap_or_default();
        fields.skip(1);
        Ok(Self {
            container_id,
            frame_bytes_max: fields.uint("max-frame-size")?.unwrap_or(u32::MAX),
            channel_max: fields.ushort("channel-max")?.unwrap_or(u16::MAX),
            idle_ms: fields.uint("idle-time-out")?,
        })
    }

    fn into_fields(self) -> Vec<Value> {
        let mut fields = vec![
            Value::String(self.container_id),
            Value::Null,
            Value::Uint(self.frame_bytes_max),
            Value::Ushort(self.channel_max),
            optional(self.idle_ms, Value::Uint),
        ];
        fields.resize(10, Value::Null);
        fields
    }
}

impl Begin {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Self {
            remote_channel: fields.ushort("remote-channel")?,
            next_outgoing_id: fields.required("next-outgoing-id")?,
            incoming_window: fields.required("incoming-window")?,
            outgoing_window: fields.required("outgoing-window")?,
            handle_max: fields.uint("handle-max")?.unwrap_or(u32::MAX),
        })
    }

    fn into_fields(self) -> Vec<Value> {
        let mut fields = vec![
            optional(self.remote_channel, Value::Ushort),
            Value::Uint(self.next_outgoing_id),
            Value::Uint(self.incoming_window),
            Value::Uint(self.outgoing_window),
            Value::Uint(self.handle_max),
        ];
        fields.resize(8, Value::Null);
        fields
    }
}

impl Role {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(if fields.flag("role")? { Self::Receiver } else { Self::Sender })
    }

    fn into_value(self) -> Value {
        Value::Bool(self == Self::Receiver)
    }
}

impl SenderSettles {
    fn decode(fields: &mut Fields) -> Result<Self> {
        match fields.ubyte("snd-settle-mode")? {
            Some(0) => Ok(Self::Unsettled),
            Some(1) => Ok(Self::Settled),
            None | Some(2) => Ok(Self::Mixed),
            Some(_) => Err(DecodeError::Field("snd-settle-mode")),
        }
    }

    fn into_value(self) -> Value {
        Value::Ubyte(match self {
            Self::Unsettled => 0,
            Self::Settled => 1,
            Self::Mixed => 2,
        })
    }
}

impl Attach {
    fn decode(fields: &mut Fields) -> Result<Self> {
        let name = fields.text("name")?.ok_or(DecodeError::Field("name"))?;
        let handle = fields.required("handle")?;
        let role = Role::decode(fields)?;
        let sender_settles = SenderSettles::decode(fields)?;
        fields.ubyte("rcv-settle-mode")?;
        let (source, target) = (Terminus(fields.next()), Terminus(fields.next()));
        fields.skip(2);
        let initial_delivery_count = fields.uint("initial-delivery-count")?;
        let message_bytes_max = fields.ulong("max-message-size")?;
        fields.skip(2);
        let properties = fields.map("properties")?;
        Ok(Self {
            name,
            handle,
            role,
            sender_settles,
            source,
            target,
            initial_delivery_count,
            message_bytes_max,
            properties,
        })
    }

    /// The receiver-settle-mode is `first`: nothing here remembers a delivery that its receiver
    /// has seen.
    fn into_fields(self) -> Vec<Value> {
        let properties = match self.properties {
            pairs if pairs.is_empty() => Value::Null,
            pairs => Value::Map(pairs),
        };
        vec![
            Value::String(self.name),
            Value::Uint(self.handle),
            self.role.into_value(),
            self.sender_settles.into_value(),
            Value::Ubyte(0),
            self.source.padded(SOURCE_FIELDS),
            self.target.padded(TARGET_FIELDS),
            Value::Null,
            Value::Bool(false),
            optional(self.initial_delivery_count, Value::Uint),
            optional(self.message_bytes_max, Value::Ulong),
            Value::Null,
            Value::Null,
            properties,
        ]
    }
}

impl Terminus {
    pub(crate) const NONE: Self = Self(Value::Null);

    pub(crate) fn address(&self) -> Option<&str> {
        self.field(0)?.text()
    }

    /// A source's filters by name.
    pub(crate) fn filters(&self) -> &[(Value, Value)] {
        match self.field(SOURCE_FILTER) {
            Some(Value::Map(pairs)) => pairs,
            _ => &[],
        }
    }

    fn field(&self, index: usize) -> Option<&Value> {
        match self.0.undescribed() {
            Value::List(fields) => fields.get(index),
            _ => None,
        }
    }

    fn padded(self, count: usize) -> Value {
        match self.0 {
            Value::Described(descriptor, list) => match *list {
                Value::List(mut fields) if fields.len() < count => {
                    fields.resize(count, Value::Null);
                    Value::Described(descriptor, Box::new(Value::List(fields)))
                }
                list => Value::Described(descriptor, Box::new(list)),
            },
            value => value,
        }
    }
}

impl Flow {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Self {
            next_incoming_id: fields.uint("next-incoming-id")?,
            incoming_window: fields.required("incoming-window")?,
            next_outgoing_id: fields.required("next-outgoing-id")?,
            outgoing_window: fields.required("outgoing-window")?,
            handle: fields.uint("handle")?,
            delivery_count: fields.uint("delivery-count")?,
            link_credit: fields.uint("link-credit")?,
            available: fields.uint("available")?,
            drain: fields.flag("drain")?,
            echo: fields.flag("echo")?,
        })
    }

    fn into_fields(self) -> Vec<Value> {
        vec![
            optional(self.next_incoming_id, Value::Uint),
            Value::Uint(self.incoming_window),
            Value::Uint(self.next_outgoing_id),
            Value::Uint(self.outgoing_window),
            optional(self.handle, Value::Uint),
            optional(self.delivery_count, Value::Uint),
            optional(self.link_credit, Value::Uint),
            optional(self.available, Value::Uint),
            Value::Bool(self.drain),
            Value::Bool(self.echo),
            Value::Null,
        ]
    }
}

impl Transfer {
    fn decode(fields: &mut Fields) -> Result<Self> {
        let handle = fields.required("handle")?;
        let delivery_id = fields.uint("delivery-id")?;
        fields.skip(1);
        let message_format = fields.uint("message-format")?;
        let (settled, more) = (fields.flag("settled")?, fields.flag("more")?);
        fields.skip(3);
        let aborted = fields.flag("aborted")?;
        Ok(Self { handle, delivery_id, message_format, settled, more, aborted })
    }

    fn into_fields(self) -> Vec<Value> {
        let tag = |id: u32| Value::Binary(id.to_be_bytes().to_vec());
        vec![
            Value::Uint(self.handle),
            optional(self.delivery_id, Value::Uint),
            optional(self.delivery_id, tag),
            optional(self.message_format, Value::Uint),
            Value::Bool(self.settled),
            Value::Bool(self.more),
            Value::Null,
            Value::Null,
            Value::Bool(false),
            Value::Bool(self.aborted),
            Value::Bool(false),
        ]
    }
}

impl Disposition {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Self {
            role: Role::decode(fields)?,
            first: fields.required("first")?,
            last: fields.uint("last")?,
            settled: fields.flag("settled")?,
            state: fields.next(),
        })
    }

    fn into_fields(self) -> Vec<Value> {
        vec![
            self.role.into_value(),
            Value::Uint(self.first),
            optional(self.last, Value::Uint),
            Value::Bool(self.settled),
            self.state,
            Value::Bool(false),
        ]
    }
}

impl Detach {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Self {
            handle: fields.required("handle")?,
            closed: fields.flag("closed")?,
            error: AmqpError::from_value(fields.next()),
        })
    }

    fn into_fields(self) -> Vec<Value> {
        vec![Value::Uint(self.handle), Value::Bool(self.closed), error_field(self.error)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::amqp::frame::split_frame;
    use crate::amqp::sasl::SaslInit;

    fn terminus(address: &str, count: usize) -> Terminus {
        let mut fields = vec![Value::string(address)];
        fields.resize(count, Value::Null);
        Terminus(Value::described(0x28, Value::List(fields)))
    }

    fn samples() -> Vec<Performative> {
        let error = AmqpError::new("amqp:not-found", "no such hub");
        vec![
            Performative::Open(Open {
                container_id: "broker".to_owned(),
                frame_bytes_max: 65_536,
                channel_max: 99,
                idle_ms: Some(60_000),
            }),
            Performative::Begin(Begin {
                remote_channel: Some(3),
                next_outgoing_id: 0,
                incoming_window: 500,
                outgoing_window: u32::MAX,
                handle_max: 255,
            }),
            Performative::Attach(Box::new(Attach {
                name: "a link".to_owned(),
                handle: 7,
                role: Role::Receiver,
                sender_settles: SenderSettles::Mixed,
                source: terminus("events", SOURCE_FIELDS),
                target: terminus("me", TARGET_FIELDS),
                initial_delivery_count: Some(0),
                message_bytes_max: Some(1 << 20),
                properties: vec![(Value::symbol("com.microsoft:epoch"), Value::Long(3))],
            })),
            Performative::Flow(Flow { handle: Some(1), link_credit: Some(9), ..Flow::default() }),
            Performative::Transfer(Transfer {
                delivery_id: Some(4),
                message_format: Some(0x8001_3700),
                more: true,
                ..Transfer::default()
            }),
            Performative::Disposition(Disposition {
                role: Role::Receiver,
                first: 4,
                last: Some(6),
                settled: true,
                state: rejected(&error),
            }),
            Performative::Detach(Detach { handle: 1, closed: true, error: Some(error.clone()) }),
            Performative::End(None),
            Performative::Close(Some(error)),
        ]
    }

    fn encoded(performative: &Performative) -> Vec<u8> {
        let mut out = Vec::new();
        performative.clone().encode(5, &mut out);
        out
    }

    #[test]
    fn performatives_are_read_as_they_are_written() {
        for performative in samples() {
            let bytes = encoded(&performative);
            let frame = split_frame(&bytes).unwrap().unwrap();
            assert_eq!((frame.channel, frame.is_sasl, frame.length), (5, false, bytes.len()));
            assert_eq!(Performative::decode(frame.body), Ok((performative, &[][..])));
        }
    }

    #[test]
    fn fields_left_out_at_the_end_are_null() {
        // begin with four fields, as fe2o3-amqp writes it.
        let body = [0x00, 0x53, 0x11, 0xc0, 7, 4, 0x40, 0x43, 0x52, 9, 0x52, 9];
        let (performative, _) = Performative::decode(&body).unwrap();
        let Performative::Begin(begin) = performative else { panic!("{performative:?}") };
        assert_eq!((begin.incoming_window, begin.handle_max), (9, u32::MAX));
        // close without any field.
        let (close, _) = Performative::decode(&[0x00, 0x53, 0x18, 0x45]).unwrap();
        assert_eq!(close, Performative::Close(None));
    }

    #[test]
    fn all_fields_are_written() {
        let close = encoded(&Performative::Close(None));
        assert_eq!(close, [0, 0, 0, 15, 2, 0, 0, 5, 0x00, 0x53, 0x18, 0xc0, 2, 1, 0x40]);
        let counts = [10, 8, 14, 11, 11, 6, 3, 1, 1];
        for (performative, count) in samples().iter().zip(counts) {
            let bytes = encoded(performative);
            let (_, fields) = Fields::parse(Reader::new(&bytes[8..]).value().unwrap()).unwrap();
            assert_eq!(fields.0.len(), count, "{performative:?}");
        }
    }

    #[test]
    fn a_transfer_written_fast_reads_as_any_other() {
        let head = DeliveryHead { channel: 2, handle: 300, delivery_id: 70_000, settled: true };
        let mut out = Vec::new();
        encode_transfer(head, true, &mut out, |out| out.extend(b"payload"));
        assert_eq!(out.len(), TRANSFER_HEAD_BYTES + 7);
        let frame = split_frame(&out).unwrap().unwrap();
        let (transfer, payload) = Performative::decode(frame.body).unwrap();
        let expected = Transfer {
            handle: 300,
            delivery_id: Some(70_000),
            message_format: Some(0),
            settled: true,
            more: true,
            aborted: false,
        };
        assert_eq!((transfer, payload), (Performative::Transfer(expected), &b"payload"[..]));
    }

    proptest! {
        #[test]
        fn a_mutated_frame_never_panics(
            sample in 0..9_usize,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = encoded(&samples()[sample]);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(Some(frame)) = split_frame(&bytes) {
                Performative::decode(frame.body).ok();
                SaslInit::decode(frame.body).ok();
            }
        }
    }
}
