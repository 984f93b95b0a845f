//! What all parts of one connection share: the broker, what the peer may do, what is to be
//! written and what is to be done elsewhere. Knows no socket.

use std::sync::Arc;

use twinge_platform::Clock;

use crate::address::{covers, path_of};
use crate::amqp::frame::FRAME_BYTES_MAX;
use crate::amqp::performative::Performative;
use crate::hub::{Hubs, Partition};
use crate::log::FindError;
use crate::mailbox::{Letter, LinkId, LoadError, Mailbox};
use crate::sas::SasKey;
use crate::selector::Start;

/// How many resources one connection may be authorized for at a time.
const SCOPES_MAX: usize = 1_024;

/// The broker as its connections see it.
pub(crate) struct Core {
    pub(crate) hubs: Hubs,
    pub(crate) key: SasKey,
    pub(crate) accept_any_jwt: bool,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Core {
    pub(crate) fn now_s(&self) -> i64 {
        self.clock.now_ms().div_euclid(1_000)
    }
}

pub(crate) struct Context {
    pub(crate) core: Arc<Core>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) access: Access,
    /// Frames to be written.
    pub(crate) out: Vec<u8>,
    /// The largest frame that the peer takes, in bytes.
    pub(crate) peer_frame_bytes_max: usize,
    pub(crate) jobs: Vec<Job>,
    /// Bytes of events that wait to be kept.
    pub(crate) pending_bytes: usize,
    serials: u64,
}

impl Context {
    pub(crate) fn new(core: Arc<Core>, mailbox: Arc<Mailbox>) -> Self {
        Self {
            core,
            mailbox,
            access: Access::default(),
            out: Vec::new(),
            peer_frame_bytes_max: FRAME_BYTES_MAX as usize,
            jobs: Vec::new(),
            pending_bytes: 0,
            serials: 0,
        }
    }

    pub(crate) fn send(&mut self, channel: u16, performative: Performative) {
        performative.encode(channel, &mut self.out);
    }

    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serials += 1;
        self.serials
    }

    pub(crate) fn allows(&self, path: &str) -> bool {
        self.access.allows(path, self.core.now_s())
    }

    /// Whether a token was put for the path, or for anything below it: clients that read a consumer
    /// group ask for the properties of its hub with the group's token.
    pub(crate) fn allows_asking(&self, path: &str) -> bool {
        self.access.allows_asking(path, self.core.now_s())
    }
}

/// What a peer may do.
#[derive(Debug, Default)]
pub(crate) struct Access {
    everything: bool,
    /// Paths with what lies below them, and until when, in seconds since the epoch.
    scopes: Vec<(String, i64)>,
}

impl Access {
    /// After a login with the key itself.
    pub(crate) fn grant_everything(&mut self) {
        self.everything = true;
    }

    /// After a token was put for this name.
    pub(crate) fn grant(&mut self, name: &str, expiry_s: i64) {
        let path = path_of(name);
        self.scopes.retain(|(scope, _)| *scope != path);
        if self.scopes.len() >= SCOPES_MAX {
            self.scopes.remove(0);
        }
        self.scopes.push((path, expiry_s));
    }

    pub(crate) fn allows(&self, path: &str, now_s: i64) -> bool {
        let mut valid = self.scopes.iter().filter(|(_, expiry_s)| *expiry_s > now_s);
        self.everything || valid.any(|(scope, _)| covers(scope, path))
    }

    pub(crate) fn allows_asking(&self, path: &str, now_s: i64) -> bool {
        let mut valid = self.scopes.iter().filter(|(_, expiry_s)| *expiry_s > now_s);
        self.everything || valid.any(|(scope, _)| covers(scope, path) || covers(path, scope))
    }

    pub(crate) fn allows_anything(&self, now_s: i64) -> bool {
        self.everything || self.scopes.iter().any(|(_, expiry_s)| *expiry_s > now_s)
    }
}

/// Work that waits for the disk, to be done on another thread.
pub(crate) enum Job {
    Find { link: LinkId, partition: Arc<Partition>, start: Start },
    Read { link: LinkId, partition: Arc<Partition>, from: u64 },
}

impl Job {
    /// Does the work and puts the result into the mailbox.
    pub(crate) fn run(self, mailbox: &Mailbox) {
        mailbox.put(match self {
            Self::Find { link, partition, start } => {
                Letter::Found { link, result: partition.log.find(start).map_err(load_error) }
            }
            Self::Read { link, partition, from } => {
                let read = partition.log.read(from);
                Letter::Loaded { link, result: read.map_err(|error| load_error(error.into())) }
            }
        });
    }
}

pub(crate) fn load_error(error: FindError) -> LoadError {
    match error {
        FindError::Beyond { .. } => LoadError::Beyond(error.to_string()),
        FindError::Journal(error) => {
            tracing::error!(%error, "events cannot be read");
            LoadError::Failed
        }
    }
}
