//! What a client remembers from one packet to the next: which messages wait for their
//! acknowledgement, which publishes for theirs, and how each subscription stands.
//!
//! Pure: packets go in, bytes to send and answers come out. Knows no socket and no clock.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::bytes::{Buf, BytesMut};

use crate::inbox::{Message, Receipt};
use crate::publisher::{Answer, Pending, PublishError};
use crate::settings::{Settings, Version};
use crate::status::{Counters, Refusal, add};
use crate::wire::{self, ConnAck, PublishPacket, WireError};

/// How many connections may break on a publish before that counts as its answer: some brokers
/// of 3.1.1 refuse a message by closing the connection. A broker takes publishes in their order,
/// so a break is put down to the oldest that it had not acknowledged.
const BREAKS_MAX: u8 = 3;

/// Filters of one packet: some brokers take no more.
const FILTERS_PER_PACKET: usize = 8;

/// Packet identifiers of subscriptions; those below belong to publishes.
const SUBSCRIBE_ID_MIN: u16 = 60_001;

/// What goes out on a connection, and how far it got.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) bytes: BytesMut,
    written: u64,
}

impl Outbox {
    /// The first `count` bytes were written.
    pub(crate) fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.written += count as u64;
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Where on the connection the bytes added so far will end.
    fn end(&self) -> u64 {
        self.written + self.bytes.len() as u64
    }
}

/// The state of one session, over all of its connections.
#[derive(Debug)]
pub(crate) struct Session {
    version: Version,
    /// Counts connections: a receipt is good on the one that brought its message.
    generation: u32,
    unacked: PacketIds,
    publishes: Publishes,
    subscriptions: Vec<Subscription>,
    subscribe_id: u16,
    counters: Arc<Counters>,
}

impl Session {
    pub(crate) fn new(settings: &Settings, filters: Vec<String>, counters: Arc<Counters>) -> Self {
        let subscription = |filter| Subscription { filter, standing: Standing::Wanted };
        Self {
            version: settings.version,
            generation: 0,
            unacked: PacketIds::default(),
            publishes: Publishes::new(settings.in_flight_max, Arc::clone(&counters)),
            subscriptions: filters.into_iter().map(subscription).collect(),
            subscribe_id: SUBSCRIBE_ID_MIN,
            counters,
        }
    }

    /// A connection begins. Without a session at the broker, and on the first connection of
    /// this program, whose filters may be new, everything is subscribed to.
    pub(crate) fn connected(&mut self, connack: &ConnAck, now: Instant) {
        let first = self.generation == 0;
        self.generation = self.generation.wrapping_add(1).max(1);
        self.unacked = PacketIds::default();
        self.publishes.connected(connack, now);
        for subscription in &mut self.subscriptions {
            let kept = connack.session_present && !first;
            if !kept || subscription.standing != Standing::Granted {
                subscription.standing = Standing::Wanted;
            }
        }
    }

    /// The connection is gone. Publishes in flight wait for the next one, unless `hopeless`.
    pub(crate) fn lost(&mut self, reason: &str, hopeless: bool) {
        self.publishes.lost(reason);
        if hopeless {
            self.refuse_all(&PublishError::Away { reason: reason.to_owned() });
        }
    }

    /// Answers everything that waits with one error.
    pub(crate) fn refuse_all(&mut self, error: &PublishError) {
        self.publishes.refuse_all(error);
    }

    /// Notes a message that came in, and stamps its receipt.
    pub(crate) fn received(&mut self, message: &mut Message) {
        if let Some(receipt) = &mut message.receipt {
            receipt.generation = self.generation;
            self.unacked.insert(receipt.packet_id);
        }
    }

    /// Writes the acknowledgements of those receipts that are still good.
    pub(crate) fn ack(&mut self, receipts: &[Receipt], out: &mut Outbox) {
        let mut sent = 0;
        for receipt in receipts {
            let current = receipt.generation == self.generation;
            if current && self.unacked.remove(receipt.packet_id) {
                wire::write_ack(*receipt, &mut out.bytes);
                sent += 1;
            }
        }
        add(&self.counters.acks, sent);
        add(&self.counters.acks_stale, receipts.len() as u64 - sent);
    }

    /// Takes in a publish, to be sent when there is room.
    pub(crate) fn publish(&mut self, pending: Pending) {
        self.publishes.queue.push_back(Queued { pending, packet_id: None, breaks: 0 });
    }

    /// How many more publishes to take in.
    pub(crate) fn room(&self) -> usize {
        if self.publishes.queue.is_empty() { self.publishes.room() } else { 0 }
    }

    /// Writes waiting publishes as long as the window and the bound on `out` allow it.
    pub(crate) fn send(
        &mut self,
        out: &mut Outbox,
        bytes_max: usize,
        now: Instant,
    ) -> Result<(), WireError> {
        self.publishes.send(out, bytes_max, now)
    }

    /// The broker took a publish, or refused it.
    pub(crate) fn acknowledged(
        &mut self,
        packet_id: u16,
        refusal: Option<String>,
        now: Instant,
    ) -> Result<(), WireError> {
        self.publishes.acknowledged(packet_id, refusal, now)
    }

