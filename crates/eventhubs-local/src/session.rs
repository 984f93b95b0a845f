//! A session: the links on one channel, their windows, and what is settled. Pure: frames come in,
//! frames and jobs go out through the [`Context`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::address::{Node, path_of};
use crate::amqp::error::{AmqpError, condition};
use crate::amqp::performative::{
    Attach, Begin, Detach, Disposition, Flow, Performative, Role, SenderSettles, Terminus,
    Transfer, accepted, rejected,
};
use crate::amqp::value::Value;
use crate::context::Context;
use crate::hub::{Claim, ClaimError};
use crate::incoming::{CREDIT, Destination, Incoming, MESSAGE_BYTES_MAX, Received, Reply};
use crate::log::AppendError;
use crate::mailbox::{Letter, LinkId, Ticket};
use crate::nodes::RequestNode;
use crate::outgoing::{Events, Outgoing, Replies, SendWindow, Supply};
use crate::selector::{self, Start};

/// The highest handle a peer may use. Not the default: Python's client needs to be told one.
pub(crate) const HANDLE_MAX: u32 = 255;
/// How many frames a peer may send ahead.
const WINDOW: u32 = 8_192;
/// Event Hubs' selectors travel under this name.
const SELECTOR_FILTER: &str = "apache.org:selector-filter:string";
const EPOCH: &str = "com.microsoft:epoch";

/// What ends by a mistake of the peer.
#[derive(Debug)]
pub(crate) enum Fault {
    Connection(AmqpError),
    Session(AmqpError),
    Link(u32, AmqpError),
}

pub(crate) struct Session {
    channel: u16,
    next_incoming_id: u32,
    incoming_window: u32,
    send: SendWindow,
    /// The peer was asked for its window and did not answer yet.
    is_window_asked: bool,
    links: BTreeMap<u32, Link>,
    /// Deliveries that were taken and are to be settled.
    taken: Vec<u32>,
    /// The link whose turn it is to send.
    turn: u32,
}

struct Link {
    id: LinkId,
    end: End,
}

/// The broker's end of a link.
enum End {
    Incoming(Incoming),
    Outgoing(Outgoing),
    /// Detached by the broker; the peer's answer is awaited, and what it sent before is ignored.
    Detached,
}

impl Session {
    /// Begins the session that a peer asks for.
    pub(crate) fn begin(channel: u16, begin: &Begin, context: &mut Context) -> Self {
        let answer = Begin {
            remote_channel: Some(channel),
            next_outgoing_id: 0,
            incoming_window: WINDOW,
            outgoing_window: u32::MAX >> 1,
            handle_max: HANDLE_MAX,
        };
        context.send(channel, Performative::Begin(answer));
        Self {
            channel,
            next_incoming_id: begin.next_outgoing_id,
            incoming_window: WINDOW,
            send: SendWindow {
                frames: begin.incoming_window,
                next_outgoing_id: 0,
                next_delivery_id: 0,
            },
            is_window_asked: false,
            links: BTreeMap::new(),
            taken: Vec::new(),
            turn: 0,
        }
    }

    pub(crate) fn on_attach(&mut self, attach: Attach, context: &mut Context) -> Result<(), Fault> {
        let handle = attach.handle;
        if handle > HANDLE_MAX {
            let description = format!("the handle {handle} is above {HANDLE_MAX}");
            return Err(Fault::Connection(AmqpError::new(condition::FRAMING_ERROR, description)));
        }
        if self.links.get(&handle).is_some_and(|link| !matches!(link.end, End::Detached)) {
            let description = format!("the handle {handle} has a link");
            return Err(Fault::Session(AmqpError::new(condition::HANDLE_IN_USE, description)));
        }
        let id = LinkId { channel: self.channel, handle, serial: context.next_serial() };
        let end = match attach.role {
            Role::Sender => open_incoming(&attach, context).map(End::Incoming),
            Role::Receiver => open_outgoing(id, &attach, context).map(End::Outgoing),
        };
        match end {
            Ok(end) => self.accept(id, end, attach, context),
            Err(error) => self.refuse(id, attach, error, context),
        }
        Ok(())
    }

