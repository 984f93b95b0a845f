//! Whether a device believes a channel document: what it has accepted so far, and the checks on
//! what comes next.
//!
//! They are those of The Update Framework (<https://theupdateframework.github.io/specification/>)
//! against rollback, freeze and mix-and-match. Pure: the time is passed in, the keyring and what
//! was seen too. A refusal is never a reason to stop: what runs goes on running.

use serde::{Deserialize, Serialize};
use twinge_trust::{Envelope, KeyId, Keyring, Role, TrustError};

use crate::{Channel, Name};

/// What a device holds of one channel. It is kept on disk beside [`LastSeen`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelView {
    detector: Name,
    channel: Name,
    accepted: Option<Channel>,
}

/// The newest serial and the latest time that a device has seen; neither ever goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeen {
    /// The serial of the newest document accepted.
    pub serial: u64,
    /// The latest time that it was when one was accepted, in milliseconds since 1970.
    pub time_ms: i64,
    /// The serial of the newest document by a promoter that was believed, itself or carried along.
    #[serde(default)]
    pub promoted: u64,
}

/// Largest step from one serial to the next that is believed: whoever may sign documents must not
/// use up all serials with one.
const SERIAL_STEP_MAX: u64 = 1 << 32;

/// A clock that went back by no more than this, in milliseconds, is waited for. One that went back
/// by more may have been ahead before, and must not shut out what is newer for as long as that.
const CLOCK_WAIT_MS_MAX: i64 = 3_600_000;

/// A document that is believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The document.
    pub channel: Channel,
    /// What to remember from now on; durable before the document is acted on.
    pub last_seen: LastSeen,
    /// The key that signed.
    pub key_id: KeyId,
    /// The role in which it was believed.
    pub role: Role,
}

/// A document whose signatures were checked, and nothing else yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    channel: Channel,
    /// The promoter's document that it carries, if that is genuine.
    endorsed: Option<Channel>,
    key_id: KeyId,
    role: Role,
}

/// Why a document is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No trusted key that may sign channels signed it.
    #[error("accept channel: no key trusted for channels signed it")]
    Untrusted(#[source] TrustError),
    /// The signed payload is not a channel.
    #[error("accept channel: the signed payload is not a channel this version understands")]
    Malformed(#[source] serde_json::Error),
    /// It belongs elsewhere.
    #[error("accept channel: expected {expected}, found a document of {found}; check the address")]
    OtherChannel {
        /// The detector and channel wanted.
        expected: String,
        /// The detector and channel it speaks of.
        found: String,
    },
    /// The clock shows an earlier time than before, so that expiry cannot be judged.
    #[error("accept channel: it is {now_ms} ms, but {seen_ms} ms was seen before; set the clock")]
    ClockSetBack {
        /// The latest time seen.
        seen_ms: i64,
        /// The time now.
        now_ms: i64,
    },
    /// It is older than what was accepted.
    #[error("accept channel: serial {found} is behind {seen}; somebody serves an old document")]
    SerialWentBack {
        /// The newest serial seen.
        seen: u64,
        /// The serial of the document.
        found: u64,
    },
    /// Its serial is so far ahead that somebody is using them up.
    #[error(
        "accept channel: serial {found} is too far ahead of {seen}; have a promoter restate it"
    )]
    SerialJumped {
        /// The newest serial seen.
        seen: u64,
        /// The serial of the document.
        found: u64,
    },
    /// It differs from the document of the same serial that was accepted.
    #[error("accept channel: serial {serial} was given to two documents; publish a new one")]
    SerialReused {
        /// The serial of both.
        serial: u64,
    },
    /// Nobody renewed it in time.
    #[error("accept channel: it expired {} ago; renew the channel", span(.now_ms - .expires_ms))]
    Expired {
        /// When it expired.
        expires_ms: i64,
        /// The time now.
        now_ms: i64,
    },
    /// A retrainer changed what only a promoter may change.
    #[error(
        "accept channel: serial {serial} changes what acts or how that is decided, and key \
         {key_id} signs for shadow only; have a promoter sign it"
    )]
    NotPromoted {
        /// The serial of the document.
        serial: u64,
        /// The key that signed.
        key_id: KeyId,
    },
    /// What acts by it is what a promoter chose before the newest choice that is known.
    #[error(
        "accept channel: what acts by it was chosen by serial {found}, and {seen} came since; have \
         a promoter restate it"
    )]
    OlderPromotion {
        /// The serial of the newest document by a promoter that is known.
        seen: u64,
        /// The serial of the promoter's document in it; zero where there is none.
        found: u64,
    },
}

