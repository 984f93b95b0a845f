//! Packets on the wire, in both versions: the version-neutral side of rumqttc's encoding.
//!
//! Frames are cut here, so that a packet beyond the bound can be passed over, and an error
//! inside a complete packet is never taken for one that is still incomplete. Knows no socket.

use std::fmt::Debug;

use rumqttc::v5::mqttbytes::v5;
use rumqttc::{mqttbytes as v4, v5::mqttbytes as v5bytes};
use tokio_util::bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::inbox::{Message, QoS, Receipt};
use crate::publisher::{Options, Outgoing};
use crate::settings::{Secret, Settings, Version};

/// A packet that breaks the protocol. The connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the broker sent a packet that breaks the protocol: {0}")]
    Malformed(String),
    #[error("cannot write a packet: {0}")]
    Unwritable(String),
}

fn malformed(why: impl Into<String>) -> WireError {
    WireError::Malformed(why.into())
}

/// A packet from the broker.
#[derive(Debug)]
pub(crate) enum Packet {
    ConnAck(ConnAck),
    Publish(Message),
    /// A publish was taken, or refused for a reason.
    PubAck {
        packet_id: u16,
        refusal: Option<String>,
    },
    PubRel {
        packet_id: u16,
    },
    /// For each filter: granted as asked, or the reason why not.
    SubAck {
        packet_id: u16,
        refusals: Vec<Option<String>>,
    },
    PingResp,
    Disconnect {
        reason: String,
    },
}

/// The broker's answer to a connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnAck {
    /// Why the broker refused it, if it did.
    pub(crate) refusal: Option<String>,
    pub(crate) session_present: bool,
    /// How many publishes the broker takes ahead of its acknowledgements.
    pub(crate) receive_max: Option<u16>,
    pub(crate) packet_bytes_max: Option<u32>,
    pub(crate) keep_alive_seconds: Option<u16>,
    pub(crate) retain_unavailable: bool,
    pub(crate) at_most_once_only: bool,
}

/// Cuts the stream of bytes into packets.
#[derive(Debug)]
pub(crate) struct Decoder {
    version: Version,
    packet_bytes_max: usize,
    /// What is left to pass over of a packet beyond the bound.
    passing_over: usize,
}

impl Decoder {
    pub(crate) fn new(version: Version, packet_bytes_max: usize) -> Self {
        Self { version, packet_bytes_max, passing_over: 0 }
    }

    /// Takes the next packet out of `buffer`, if it is complete.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, WireError> {
        if self.passing_over > 0 {
            let passed = self.passing_over.min(buffer.len());
            buffer.advance(passed);
            self.passing_over -= passed;
        }
        let Some((header_bytes, body_bytes)) = fixed_header(buffer)? else { return Ok(None) };
        let frame_bytes = header_bytes + body_bytes;
        if frame_bytes > self.packet_bytes_max {
            return self.pass_over(buffer, header_bytes, frame_bytes);
        }
        if buffer.len() < frame_bytes {
            buffer.reserve(frame_bytes - buffer.len());
            return Ok(None);
        }
        if buffer[0] >> 4 == 14 {
            return Ok(Some(disconnect(&buffer.split_to(frame_bytes)[header_bytes..])));
        }
        match self.version {
            Version::V311 => read_v4(buffer, frame_bytes),
            Version::V5 => read_v5(buffer, frame_bytes),
        }
        .map(Some)
    }

    /// Reads the head of a publish beyond the bound and marks its rest to be passed over.
    fn pass_over(
        &mut self,
        buffer: &mut BytesMut,
        header_bytes: usize,
        frame_bytes: usize,
    ) -> Result<Option<Packet>, WireError> {
        let first = buffer[0];
        if first >> 4 != 3 {
            return Err(malformed(format!("{frame_bytes} bytes, and not a message")));
        }
        let qos = qos(first >> 1 & 3)?;
        let Some(topic_bytes) = buffer.get(header_bytes..header_bytes + 2) else { return Ok(None) };
        let topic_end =
            header_bytes + 2 + usize::from(u16::from_be_bytes([topic_bytes[0], topic_bytes[1]]));
        let head_bytes = topic_end + if qos == QoS::AtMostOnce { 0 } else { 2 };
        if head_bytes > frame_bytes {
            return Err(malformed("a topic beyond the end of its packet"));
        }
        if buffer.len() < head_bytes {
            return Ok(None);
        }
        let topic = text(&buffer[header_bytes + 2..topic_end])?;
        let packet_id = match qos {
            QoS::AtMostOnce => 0,
            _ => u16::from_be_bytes([buffer[topic_end], buffer[topic_end + 1]]),
        };
        buffer.advance(head_bytes);
        self.passing_over = frame_bytes - head_bytes;
        Ok(Some(Packet::Publish(Message {
            topic,
            payload: Bytes::new(),
            qos,
            duplicate: first & 8 != 0,
            retain: first & 1 != 0,
            content_type: None,
            user_properties: Vec::new(),
            oversize_bytes: Some(frame_bytes),
            receipt: receipt(qos, packet_id)?,
        })))
    }
}