    fn accept(&mut self, id: LinkId, end: End, attach: Attach, context: &mut Context) {
        let is_incoming = matches!(end, End::Incoming(_));
        context.send(self.channel, Performative::Attach(Box::new(answer_to(attach))));
        self.links.insert(id.handle, Link { id, end });
        if is_incoming {
            self.send_link_flow(id.handle, false, context);
        }
    }

    /// A refused link is attached without the terminus that cannot be, and detached at once: so
    /// the specification wants it, and both SDKs read the error from the detach.
    fn refuse(&mut self, id: LinkId, attach: Attach, error: AmqpError, context: &mut Context) {
        tracing::info!(
            link = attach.name,
            condition = error.condition,
            reason = error.description,
            "a link was refused"
        );
        let mut answer = answer_to(attach);
        match answer.role {
            Role::Receiver => answer.target = Terminus::NONE,
            Role::Sender => answer.source = Terminus::NONE,
        }
        context.send(self.channel, Performative::Attach(Box::new(answer)));
        self.links.insert(id.handle, Link { id, end: End::Detached });
        self.send_detach(id.handle, error, context);
    }

    pub(crate) fn on_detach(
        &mut self,
        detach: &Detach,
        context: &mut Context,
    ) -> Result<(), Fault> {
        let Detach { handle, closed, .. } = *detach;
        let link = self.links.remove(&handle).ok_or_else(|| unattached(handle))?;
        if !matches!(link.end, End::Detached) {
            let answer = Detach { handle, closed, error: None };
            context.send(self.channel, Performative::Detach(answer));
        }
        Ok(())
    }

    /// Ends one link by the broker.
    pub(crate) fn detach(&mut self, handle: u32, error: AmqpError, context: &mut Context) {
        if let Some(link) = self.links.get_mut(&handle)
            && !matches!(link.end, End::Detached)
        {
            link.end = End::Detached;
            self.send_detach(handle, error, context);
        }
    }

    fn send_detach(&self, handle: u32, error: AmqpError, context: &mut Context) {
        let detach = Detach { handle, closed: true, error: Some(error) };
        context.send(self.channel, Performative::Detach(detach));
    }

    pub(crate) fn on_transfer(
        &mut self,
        transfer: &Transfer,
        payload: &[u8],
        context: &mut Context,
    ) -> Result<Option<Reply>, Fault> {
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        self.incoming_window = self.incoming_window.saturating_sub(1);
        if self.incoming_window < WINDOW / 2 {
            self.incoming_window = WINDOW;
            let flow = self.flow();
            context.send(self.channel, Performative::Flow(flow));
        }
        let handle = transfer.handle;
        let link = self.links.get_mut(&handle).ok_or_else(|| unattached(handle))?;
        let received = match &mut link.end {
            End::Incoming(incoming) => incoming.receive(link.id, transfer, payload, context),
            End::Outgoing(_) => {
                Err(AmqpError::new(condition::NOT_ALLOWED, "this link's receiver may not send"))
            }
            End::Detached => return Ok(None),
        };
        let received = received.map_err(|error| Fault::Link(handle, error))?;
        if let End::Incoming(Incoming { credit, .. }) = &mut link.end
            && *credit < CREDIT / 2
        {
            *credit = CREDIT;
            self.send_link_flow(handle, false, context);
        }
        Ok(self.on_received(received, context))
    }

    fn on_received(&mut self, received: Received, context: &mut Context) -> Option<Reply> {
        match received {
            Received::Pending => None,
            Received::Decided { delivery_id, settled, result } => {
                if !settled {
                    self.settle(delivery_id, result, context);
                }
                None
            }
            Received::Replied { delivery_id, settled, reply } => {
                if !settled {
                    self.settle(delivery_id, Ok(()), context);
                }
                Some(reply)
            }
        }
    }

    fn settle(&mut self, delivery_id: u32, result: Result<(), AmqpError>, context: &mut Context) {
        match result {
            Ok(()) => self.taken.push(delivery_id),
            Err(error) => {
                self.send_disposition(delivery_id, None, rejected(&error), context);
            }
        }
    }

    /// Settles all deliveries that were taken, a range at a time.
    pub(crate) fn send_settlements(&mut self, context: &mut Context) {
        let mut taken = std::mem::take(&mut self.taken);
        taken.sort_unstable();
        for range in taken.chunk_by(|one, next| next.wrapping_sub(*one) == 1) {
            let (first, last) = (range[0], range[range.len() - 1]);
            self.send_disposition(first, (last > first).then_some(last), accepted(), context);
        }
        taken.clear();
        self.taken = taken;
    }

