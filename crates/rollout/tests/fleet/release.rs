//! Modules of the simulation: what each says of events, drawn from rates.

use twinge_rollout::Contender;
use twinge_trust::{Digest, Envelope, SigningKey, Statement};

use super::random::Random;

/// Share of alarms that every module was made with.
pub(crate) const FALSE_ALARM_RATE: f64 = 0.04;

/// What a module is like beside a good champion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Good,
    Traps,
    Slow,
    AlarmsAlways,
    AlarmsThrice,
    /// Kills the device on which it acts after a while.
    Kills,
    /// Is good until an incident comes, and then alarms on nearly everything.
    WorseInIncident,
    /// Is good until an incident comes, and then sees nothing.
    BlindInIncident,
    /// Is good in shadow, and traps where it acts.
    TrapsInAction,
    /// Is good in shadow, and alarms on much where it acts.
    AlarmsInAction,
    /// No trusted key signed it.
    Evil,
}

pub(crate) const BAD_KINDS: [Kind; 9] = [
    Kind::Traps,
    Kind::Slow,
    Kind::AlarmsAlways,
    Kind::AlarmsThrice,
    Kind::Kills,
    Kind::WorseInIncident,
    Kind::BlindInIncident,
    Kind::TrapsInAction,
    Kind::AlarmsInAction,
];

/// A module that is made to be published.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) kind: Kind,
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) statement: Envelope,
    /// An incident lasts as long as it is rolled out.
    pub(crate) in_incident: bool,
    /// A promoter publishes it, not the retrainer.
    pub(crate) by_promoter: bool,
}

/// Of 65,536 events each: alarms of both, of one alone, and failures of the challenger alone.
#[derive(Clone, Copy, Debug)]
struct Rates {
    both: u32,
    ours: u32,
    theirs: u32,
    failures: u32,
}

/// What challenger and champion said of 32 events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) both: u32,
    pub(crate) ours: u32,
    pub(crate) theirs: u32,
    pub(crate) failures: u32,
    pub(crate) busy_us: u64,
    pub(crate) champion_busy_us: u64,
}

impl Release {
    pub(crate) fn new(kind: Kind, version: u64, seed: u64, key: &SigningKey) -> Self {
        let bytes = format!("module {version} of seed {seed}").into_bytes();
        let digest = Digest::of(&bytes);
        let statement = Statement {
            detector: super::DETECTOR.to_owned(),
            version: version.to_string(),
            module_digest: digest,
            module_bytes: bytes.len() as u64,
            ..blank_statement(digest)
        };
        let statement = statement.sign(key);
        let in_incident = matches!(kind, Kind::WorseInIncident | Kind::BlindInIncident);
        Self { kind, digest, bytes, statement, in_incident, by_promoter: false }
    }

    pub(crate) fn is_bad(&self) -> bool {
        self.kind != Kind::Good
    }

    pub(crate) fn contender(&self) -> Contender {
        Contender { digest: self.digest, false_alarm_rate: Some(FALSE_ALARM_RATE) }
    }
}

/// The fields that do not matter here, as a reader of older statements fills them.
fn blank_statement(digest: Digest) -> Statement {
    let json = format!(
        r#"{{"detector": "", "version": "", "module_digest": "{digest}", "module_bytes": 0}}"#
    );
    Statement::from_json(json.as_bytes()).expect("all other fields have defaults")
}

impl Kind {
    fn rates(self, acts: bool, incident: bool) -> Rates {
        let of = |share: f64| (share * 65_536.0) as u32;
        let (both, alone) = if incident { (0.5, 0.01) } else { (0.035, 0.005) };
        let good = Rates { both: of(both), ours: of(alone), theirs: of(alone), failures: 0 };
        match self {
            Self::Traps => Rates { failures: of(0.03), ..good },
            Self::AlarmsAlways => Rates { ours: 65_536, ..good },
            Self::AlarmsThrice => Rates { ours: good.ours + of(2.0 * FALSE_ALARM_RATE), ..good },
            Self::WorseInIncident if incident => Rates { ours: of(0.45), ..good },
            Self::BlindInIncident if incident => Rates { both: 0, theirs: of(0.5), ..good },
            Self::TrapsInAction if acts => Rates { failures: of(0.05), ..good },
            Self::AlarmsInAction if acts => Rates { ours: of(0.4), ..good },
            // The others say what a good one says, or do so until something happens.
            _ => good,
        }
    }

    /// The next 32 events.
    pub(crate) fn says(self, acts: bool, incident: bool, random: &mut Random) -> Said {
        let rates = self.rates(acts, incident);
        let failures = random.of_32(rates.failures);
        let both = random.of_32(rates.both).min(32 - failures);
        let ours = random.of_32(rates.ours).min(32 - failures - both);
        let theirs = random.of_32(rates.theirs).min(32 - failures - both - ours);
        let champion_busy_us = 320 + random.within(0..32);
        let slowness = if self == Self::Slow { 10 } else { 1 };
        let busy_us = slowness * (320 + random.within(0..32));
        Said { both, ours, theirs, failures, busy_us, champion_busy_us }
    }
}
