//! A message to publish. What becomes of it is not known here.

use tokio_util::bytes::Bytes;

use crate::inbox::QoS;

/// How to publish a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// How firmly to deliver it.
    pub qos: QoS,
    /// Keep it at the broker as the topic's last known value.
    pub retain: bool,
    /// What the payload is, as a media type. MQTT 5; left out in 3.1.1.
    pub content_type: Option<String>,
    /// Names and values to send along. MQTT 5; left out in 3.1.1.
    pub user_properties: Vec<(String, String)>,
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outgoing {
    /// The topic, without wildcards.
    pub topic: String,
    /// What to publish.
    pub payload: Bytes,
    /// How to publish it.
    pub options: Options,
}
