//! Messages on their way from the driver to the caller, and receipts on their way back.
//!
//! Both go through queues that are locked once for a batch, not once for a message. Does not
//! know the wire: the driver fills and drains them.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::bytes::Bytes;

use crate::status::Monitor;

/// How firmly a message is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QoS {
    /// At most once: it may be lost, and has no acknowledgement.
    AtMostOnce,
    /// At least once: it is sent again until it is acknowledged.
    #[default]
    AtLeastOnce,
    /// Exactly once, as far as the broker goes. This client takes such messages in as it does
    /// those of [`QoS::AtLeastOnce`], and sends none.
    ExactlyOnce,
}

/// A message from the broker.
#[derive(Debug, Clone)]
pub struct Message {
    /// The topic that it was published under.
    pub topic: String,
    /// What was published. Empty if [`Self::oversize_bytes`] is set.
    pub payload: Bytes,
    /// How firmly it is delivered: the weaker of what its sender and the subscription asked for.
    pub qos: QoS,
    /// The broker has sent it before.
    pub duplicate: bool,
    /// It is the topic's last known value, sent because of a new subscription.
    pub retain: bool,
    /// What the payload is, as a media type (MQTT 5).
    pub content_type: Option<String>,
    /// Names and values that its sender added (MQTT 5).
    pub user_properties: Vec<(String, String)>,
    /// The size of its packet in bytes, if that is beyond `packet_bytes_max`: the payload was
    /// then passed over.
    pub oversize_bytes: Option<usize>,
    /// What to hand to [`Messages::ack`] once the message is safe; none for
    /// [`QoS::AtMostOnce`].
    pub receipt: Option<Receipt>,
}

impl Message {
    /// What it takes in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let properties = self.user_properties.iter().map(|(name, value)| name.len() + value.len());
        size_of::<Self>() + self.topic.len() + self.payload.len() + properties.sum::<usize>()
    }
}

/// Stands for a message that waits for its acknowledgement. It is good on the connection that
/// brought the message: after a reconnect the broker delivers the message again, with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    pub(crate) generation: u32,
    pub(crate) packet_id: u16,
    pub(crate) exactly_once: bool,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    /// The driver has ended: nothing more comes.
    closed: bool,
    /// The caller has gone: nothing more is taken.
    abandoned: bool,
}

/// The queue between driver and caller, bounded in messages and bytes.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    /// Tells the caller that there is something.
    filled: Notify,
    /// Tells the driver that there is room.
    drained: Notify,
    messages_max: usize,
    bytes_max: usize,
    receipts: Mutex<Vec<Receipt>>,
    /// Tells the driver that there are receipts.
    acked: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these locks, and each update is complete in itself.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inbox {
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
            messages_max,
            bytes_max,
            receipts: Mutex::default(),
            acked: Notify::new(),
        }
    }

    /// Hands over what came in. The bound is on what may be read after, so that a batch that
    /// was read is never refused.
    pub(crate) fn fill(&self, messages: &mut Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        let mut queue = lock(&self.queue);
        if queue.abandoned {
            messages.clear();
            return;
        }
        queue.bytes += messages.iter().map(Message::bytes).sum::<usize>();
        queue.messages.extend(messages.drain(..));
        drop(queue);
        self.filled.notify_one();
    }

    pub(crate) fn is_full(&self) -> bool {
        let queue = lock(&self.queue);
        !queue.abandoned
            && (queue.messages.len() >= self.messages_max || queue.bytes >= self.bytes_max)
    }

    /// Resolves when the caller has taken something.
    pub(crate) async fn drained(&self) {
        self.drained.notified().await;
    }

    /// Resolves when there are receipts to send.
    pub(crate) async fn acked(&self) {
        self.acked.notified().await;
    }

    pub(crate) fn take_receipts(&self, into: &mut Vec<Receipt>) {
        into.clear();
        mem::swap(&mut *lock(&self.receipts), into);
    }

    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.filled.notify_one();
    }
}

/// The messages of a connection, in the order in which the broker sent them.
#[derive(Debug)]
pub struct Messages {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) monitor: Monitor,
}

impl Messages {
    /// Waits until a message waits to be taken, and returns how many do; 0 means that the driver has
    /// stopped.
    pub async fn ready(&self) -> usize {
        loop {
            let (waiting, closed) = {
                let queue = lock(&self.inbox.queue);
                (queue.messages.len(), queue.closed)
            };
            if waiting > 0 || closed {
                return waiting;
            }
            self.inbox.filled.notified().await;
        }
    }

    /// Whether nothing is read from the connection until messages are taken.
    pub fn is_full(&self) -> bool {
        self.inbox.is_full()
    }

    /// The next message; none when the driver has stopped.
    pub async fn next(&mut self) -> Option<Message> {
        let mut one = Vec::with_capacity(1);
        self.next_many(&mut one, 1).await;
        one.pop()
    }

    /// Appends up to `max` messages to `into`, waiting for the first only. Returns how many came;
    /// 0 means that the driver has stopped.
    ///
    /// While a full queue waits to be taken, nothing is read from the connection, answers to
    /// publishes included; keep-alives go on. Safe to cancel: nothing is taken then.
    pub async fn next_many(&mut self, into: &mut Vec<Message>, max: usize) -> usize {
        loop {
            {
                let mut queue = lock(&self.inbox.queue);
                let count = queue.messages.len().min(max);
                if count > 0 {
                    let from = into.len();
                    into.extend(queue.messages.drain(..count));
                    queue.bytes -= into[from..].iter().map(Message::bytes).sum::<usize>();
                    drop(queue);
                    self.inbox.drained.notify_one();
                    return count;
                }
                if queue.closed || max == 0 {
                    return 0;
                }
            }
            self.inbox.filled.notified().await;
        }
    }

    /// Acknowledges messages that are safe, in the order in which they came. See
    /// [`Acknowledger::ack`].
    pub fn ack(&self, receipts: impl IntoIterator<Item = Receipt>) {
        acknowledge(&self.inbox, receipts);
    }

    /// A handle that acknowledges from somewhere else, such as the task that writes a journal.
    pub fn acknowledger(&self) -> Acknowledger {
        Acknowledger { inbox: Arc::clone(&self.inbox) }
    }

    /// How the connection fares.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        let mut queue = lock(&self.inbox.queue);
        queue.abandoned = true;
        queue.messages.clear();
        drop(queue);
        self.inbox.drained.notify_one();
    }
}

/// Acknowledges messages; clones serve the same connection.
#[derive(Debug, Clone)]
pub struct Acknowledger {
    inbox: Arc<Inbox>,
}

impl Acknowledger {
    /// Acknowledges messages that are safe, in the order in which they came, as the protocol
    /// wants it. The driver sends the whole batch at once.
    ///
    /// A receipt of an earlier connection, or one that was used, is passed over and counted:
    /// the broker delivers that message again.
    pub fn ack(&self, receipts: impl IntoIterator<Item = Receipt>) {
        acknowledge(&self.inbox, receipts);
    }
}

fn acknowledge(inbox: &Inbox, receipts: impl IntoIterator<Item = Receipt>) {
    lock(&inbox.receipts).extend(receipts);
    inbox.acked.notify_one();
}
