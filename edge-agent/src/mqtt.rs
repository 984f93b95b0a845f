//! Messages of a broker into the journal. One is acknowledged only when it is on disk: while the
//! journal has no room, the broker keeps what it has.

use crate::linger::Linger;
use crate::topics::Topic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use twinge_contract::event::Attributes;
use twinge_contract::time::to_rfc3339;
use twinge_mqtt::{Message, Messages};
use twinge_platform::Clock;
use twinge_stream::{Incoming, Intake};

/// Messages that one sync of the journal serves at most.
const GROUP: usize = 4096;

/// What became of messages.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Those that became events.
    pub(crate) events: AtomicU64,
    /// Retained ones that were passed over, and those under a topic that nobody asked for.
    pub(crate) passed_over: AtomicU64,
    /// Those larger than anything that is taken in.
    pub(crate) oversize: AtomicU64,
}

/// Takes messages in until `stop` is cancelled or there will be none.
pub(crate) async fn run(
    mut messages: Messages,
    topics: Vec<Topic>,
    intake: Intake,
    clock: Arc<dyn Clock>,
    taken: Arc<Taken>,
    stop: CancellationToken,
) {
    let mut group = Vec::new();
    let (began, mut linger) = (Instant::now(), Linger::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = gathered(&messages, &mut linger, began) => {}
        }
        let count = messages.next_many(&mut group, GROUP).await;
        if count == 0 {
            return;
        }
        let now_ms = clock.now_ms();
        let receipts: Vec<_> = group.iter().filter_map(|message| message.receipt).collect();
        let events: Vec<Incoming> = group
            .drain(..)
            .filter_map(|message| event(&message, &topics, now_ms, &taken))
            .collect();
        let wanted = events.len();
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = intake.accept_patiently(events, "MQTT"), if wanted > 0 => accepted,
            else => Ok(0),
        };
        // What is not acknowledged comes again.
        let Ok(accepted) = accepted else { return };
        taken.events.fetch_add(accepted as u64, Ordering::Relaxed);
        taken.oversize.fetch_add((wanted - accepted) as u64, Ordering::Relaxed);
        messages.ack(receipts);
        linger.acknowledged(count, began.elapsed());
    }
}

/// Waits until the messages that wait are worth a sync, or there will be none.
async fn gathered(messages: &Messages, linger: &mut Linger, began: Instant) {
    loop {
        let waiting = messages.ready().await;
        if waiting == 0 || waiting >= GROUP || messages.is_full() {
            return;
        }
        let Some(pause) = linger.wait(waiting, began.elapsed()) else { return };
        sleep(pause).await;
    }
}

/// The event of a message, unless it is to be passed over.
fn event(message: &Message, topics: &[Topic], now_ms: i64, taken: &Taken) -> Option<Incoming> {
    if let Some(bytes) = message.oversize_bytes {
        taken.oversize.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            topic = message.topic,
            bytes,
            "a message was passed over: it is larger than packet_bytes_max"
        );
        return None;
    }
    let found = topics.iter().find_map(|topic| Some((topic, topic.matches(&message.topic)?)));
    let Some((topic, names)) = found.filter(|(topic, _)| topic.retained || !message.retain) else {
        taken.passed_over.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    let attributes = attributes(&message.user_properties);
    Some(topic.event(&names, message.payload.to_vec(), attributes, || to_rfc3339(now_ms)))
}

/// The attributes of a CloudEvent in binary mode, which are properties of the message
/// (<https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/mqtt-protocol-binding.md>).
fn attributes(properties: &[(String, String)]) -> Option<Attributes> {
    let of = |wanted: &str| {
        properties.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
    };
    of("specversion").map(|_| Attributes {
        id: of("id"),
        source: of("source"),
        subject: of("subject"),
        time: of("time"),
    })
}
