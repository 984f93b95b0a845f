//! The links by which the broker sends: events of a partition, replies of a node. Does not know
//! how a link came to be.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::amqp::error::{AmqpError, condition};
use crate::amqp::performative::{DeliveryHead, Flow, TRANSFER_HEAD_BYTES, encode_transfer};
use crate::context::{Context, Job};
use crate::hub::Claim;
use crate::mailbox::{LinkId, LoadError};
use crate::nodes::RequestNode;
use crate::record::{Batch, Event};
use crate::selector::Start;

/// How much one link writes before it is another's turn, in bytes.
const TURN_BYTES: usize = 64 << 10;
/// How many replies may wait for a peer that gives no credit.
const REPLIES_MAX: usize = 64;

/// What a session lends to a link that sends.
#[derive(Debug)]
pub(crate) struct SendWindow {
    /// How many more frames the peer takes.
    pub(crate) frames: u32,
    /// The number of the next frame.
    pub(crate) next_outgoing_id: u32,
    /// The number of the next delivery.
    pub(crate) next_delivery_id: u32,
}

/// The broker's end of a link by which it sends.
pub(crate) struct Outgoing {
    id: LinkId,
    settled: bool,
    pub(crate) delivery_count: u32,
    pub(crate) credit: u32,
    drain: bool,
    partial: Option<Partial>,
    pub(crate) supply: Supply,
}

/// A delivery of which some frames are sent.
struct Partial {
    delivery_id: u32,
    message: Vec<u8>,
    sent: usize,
}

/// What a link sends.
pub(crate) enum Supply {
    Events(Events),
    Replies(Replies),
}

/// The events of a partition from some place on.
pub(crate) struct Events {
    claim: Claim,
    position: Position,
    batch: Option<Arc<Batch>>,
    is_loading: bool,
}

#[derive(Debug, Clone, Copy)]
enum Position {
    /// It is being looked for.
    Wanted,
    /// The sequence number of the next event.
    Next(u64),
}

/// The answers of a node to one address.
pub(crate) struct Replies {
    pub(crate) node: RequestNode,
    pub(crate) address: Option<String>,
    queue: VecDeque<Vec<u8>>,
}

impl Outgoing {
    pub(crate) fn new(id: LinkId, settled: bool, supply: Supply) -> Self {
        Self { id, settled, delivery_count: 0, credit: 0, drain: false, partial: None, supply }
    }

    /// Takes the credit that the peer gives.
    pub(crate) fn on_flow(&mut self, flow: &Flow) {
        let Some(credit) = flow.link_credit else { return };
        // The peer counts from what it had seen: what was sent since is used up already.
        let seen = flow.delivery_count.unwrap_or_default();
        let used = self.delivery_count.wrapping_sub(seen);
        self.credit = credit.saturating_sub(used);
        self.drain = flow.drain;
    }

    /// Sends what there is as far as credit, window and this turn allow; returns whether the turn
    /// ended with more to send.
    pub(crate) fn send(&mut self, window: &mut SendWindow, context: &mut Context) -> bool {
        let limit = context.out.len() + TURN_BYTES;
        while window.frames > 0 {
            if context.out.len() >= limit {
                return true;
            }
            if self.partial.is_some() {
                self.send_partial(window, context);
            } else if self.credit == 0 || !self.send_next(window, context) {
                break;
            }
        }
        false
    }

    /// Whether only the session's window keeps this link from sending.
    pub(crate) fn is_waiting_for_window(&self) -> bool {
        self.partial.is_some() || self.credit > 0 && self.has_more()
    }

    fn has_more(&self) -> bool {
        match &self.supply {
            Supply::Events(events) => events.has_more(),
            Supply::Replies(replies) => !replies.queue.is_empty(),
        }
    }

    /// Gives the credit up that the peer wants back once there is nothing to send.
    pub(crate) fn finish_drain(&mut self) -> bool {
        if !self.drain || self.partial.is_some() || self.has_more() {
            return false;
        }
        self.drain = false;
        self.delivery_count = self.delivery_count.wrapping_add(self.credit);
        self.credit = 0;
        true
    }

    fn send_next(&mut self, window: &mut SendWindow, context: &mut Context) -> bool {
        match &mut self.supply {
            Supply::Replies(replies) => match replies.queue.pop_front() {
                Some(message) => {
                    self.begin(message, window);
                    true
                }
                None => false,
            },
            Supply::Events(events) => match events.take(self.id, context) {
                Some((batch, sequence)) => {
                    self.send_event(&batch, sequence, window, context);
                    true
                }
                None => false,
            },
        }
    }

    fn send_event(
        &mut self,
        batch: &Batch,
        sequence: u64,
        window: &mut SendWindow,
        context: &mut Context,
    ) {
        let Some(event) = batch.record(sequence).and_then(Event::parse) else {
            tracing::error!(sequence, "skip an event that another version wrote");
            return;
        };
        if TRANSFER_HEAD_BYTES + event.encoded_bytes_max() > context.peer_frame_bytes_max {
            let mut message = Vec::with_capacity(event.encoded_bytes_max());
            event.encode(sequence, &mut message);
            return self.begin(message, window);
        }
        let head = self.head(window.next_delivery_id);
        encode_transfer(head, false, &mut context.out, |out| event.encode(sequence, out));
        window.count_delivery();
        window.count_frame();
        self.count();
    }

