//! Publishing and waiting for the broker's answer. Knows neither connection nor driver: it hands
//! each publish over through a bounded channel and waits for its answer.

use tokio::sync::{mpsc, oneshot};
use tokio_util::bytes::Bytes;

use crate::inbox::QoS;
use crate::outgoing::{Options, Outgoing};
use crate::settings::{STRING_BYTES_MAX, Version};
use crate::status::Monitor;
use crate::wire::PublishPacket;

/// The largest packet that MQTT can carry, without its fixed header, in bytes.
const REMAINING_BYTES_MAX: usize = 268_435_455;

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There is no connection, or it broke and did not come back in time. The broker may have
    /// taken the message nevertheless. Try again later.
    #[error("the broker is away: {reason}; try again later")]
    Away {
        /// What ended the connection.
        reason: String,
    },
    /// The broker does not take this message. To send it again as it is will not help. MQTT 5
    /// only: in 3.1.1 a broker acknowledges what it denies, or disconnects.
    #[error("the broker refused the message: {reason}")]
    Refused {
        /// The broker's reason.
        reason: String,
    },
    /// The message cannot be sent at all.
    #[error("the message cannot be published: {problem}")]
    Invalid {
        /// What is wrong with it.
        problem: String,
    },
    /// The driver was stopped.
    #[error("the connection was stopped before the broker answered")]
    Stopped,
}

impl PublishError {
    /// Whether the same message may be published later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Stopped)
    }
}

/// What becomes of a publish.
pub(crate) type Answer = Result<(), PublishError>;

/// A publish on its way through the driver.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) packet: PublishPacket,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// Publishes messages; clones share one connection.
#[derive(Debug, Clone)]
pub struct Publisher {
    pub(crate) version: Version,
    pub(crate) requests: mpsc::Sender<Pending>,
    pub(crate) monitor: Monitor,
}

impl Publisher {
    /// Publishes a message and waits for the broker to take it ([`QoS::AtLeastOnce`]) or for it
    /// to be written to the connection ([`QoS::AtMostOnce`]).
    ///
    /// A publish that was in flight when a connection broke is sent again on the next one,
    /// marked as a duplicate, unless that takes longer than `away_seconds`.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(
        &self,
        topic: impl Into<String>,
        payload: impl Into<Bytes>,
        options: Options,
    ) -> Result<(), PublishError> {
        let message = Outgoing { topic: topic.into(), payload: payload.into(), options };
        settle(self.hand_over(message).await?).await
    }

    /// Publishes messages in their order, with up to `in_flight_max` of them on their way at the
    /// same time, and answers for each.
    pub async fn publish_many(
        &self,
        messages: impl IntoIterator<Item = Outgoing>,
    ) -> Vec<Result<(), PublishError>> {
        let mut waiting = Vec::new();
        for message in messages {
            waiting.push(self.hand_over(message).await);
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for answer in waiting {
            answers.push(match answer {
                Ok(answer) => settle(answer).await,
                Err(error) => Err(error),
            });
        }
        answers
    }

    /// How the connection fares.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    async fn hand_over(
        &self,
        message: Outgoing,
    ) -> Result<oneshot::Receiver<Answer>, PublishError> {
        check(&message)?;
        let packet = PublishPacket::new(self.version, message);
        let (answer, answered) = oneshot::channel();
        match self.requests.send(Pending { packet, answer }).await {
            Ok(()) => Ok(answered),
            Err(_stopped) => Err(PublishError::Stopped),
        }
    }
}

async fn settle(answer: oneshot::Receiver<Answer>) -> Answer {
    // The driver answers everything it was handed, unless it is dropped.
    answer.await.unwrap_or(Err(PublishError::Stopped))
}

fn check(message: &Outgoing) -> Result<(), PublishError> {
    let invalid = |problem: String| Err(PublishError::Invalid { problem });
    let Outgoing { topic, payload, options } = message;
    if topic.is_empty() || topic.contains(['+', '#', '\0']) {
        return invalid(format!(
            "the topic {topic:?} is empty, or holds a wildcard or a zero byte"
        ));
    }
    if options.qos == QoS::ExactlyOnce {
        return invalid("delivery exactly once is not offered; use at least once".to_owned());
    }
    let properties = || {
        let pairs = options.user_properties.iter().flat_map(|(name, value)| [name, value]);
        pairs.chain(&options.content_type)
    };
    if properties().chain([topic]).any(|text| text.len() > STRING_BYTES_MAX) {
        return invalid(format!("a text of it is longer than {STRING_BYTES_MAX} bytes"));
    }
    // Each text has 2 bytes of length and at most 1 of kind; the rest is generous.
    let texts = properties().chain([topic]).map(|text| text.len() + 3).sum::<usize>();
    if payload.len() + texts + 16 > REMAINING_BYTES_MAX {
        return invalid(format!("it is larger than {REMAINING_BYTES_MAX} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_sent_is_told_before_it_is_handed_over() {
        let good = Outgoing { topic: "a/b".into(), ..Outgoing::default() };
        assert_eq!(check(&good), Ok(()));
        let refuse = |change: fn(&mut Outgoing)| {
            let mut message = good.clone();
            change(&mut message);
            let error = check(&message).unwrap_err();
            assert!(matches!(error, PublishError::Invalid { .. }) && !error.is_temporary());
        };
        refuse(|message| message.topic.clear());
        refuse(|message| message.topic = "a/+".into());
        refuse(|message| message.topic = "a/#".into());
        refuse(|message| message.topic = "a\0".into());
        refuse(|message| message.topic = "a".repeat(65_536));
        refuse(|message| message.options.qos = QoS::ExactlyOnce);
        refuse(|message| message.options.content_type = Some("a".repeat(65_536)));
        refuse(|message| message.payload = vec![0; REMAINING_BYTES_MAX].into());
    }
}
