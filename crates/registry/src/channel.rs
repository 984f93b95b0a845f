//! The channel document and its transitions: which module runs, which one is tried in shadow,
//! and where to go back to.
//!
//! Pure. Knows nothing of signatures that others made, of storage, or of when a transition is
//! wise.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use twinge_rollout::{Policy, PolicyError, Rollout};
use twinge_trust::{Digest, Envelope, SigningKey};

use crate::Name;

/// Most earlier champions that a channel remembers.
pub const HISTORY_MAX: usize = 16;

/// The signed pointer of one channel of one detector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// The detector.
    pub detector: Name,
    /// The channel, such as `stable` or `canary`.
    pub channel: Name,
    /// Grows by one with every document, also with one that goes back to an older module.
    pub serial: u64,
    /// When the document was made, in milliseconds since 1970.
    pub issued_ms: i64,
    /// From when on the document is no longer believed, in milliseconds since 1970.
    pub expires_ms: i64,
    /// The module whose verdicts count.
    #[serde(default)]
    pub champion: Option<Target>,
    /// The module that is rolled out: in shadow beside it, and later on some devices in its place.
    #[serde(default)]
    pub challenger: Option<Target>,
    /// How far the challenger has come; without it, it is in shadow only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// How challengers are rolled out here.
    #[serde(default)]
    pub policy: Policy,
    /// Earlier champions, newest first, at most [`HISTORY_MAX`].
    #[serde(default)]
    pub history: Vec<Target>,
    /// A factor on the champion's sensitivity; nothing for the one it was trained with.
    #[serde(default, deserialize_with = "usable_sensitivity")]
    pub sensitivity: Option<f64>,
    /// The promoter's latest document, carried along by a retrainer's: it shows a device that
    /// missed it that champion, history and sensitivity are the promoter's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsement: Option<Envelope>,
}

/// A module that a channel points at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The module.
    pub digest: Digest,
    /// Its version, for people.
    pub version: String,
    /// The serial of the document that put the module on its way. A device that left the module
    /// by itself takes it again only after a later one.
    #[serde(default)]
    pub since: u64,
}

/// Why a channel cannot change in the way asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransitionError {
    /// The new challenger is the champion.
    #[error("try {digest} in shadow: it is the champion already; publish another module")]
    AlreadyChampion {
        /// The module.
        digest: Digest,
    },
    /// The module to promote is not the challenger.
    #[error("promote {wanted}: {}; publish it, or promote what is there", standing("challenger", .found.as_ref()))]
    NotChallenger {
        /// The module to promote.
        wanted: Digest,
        /// The challenger, if there is one.
        found: Option<Digest>,
    },
    /// The module to leave is not the champion.
    #[error("leave {wanted}: {}; look at the channel again", standing("champion", .found.as_ref()))]
    NotChampion {
        /// The module to leave.
        wanted: Digest,
        /// The champion, if there is one.
        found: Option<Digest>,
    },
    /// There is no challenger.
    #[error("hold the rollout: nothing is rolled out; publish a module first")]
    NothingRolledOut,
    /// There is no earlier champion.
    #[error("roll back: the channel has no earlier champion; publish and promote a good module")]
    NoHistory,
    /// The module to go back to is not an earlier champion.
    #[error("roll back to {wanted}: it is not in the history; choose one that is, or publish it")]
    NotInHistory {
        /// The module to go back to.
        wanted: Digest,
    },
    /// The stage to go to is not one after the present.
    #[error("go on to stage {wanted}: the rollout is at stage {found} of {count}; look again")]
    NotAhead {
        /// The stage to go to, from zero.
        wanted: u16,
        /// The present stage.
        found: u16,
        /// How many stages the policy has.
        count: usize,
    },
    /// The rollout is held.
    #[error("go on with the rollout: it is held ({reason}); release it first")]
    Held {
        /// Why it is held.
        reason: String,
    },
    /// What acts somewhere is not displaced, nor its policy changed.
    #[error(
        "change the rollout: {digest} acts on devices already; wait until it is through, or have \
         a promoter stop it"
    )]
    ChallengerActs {
        /// The module that is rolled out.
        digest: Digest,
    },
    /// A policy makes no sense.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A sensitivity makes no sense.
    #[error("set sensitivity {value}: it must be a finite number above zero")]
    BadSensitivity {
        /// The number.
        value: f64,
    },
    /// There is no greater serial.
    #[error(
        "go on from serial {}: it is the last there is; start a channel of another name",
        u64::MAX
    )]
    SerialExhausted,
}

