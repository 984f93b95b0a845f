//! The sessions of an open connection: what comes in for each, and whose turn it is to send.

use super::{CHANNEL_MAX, Connection, OUT_BYTES_WANTED};
use crate::amqp::error::{AmqpError, condition};
use crate::amqp::performative::{Begin, Performative};
use crate::incoming::Reply;
use crate::mailbox::Letter;
use crate::session::{Fault, Session};

impl Connection {
    pub(super) fn on_session_frame(
        &mut self,
        channel: u16,
        performative: Performative,
        payload: &[u8],
    ) -> Result<(), Fault> {
        if let Performative::Begin(begin) = performative {
            return self.on_begin(channel, &begin);
        }
        if self.ending.contains(&channel) {
            if matches!(performative, Performative::End(_)) {
                self.ending.remove(&channel);
                self.ended.insert(channel);
            }
            return Ok(());
        }
        let Some(session) = self.sessions.get_mut(&channel) else {
            if self.ended.contains(&channel) {
                return Ok(());
            }
            let description = format!("there is no session on the channel {channel}");
            return Err(Fault::Connection(AmqpError::new(condition::NOT_ALLOWED, description)));
        };
        let context = &mut self.context;
        match performative {
            Performative::Attach(attach) => session.on_attach(*attach, context),
            Performative::Detach(detach) => session.on_detach(&detach, context),
            Performative::Flow(flow) => session.on_flow(&flow, context),
            Performative::Disposition(disposition) => {
                session.on_disposition(disposition, context);
                Ok(())
            }
            Performative::Transfer(transfer) => {
                let reply = session.on_transfer(&transfer, payload, context)?;
                if let Some(reply) = reply {
                    self.deliver_reply(channel, reply);
                }
                Ok(())
            }
            Performative::End(_) => {
                self.sessions.remove(&channel);
                self.ended.insert(channel);
                self.context.send(channel, Performative::End(None));
                Ok(())
            }
            Performative::Begin(_) | Performative::Open(_) | Performative::Close(_) => Ok(()),
        }
    }

    pub(super) fn on_begin(&mut self, channel: u16, begin: &Begin) -> Result<(), Fault> {
        let refused = |condition, description: String| {
            Err(Fault::Connection(AmqpError::new(condition, description)))
        };
        if channel > CHANNEL_MAX {
            let description = format!("the channel {channel} is above {CHANNEL_MAX}");
            return refused(condition::FRAMING_ERROR, description);
        }
        if self.sessions.contains_key(&channel) || self.ending.contains(&channel) {
            let description = format!("the channel {channel} has a session");
            return refused(condition::NOT_ALLOWED, description);
        }
        self.ended.remove(&channel);
        let session = Session::begin(channel, begin, &mut self.context);
        self.sessions.insert(channel, session);
        Ok(())
    }

    /// The session of the request comes first; one that no link wants is dropped.
    pub(super) fn deliver_reply(&mut self, channel: u16, reply: Reply) {
        let own = self.sessions.get_mut(&channel);
        let mut reply = match own {
            Some(session) => session.take_reply(reply, &mut self.context),
            None => Some(reply),
        };
        for session in self.sessions.values_mut() {
            if let Some(unsent) = reply.take() {
                reply = session.take_reply(unsent, &mut self.context);
            }
        }
        if reply.is_some() {
            tracing::debug!("a request has no link for its reply");
        }
    }

    pub(super) fn on_fault(&mut self, channel: u16, fault: Fault) {
        match fault {
            Fault::Connection(error) => self.fail(error),
            Fault::Session(error) => {
                tracing::info!(
                    channel,
                    condition = error.condition,
                    reason = error.description,
                    "a session was ended"
                );
                self.sessions.remove(&channel);
                self.ending.insert(channel);
                self.context.send(channel, Performative::End(Some(error)));
            }
            Fault::Link(handle, error) => {
                tracing::info!(
                    channel,
                    handle,
                    condition = error.condition,
                    reason = error.description,
                    "a link was detached"
                );
                if let Some(session) = self.sessions.get_mut(&channel) {
                    session.detach(handle, error, &mut self.context);
                }
            }
        }
    }

    pub(super) fn on_letter(&mut self, letter: Letter) {
        let link = match &letter {
            Letter::Appended { ticket, .. } => {
                self.context.pending_bytes -= ticket.bytes;
                ticket.link
            }
            Letter::Found { link, .. }
            | Letter::Loaded { link, .. }
            | Letter::Displaced { link } => *link,
        };
        if let Some(session) = self.sessions.get_mut(&link.channel) {
            session.on_letter(letter, &mut self.context);
        }
    }

    /// Lets each session send in turn; returns whether one has more at hand.
    pub(super) fn send_events(&mut self) -> bool {
        let after = self.sessions.range(self.turn..).chain(self.sessions.range(..self.turn));
        let channels: Vec<_> = after.map(|(channel, _)| *channel).collect();
        let mut has_more = false;
        for channel in channels {
            if let Some(session) = self.sessions.get_mut(&channel)
                && session.send_events(&mut self.context)
            {
                has_more = true;
                if self.context.out.len() >= OUT_BYTES_WANTED {
                    self.turn = channel.wrapping_add(1);
                    break;
                }
            }
        }
        has_more
    }
}
