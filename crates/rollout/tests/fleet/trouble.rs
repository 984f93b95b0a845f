//! What comes over a fleet: spans in which a part of it is cut off, lied to or in an incident.

use super::random::Random;

/// A span of time, and a part of the fleet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    ends_at: u32,
    salt: u64,
    /// Of 65,536 devices.
    share: u64,
}

impl Trouble {
    pub(crate) fn begin(tick: u32, minutes: u64, share: f64, random: &mut Random) -> Self {
        let (salt, share) = (random.next(), (share * 65_536.0) as u64);
        Self { ends_at: tick + minutes as u32, salt, share }
    }

    pub(crate) fn is_on(&self, tick: u32) -> bool {
        tick < self.ends_at
    }

    pub(crate) fn hits(&self, device: usize, tick: u32) -> bool {
        self.is_on(tick) && Random::new(self.salt ^ device as u64).next() >> 48 < self.share
    }
}