/// One that is not above zero would call every event normal: whoever signed it, it is no channel.
fn usable_sensitivity<'de, D: Deserializer<'de>>(json: D) -> Result<Option<f64>, D::Error> {
    let sensitivity = Option::<f64>::deserialize(json)?;
    match sensitivity {
        Some(value) if !is_usable(value) => {
            Err(D::Error::custom(TransitionError::BadSensitivity { value }))
        }
        usable => Ok(usable),
    }
}

fn is_usable(sensitivity: f64) -> bool {
    sensitivity.is_finite() && sensitivity > 0.0
}

fn standing(slot: &str, found: Option<&Digest>) -> String {
    found.map_or_else(|| format!("there is no {slot}"), |found| format!("the {slot} is {found}"))
}

impl Channel {
    /// The payload type of a channel's envelope.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.twinge.channel.v1+json";

    /// A channel that points at nothing, with serial 0: what the first transition starts from.
    pub fn new(detector: Name, channel: Name) -> Self {
        Self {
            detector,
            channel,
            serial: 0,
            issued_ms: 0,
            expires_ms: 0,
            champion: None,
            challenger: None,
            rollout: None,
            policy: Policy::default(),
            history: Vec::new(),
            sensitivity: None,
            endorsement: None,
        }
    }

    /// The next document, with another module in shadow, at the beginning of a rollout.
    pub fn with_challenger(
        &self,
        digest: Digest,
        version: String,
        rollout: Rollout,
    ) -> Result<Self, TransitionError> {
        if is(self.champion.as_ref(), &digest) {
            return Err(TransitionError::AlreadyChampion { digest });
        }
        if let Some((acting, _)) = self.acting() {
            return Err(TransitionError::ChallengerActs { digest: acting.digest });
        }
        let next = self.renewed()?;
        let challenger = Some(Target { digest, version, since: next.serial });
        Ok(Self { challenger, rollout: Some(Rollout { stage: 0, ..rollout }), ..next })
    }

    /// The next document, in which no module is rolled out.
    pub fn without_challenger(&self) -> Result<Self, TransitionError> {
        Ok(Self { challenger: None, rollout: None, ..self.renewed()? })
    }

    /// The next document, in which the challenger is at a later stage, entered now. One that is held
    /// goes nowhere before it is released.
    pub fn advance(
        &self,
        challenger: &Digest,
        stage: u16,
        now_ms: i64,
    ) -> Result<Self, TransitionError> {
        self.check_challenger(challenger)?;
        let rollout = self.rollout.clone().unwrap_or_default();
        if let Some(reason) = rollout.hold {
            return Err(TransitionError::Held { reason });
        }
        let count = self.policy.stages.len();
        if stage <= rollout.stage || usize::from(stage) >= count {
            let found = rollout.stage;
            return Err(TransitionError::NotAhead { wanted: stage, found, count });
        }
        let rollout = Rollout { stage, entered_ms: now_ms, ..rollout };
        Ok(Self { rollout: Some(rollout), ..self.renewed()? })
    }

    /// The next document, in which the rollout is held for a reason, or goes on again.
    pub fn with_hold(&self, hold: Option<String>) -> Result<Self, TransitionError> {
        let Some(challenger) = &self.challenger else {
            return Err(TransitionError::NothingRolledOut);
        };
        let seed = challenger.digest.to_string();
        let rollout = self.rollout.clone().unwrap_or(Rollout { salt: seed, ..Rollout::default() });
        Ok(Self { rollout: Some(Rollout { hold, ..rollout }), ..self.renewed()? })
    }

    /// The next document, with another policy for this rollout and those after it.
    pub fn with_policy(&self, policy: Policy) -> Result<Self, TransitionError> {
        policy.check()?;
        if let Some((acting, _)) = self.acting() {
            return Err(TransitionError::ChallengerActs { digest: acting.digest });
        }
        Ok(Self { policy, ..self.renewed()? })
    }

    /// The next document, in which the challenger is champion and the old champion heads the
    /// history. The challenger is named, so that nobody promotes one that they did not look at.
    pub fn promote(&self, challenger: &Digest) -> Result<Self, TransitionError> {
        let champion = self.check_challenger(challenger)?.clone();
        let earlier = self.champion.iter().chain(&self.history);
        let history = earlier.filter(|target| target.digest != champion.digest);
        let history = history.take(HISTORY_MAX).cloned().collect();
        let next = self.without_challenger()?;
        Ok(Self { champion: Some(champion), history, ..next })
    }

