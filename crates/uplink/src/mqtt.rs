//! A broker of MQTT, and `IoT Hub`, which speaks it too: a record is a message, and arrived when the
//! broker acknowledged it (`QoS` 1). Does not know what the events tell, nor the protocol.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use twinge_mqtt::iothub::Device;
use twinge_mqtt::{Driver, Messages, Options, PublishError, Publisher, QoS};

use crate::event::Attributes;
use crate::topic::TopicPattern;
use crate::uplink::{Limits, Outgoing, Uplink, UplinkError};

/// The largest message that `IoT Hub` takes, in bytes, less what its properties may take.
const IOT_HUB_BYTES_MAX: usize = 255 << 10;
/// How long a connection may take to say good-bye.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where records are published.
#[derive(Debug)]
pub(crate) enum Addressing {
    /// To a topic made from the record.
    Topic { pattern: TopicPattern, device: String },
    /// As messages of a device of `IoT Hub`.
    IotHub(Device),
}

/// A broker.
pub(crate) struct Mqtt {
    addressing: Addressing,
    limits: Limits,
    publisher: Publisher,
    /// Until the first batch.
    idle: Option<(Messages, Driver)>,
    running: Option<Running>,
}

/// The connection at work; it ends when this is dropped.
struct Running {
    stop: DropGuard,
    tracker: TaskTracker,
    /// Nothing is subscribed to, so nothing comes in.
    _messages: Messages,
}

impl Mqtt {
    pub(crate) fn new(
        (publisher, messages, driver): (Publisher, Messages, Driver),
        addressing: Addressing,
        limits: Limits,
    ) -> Self {
        Self { addressing, limits, publisher, idle: Some((messages, driver)), running: None }
    }

    /// Connects when there is something to send, for then there is a runtime too.
    fn start(&mut self) {
        if let Some((messages, driver)) = self.idle.take() {
            let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
            tracker.spawn(driver.run(stop.clone()));
            tracker.close();
            self.running = Some(Running { stop: stop.drop_guard(), tracker, _messages: messages });
        }
    }

    fn message(&self, record: &Outgoing<'_>) -> Result<twinge_mqtt::Outgoing, String> {
        let attributes = Attributes::read(record.bytes)?;
        let mut options = Options { qos: QoS::AtLeastOnce, ..Options::default() };
        let topic = match &self.addressing {
            Addressing::Topic { pattern, device } => {
                options.content_type = Some("application/cloudevents+json".to_owned());
                pattern.topic(device, record.key, &attributes)
            }
            Addressing::IotHub(device) => {
                let bytes = record.bytes.len();
                if bytes > IOT_HUB_BYTES_MAX {
                    return Err(format!(
                        "the record has {bytes} bytes, and IoT Hub takes {IOT_HUB_BYTES_MAX}"
                    ));
                }
                // With exactly these, routes can query the body.
                device.events_topic(&[
                    ("$.ct", "application/json"),
                    ("$.ce", "utf-8"),
                    ("$.mid", &attributes.id),
                    ("type", &attributes.kind),
                ])
            }
        };
        Ok(twinge_mqtt::Outgoing { topic, payload: record.bytes.to_vec().into(), options })
    }
}

#[async_trait]
impl Uplink for Mqtt {
    fn limits(&self) -> Limits {
        self.limits
    }

    async fn send(&mut self, batch: &[Outgoing<'_>]) -> Result<(), UplinkError> {
        self.start();
        let messages = batch.iter().enumerate().map(|(index, record)| {
            self.message(record).map_err(|reason| UplinkError::refused(index, reason))
        });
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        let answers = self.publisher.publish_many(messages).await;
        answers.into_iter().enumerate().try_for_each(|(index, answer)| match answer {
            Ok(()) => Ok(()),
            Err(error @ (PublishError::Away { .. } | PublishError::Stopped)) => {
                Err(UplinkError::away(error.to_string()))
            }
            Err(error) => Err(UplinkError::refused(index, error.to_string())),
        })
    }

    async fn close(&mut self) {
        self.idle = None;
        if let Some(Running { stop, tracker, .. }) = self.running.take() {
            drop(stop);
            if timeout(FAREWELL, tracker.wait()).await.is_err() {
                tracing::warn!("the connection to the broker did not end in time");
            }
        }
    }
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Mqtt");
        debug.field("addressing", &self.addressing).field("limits", &self.limits);
        debug.finish_non_exhaustive()
    }
}