    fn send_disposition(&self, first: u32, last: Option<u32>, state: Value, context: &mut Context) {
        let disposition = Disposition { role: Role::Receiver, first, last, settled: true, state };
        context.send(self.channel, Performative::Disposition(disposition));
    }

    /// Events are never sent again, so nothing is remembered of a delivery. A receiver that wants
    /// to hear that it is settled is told so.
    pub(crate) fn on_disposition(&mut self, disposition: Disposition, context: &mut Context) {
        if disposition.role == Role::Receiver && !disposition.settled {
            let answer = Disposition { role: Role::Sender, settled: true, ..disposition };
            context.send(self.channel, Performative::Disposition(answer));
        }
    }

    pub(crate) fn on_flow(&mut self, flow: &Flow, context: &mut Context) -> Result<(), Fault> {
        self.next_incoming_id = flow.next_outgoing_id;
        let seen = flow.next_incoming_id.unwrap_or_default();
        let under_way = self.send.next_outgoing_id.wrapping_sub(seen);
        self.send.frames = flow.incoming_window.saturating_sub(under_way);
        self.is_window_asked = false;
        let Some(handle) = flow.handle else {
            if flow.echo {
                let answer = self.flow();
                context.send(self.channel, Performative::Flow(answer));
            }
            return Ok(());
        };
        let link = self.links.get_mut(&handle).ok_or_else(|| unattached(handle))?;
        if let End::Outgoing(outgoing) = &mut link.end {
            outgoing.on_flow(flow);
        }
        if flow.echo && !matches!(link.end, End::Detached) {
            self.send_link_flow(handle, false, context);
        }
        Ok(())
    }

    fn flow(&self) -> Flow {
        Flow {
            next_incoming_id: Some(self.next_incoming_id),
            incoming_window: self.incoming_window,
            next_outgoing_id: self.send.next_outgoing_id,
            outgoing_window: u32::MAX >> 1,
            ..Flow::default()
        }
    }

    fn send_link_flow(&mut self, handle: u32, echo: bool, context: &mut Context) {
        let Some(link) = self.links.get(&handle) else { return };
        let (delivery_count, credit, available) = match &link.end {
            End::Incoming(incoming) => (incoming.delivery_count, incoming.credit, None),
            End::Outgoing(outgoing) => (outgoing.delivery_count, outgoing.credit, Some(0)),
            End::Detached => return,
        };
        let flow = Flow {
            handle: Some(handle),
            delivery_count: Some(delivery_count),
            link_credit: Some(credit),
            available,
            echo,
            ..self.flow()
        };
        context.send(self.channel, Performative::Flow(flow));
    }

    /// Lets each link send in turn; returns whether one has more at hand.
    pub(crate) fn send_events(&mut self, context: &mut Context) -> bool {
        let after = self.links.range(self.turn..).chain(self.links.range(..self.turn));
        let handles: Vec<_> = after
            .filter(|(_, link)| matches!(link.end, End::Outgoing(_)))
            .map(|(handle, _)| *handle)
            .collect();
        let mut has_more = false;
        for handle in handles {
            let Some(Link { end: End::Outgoing(outgoing), .. }) = self.links.get_mut(&handle)
            else {
                continue;
            };
            if outgoing.send(&mut self.send, context) {
                self.turn = handle.wrapping_add(1);
                has_more = true;
            }
            if outgoing.finish_drain() {
                self.send_drained(handle, context);
            }
        }
        if self.send.frames == 0 {
            self.ask_for_window(context);
        }
        has_more
    }

    fn send_drained(&mut self, handle: u32, context: &mut Context) {
        let Some(Link { end: End::Outgoing(outgoing), .. }) = self.links.get(&handle) else {
            return;
        };
        let flow = Flow {
            handle: Some(handle),
            delivery_count: Some(outgoing.delivery_count),
            link_credit: Some(0),
            available: Some(0),
            drain: true,
            ..self.flow()
        };
        context.send(self.channel, Performative::Flow(flow));
    }