    /// The next document, in which an earlier champion is champion again: the one named, else the
    /// newest. The champion that is left, and those between, leave the history, so that going
    /// back once more never comes to them. What is rolled out at the time is withdrawn if it acts
    /// anywhere: it was compared with the champion that is left.
    pub fn rollback(&self, to: Option<&Digest>) -> Result<Self, TransitionError> {
        let place = match to {
            None if self.history.is_empty() => return Err(TransitionError::NoHistory),
            None => 0,
            Some(wanted) => self
                .history
                .iter()
                .position(|target| target.digest == *wanted)
                .ok_or(TransitionError::NotInHistory { wanted: *wanted })?,
        };
        let next = match self.acting() {
            Some(_) => self.without_challenger()?,
            None => self.renewed()?,
        };
        let champion = Target { since: next.serial, ..self.history[place].clone() };
        let kept = |found: &&Target| found.digest != champion.digest;
        let challenger = next.challenger.as_ref().filter(kept).cloned();
        let rollout = next.rollout.clone().filter(|_| challenger.is_some());
        let history = self.history[place + 1..].to_vec();
        Ok(Self { champion: Some(champion), challenger, rollout, history, ..next })
    }

    /// The next document, with another sensitivity.
    pub fn with_sensitivity(&self, sensitivity: Option<f64>) -> Result<Self, TransitionError> {
        if let Some(value) = sensitivity
            && !is_usable(value)
        {
            return Err(TransitionError::BadSensitivity { value });
        }
        Ok(Self { sensitivity, ..self.renewed()? })
    }

    /// The next document, with nothing changed but what signing it will change: its times.
    pub fn renewed(&self) -> Result<Self, TransitionError> {
        let serial = self.serial.checked_add(1).ok_or(TransitionError::SerialExhausted)?;
        Ok(Self { serial, endorsement: None, ..self.clone() })
    }

    /// The document in an envelope, signed.
    pub fn sign(&self, key: &SigningKey) -> Envelope {
        Envelope::sign(Self::PAYLOAD_TYPE, self.to_json(), key)
    }

    /// Reads a payload.
    pub fn from_json(payload: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(payload)
    }

    /// The challenger and where it stands, if its verdicts count on some devices.
    pub fn acting(&self) -> Option<(&Target, &Rollout)> {
        let (challenger, rollout) = (self.challenger.as_ref()?, self.rollout.as_ref()?);
        rollout.stage(&self.policy)?.acts().then_some((challenger, rollout))
    }

    /// Whether two documents have the same verdicts count, now and after going back: champion,
    /// history, sensitivity, and a challenger that acts; and whether the next steps are taken by
    /// the same policy. That is what only a promoter may change.
    pub fn same_verdicts(&self, other: &Self) -> bool {
        (&self.champion, &self.history, self.sensitivity, &self.policy, self.acting())
            == (&other.champion, &other.history, other.sensitivity, &other.policy, other.acting())
    }

    fn check_challenger(&self, wanted: &Digest) -> Result<&Target, TransitionError> {
        let found = self.challenger.as_ref();
        found.filter(|found| found.digest == *wanted).ok_or_else(|| {
            let found = found.map(|found| found.digest);
            TransitionError::NotChallenger { wanted: *wanted, found }
        })
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a channel has only text for keys")
    }
}

