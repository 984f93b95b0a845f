//! The links by which a peer sends: events to a hub, requests to a node. Does not know sessions.

use std::sync::Arc;

use crate::amqp::error::{AmqpError, condition};
use crate::amqp::message::Request;
use crate::amqp::performative::{Attach, Transfer};
use crate::context::Context;
use crate::hub::Partition;
use crate::mailbox::{Letter, LinkId, Ticket};
use crate::nodes::RequestNode;
use crate::record::Batch;

/// The longest message, in bytes: as in the standard tier of Event Hubs.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What a message may exceed it by, for clients that do not count all of a message's sections.
const MESSAGE_SLACK_BYTES: usize = 64 << 10;
/// How long a message may be that is ignored to its end; a longer one ends its link.
const IGNORED_BYTES_MAX: usize = 16 << 20;
/// How many messages a peer may send ahead.
pub(crate) const CREDIT: u32 = 1_000;
/// The message format of a batch: its body is messages.
const BATCH_FORMAT: u32 = 0x8001_3700;

/// Where a link leads.
pub(crate) enum Destination {
    /// A hub by its name in lower case, and the partition if the sender chose it.
    Hub {
        name: String,
        partition: Option<Arc<Partition>>,
    },
    Node(RequestNode),
}

/// The broker's end of a link by which a peer sends.
pub(crate) struct Incoming {
    pub(crate) destination: Destination,
    pub(crate) delivery_count: u32,
    pub(crate) credit: u32,
    assembly: Option<Assembly>,
}

/// A delivery of which more frames are to come.
struct Assembly {
    delivery_id: u32,
    message_format: u32,
    settled: bool,
    /// Nothing once it is too long.
    bytes: Vec<u8>,
    length: usize,
}

/// What became of a transfer.
pub(crate) enum Received {
    /// Nothing to tell: more is to come, or the log answers later.
    Pending,
    /// The delivery was taken or refused.
    Decided { delivery_id: u32, settled: bool, result: Result<(), AmqpError> },
    /// A request was answered; its delivery was taken.
    Replied { delivery_id: u32, settled: bool, reply: Reply },
}

/// The answer to a request, and where it wants to go.
pub(crate) struct Reply {
    pub(crate) node: RequestNode,
    pub(crate) address: Option<String>,
    pub(crate) message: Vec<u8>,
}

impl Incoming {
    pub(crate) fn new(destination: Destination, attach: &Attach) -> Self {
        let delivery_count = attach.initial_delivery_count.unwrap_or_default();
        Self { destination, delivery_count, credit: CREDIT, assembly: None }
    }

    /// Takes a frame of a delivery in. An error ends the link.
    ///
    /// A message that is too long is refused when it is over, and the link goes on: fe2o3-amqp
    /// does not see a link detached while it waits for a delivery's outcome, and waits for ever.
    pub(crate) fn receive(
        &mut self,
        link: LinkId,
        transfer: &Transfer,
        payload: &[u8],
        context: &mut Context,
    ) -> Result<Received, AmqpError> {
        let mut assembly = match self.assembly.take() {
            Some(assembly) => assembly,
            None => Assembly::begin(transfer)?,
        };
        assembly.settled |= transfer.settled;
        if transfer.aborted {
            self.count()?;
            return Ok(Received::Pending);
        }
        assembly.length += payload.len();
        if transfer.more {
            assembly.extend(payload)?;
            self.assembly = Some(assembly);
            return Ok(Received::Pending);
        }
        self.count()?;
        if assembly.is_too_long() {
            return assembly.refuse();
        }
        // Most messages are one frame: they are read where they lie.
        let Assembly { mut bytes, delivery_id, message_format, settled, .. } = assembly;
        let message = if bytes.is_empty() {
            payload
        } else {
            bytes.extend_from_slice(payload);
            &bytes
        };
        Ok(self.complete(link, (delivery_id, settled), message_format, message, context))
    }

    fn count(&mut self) -> Result<(), AmqpError> {
        self.delivery_count = self.delivery_count.wrapping_add(1);
        self.credit = self.credit.checked_sub(1).ok_or_else(|| {
            AmqpError::new(condition::TRANSFER_LIMIT, "more was sent than there was credit for")
        })?;
        Ok(())
    }

    fn complete(
        &self,
        link: LinkId,
        (delivery_id, settled): (u32, bool),
        message_format: u32,
        message: &[u8],
        context: &mut Context,
    ) -> Received {
        match &self.destination {
            Destination::Hub { name, partition } => {
                let batch = match Batch::of_message(message, message_format == BATCH_FORMAT) {
                    Ok(batch) => batch,
                    Err(error) => {
                        let error = AmqpError::new(condition::DECODE_ERROR, error.to_string());
                        return Received::Decided { delivery_id, settled, result: Err(error) };
                    }
                };
                let ticket = Ticket { link, delivery_id, settled, bytes: batch.bytes.len() };
                append(name, partition.as_ref(), batch, ticket, context);
                Received::Pending
            }
            Destination::Node(node) => match Request::decode(message) {
                Ok(mut request) => {
                    let address = request.reply_to.take();
                    let message = node.answer(request, context);
                    let reply = Reply { node: *node, address, message };
                    Received::Replied { delivery_id, settled, reply }
                }
                Err(error) => {
                    let error = AmqpError::new(condition::DECODE_ERROR, error.to_string());
                    Received::Decided { delivery_id, settled, result: Err(error) }
                }
            },
        }
    }
}

impl Assembly {
    fn begin(transfer: &Transfer) -> Result<Self, AmqpError> {
        let delivery_id = transfer.delivery_id.ok_or_else(|| {
            AmqpError::new(condition::INVALID_FIELD, "the first transfer has no delivery-id")
        })?;
        Ok(Self {
            delivery_id,
            message_format: transfer.message_format.unwrap_or_default(),
            settled: transfer.settled,
            bytes: Vec::new(),
            length: 0,
        })
    }

    fn is_too_long(&self) -> bool {
        self.length > MESSAGE_BYTES_MAX + MESSAGE_SLACK_BYTES
    }

    fn extend(&mut self, payload: &[u8]) -> Result<(), AmqpError> {
        if self.length > IGNORED_BYTES_MAX {
            return Err(too_long());
        }
        if self.is_too_long() {
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(payload);
        }
        Ok(())
    }

    /// A sender that wants no outcome can only be told by the end of its link.
    fn refuse(&self) -> Result<Received, AmqpError> {
        let Self { delivery_id, settled, .. } = *self;
        if settled {
            return Err(too_long());
        }
        Ok(Received::Decided { delivery_id, settled, result: Err(too_long()) })
    }
}

fn too_long() -> AmqpError {
    let description = format!("the message is longer than {MESSAGE_BYTES_MAX} bytes");
    AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, description)
}

fn append(
    hub: &str,
    partition: Option<&Arc<Partition>>,
    batch: Batch,
    ticket: Ticket,
    context: &mut Context,
) {
    let core = Arc::clone(&context.core);
    let mailbox = Arc::clone(&context.mailbox);
    let hub = core.hubs.hub(hub).expect("links lead to hubs that are there");
    let partition = partition.unwrap_or_else(|| hub.partition_for(batch.key()));
    context.pending_bytes += ticket.bytes;
    let done = move |result| mailbox.put(Letter::Appended { ticket, result });
    partition.log.append(batch, done);
}