    /// Answers the publishes that end with being written.
    pub(crate) fn written(&mut self, position: u64) {
        self.publishes.written(position);
    }

    /// While nothing is read, no answer of the broker is late.
    pub(crate) fn pardon(&mut self, now: Instant) {
        if let Some(since) = &mut self.publishes.waiting_since {
            *since = now;
        }
    }

    /// Whether the broker has been silent on a publish for longer than `limit`.
    pub(crate) fn is_overdue(&self, now: Instant, limit: Duration) -> bool {
        self.publishes.waiting_since.is_some_and(|since| now.duration_since(since) > limit)
    }

    /// Asks for every subscription that is not granted.
    pub(crate) fn subscribe(&mut self, out: &mut Outbox) -> Result<(), WireError> {
        let mut wanted: Vec<&mut Subscription> =
            self.subscriptions.iter_mut().filter(|s| s.standing != Standing::Granted).collect();
        for chunk in wanted.chunks_mut(FILTERS_PER_PACKET) {
            let packet_id = self.subscribe_id;
            self.subscribe_id = packet_id.checked_add(1).unwrap_or(SUBSCRIBE_ID_MIN);
            let filters: Vec<String> = chunk.iter().map(|s| s.filter.clone()).collect();
            wire::write_subscribe(self.version, packet_id, &filters, &mut out.bytes)?;
            for (place, subscription) in chunk.iter_mut().enumerate() {
                let before = mem::replace(&mut subscription.standing, Standing::Wanted);
                let refusal = match before {
                    Standing::Refused(reason) => Some(reason),
                    Standing::Asked { refusal, .. } => refusal,
                    Standing::Wanted | Standing::Granted => None,
                };
                subscription.standing = Standing::Asked { packet_id, place, refusal };
            }
        }
        Ok(())
    }

    /// The broker's answer to a subscription. Returns whether it changes what is refused.
    pub(crate) fn subscribed(&mut self, packet_id: u16, refusals: &[Option<String>]) -> bool {
        let before = self.refused();
        for subscription in &mut self.subscriptions {
            if let Standing::Asked { packet_id: asked, place, .. } = subscription.standing
                && asked == packet_id
            {
                subscription.standing = match refusals.get(place) {
                    Some(None) => Standing::Granted,
                    Some(Some(reason)) => Standing::Refused(reason.clone()),
                    None => Standing::Refused("the broker's answer leaves it out".to_owned()),
                };
            }
        }
        self.refused() != before
    }

    /// The subscriptions that were refused when they were last answered.
    pub(crate) fn refused(&self) -> Vec<Refusal> {
        let refused = |subscription: &Subscription| match &subscription.standing {
            Standing::Refused(reason) | Standing::Asked { refusal: Some(reason), .. } => {
                Some(Refusal { filter: subscription.filter.clone(), reason: reason.clone() })
            }
            _ => None,
        };
        self.subscriptions.iter().filter_map(refused).collect()
    }
}

#[derive(Debug)]
struct Subscription {
    filter: String,
    standing: Standing,
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Wanted,
    /// Asked for in a packet, at a place in it; perhaps again, after a refusal.
    Asked {
        packet_id: u16,
        place: usize,
        refusal: Option<String>,
    },
    Granted,
    Refused(String),
}

/// A set of packet identifiers.
#[derive(Debug)]
struct PacketIds(Box<[u64]>);

impl Default for PacketIds {
    fn default() -> Self {
        Self(vec![0; 1024].into())
    }
}

impl PacketIds {
    fn insert(&mut self, id: u16) {
        self.0[usize::from(id >> 6)] |= 1 << (id & 63);
    }

    /// Removes an identifier; whether it was there.
    fn remove(&mut self, id: u16) -> bool {
        let word = &mut self.0[usize::from(id >> 6)];
        let bit = 1 << (id & 63);
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }
}

/// A publish that waits to be sent, perhaps again.
#[derive(Debug)]
struct Queued {
    pending: Pending,
    packet_id: Option<u16>,
    breaks: u8,
}

/// A publish that waits for its acknowledgement.
#[derive(Debug)]
struct Sent {
    order: u64,
    queued: Queued,
}

/// The publishes of a session. A packet identifier belongs to a publish until it is answered.
#[derive(Debug)]
struct Publishes {
    queue: VecDeque<Queued>,
    /// By packet identifier, from 1.
    sent: Vec<Option<Sent>>,
    in_flight: usize,
    free: VecDeque<u16>,
    order: u64,
    /// Those that end with being written, and where on the connection that is.
    unwritten: VecDeque<(u64, oneshot::Sender<Answer>)>,
    limits: ConnAck,
    /// Since when the broker owes an answer.
    waiting_since: Option<Instant>,
    counters: Arc<Counters>,
}

impl Publishes {
    fn new(in_flight_max: u16, counters: Arc<Counters>) -> Self {
        Self {
            queue: VecDeque::new(),
            sent: (0..in_flight_max).map(|_| None).collect(),
            in_flight: 0,
            free: (1..=in_flight_max).collect(),
            order: 0,
            unwritten: VecDeque::new(),
            limits: ConnAck::default(),
            waiting_since: None,
            counters,
        }
    }