/// Whether a slot holds the module.
pub(crate) fn is(slot: Option<&Target>, digest: &Digest) -> bool {
    slot.is_some_and(|target| target.digest == *digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(version: u32) -> Target {
        let version = version.to_string();
        Target { digest: Digest::of(version.as_bytes()), version, since: 0 }
    }

    fn challenged(channel: &Channel, version: u32) -> Result<Channel, TransitionError> {
        let Target { digest, version, .. } = target(version);
        channel.with_challenger(digest, version, Rollout::default())
    }

    fn blank() -> Channel {
        Channel::new("pump".parse().unwrap(), "stable".parse().unwrap())
    }

    /// A channel on which versions 1 to `last` were promoted in turn.
    fn promoted(last: u32) -> Channel {
        (1..=last).fold(blank(), |channel, version| {
            let channel = challenged(&channel, version).unwrap();
            channel.promote(&target(version).digest).unwrap()
        })
    }

    fn versions(targets: &[Target]) -> Vec<u32> {
        targets.iter().map(|target| target.version.parse().unwrap()).collect()
    }

    #[test]
    fn promoting_remembers_the_old_champion() {
        let channel = promoted(3);
        assert_eq!((channel.serial, &channel.challenger), (6, &None));
        assert_eq!(channel.champion, Some(Target { since: 5, ..target(3) }));
        assert_eq!(versions(&channel.history), [2, 1]);
        assert_eq!(versions(&promoted(30).history), (14..30).rev().collect::<Vec<_>>());
        let back = challenged(&channel, 1).unwrap().promote(&target(1).digest).unwrap();
        assert_eq!(versions(&back.history), [3, 2], "a champion is not its own past");
    }

    #[test]
    fn going_back_never_returns_to_what_was_left() {
        let channel = challenged(&promoted(4), 5).unwrap();
        let newest = channel.rollback(None).unwrap();
        assert_eq!(newest.serial, channel.serial + 1);
        let back = Target { since: newest.serial, ..target(3) };
        assert_eq!((&newest.champion, &newest.challenger), (&Some(back), &channel.challenger));
        assert_eq!(versions(&newest.history), [2, 1]);
        let named = channel.rollback(Some(&target(2).digest)).unwrap();
        assert_eq!(named.champion.map(|champion| champion.digest), Some(target(2).digest));
        assert_eq!(versions(&named.history), [1]);
    }

    #[test]
    fn a_challenger_goes_through_its_stages() {
        let shadow = challenged(&promoted(2), 3).unwrap();
        assert_eq!(shadow.acting(), None);
        let canary = shadow.advance(&target(3).digest, 1, 50).unwrap();
        let (acting, rollout) = canary.acting().unwrap();
        assert_eq!((acting.digest, rollout.stage, rollout.entered_ms), (target(3).digest, 1, 50));
        assert!(!canary.same_verdicts(&shadow) && shadow.same_verdicts(&promoted(2)));
        let held = canary.with_hold(Some("wait".into())).unwrap();
        assert_eq!(held.rollout.as_ref().unwrap().hold.as_deref(), Some("wait"));
        assert!(challenged(&canary, 4).unwrap_err().to_string().contains("acts on devices"));
        let back = canary.rollback(None).unwrap();
        assert_eq!((&back.challenger, &back.rollout), (&None, &None));
        let gone = canary.without_challenger().unwrap();
        assert!(gone.same_verdicts(&promoted(2)));
        assert!(
            held.advance(&target(3).digest, 3, 60).unwrap_err().to_string().contains("is held")
        );
        let later = held.with_hold(None).unwrap().advance(&target(3).digest, 3, 60).unwrap();
        let champion = later.promote(&target(3).digest).unwrap().champion.unwrap();
        assert_eq!(champion.since, shadow.serial, "a promotion is no new attempt");
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let channel = promoted(2);
        let third = challenged(&channel, 3).unwrap();
        let bad = Policy { stages: Vec::new(), ..Policy::default() };
        let last = Channel { serial: u64::MAX, ..blank() };
        let cases = [
            (challenged(&channel, 2), "champion already"),
            (channel.promote(&target(3).digest), "there is no challenger"),
            (third.promote(&target(4).digest), "the challenger is"),
            (third.advance(&target(4).digest, 1, 0), "the challenger is"),
            (third.advance(&target(3).digest, 0, 0), "at stage 0 of 4"),
            (third.advance(&target(3).digest, 4, 0), "at stage 0 of 4"),
            (channel.with_hold(None), "nothing is rolled out"),
            (channel.with_policy(bad), "there is none"),
            (promoted(1).rollback(None), "no earlier champion"),
            (channel.rollback(Some(&target(9).digest)), "not in the history"),
            (channel.with_sensitivity(Some(f64::NAN)), "finite"),
            (last.renewed(), "another name"),
        ];
        for (outcome, expected) in cases {
            let message = outcome.unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_document_is_read_back_and_may_come_from_the_future() {
        let channel = promoted(2).with_sensitivity(Some(1.1)).unwrap();
        let mut value = serde_json::to_value(&channel).unwrap();
        value["colour"] = serde_json::json!([]);
        assert_eq!(Channel::from_json(value.to_string().as_bytes()).unwrap(), channel);
        for sensitivity in [0.0, -0.0, -1.0] {
            value["sensitivity"] = sensitivity.into();
            let error = Channel::from_json(value.to_string().as_bytes()).unwrap_err();
            assert!(error.to_string().contains("above zero"), "{error}");
        }
        value["sensitivity"] = serde_json::Value::Null;
        assert!(Channel::from_json(value.to_string().as_bytes()).is_ok());
        value["detector"] = "../pump".into();
        assert!(Channel::from_json(value.to_string().as_bytes()).is_err());
    }
}
