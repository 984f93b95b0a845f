//! From bytes to packets of the broker, and what they say in words.
//!
//! Frames are cut here, so that a packet beyond the bound can be passed over, and an error
//! inside a complete packet is never taken for one that is still incomplete.

use std::fmt::Debug;

use rumqttc::mqttbytes as v4;
use rumqttc::v5::mqttbytes::v5;
use tokio_util::bytes::{Buf, Bytes, BytesMut};

use super::error::{WireError, malformed};
use crate::inbox::{Message, QoS, Receipt};
use crate::settings::Version;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_in_words() {
        assert_eq!(words(v5::PubAckReason::NotAuthorized), "not authorized");
        assert_eq!(
            reason_text(v5::PubAckReason::QuotaExceeded, Some("full".into())),
            "quota exceeded (full)"
        );
    }
}