impl ChannelView {
    /// The view of a device that has accepted nothing yet.
    pub fn new(detector: Name, channel: Name) -> Self {
        Self { detector, channel, accepted: None }
    }

    /// The document that holds at present.
    pub fn current(&self) -> Option<&Channel> {
        self.accepted.as_ref()
    }

    /// The view after a document was accepted.
    #[must_use]
    pub fn after(&self, accepted: &Accepted) -> Self {
        Self { accepted: Some(accepted.channel.clone()), ..self.clone() }
    }

    /// Whether a document is believed at `now_ms`, in milliseconds since 1970.
    ///
    /// A promoter may change everything. A retrainer's document must leave as they were accepted
    /// champion, history, sensitivity, policy, and a challenger that acts, or carry the promoter's
    /// newer document that made them so. The same document again is accepted again.
    pub fn accept(
        &self,
        new: &Envelope,
        keyring: &Keyring,
        last_seen: Option<LastSeen>,
        now_ms: i64,
    ) -> Result<Accepted, Refusal> {
        self.judge(&self.open(new, keyring)?, last_seen, now_ms)
    }

    /// The first half of [`accept`](Self::accept): everything that depends on keys and not on
    /// what this device has seen.
    pub fn open(&self, envelope: &Envelope, keyring: &Keyring) -> Result<Opened, Refusal> {
        let roles = [Role::Promoter, Role::Retrainer];
        let (channel, key_id, role) = self.read(envelope, keyring, &roles)?;
        let endorsed = channel
            .endorsement
            .as_ref()
            .and_then(|endorsement| self.read(endorsement, keyring, &[Role::Promoter]).ok())
            .map(|(channel, ..)| channel);
        Ok(Opened { channel, endorsed, key_id, role })
    }

    /// The second half: everything that depends on what this device has seen, and on the time.
    ///
    /// Where the clock shows less than was seen before, nobody can tell which of the two was wrong.
    /// Then only a document that is newer than the one accepted is believed, and only if it would
    /// be at both times: it takes the device forward whichever was right. Whatever lies there
    /// otherwise, the same document too, is refused and told, so that nobody keeps a device where
    /// it is by turning its clock back.
    pub fn judge(
        &self,
        opened: &Opened,
        last_seen: Option<LastSeen>,
        now_ms: i64,
    ) -> Result<Accepted, Refusal> {
        let seen_ms = last_seen.map_or(now_ms, |seen| seen.time_ms);
        let is_waited_for = seen_ms.saturating_sub(now_ms) <= CLOCK_WAIT_MS_MAX;
        if now_ms < seen_ms && (is_waited_for || !self.is_newer(&opened.channel, last_seen)) {
            return Err(Refusal::ClockSetBack { seen_ms, now_ms });
        }
        let now_ms = now_ms.max(seen_ms);
        self.check_serial(&opened.channel, last_seen)?;
        let expires_ms = opened.channel.expires_ms;
        if now_ms >= expires_ms {
            return Err(Refusal::Expired { expires_ms, now_ms });
        }
        let promoted = last_seen.map_or(0, |seen| seen.promoted);
        self.check_authority(opened, promoted, Some(now_ms))?;
        let serial = opened.channel.serial;
        let promoted = promoted.max(opened.promoted());
        let last_seen = LastSeen { serial, time_ms: now_ms, promoted };
        let (key_id, role) = (opened.key_id, opened.role);
        Ok(Accepted { channel: opened.channel.clone(), last_seen, key_id, role })
    }