/// The sizes of a packet's fixed header and of the rest, once they can be read.
fn fixed_header(buffer: &[u8]) -> Result<Option<(usize, usize)>, WireError> {
    let mut body_bytes = 0;
    for (place, byte) in buffer.iter().skip(1).take(4).enumerate() {
        body_bytes |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((place + 2, body_bytes)));
        }
    }
    if buffer.len() >= 5 { Err(malformed("a length of more than 4 bytes")) } else { Ok(None) }
}

fn qos(number: u8) -> Result<QoS, WireError> {
    match number {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        _ => Err(malformed("a quality of service of 3")),
    }
}

fn text(bytes: &[u8]) -> Result<String, WireError> {
    match str::from_utf8(bytes) {
        Ok("") => Err(malformed("a message without a topic")),
        Ok(text) => Ok(text.to_owned()),
        Err(_why) => Err(malformed("a topic that is not UTF-8")),
    }
}

/// The receipt of a message. The session writes its generation into it.
fn receipt(qos: QoS, packet_id: u16) -> Result<Option<Receipt>, WireError> {
    match (qos, packet_id) {
        (QoS::AtMostOnce, _) => Ok(None),
        (_, 0) => Err(malformed("a message with the packet identifier 0")),
        (qos, packet_id) => {
            let exactly_once = qos == QoS::ExactlyOnce;
            Ok(Some(Receipt { generation: 0, packet_id, exactly_once }))
        }
    }
}

/// A packet that ends the connection: in MQTT 5 its body begins with a reason.
fn disconnect(body: &[u8]) -> Packet {
    use v5::DisconnectReasonCode;
    let code = body.first().copied().unwrap_or(0);
    let reason = match DisconnectReasonCode::try_from(code) {
        Ok(reason) => words(reason),
        Err(_why) => format!("reason {code:#04x}"),
    };
    Packet::Disconnect { reason }
}

fn read_v4(buffer: &mut BytesMut, frame_bytes: usize) -> Result<Packet, WireError> {
    use v4::v4::{ConnectReturnCode, Packet as V4, SubscribeReasonCode};
    Ok(match V4::read(buffer, frame_bytes).map_err(|why| malformed(why.to_string()))? {
        V4::Publish(publish) => {
            let qos = qos(publish.qos as u8)?;
            if publish.topic.is_empty() {
                return Err(malformed("a message without a topic"));
            }
            Packet::Publish(Message {
                topic: publish.topic,
                payload: publish.payload,
                qos,
                duplicate: publish.dup,
                retain: publish.retain,
                content_type: None,
                user_properties: Vec::new(),
                oversize_bytes: None,
                receipt: receipt(qos, publish.pkid)?,
            })
        }
        V4::PubAck(ack) => Packet::PubAck { packet_id: ack.pkid, refusal: None },
        V4::PubRel(release) => Packet::PubRel { packet_id: release.pkid },
        V4::SubAck(ack) => Packet::SubAck {
            packet_id: ack.pkid,
            refusals: ack
                .return_codes
                .into_iter()
                .map(|code| match code {
                    SubscribeReasonCode::Success(granted) => refused_qos(granted as u8),
                    SubscribeReasonCode::Failure => Some("refused without a reason".to_owned()),
                })
                .collect(),
        },
        V4::ConnAck(ack) => Packet::ConnAck(ConnAck {
            refusal: (ack.code != ConnectReturnCode::Success).then(|| words(ack.code)),
            session_present: ack.session_present,
            ..ConnAck::default()
        }),
        V4::PingResp => Packet::PingResp,
        other => return Err(unexpected(&other)),
    })
}