    /// Rust's client tells its window only together with new credit, which it gives after half of
    /// what it gave before: with large messages the window is used up earlier.
    fn ask_for_window(&mut self, context: &mut Context) {
        let waiting = self.links.iter().find(|(_, link)| match &link.end {
            End::Outgoing(outgoing) => outgoing.is_waiting_for_window(),
            _ => false,
        });
        if let Some((handle, _)) = waiting
            && !self.is_window_asked
        {
            self.is_window_asked = true;
            self.send_link_flow(*handle, true, context);
        }
    }

    /// Hands a reply to the link that its request named, or to the only one there is: Python's
    /// client names none.
    pub(crate) fn take_reply(&mut self, reply: Reply, context: &mut Context) -> Option<Reply> {
        let is_for = |link: &&mut Link, exactly: bool| match &link.end {
            End::Outgoing(Outgoing { supply: Supply::Replies(replies), .. }) => {
                replies.node == reply.node && (!exactly || replies.address == reply.address)
            }
            _ => false,
        };
        let exact = self.links.values_mut().find(|link| is_for(link, true)).map(|link| link.id);
        let any = self.links.values_mut().find(|link| is_for(link, false)).map(|link| link.id);
        let Some(LinkId { handle, .. }) = exact.or(any) else { return Some(reply) };
        if let Some(Link { end: End::Outgoing(outgoing), .. }) = self.links.get_mut(&handle)
            && let Supply::Replies(replies) = &mut outgoing.supply
            && let Err(error) = replies.push(reply.message)
        {
            self.detach(handle, error, context);
        }
        None
    }

    pub(crate) fn on_letter(&mut self, letter: Letter, context: &mut Context) {
        match letter {
            Letter::Appended { ticket, result } => self.on_appended(ticket, result, context),
            Letter::Found { link, result } => {
                self.with_events(link, context, |events| events.on_found(result));
            }
            Letter::Loaded { link, result } => {
                self.with_events(link, context, |events| events.on_loaded(result));
            }
            Letter::Displaced { link } => {
                let description = "a receiver with an epoch took the place of this one";
                let stolen = AmqpError::new(condition::STOLEN, description);
                self.with_events(link, context, |_| Err(stolen));
            }
        }
    }

    fn on_appended(
        &mut self,
        ticket: Ticket,
        result: Result<(), AppendError>,
        context: &mut Context,
    ) {
        let is_there =
            self.links.get(&ticket.link.handle).is_some_and(|link| link.id == ticket.link);
        if ticket.settled || !is_there {
            return;
        }
        let result = result.map_err(|error| {
            let condition = match error {
                AppendError::Busy => condition::SERVER_BUSY,
                AppendError::Failed => condition::INTERNAL_ERROR,
            };
            AmqpError::new(condition, error.to_string())
        });
        self.settle(ticket.delivery_id, result, context);
    }

    fn with_events(
        &mut self,
        id: LinkId,
        context: &mut Context,
        act: impl FnOnce(&mut Events) -> Result<(), AmqpError>,
    ) {
        if let Some(link) = self.links.get_mut(&id.handle).filter(|link| link.id == id)
            && let End::Outgoing(Outgoing { supply: Supply::Events(events), .. }) = &mut link.end
            && let Err(error) = act(events)
        {
            self.detach(id.handle, error, context);
        }
    }
}

fn unattached(handle: u32) -> Fault {
    let description = format!("there is no link with the handle {handle}");
    Fault::Session(AmqpError::new(condition::UNATTACHED_HANDLE, description))
}

/// The broker's half of a link: the same handle, the other role, and what the peer asked for.
fn answer_to(attach: Attach) -> Attach {
    let (role, initial_delivery_count, message_bytes_max) = match attach.role {
        Role::Sender => (Role::Receiver, None, Some(MESSAGE_BYTES_MAX as u64)),
        Role::Receiver => (Role::Sender, Some(0), Some(MESSAGE_BYTES_MAX as u64)),
    };
    Attach { role, initial_delivery_count, message_bytes_max, properties: Vec::new(), ..attach }
}

fn open_incoming(attach: &Attach, context: &Context) -> Result<Incoming, AmqpError> {
    let address = attach.target.address().unwrap_or_default();
    let path = path_of(address);
    let destination = match Node::parse(&path) {
        Some(Node::Cbs) => Destination::Node(RequestNode::Cbs),
        Some(Node::Management) => {
            check_any_access(context)?;
            Destination::Node(RequestNode::Management)
        }
        Some(Node::Hub { hub: name, partition }) => {
            check_access(&path, context)?;
            let hub = context.core.hubs.hub(&name).ok_or_else(|| not_found(address))?;
            let partition = match partition {
                Some(number) => {
                    Some(Arc::clone(hub.partition(&number).ok_or_else(|| not_found(address))?))
                }
                None => None,
            };
            Destination::Hub { name, partition }
        }
        _ => return Err(not_found(address)),
    };
    Ok(Incoming::new(destination, attach))
}

