//! Who signs the next document of a channel, and whether what lies there can be built on.

use twinge_trust::{Envelope, Keyring, Role, SigningKey};

use crate::{Channel, ChannelView, Object, Refusal, RegistryError, StorePath};

/// Largest serial that is taken from a document which nobody trusted signed.
pub const UNVERIFIED_SERIAL_MAX: u64 = 1 << 20;

/// Who writes a channel document, on whose word they build, and for how long it holds.
#[derive(Clone, Debug)]
pub struct Author<'a> {
    /// The key that signs.
    pub key: &'a SigningKey,
    /// The keys that are believed in what is there already; it must hold the signing key too.
    pub keyring: &'a Keyring,
    /// The time now, in milliseconds since 1970.
    pub now_ms: i64,
    /// How long the new document is believed, in milliseconds.
    pub lifetime_ms: i64,
    /// What is known of the document that is built on. The storage may hold an old one, and a
    /// signature would make it new again.
    pub known: KnownSerial,
    /// The newest document by a promoter that is known. A retrainer's is not built on where it
    /// repeats an older one, whatever its own serial: a promoter's signature would bring that
    /// champion back.
    pub promoted: Option<Channel>,
}

/// What an author knows of a channel's serial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KnownSerial {
    /// Nothing: whatever genuine document lies there is built on.
    #[default]
    Nothing,
    /// It was seen to be so much.
    AtLeast(u64),
    /// What is to be done was decided on this document, and on no other.
    Exactly(u64),
}

impl KnownSerial {
    pub(crate) fn check(self, path: &StorePath, found: u64) -> Result<(), RegistryError> {
        let path = || path.to_string();
        match self {
            Self::AtLeast(seen) if found < seen => {
                Err(RegistryError::BehindSeen { path: path(), seen, found })
            }
            Self::Exactly(expected) if found != expected => {
                Err(RegistryError::Moved { path: path(), expected, found })
            }
            _ => Ok(()),
        }
    }
}

impl Author<'_> {
    /// Refuses what a device would refuse that saw the newest document by a promoter.
    pub(crate) fn check_promoted(
        &self,
        path: &StorePath,
        view: &ChannelView,
        envelope: &Envelope,
    ) -> Result<(), RegistryError> {
        let Some(promoted) = &self.promoted else { return Ok(()) };
        let path = || path.to_string();
        match view.check_follows(envelope, self.keyring, promoted) {
            Ok(()) => Ok(()),
            Err(Refusal::OlderPromotion { seen, found }) => {
                Err(RegistryError::BehindPromoted { path: path(), seen, found })
            }
            Err(source) => Err(RegistryError::NotGenuine { path: path(), source }),
        }
    }

    /// Signs the next document, and makes sure that a device which holds the current one would
    /// accept it.
    pub(crate) fn issue(
        &self,
        path: &StorePath,
        next: Channel,
        current: Option<&(Envelope, Channel)>,
    ) -> Result<(Channel, Envelope), RegistryError> {
        let next = Channel {
            issued_ms: self.now_ms,
            expires_ms: self.now_ms.saturating_add(self.lifetime_ms),
            endorsement: self.endorsement(&next, current),
            ..next
        };
        let envelope = next.sign(self.key);
        let view = ChannelView::new(next.detector.clone(), next.channel.clone());
        // A newcomer is the device that is hardest to convince.
        view.accept(&envelope, self.keyring, None, self.now_ms)
            .map_err(|source| RegistryError::WouldBeRefused { path: path.to_string(), source })?;
        Ok((next, envelope))
    }

    /// The promoter's document that a retrainer's carries along. One that a promoter signs needs
    /// none, so that endorsements do not nest.
    fn endorsement(
        &self,
        next: &Channel,
        current: Option<&(Envelope, Channel)>,
    ) -> Option<Envelope> {
        let (envelope, current) = current?;
        let promoter = self.keyring.allows(&self.key.key_id(), Role::Promoter);
        let blank = Channel::new(next.detector.clone(), next.channel.clone());
        if promoter || next.same_verdicts(&blank) || !next.same_verdicts(current) {
            return None;
        }
        Some(current.endorsement.clone().unwrap_or_else(|| envelope.clone()))
    }
}

/// The serial of what lies there. A document that nobody trusted signed still shows what devices
/// may have seen, as with a revoked key, unless its serial is made to use them up.
pub(crate) fn serial_of(
    path: &StorePath,
    object: &Object,
    view: &ChannelView,
    author: &Author<'_>,
) -> u64 {
    if let Ok((_, genuine)) = trust_channel(path, object, view, author) {
        return genuine.serial;
    }
    let unverified = read_channel(path, &object.bytes).map_or(0, |(_, channel)| channel.serial);
    if unverified <= UNVERIFIED_SERIAL_MAX { unverified } else { 0 }
}

pub(crate) fn read_channel(
    path: &StorePath,
    bytes: &[u8],
) -> Result<(Envelope, Channel), RegistryError> {
    let envelope = Envelope::from_json(bytes)
        .map_err(|source| RegistryError::Untrusted { path: path.to_string(), source })?;
    let channel = Channel::from_json(envelope.payload_unverified())
        .map_err(|source| RegistryError::MalformedChannel { path: path.to_string(), source })?;
    Ok((envelope, channel))
}

/// The stored document, believed. Signing a step from a forged one would lend it our name.
pub(crate) fn trust_channel(
    path: &StorePath,
    object: &Object,
    view: &ChannelView,
    author: &Author<'_>,
) -> Result<(Envelope, Channel), RegistryError> {
    let (envelope, _) = read_channel(path, &object.bytes)?;
    let channel = view
        .check_genuine(&envelope, author.keyring)
        .map_err(|source| RegistryError::NotGenuine { path: path.to_string(), source })?;
    Ok((envelope, channel))
}