fn read_v5(buffer: &mut BytesMut, frame_bytes: usize) -> Result<Packet, WireError> {
    use v5::{ConnectReturnCode, Packet as V5, PubAckReason, SubscribeReasonCode};
    let bytes_max = u32::try_from(frame_bytes).ok();
    Ok(match V5::read(buffer, bytes_max).map_err(|why| malformed(why.to_string()))? {
        V5::Publish(publish) => Packet::Publish(message_v5(publish)?),
        V5::PubAck(ack) => Packet::PubAck {
            packet_id: ack.pkid,
            refusal: match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
                reason => {
                    Some(reason_text(reason, ack.properties.and_then(|all| all.reason_string)))
                }
            },
        },
        V5::PubRel(release) => Packet::PubRel { packet_id: release.pkid },
        V5::SubAck(ack) => Packet::SubAck {
            packet_id: ack.pkid,
            refusals: ack
                .return_codes
                .into_iter()
                .map(|code| match code {
                    SubscribeReasonCode::Success(granted) => refused_qos(granted as u8),
                    reason => Some(words(reason)),
                })
                .collect(),
        },
        V5::ConnAck(ack) => {
            let limits = ack.properties.unwrap_or_else(no_limits);
            Packet::ConnAck(ConnAck {
                refusal: (ack.code != ConnectReturnCode::Success)
                    .then(|| reason_text(ack.code, limits.reason_string)),
                session_present: ack.session_present,
                receive_max: limits.receive_max,
                packet_bytes_max: limits.max_packet_size,
                keep_alive_seconds: limits.server_keep_alive,
                retain_unavailable: limits.retain_available == Some(0),
                at_most_once_only: limits.max_qos == Some(0),
            })
        }
        V5::PingResp(_) => Packet::PingResp,
        other => return Err(unexpected(&other)),
    })
}

fn message_v5(publish: v5::Publish) -> Result<Message, WireError> {
    let qos = qos(publish.qos as u8)?;
    let (content_type, user_properties) = match publish.properties {
        Some(properties) => (properties.content_type, properties.user_properties),
        None => (None, Vec::new()),
    };
    Ok(Message {
        topic: text(&publish.topic)?,
        payload: publish.payload,
        qos,
        duplicate: publish.dup,
        retain: publish.retain,
        content_type,
        user_properties,
        oversize_bytes: None,
        receipt: receipt(qos, publish.pkid)?,
    })
}

fn no_limits() -> v5::ConnAckProperties {
    v5::ConnAckProperties {
        session_expiry_interval: None,
        receive_max: None,
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}

/// A grant below what was asked for is told like a refusal: messages may get lost.
fn refused_qos(granted: u8) -> Option<String> {
    (granted == 0).then(|| "granted for delivery at most once only".to_owned())
}

/// The packet's name is told, not its content.
fn unexpected(packet: &impl Debug) -> WireError {
    let text = format!("{packet:?}");
    let name = text.split(|character: char| !character.is_alphanumeric()).next();
    malformed(format!("{} is not for a client", name.unwrap_or("a packet")))
}

/// The words of a name such as `NotAuthorized`.
fn words(reason: impl Debug) -> String {
    let mut words = String::new();
    for character in format!("{reason:?}").chars() {
        if character.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(character.to_lowercase());
    }
    words
}

fn reason_text(reason: impl Debug, text: Option<String>) -> String {
    match text {
        Some(text) => format!("{} ({text})", words(reason)),
        None => words(reason),
    }
}

/// A publish in the version that it will be sent in.
#[derive(Debug)]
pub(crate) enum PublishPacket {
    V311(v4::v4::Publish),
    V5(v5::Publish),
}

impl PublishPacket {
    pub(crate) fn new(version: Version, message: Outgoing) -> Self {
        let Outgoing { topic, payload, options } = message;
        match version {
            Version::V311 => {
                let qos = match options.qos {
                    QoS::AtMostOnce => v4::QoS::AtMostOnce,
                    _ => v4::QoS::AtLeastOnce,
                };
                let retain = options.retain;
                Self::V311(v4::v4::Publish { dup: false, qos, retain, topic, pkid: 0, payload })
            }
            Version::V5 => {
                let qos = match options.qos {
                    QoS::AtMostOnce => v5bytes::QoS::AtMostOnce,
                    _ => v5bytes::QoS::AtLeastOnce,
                };
                Self::V5(v5::Publish {
                    dup: false,
                    qos,
                    retain: options.retain,
                    topic: Bytes::from(topic),
                    pkid: 0,
                    payload,
                    properties: properties(options),
                })
            }
        }
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        match self {
            Self::V311(publish) => publish.qos != v4::QoS::AtMostOnce,
            Self::V5(publish) => publish.qos != v5bytes::QoS::AtMostOnce,
        }
    }

    pub(crate) fn retain(&self) -> bool {
        match self {
            Self::V311(publish) => publish.retain,
            Self::V5(publish) => publish.retain,
        }
    }

    pub(crate) fn set_packet_id(&mut self, packet_id: u16) {
        match self {
            Self::V311(publish) => publish.pkid = packet_id,
            Self::V5(publish) => publish.pkid = packet_id,
        }
    }

    /// Marks it as sent before.
    pub(crate) fn set_duplicate(&mut self) {
        match self {
            Self::V311(publish) => publish.dup = true,
            Self::V5(publish) => publish.dup = true,
        }
    }

    /// The packet's size in bytes, packet identifier and header included.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::V311(publish) => publish.size(),
            Self::V5(publish) => publish.size(),
        }
    }

    pub(crate) fn write(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let unwritable = |why: &dyn ToString| WireError::Unwritable(why.to_string());
        match self {
            Self::V311(publish) => publish.write(out).map_err(|why| unwritable(&why)),
            Self::V5(publish) => publish.write(out).map_err(|why| unwritable(&why)),
        }
        .map(drop)
    }
}

