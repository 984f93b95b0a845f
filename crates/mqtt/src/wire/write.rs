//! From what is to be said to the broker to bytes.

use rumqttc::v5::mqttbytes::v5;
use rumqttc::{mqttbytes as v4, v5::mqttbytes as v5bytes};
use tokio_util::bytes::{BufMut, Bytes, BytesMut};

use super::error::WireError;
use crate::inbox::{QoS, Receipt};
use crate::outgoing::{Options, Outgoing};
use crate::settings::{STRING_BYTES_MAX, Secret, Settings, Version};

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
    let valid =
        filter.len() <= STRING_BYTES_MAX && !filter.contains('\0') && v4::valid_filter(filter);
    (!valid).then(|| {
        format!(
            "{filter:?} is no topic filter; + stands for one whole level, # for all that follow"
        )
    })
}