    fn connected(&mut self, connack: &ConnAck, now: Instant) {
        self.limits = ConnAck { refusal: None, ..*connack };
        self.waiting_since = (self.in_flight > 0).then_some(now);
    }

    fn room(&self) -> usize {
        let window = self.limits.receive_max.map_or(usize::MAX, usize::from).min(self.sent.len());
        window.saturating_sub(self.in_flight)
    }

    fn answer(&self, to: oneshot::Sender<Answer>, answer: Answer) {
        let counter = match &answer {
            Ok(()) => &self.counters.published,
            Err(_) => &self.counters.publish_failures,
        };
        add(counter, 1);
        // A caller that waits no longer has no use for the answer.
        drop(to.send(answer));
    }

    /// Moves what was in flight back into the queue, in its order and before everything new.
    fn lost(&mut self, reason: &str) {
        let away = || Err(PublishError::Away { reason: reason.to_owned() });
        for (_, to) in mem::take(&mut self.unwritten) {
            self.answer(to, away());
        }
        let mut sent: Vec<Sent> = self.sent.iter_mut().filter_map(Option::take).collect();
        sent.sort_by_key(|sent| sent.order);
        self.in_flight = 0;
        self.waiting_since = None;
        if let Some(oldest) = sent.first_mut() {
            oldest.queued.breaks += 1;
        }
        for Sent { mut queued, .. } in sent.into_iter().rev() {
            if queued.breaks >= BREAKS_MAX {
                self.forget(queued, away());
            } else {
                queued.pending.packet.set_duplicate();
                self.queue.push_front(queued);
            }
        }
    }

    fn refuse_all(&mut self, error: &PublishError) {
        for queued in mem::take(&mut self.queue) {
            self.forget(queued, Err(error.clone()));
        }
    }

    fn forget(&mut self, queued: Queued, answer: Answer) {
        self.free.extend(queued.packet_id);
        self.answer(queued.pending.answer, answer);
    }

    fn send(&mut self, out: &mut Outbox, bytes_max: usize, now: Instant) -> Result<(), WireError> {
        while out.bytes.len() < bytes_max && self.room() > 0 {
            let Some(queued) = self.queue.pop_front() else { break };
            if let Some(reason) = self.beyond_limits(&queued.pending.packet) {
                self.forget(queued, Err(PublishError::Refused { reason }));
            } else if queued.pending.packet.is_acknowledged() {
                self.send_acknowledged(queued, out, now)?;
            } else {
                queued.pending.packet.write(&mut out.bytes)?;
                self.unwritten.push_back((out.end(), queued.pending.answer));
            }
        }
        Ok(())
    }

    fn send_acknowledged(
        &mut self,
        mut queued: Queued,
        out: &mut Outbox,
        now: Instant,
    ) -> Result<(), WireError> {
        let packet_id = match queued.packet_id {
            Some(packet_id) => packet_id,
            None => self.free.pop_front().expect("there is room, so an identifier is free"),
        };
        queued.packet_id = Some(packet_id);
        queued.pending.packet.set_packet_id(packet_id);
        queued.pending.packet.write(&mut out.bytes)?;
        self.order += 1;
        self.sent[usize::from(packet_id) - 1] = Some(Sent { order: self.order, queued });
        self.in_flight += 1;
        self.waiting_since = self.waiting_since.or(Some(now));
        Ok(())
    }

    /// What the broker told it would not take, so that it is not even sent.
    fn beyond_limits(&self, packet: &PublishPacket) -> Option<String> {
        let limits = &self.limits;
        let bytes = packet.bytes() + 2;
        match limits.packet_bytes_max {
            Some(max) if bytes > max as usize => {
                return Some(format!("{bytes} bytes, and the broker takes {max} in a packet"));
            }
            _ => {}
        }
        if limits.retain_unavailable && packet.retain() {
            return Some("the broker retains no messages".to_owned());
        }
        if limits.at_most_once_only && packet.is_acknowledged() {
            return Some("the broker delivers at most once only".to_owned());
        }
        None
    }

    fn acknowledged(
        &mut self,
        packet_id: u16,
        refusal: Option<String>,
        now: Instant,
    ) -> Result<(), WireError> {
        let slot = usize::from(packet_id).checked_sub(1).and_then(|at| self.sent.get_mut(at));
        let Some(Sent { queued, .. }) = slot.and_then(Option::take) else {
            let why = format!("an acknowledgement of {packet_id}, which was not sent");
            return Err(WireError::Malformed(why));
        };
        self.in_flight -= 1;
        self.waiting_since = (self.in_flight > 0).then_some(now);
        let answer = match refusal {
            None => Ok(()),
            Some(reason) => Err(PublishError::Refused { reason }),
        };
        self.forget(queued, answer);
        Ok(())
    }

    fn written(&mut self, position: u64) {
        while let Some((end, _)) = self.unwritten.front()
            && *end <= position
            && let Some((_, to)) = self.unwritten.pop_front()
        {
            self.answer(to, Ok(()));
        }
    }
}

#[cfg(test)]
mod tests;
