//! What must hold at every step, told by one who sees everything. It works with what was signed
//! and with positions, and does not ask the code under test for a duty.

use twinge_registry::{Channel, ChannelView};
use twinge_rollout::{Policy, position};
use twinge_trust::{Digest, Envelope, Keyring, Role};

use super::device::Device;
use super::document::blank_view;
use super::modules::Modules;
use super::release::Kind;

/// Minutes within which a device that reaches the store follows it.
const FOLLOWS_WITHIN: u32 = 12;

#[derive(Debug)]
pub(crate) struct Truth {
    /// The newest document that an honest publisher wrote.
    pub(crate) latest: Option<Channel>,
    attempts: Vec<Attempt>,
    devices: Vec<Known>,
    view: ChannelView,
}

/// One rollout of one challenger.
#[derive(Debug)]
struct Attempt {
    module: usize,
    since: u64,
    salt: String,
    policy: Policy,
    /// The furthest stage that a promoter signed.
    stage_max: Option<u16>,
    /// Devices that had reported when it began, and those of them outside rings on which it acts.
    known: usize,
    acting: usize,
    began_at: u32,
    withdrawn_at: Option<u32>,
    /// The serial that said so.
    withdrawn_by: Option<u64>,
}

/// What the one who sees everything remembers of a device.
#[derive(Clone, Debug, Default)]
struct Known {
    since: Option<u32>,
    serial: u64,
    acting: Option<usize>,
    /// The newest honest document that it followed, and its champion by then.
    followed: u64,
    champion: Option<usize>,
    /// Since when it has reached the store without being lied to.
    reaches_since: u32,
}

impl Truth {
    pub(crate) fn new(devices: usize) -> Self {
        Self {
            latest: None,
            attempts: Vec::new(),
            devices: vec![Known::default(); devices],
            view: blank_view(),
        }
    }

    pub(crate) fn serial(&self) -> u64 {
        self.latest.as_ref().map_or(0, |latest| latest.serial)
    }

    pub(crate) fn reported(&mut self, device: usize, tick: u32) {
        let since = &mut self.devices[device].since;
        *since = since.or(Some(tick));
    }

    /// A device followed the document that was written last.
    pub(crate) fn followed(&mut self, device: usize, champion: Option<usize>) {
        let serial = self.serial();
        let known = &mut self.devices[device];
        (known.followed, known.champion) = (serial, champion);
    }

    /// A device lost its view. With a stolen retrainer's key it can be told an older word of the
    /// promoter then, as a new device can.
    pub(crate) fn forgot(&mut self, device: usize) {
        (self.devices[device].followed, self.devices[device].champion) = (0, None);
    }

    pub(crate) fn cut_off(&mut self, device: usize, tick: u32) {
        self.devices[device].reaches_since = tick;
    }

    /// An honest publisher wrote a document.
    pub(crate) fn on_document(
        &mut self,
        bytes: &[u8],
        modules: &Modules,
        keyring: &Keyring,
        tick: u32,
    ) -> Result<(), String> {
        let envelope = Envelope::from_json(bytes).map_err(|error| error.to_string())?;
        self.view.open(&envelope, keyring).map_err(|error| format!("{error}: {bytes:?}"))?;
        let promoter = envelope.verify(Channel::PAYLOAD_TYPE, keyring, Role::Promoter).is_ok();
        let channel =
            Channel::from_json(envelope.payload_unverified()).map_err(|error| error.to_string())?;
        if channel.serial <= self.serial() {
            return Err(format!("serial {} was given to two documents", channel.serial));
        }
        if let Some(champion) = &channel.champion {
            let champion = number(modules, &champion.digest)?;
            if modules.get(champion).is_bad() {
                return Err(format!("bad release {:?} was promoted", modules.get(champion).kind));
            }
        }
        self.note_challenger(&channel, promoter, modules, tick)?;
        if let Some(latest) = &self.latest
            && latest.rollout.as_ref().is_some_and(|rollout| rollout.hold.is_some())
            && channel.acting().map(|(_, rollout)| rollout.stage)
                > latest.rollout.as_ref().map(|rollout| rollout.stage)
        {
            return Err("a rollout that is held went on".to_owned());
        }
        self.latest = Some(channel);
        Ok(())
    }

    fn note_challenger(
        &mut self,
        channel: &Channel,
        promoter: bool,
        modules: &Modules,
        tick: u32,
    ) -> Result<(), String> {
        let target = channel.challenger.as_ref();
        let now = target.map(|target| Ok((number(modules, &target.digest)?, target.since)));
        let now = now.transpose().map_err(|error: String| error)?;
        for attempt in &mut self.attempts {
            let there = now == Some((attempt.module, attempt.since));
            if there && attempt.withdrawn_at.is_some() {
                return Err(format!("serial {} brings back what was withdrawn", channel.serial));
            }
            if !there {
                attempt.withdrawn_at = attempt.withdrawn_at.or(Some(tick));
                attempt.withdrawn_by = attempt.withdrawn_by.or(Some(channel.serial));
            }
        }
        let (Some((module, since)), Some(rollout)) = (now, &channel.rollout) else { return Ok(()) };
        let known = self.devices.iter().filter(|device| device.since.is_some()).count();
        let same = |attempt: &Attempt| (attempt.module, attempt.since) == (module, since);
        if !self.attempts.iter().any(same) {
            self.attempts.push(Attempt {
                module,
                since,
                salt: rollout.salt.clone(),
                policy: channel.policy.clone(),
                stage_max: None,
                known,
                acting: 0,
                began_at: tick,
                withdrawn_at: None,
                withdrawn_by: None,
            });
        }
        let attempt = self.attempts.iter_mut().find(|attempt| same(attempt));
        let attempt = attempt.expect("it was put there");
        if attempt.salt != rollout.salt {
            // Whoever lets it act first chooses anew; from then on it stays.
            if attempt.stage_max.is_some_and(|stage| stage > 0) {
                return Err("a rollout changed its salt on the way".to_owned());
            }
            (attempt.salt, attempt.known) = (rollout.salt.clone(), known);
        }
        if promoter {
            attempt.stage_max = attempt.stage_max.max(Some(rollout.stage));
        }
        Ok(())
    }