    /// Whether a document, new or old, was made by those who may: what a publisher asks before
    /// building on it.
    pub(crate) fn check_genuine(
        &self,
        envelope: &Envelope,
        keyring: &Keyring,
    ) -> Result<Channel, Refusal> {
        let opened = self.open(envelope, keyring)?;
        self.check_authority(&opened, 0, None)?;
        Ok(opened.channel)
    }

    /// Whether a device that has accepted `promoted`, a promoter's document, would let this one
    /// change what acts; serials and times apart.
    pub(crate) fn check_follows(
        &self,
        envelope: &Envelope,
        keyring: &Keyring,
        promoted: &Channel,
    ) -> Result<(), Refusal> {
        let opened = self.open(envelope, keyring)?;
        let seen = promoted.serial;
        let view = Self { accepted: Some(promoted.clone()), ..self.clone() };
        view.check_authority(&opened, seen, None)
            .map_err(|_why| Refusal::OlderPromotion { seen, found: opened.promoted() })
    }

    fn read(
        &self,
        envelope: &Envelope,
        keyring: &Keyring,
        roles: &[Role],
    ) -> Result<(Channel, KeyId, Role), Refusal> {
        let verified = envelope
            .verify_any(Channel::PAYLOAD_TYPE, keyring, roles)
            .map_err(Refusal::Untrusted)?;
        let channel = Channel::from_json(&verified.payload).map_err(Refusal::Malformed)?;
        if (&channel.detector, &channel.channel) != (&self.detector, &self.channel) {
            return Err(Refusal::OtherChannel {
                expected: format!("{}/{}", self.detector, self.channel),
                found: format!("{}/{}", channel.detector, channel.channel),
            });
        }
        Ok((channel, verified.key_id, verified.role))
    }

    /// Whether a document was made after all that was seen, by its serial and by its own word.
    fn is_newer(&self, new: &Channel, last_seen: Option<LastSeen>) -> bool {
        let later =
            |accepted: &Channel| accepted.serial < new.serial && accepted.issued_ms < new.issued_ms;
        self.accepted.as_ref().is_some_and(later)
            && last_seen.is_none_or(|seen| seen.serial < new.serial)
    }

    fn check_serial(&self, new: &Channel, last_seen: Option<LastSeen>) -> Result<(), Refusal> {
        let accepted = self.accepted.as_ref();
        let seen = accepted.map(|accepted| accepted.serial).max(last_seen.map(|seen| seen.serial));
        if let Some(seen) = seen.filter(|seen| new.serial < *seen) {
            return Err(Refusal::SerialWentBack { seen, found: new.serial });
        }
        let from = seen.unwrap_or_default();
        if new.serial.saturating_sub(from) > SERIAL_STEP_MAX {
            return Err(Refusal::SerialJumped { seen: from, found: new.serial });
        }
        if accepted.is_some_and(|accepted| accepted.serial == new.serial && accepted != new) {
            return Err(Refusal::SerialReused { serial: new.serial });
        }
        Ok(())
    }

    /// An endorsement that is older than what was accepted, or than the newest that was believed,
    /// does not count: with it a retrainer could bring back a champion that the promoter has
    /// replaced since. Nor does one that expired: a retrainer cannot prolong a promoter's word.
    fn check_authority(
        &self,
        opened: &Opened,
        promoted: u64,
        now_ms: Option<i64>,
    ) -> Result<(), Refusal> {
        let new = &opened.channel;
        let blank = Channel::new(self.detector.clone(), self.channel.clone());
        let accepted = self.accepted.as_ref().unwrap_or(&blank);
        if opened.role == Role::Promoter || new.same_verdicts(accepted) {
            return Ok(());
        }
        let endorsed = opened.endorsed.as_ref().is_some_and(|endorsed| {
            let after = accepted.serial < endorsed.serial && promoted <= endorsed.serial;
            let holds = now_ms.is_none_or(|now_ms| now_ms < endorsed.expires_ms);
            after && holds && endorsed.serial < new.serial && endorsed.same_verdicts(new)
        });
        if !endorsed {
            return Err(Refusal::NotPromoted { serial: new.serial, key_id: opened.key_id });
        }
        Ok(())
    }
}