fn open_outgoing(
    id: LinkId,
    attach: &Attach,
    context: &mut Context,
) -> Result<Outgoing, AmqpError> {
    let address = attach.source.address().unwrap_or_default();
    let path = path_of(address);
    let reply_address = attach.target.address().map(str::to_owned);
    let replies = |node| Supply::Replies(Replies::new(node, reply_address));
    let supply = match Node::parse(&path) {
        Some(Node::Cbs) => replies(RequestNode::Cbs),
        Some(Node::Management) => {
            check_any_access(context)?;
            replies(RequestNode::Management)
        }
        Some(Node::Partition { hub, group, partition }) => {
            check_access(&path, context)?;
            let core = Arc::clone(&context.core);
            let hub = core.hubs.hub(&hub).ok_or_else(|| not_found(address))?;
            let partition = hub.partition(&partition).ok_or_else(|| not_found(address))?;
            let start = start_of(attach)?;
            let epoch = epoch_of(attach)?;
            let mailbox = Arc::clone(&context.mailbox);
            let displace = move || mailbox.put(Letter::Displaced { link: id });
            let claim = Claim::take(partition, &group, epoch, context.mailbox.bell(), displace);
            let claim = claim.map_err(claim_error)?;
            Supply::Events(Events::new(id, claim, start, context)?)
        }
        _ => return Err(not_found(address)),
    };
    Ok(Outgoing::new(id, attach.sender_settles == SenderSettles::Settled, supply))
}

fn start_of(attach: &Attach) -> Result<Start, AmqpError> {
    let is_selector = |(name, value): &&(Value, Value)| {
        name.text() == Some(SELECTOR_FILTER) || is_named(value, SELECTOR_FILTER)
    };
    let Some((_, value)) = attach.source.filters().iter().find(is_selector) else {
        // Event Hubs starts a receiver without a filter at the beginning.
        return Ok(Start::Offset(0));
    };
    let invalid = |description| AmqpError::new(condition::INVALID_FIELD, description);
    let selector = value.undescribed().text();
    let selector = selector.ok_or_else(|| invalid("the selector is no string".to_owned()))?;
    selector::parse(selector).map_err(invalid)
}

fn is_named(value: &Value, name: &str) -> bool {
    match value {
        Value::Described(descriptor, _) => descriptor.text() == Some(name),
        _ => false,
    }
}

fn epoch_of(attach: &Attach) -> Result<Option<i64>, AmqpError> {
    let epoch = attach.properties.iter().find(|(name, _)| name.text() == Some(EPOCH));
    let Some((_, epoch)) = epoch.filter(|(_, epoch)| *epoch != Value::Null) else {
        return Ok(None);
    };
    match epoch.integer() {
        Some(epoch) if epoch >= 0 => Ok(Some(epoch)),
        _ => Err(AmqpError::new(condition::INVALID_FIELD, "the epoch is no number from 0 upwards")),
    }
}

fn claim_error(error: ClaimError) -> AmqpError {
    let condition = match error {
        ClaimError::Epoch { .. } => condition::STOLEN,
        ClaimError::Full => condition::RESOURCE_LIMIT,
    };
    AmqpError::new(condition, error.to_string())
}

fn check_access(path: &str, context: &Context) -> Result<(), AmqpError> {
    if context.allows(path) {
        return Ok(());
    }
    let description = format!("no token was put for {path:?}");
    Err(AmqpError::new(condition::UNAUTHORIZED, description))
}

fn check_any_access(context: &Context) -> Result<(), AmqpError> {
    if context.access.allows_anything(context.core.now_s()) {
        return Ok(());
    }
    Err(AmqpError::new(condition::UNAUTHORIZED, "no token was put"))
}

fn not_found(address: &str) -> AmqpError {
    AmqpError::new(condition::NOT_FOUND, format!("there is no messaging entity {address:?}"))
}