    /// A device has done something.
    pub(crate) fn on_device(
        &mut self,
        number: usize,
        device: &Device,
        modules: &Modules,
    ) -> Result<(), String> {
        let name = &device.identity.name;
        let running =
            device.champion.iter().chain(device.trial.as_ref().map(|trial| &trial.module));
        if running.into_iter().any(|module| modules.get(*module).kind == Kind::Evil) {
            return Err(format!("{name} runs a module that no trusted key signed"));
        }
        let known = &mut self.devices[number];
        if device.serial() < known.serial {
            return Err(format!("{name} went from serial {} to {}", known.serial, device.serial()));
        }
        known.serial = device.serial();
        // Champions are numbered as they are promoted, and nobody rolls back here.
        if device.champion < known.champion {
            return Err(format!("{name} went back to a champion that it saw replaced"));
        }
        let followed = known.followed;
        let trial = device.trial.as_ref().filter(|trial| trial.acts && !device.dead);
        let acting = match trial.map(|trial| (trial.module, trial.since)) {
            None => None,
            Some(wanted) => {
                let same = |attempt: &Attempt| (attempt.module, attempt.since) == wanted;
                let place = self.attempts.iter().position(same);
                Some(place.ok_or_else(|| format!("{name} acts on what nobody rolled out"))?)
            }
        };
        let before = std::mem::replace(&mut known.acting, acting);
        if before == acting {
            return Ok(());
        }
        if let Some(place) = before {
            let counts = self.counts(number, device, place);
            self.attempts[place].acting -= usize::from(counts);
        }
        let Some(place) = acting else { return Ok(()) };
        if self.attempts[place].withdrawn_by.is_some_and(|serial| serial <= followed) {
            return Err(format!("{name} acts again on what it saw withdrawn"));
        }
        self.check_cohort(place, device)?;
        self.attempts[place].acting += usize::from(self.counts(number, device, place));
        self.check_share(place)
    }

    /// Whether a device is one of those that a stage's share was counted with.
    fn counts(&self, number: usize, device: &Device, place: usize) -> bool {
        let attempt = &self.attempts[place];
        let known = self.devices[number].since.is_some_and(|since| since <= attempt.began_at);
        known && device.identity.ring.is_none()
    }

    fn check_cohort(&self, place: usize, device: &Device) -> Result<(), String> {
        let attempt = &self.attempts[place];
        let name = &device.identity.name;
        let Some(stage) = attempt.stage_max.map(|stage| &attempt.policy.stages[usize::from(stage)])
        else {
            return Err(format!("{name} acts on a challenger that no promoter signed for"));
        };
        let ring = device.identity.ring.as_ref().is_some_and(|ring| stage.rings.contains(ring));
        if !ring && position(&attempt.salt, name) >= stage.act.hundredths() {
            return Err(format!("{name} acts, and is in no cohort up to stage {}", stage.name));
        }
        Ok(())
    }

    fn check_share(&self, place: usize) -> Result<(), String> {
        let attempt = &self.attempts[place];
        let stage = attempt.stage_max.map(|stage| &attempt.policy.stages[usize::from(stage)]);
        let most = stage.map_or(0, |stage| stage.act.of(attempt.known));
        if attempt.acting > most {
            let (acting, known) = (attempt.acting, attempt.known);
            return Err(format!("{acting} of {known} devices act, at most {most} may"));
        }
        Ok(())
    }

    /// Nothing acts any more that was withdrawn, where the store was in reach for a while.
    pub(crate) fn check_withdrawn(&self, devices: &[Device], tick: u32) -> Result<(), String> {
        for (known, device) in self.devices.iter().zip(devices) {
            let Some(attempt) = known.acting.map(|place| &self.attempts[place]) else { continue };
            let Some(withdrawn_at) = attempt.withdrawn_at else { continue };
            if tick > withdrawn_at.max(known.reaches_since) + FOLLOWS_WITHIN && !device.dead {
                let name = &device.identity.name;
                return Err(format!(
                    "{name}, at serial {}, still acts on what was withdrawn at {withdrawn_at}, and \
                     reaches the store since {}",
                    device.serial(),
                    known.reaches_since
                ));
            }
        }
        Ok(())
    }

    /// Whether a fleet has come to rest at the channel's champion; if not, the first device.
    pub(crate) fn unsettled(&self, devices: &[Device], modules: &Modules) -> Option<String> {
        let champion = self.latest.as_ref()?.champion.as_ref()?;
        let champion = modules.number(&champion.digest);
        let odd =
            |device: &&Device| device.acting() != champion || device.trial.is_some() || device.dead;
        devices.iter().find(odd).map(|device| {
            let Device { champion, trial, dead, .. } = device;
            format!("{}: {champion:?}, {trial:?}, dead {dead}", device.identity.name)
        })
    }
}

fn number(modules: &Modules, digest: &Digest) -> Result<usize, String> {
    modules.number(digest).ok_or_else(|| format!("unknown module {digest} was published"))
}