impl Opened {
    /// The serial of the newest document by a promoter in it.
    fn promoted(&self) -> u64 {
        if self.role == Role::Promoter {
            return self.channel.serial;
        }
        self.endorsed.as_ref().map_or(0, |endorsed| endorsed.serial)
    }
}

/// A span of time in words.
fn span(ms: i64) -> String {
    let (count, unit) = match ms / 1000 {
        seconds @ ..120 => (seconds, "seconds"),
        seconds @ ..7200 => (seconds / 60, "minutes"),
        seconds @ ..172_800 => (seconds / 3600, "hours"),
        seconds => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}

#[cfg(test)]
mod tests {
    use twinge_rollout::{Gate, Policy, Rollout};
    use twinge_trust::{Digest, SigningKey, TrustedKey};

    use super::*;
    use crate::Target;

    const NOW_MS: i64 = 1_000_000;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    fn retrainer() -> SigningKey {
        key(1)
    }

    fn promoter() -> SigningKey {
        key(2)
    }

    fn keyring() -> Keyring {
        let entry = |key: SigningKey, role| TrustedKey::new(key.public(), &[role], "");
        let keys = [
            entry(retrainer(), Role::Retrainer),
            entry(promoter(), Role::Promoter),
            entry(key(3), Role::Device),
        ];
        Keyring::new(keys.to_vec()).unwrap()
    }

    fn target(version: u32) -> Target {
        let version = version.to_string();
        Target { digest: Digest::of(version.as_bytes()), version, since: 0 }
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn policy() -> Policy {
        Policy::default()
    }

    /// A document with a champion, valid for a second.
    fn document(serial: u64, champion: u32) -> Channel {
        Channel {
            serial,
            issued_ms: NOW_MS,
            expires_ms: NOW_MS + 1000,
            champion: Some(target(champion)),
            ..Channel::new(name("pump"), name("stable"))
        }
    }

    fn view() -> ChannelView {
        ChannelView::new(name("pump"), name("stable"))
    }

    /// A device that accepted the promoter's serial 5 with champion 1.
    fn device() -> (ChannelView, Option<LastSeen>) {
        let envelope = document(5, 1).sign(&promoter());
        let accepted = view().accept(&envelope, &keyring(), None, NOW_MS).unwrap();
        (view().after(&accepted), Some(accepted.last_seen))
    }

    fn offer(new: &Channel, key: &SigningKey) -> Result<Accepted, Refusal> {
        let (view, last_seen) = device();
        view.accept(&new.sign(key), &keyring(), last_seen, NOW_MS + 10)
    }

    #[test]
    fn a_promoter_changes_the_champion() {
        let accepted = offer(&document(6, 2), &promoter()).unwrap();
        assert_eq!(accepted.last_seen, LastSeen { serial: 6, time_ms: NOW_MS + 10, promoted: 6 });
        assert_eq!(accepted.role, Role::Promoter);
        assert!(offer(&document(5, 1), &promoter()).is_ok(), "the same document again");
    }

    #[test]
    fn a_retrainer_changes_the_shadow_only() {
        let shadow = Channel { challenger: Some(target(9)), ..document(6, 1) };
        assert_eq!(offer(&shadow, &retrainer()).unwrap().role, Role::Retrainer);
        let changes = [
            document(6, 2),
            Channel { champion: None, ..document(6, 1) },
            Channel { history: vec![target(9)], ..document(6, 1) },
            Channel { sensitivity: Some(0.001), ..document(6, 1) },
            Channel {
                challenger: Some(target(9)),
                rollout: Some(Rollout { stage: 1, ..Rollout::default() }),
                ..document(6, 1)
            },
            Channel {
                policy: Policy { gate: Gate { events_min: 1, ..Gate::default() }, ..policy() },
                ..document(6, 1)
            },
        ];
        for change in changes {
            let refusal = offer(&change, &retrainer()).unwrap_err();
            assert!(matches!(refusal, Refusal::NotPromoted { .. }), "{refusal}");
        }
    }

    #[test]
    fn a_missed_promotion_is_believed_by_its_endorsement() {
        let endorsed = |endorsement: Envelope| Channel {
            challenger: Some(target(9)),
            endorsement: Some(endorsement),
            ..document(8, 2)
        };
        let promoted = document(7, 2).sign(&promoter());
        assert!(offer(&endorsed(promoted.clone()), &retrainer()).is_ok());
        let newcomer = endorsed(promoted).sign(&retrainer());
        assert!(view().accept(&newcomer, &keyring(), None, NOW_MS).is_ok());
        let worthless = [
            document(4, 2).sign(&promoter()),
            document(5, 2).sign(&promoter()),
            document(9, 2).sign(&promoter()),
            document(7, 3).sign(&promoter()),
            document(7, 2).sign(&retrainer()),
            Channel { channel: name("canary"), ..document(7, 2) }.sign(&promoter()),
        ];
        for endorsement in worthless {
            let refusal = offer(&endorsed(endorsement), &retrainer()).unwrap_err();
            assert!(matches!(refusal, Refusal::NotPromoted { .. }), "{refusal}");
        }
    }

    #[test]
    fn a_newcomer_believes_no_champion_of_a_retrainer() {
        let blank = Channel { champion: None, challenger: Some(target(9)), ..document(1, 1) };
        assert!(view().accept(&blank.sign(&retrainer()), &keyring(), None, NOW_MS).is_ok());
        let chosen = document(1, 1).sign(&retrainer());
        let refusal = view().accept(&chosen, &keyring(), None, NOW_MS).unwrap_err();
        assert!(matches!(refusal, Refusal::NotPromoted { .. }), "{refusal}");
    }

    #[test]
    fn each_attack_has_its_own_refusal() {
        use Refusal as R;
        type Matches = fn(&Refusal) -> bool;
        let cases: [(Channel, SigningKey, Matches); 8] = [
            (document(6, 2), key(3), |r| matches!(r, R::Untrusted(TrustError::RoleNotHeld { .. }))),
            (document(6, 2), key(4), |r| matches!(r, R::Untrusted(TrustError::UnknownKey { .. }))),
            (document(4, 1), promoter(), |r| matches!(r, R::SerialWentBack { seen: 5, found: 4 })),
            (document(4, 3), retrainer(), |r| matches!(r, R::SerialWentBack { .. })),
            (document(5, 2), promoter(), |r| matches!(r, R::SerialReused { serial: 5 })),
            (Channel { expires_ms: NOW_MS + 10, ..document(6, 2) }, promoter(), |r| {
                matches!(r, R::Expired { .. })
            }),
            (Channel { detector: name("fan"), ..document(6, 2) }, promoter(), |r| {
                matches!(r, R::OtherChannel { .. })
            }),
            (Channel { channel: name("canary"), ..document(6, 2) }, promoter(), |r| {
                matches!(r, R::OtherChannel { .. })
            }),
        ];
        for (document, key, expected) in cases {
            let refusal = offer(&document, &key).unwrap_err();
            assert!(expected(&refusal), "{refusal:?}");
        }
    }

    #[test]
    fn a_clock_set_back_and_a_lost_view_are_noticed() {
        let (view, last_seen) = device();
        let envelope = document(6, 1).sign(&promoter());
        let refusal = view.accept(&envelope, &keyring(), last_seen, NOW_MS - 1).unwrap_err();
        assert!(matches!(refusal, Refusal::ClockSetBack { .. }), "{refusal}");
        let old = document(4, 1).sign(&promoter());
        let refusal = self::view().accept(&old, &keyring(), last_seen, NOW_MS).unwrap_err();
        assert!(matches!(refusal, Refusal::SerialWentBack { .. }), "{refusal}");
    }

    /// A clock that was ahead and came back, or one that somebody turned back: nobody can tell.
    #[test]
    fn a_clock_that_was_ahead_shuts_out_no_newer_document() {
        const DAY_MS: i64 = 86_400_000;
        let lasting = |serial, issued_ms| Channel {
            issued_ms,
            expires_ms: issued_ms + 30 * DAY_MS,
            ..document(serial, 1)
        };
        let first = lasting(5, NOW_MS).sign(&promoter());
        let accepted = view().accept(&first, &keyring(), None, NOW_MS).unwrap();
        let view = view().after(&accepted);
        let ahead_ms = NOW_MS + 29 * DAY_MS;
        let ahead = view.accept(&first, &keyring(), Some(accepted.last_seen), ahead_ms).unwrap();
        let judge = |document: &Channel, now_ms| {
            view.accept(&document.sign(&promoter()), &keyring(), Some(ahead.last_seen), now_ms)
        };
        let back_ms = NOW_MS + DAY_MS;
        let newer = judge(&lasting(6, back_ms), back_ms).unwrap();
        let expected = LastSeen { serial: 6, time_ms: ahead_ms, promoted: 6 };
        assert_eq!(newer.last_seen, expected, "the time seen does not go back");

        // What a clock that was turned back is good for: none of it moves the device.
        let short = Channel { expires_ms: ahead_ms, ..lasting(6, back_ms) };
        let told = judge(&short, back_ms).unwrap_err();
        assert!(matches!(told, Refusal::Expired { now_ms, .. } if now_ms == ahead_ms), "{told}");
        let older = [lasting(5, NOW_MS), lasting(4, back_ms), lasting(6, NOW_MS - 1)];
        for document in older {
            let told = judge(&document, back_ms).unwrap_err();
            assert!(matches!(told, Refusal::ClockSetBack { .. }), "{told}");
        }
        // The same again is no news: as long as the clock is behind, it is told.
        let view = view.after(&newer);
        let again = lasting(6, back_ms).sign(&promoter());
        let told = view.accept(&again, &keyring(), Some(newer.last_seen), back_ms + 1);
        assert!(matches!(told, Err(Refusal::ClockSetBack { .. })), "{told:?}");
        // Soon over by itself.
        for (back_ms, waits) in [(3_600_000, true), (3_600_001, false)] {
            let outcome = judge(&lasting(6, back_ms), ahead_ms - back_ms);
            assert_eq!(outcome.is_err(), waits, "{outcome:?}");
        }
    }

    #[test]
    fn an_old_word_of_the_promoter_does_not_count_again() {
        let carrying = |endorsement: &Channel, serial| Channel {
            challenger: Some(target(9)),
            endorsement: Some(endorsement.sign(&promoter())),
            serial,
            ..endorsement.clone()
        };
        let check = |document: &Channel, last_seen, now_ms| {
            view().accept(&document.sign(&retrainer()), &keyring(), last_seen, now_ms)
        };
        let newcomer = check(&carrying(&document(7, 2), 9), None, NOW_MS).unwrap();
        assert_eq!(newcomer.last_seen.promoted, 7);
        // A device that lost its view, but not what it saw last.
        let last_seen = Some(newcomer.last_seen);
        assert!(check(&carrying(&document(7, 2), 10), last_seen, NOW_MS).is_ok());
        let older = check(&carrying(&document(6, 3), 10), last_seen, NOW_MS).unwrap_err();
        assert!(matches!(older, Refusal::NotPromoted { .. }), "{older}");
        // A retrainer cannot prolong a promoter's word.
        let short = Channel { expires_ms: NOW_MS + 10, ..document(7, 2) };
        let long = Channel { expires_ms: NOW_MS + 999_999, ..carrying(&short, 9) };
        assert!(check(&long, None, NOW_MS).is_ok());
        let expired = check(&long, None, NOW_MS + 10).unwrap_err();
        assert!(matches!(expired, Refusal::NotPromoted { .. }), "{expired}");
    }

    #[test]
    fn serials_are_not_used_up_by_one_document() {
        for (serial, holds) in [(1 << 32, true), ((1 << 32) + 6, false), (u64::MAX, false)] {
            let outcome = offer(&document(serial, 2), &promoter());
            assert_eq!(outcome.is_ok(), holds, "{serial}: {outcome:?}");
        }
    }

    #[test]
    fn a_view_is_read_back() {
        let (view, _) = device();
        let json = serde_json::to_string(&view).unwrap();
        assert_eq!(serde_json::from_str::<ChannelView>(&json).unwrap(), view);
    }
}