fn properties(options: Options) -> Option<v5::PublishProperties> {
    let Options { content_type, user_properties, .. } = options;
    if content_type.is_none() && user_properties.is_empty() {
        return None;
    }
    Some(v5::PublishProperties { content_type, user_properties, ..Default::default() })
}

/// Writes the packet that opens a connection on a persistent session.
pub(crate) fn write_connect(
    settings: &Settings,
    password: Option<&Secret>,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let unwritable = |why: &dyn ToString| WireError::Unwritable(why.to_string());
    let username = settings.username.clone().unwrap_or_default();
    let password = password.map(|secret| secret.expose().to_owned()).unwrap_or_default();
    let has_login = !username.is_empty() || !password.is_empty();
    match settings.version {
        Version::V311 => {
            let mut connect = v4::v4::Connect::new(settings.client_id.clone());
            connect.keep_alive = settings.keep_alive_seconds;
            connect.clean_session = false;
            connect.login = has_login.then(|| v4::v4::Login::new(username, password));
            connect.write(out).map_err(|why| unwritable(&why))?;
        }
        Version::V5 => {
            let mut properties = v5::ConnectProperties::new();
            properties.session_expiry_interval = Some(settings.session_expiry_seconds);
            properties.receive_maximum = Some(settings.receive_max);
            let connect = v5::Connect {
                keep_alive: settings.keep_alive_seconds,
                client_id: settings.client_id.clone(),
                clean_start: false,
                properties: Some(properties),
            };
            let login = has_login.then(|| v5::Login::new(username, password));
            connect.write(&None, &login, out).map_err(|why| unwritable(&why))?;
        }
    }
    Ok(())
}

/// Writes a packet that subscribes to `filters`, at least once each.
pub(crate) fn write_subscribe(
    version: Version,
    packet_id: u16,
    filters: &[String],
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let unwritable = |why: &dyn ToString| WireError::Unwritable(why.to_string());
    match version {
        Version::V311 => {
            let filter = |filter: &String| {
                v4::v4::SubscribeFilter::new(filter.clone(), v4::QoS::AtLeastOnce)
            };
            let mut subscribe = v4::v4::Subscribe::new_many(filters.iter().map(filter));
            subscribe.pkid = packet_id;
            subscribe.write(out).map_err(|why| unwritable(&why)).map(drop)
        }
        Version::V5 => {
            let filter = |filter: &String| v5::Filter {
                // A subscription that is only renewed brings no retained messages again.
                retain_forward_rule: v5::RetainForwardRule::OnNewSubscribe,
                ..v5::Filter::new(filter.clone(), v5bytes::QoS::AtLeastOnce)
            };
            let mut subscribe = v5::Subscribe::new_many(filters.iter().map(filter), None);
            subscribe.pkid = packet_id;
            subscribe.write(out).map_err(|why| unwritable(&why)).map(drop)
        }
    }
}

/// Writes the acknowledgement of a message; the same four bytes in both versions.
pub(crate) fn write_ack(receipt: Receipt, out: &mut BytesMut) {
    let [high, low] = receipt.packet_id.to_be_bytes();
    let kind = if receipt.exactly_once { 0x50 } else { 0x40 };
    out.put_slice(&[kind, 2, high, low]);
}

/// Writes the end of a delivery exactly once.
pub(crate) fn write_pubcomp(packet_id: u16, out: &mut BytesMut) {
    let [high, low] = packet_id.to_be_bytes();
    out.put_slice(&[0x70, 2, high, low]);
}

pub(crate) fn write_ping(out: &mut BytesMut) {
    out.put_slice(&[0xc0, 0]);
}

/// Writes the orderly end of a connection, after which the session stays at the broker.
pub(crate) fn write_disconnect(out: &mut BytesMut) {
    out.put_slice(&[0xe0, 0]);
}

/// What is wrong with a topic filter, if anything.
pub(crate) fn filter_problem(filter: &str) -> Option<String> {
    let valid = filter.len() <= crate::settings::STRING_BYTES_MAX
        && !filter.contains('\0')
        && v4::valid_filter(filter);
    (!valid).then(|| {
        format!(
            "{filter:?} is no topic filter; + stands for one whole level, # for all that follow"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn reasons_are_told_in_words() {
        assert_eq!(words(v5::PubAckReason::NotAuthorized), "not authorized");
        assert_eq!(
            reason_text(v5::PubAckReason::QuotaExceeded, Some("full".into())),
            "quota exceeded (full)"
        );
    }
}
