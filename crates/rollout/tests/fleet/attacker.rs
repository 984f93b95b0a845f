//! Somebody with the key of the storage account: serves old documents, documents of keys that
//! nobody trusts, documents that a retrainer may not make, and altered bytes.

use twinge_registry::{Channel, Target};
use twinge_rollout::{Percent, Policy, Rollout, Stage};
use twinge_trust::{Digest, Envelope, SigningKey};

use super::publisher::Keys;
use super::random::Random;

#[derive(Debug)]
pub(crate) struct Attacker {
    key: SigningKey,
    evil: Digest,
    random: Random,
}

impl Attacker {
    pub(crate) fn new(evil: Digest, random: Random) -> Self {
        Self { key: SigningKey::from_seed([66; 32]), evil, random }
    }

    /// A document to put into the store in place of the latest; `past` holds all that were ever
    /// written.
    ///
    /// None by a stolen retrainer's key: it can repeat an older word of the promoter under a new
    /// serial, and a publisher who missed the newer word cannot tell.
    pub(crate) fn planted(&mut self, past: &[Vec<u8>], latest: &Channel, keys: &Keys) -> Vec<u8> {
        self.document(5, past, latest, keys)
    }

    /// A document to serve to devices.
    pub(crate) fn served(&mut self, past: &[Vec<u8>], latest: &Channel, keys: &Keys) -> Vec<u8> {
        self.document(6, past, latest, keys)
    }

    fn document(&mut self, kinds: u64, past: &[Vec<u8>], latest: &Channel, keys: &Keys) -> Vec<u8> {
        let newest = past.last().expect("there is a document from the start");
        match self.random.within(0..kinds) {
            0 | 1 => self.random.pick(past).clone(),
            2 => self.altered(newest),
            3 => self.forged(latest).sign(&self.key).to_json(),
            4 => self.renamed(newest, &keys.promoter),
            _ => self.beyond(latest, past).sign(&keys.retrainer).to_json(),
        }
    }

    fn altered(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let place = self.random.within(0..bytes.len() as u64) as usize;
        bytes[place] ^= 1 << self.random.within(0..7);
        bytes
    }

    fn forged(&mut self, latest: &Channel) -> Channel {
        let champion = Target { digest: self.evil, version: "9".into(), since: latest.serial };
        Channel { serial: self.serial(latest), champion: Some(champion), ..latest.clone() }
    }

    /// What a stolen retrainer's key is used for: the evil module or the challenger everywhere,
    /// another policy, an old promoter's word for what the promoter has changed since.
    fn beyond(&mut self, latest: &Channel, past: &[Vec<u8>]) -> Channel {
        let evil = Target { digest: self.evil, version: "9".into(), since: latest.serial };
        let target = latest.challenger.clone().unwrap_or(evil.clone());
        let base = Channel { serial: self.serial(latest), endorsement: None, ..latest.clone() };
        let everywhere = Rollout { stage: 3, ..latest.rollout.clone().unwrap_or_default() };
        match self.random.within(0..5) {
            0 => Channel { champion: Some(evil), ..base },
            1 => Channel { champion: Some(target), challenger: None, rollout: None, ..base },
            2 => Channel { challenger: Some(target), rollout: Some(everywhere), ..base },
            3 => {
                let all = Stage { act: Percent::ALL, shadow: Percent::ALL, ..Stage::default() };
                let policy = Policy { stages: vec![all], ..latest.policy.clone() };
                let rollout = Some(Rollout::default());
                Channel { challenger: Some(target), rollout, policy, ..base }
            }
            _ => {
                let old = Envelope::from_json(self.random.pick::<Vec<u8>>(past)).ok();
                let said = old.as_ref().map(Envelope::payload_unverified);
                let said = said.and_then(|said| Channel::from_json(said).ok());
                let Some(said) = said.filter(|said| !said.same_verdicts(latest)) else {
                    return Channel { champion: Some(evil), ..base };
                };
                Channel { serial: base.serial, endorsement: old, ..said }
            }
        }
    }

    /// The latest payload with the promoter's key id and another's signature.
    fn renamed(&mut self, newest: &[u8], promoter: &SigningKey) -> Vec<u8> {
        let ids = [self.key.key_id(), promoter.key_id()].map(|key_id| key_id.to_string());
        let envelope = Envelope::from_json(newest).expect("it was written by an honest publisher");
        let payload = envelope.payload_unverified().to_vec();
        let signed = Envelope::sign(Channel::PAYLOAD_TYPE, payload, &self.key).to_json();
        String::from_utf8_lossy(&signed).replace(&ids[0], &ids[1]).into_bytes()
    }

    fn serial(&mut self, latest: &Channel) -> u64 {
        latest.serial + self.random.within(0..6)
    }
}