    /// Begins a delivery of as many frames as it takes.
    fn begin(&mut self, message: Vec<u8>, window: &mut SendWindow) {
        self.partial = Some(Partial { delivery_id: window.next_delivery_id, message, sent: 0 });
        window.count_delivery();
        self.count();
    }

    fn send_partial(&mut self, window: &mut SendWindow, context: &mut Context) {
        let Some(mut partial) = self.partial.take() else { return };
        let room = context.peer_frame_bytes_max - TRANSFER_HEAD_BYTES;
        let rest = &partial.message[partial.sent..];
        let part = &rest[..rest.len().min(room)];
        let more = part.len() < rest.len();
        let head = self.head(partial.delivery_id);
        encode_transfer(head, more, &mut context.out, |out| out.extend_from_slice(part));
        partial.sent += part.len();
        window.count_frame();
        if more {
            self.partial = Some(partial);
        }
    }

    fn head(&self, delivery_id: u32) -> DeliveryHead {
        let LinkId { channel, handle, .. } = self.id;
        DeliveryHead { channel, handle, delivery_id, settled: self.settled }
    }

    fn count(&mut self) {
        self.delivery_count = self.delivery_count.wrapping_add(1);
        self.credit -= 1;
    }
}

impl SendWindow {
    fn count_frame(&mut self) {
        self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
        self.frames -= 1;
    }

    fn count_delivery(&mut self) {
        self.next_delivery_id = self.next_delivery_id.wrapping_add(1);
    }
}

impl Events {
    /// A start that only the disk knows is looked for on another thread.
    pub(crate) fn new(
        id: LinkId,
        claim: Claim,
        start: Start,
        context: &mut Context,
    ) -> Result<Self, AmqpError> {
        let position = match start {
            Start::Latest | Start::Sequence(_) => {
                let found = claim.log().find(start);
                Position::Next(found.map_err(|error| out_of_range(error.to_string()))?)
            }
            Start::Offset(_) | Start::EnqueuedMs(_) => {
                let partition = Arc::clone(claim.partition());
                context.jobs.push(Job::Find { link: id, partition, start });
                Position::Wanted
            }
        };
        Ok(Self { claim, position, batch: None, is_loading: false })
    }

    pub(crate) fn on_found(&mut self, result: Result<u64, LoadError>) -> Result<(), AmqpError> {
        self.position = Position::Next(result.map_err(load_error)?);
        Ok(())
    }

    pub(crate) fn on_loaded(&mut self, result: Result<Batch, LoadError>) -> Result<(), AmqpError> {
        self.is_loading = false;
        let batch = result.map_err(load_error)?;
        if let Position::Next(next) = &mut self.position {
            // The events in between are no longer kept.
            *next = batch.first.max(*next);
        }
        self.batch = Some(Arc::new(batch));
        Ok(())
    }

    fn has_more(&self) -> bool {
        match self.position {
            Position::Wanted => true,
            Position::Next(next) => next < self.claim.log().summary().end,
        }
    }

    /// The next event if it is at hand. If it is on the disk it is loaded on another thread.
    fn take(&mut self, id: LinkId, context: &mut Context) -> Option<(Arc<Batch>, u64)> {
        let Position::Next(next) = self.position else { return None };
        let holds_next = |batch: &Arc<Batch>| (batch.first..batch.end()).contains(&next);
        if !self.batch.as_ref().is_some_and(holds_next) {
            self.batch = self.claim.log().recent(next);
        }
        let Some(batch) = &self.batch else {
            if !self.is_loading && self.has_more() {
                self.is_loading = true;
                let partition = Arc::clone(self.claim.partition());
                context.jobs.push(Job::Read { link: id, partition, from: next });
            }
            return None;
        };
        self.position = Position::Next(next + 1);
        Some((Arc::clone(batch), next))
    }
}

fn load_error(error: LoadError) -> AmqpError {
    match error {
        LoadError::Beyond(description) => out_of_range(description),
        LoadError::Failed => AmqpError::new(
            condition::INTERNAL_ERROR,
            "the partition cannot be read: see the broker's log",
        ),
    }
}

fn out_of_range(description: String) -> AmqpError {
    AmqpError::new(condition::OUT_OF_RANGE, description)
}

impl Replies {
    pub(crate) fn new(node: RequestNode, address: Option<String>) -> Self {
        Self { node, address, queue: VecDeque::new() }
    }

    /// Queues a reply; refuses it when the peer takes none.
    pub(crate) fn push(&mut self, message: Vec<u8>) -> Result<(), AmqpError> {
        if self.queue.len() >= REPLIES_MAX {
            let description = "too many replies wait for credit";
            return Err(AmqpError::new(condition::RESOURCE_LIMIT, description));
        }
        self.queue.push_back(message);
        Ok(())
    }
}
