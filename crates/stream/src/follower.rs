//! A channel that is followed: what was believed of it, and what that tells this device to run.

use crate::module_error::ModuleError;
use crate::modules::ModuleCache;
use crate::trust::Trust;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;
use twinge_contract::time::to_rfc3339;
use twinge_engine::Module;
use twinge_platform::Disk;
use twinge_registry::{Channel, ChannelView, LastSeen, Name, Registry, Store, Target};
use twinge_rollout::{Desired, Device, Duty, Part};
use twinge_runner::{Assigned, Directive};
use twinge_trust::Envelope;

/// A time seen is kept when it is later by so much: a clock set back by less goes unnoticed over a
/// restart.
const TIME_STEP_MS: i64 = 60_000;

/// A channel that is followed.
#[derive(Debug)]
pub struct Follower {
    registry: Registry,
    store: Arc<dyn Store>,
    detector: Name,
    channel: Name,
    disk: Arc<dyn Disk>,
    file: PathBuf,
    seen: Seen,
    /// Fields that the sources here have, if the operator named them.
    fields: Option<BTreeSet<String>>,
}

/// What must outlive a restart: without it, an old document could be served again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Seen {
    view: ChannelView,
    last_seen: Option<LastSeen>,
}

/// What a channel tells a device.
#[derive(Debug)]
pub struct Told {
    /// What to run.
    pub directive: Directive,
    /// The same, for the report.
    pub desired: Desired,
    /// Why the challenger is left out, if it should run here and cannot.
    pub trouble: Option<ModuleError>,
}

impl Follower {
    /// Follows a channel of the registry in `store`; what was seen of it is kept in `directory`.
    pub fn open(
        store: Arc<dyn Store>,
        detector: Name,
        channel: Name,
        disk: Arc<dyn Disk>,
        directory: &Path,
        fields: Option<BTreeSet<String>>,
    ) -> Result<Self, ModuleError> {
        let file = directory.join(format!("channel-{detector}={channel}.json"));
        let new =
            || Seen { view: ChannelView::new(detector.clone(), channel.clone()), last_seen: None };
        let seen = match disk.read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| ModuleError::View { path: file.clone(), source: error.into() })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => new(),
            Err(source) => return Err(ModuleError::View { path: file, source }),
        };
        let registry = Registry::new(Arc::clone(&store));
        Ok(Self { registry, store, detector, channel, disk, file, seen, fields })
    }

    /// The registry and its store.
    pub fn registry(&self) -> (Registry, Arc<dyn Store>) {
        (self.registry.clone(), Arc::clone(&self.store))
    }

    /// Detector and channel.
    pub fn names(&self) -> (&Name, &Name) {
        (&self.detector, &self.channel)
    }

    /// The document accepted last, whether or not the registry can be reached.
    pub fn current(&self) -> Option<&Channel> {
        self.seen.view.current()
    }

    /// Looks at root and channel. What is believed is remembered before it can be acted on.
    ///
    /// An error says why nothing new is believed: what was before still holds.
    pub async fn poll(&mut self, trust: &Trust, now_ms: i64) -> Result<(), ModuleError> {
        let found = match self.look(trust, now_ms).await {
            Ok(found) => found,
            Err(error) => {
                // Whoever keeps the registry away, or a root, may want to freeze this device.
                self.check_frozen(now_ms)?;
                return Err(error);
            }
        };
        let Some(envelope) = found else { return self.check_frozen(now_ms) };
        let accepted = self
            .seen
            .view
            .accept(&envelope, &trust.keyring(), self.seen.last_seen, now_ms)
            .map_err(ModuleError::Refused)?;
        let seen =
            Seen { view: self.seen.view.after(&accepted), last_seen: Some(accepted.last_seen) };
        if self.must_keep(&seen) {
            let json =
                serde_json::to_vec_pretty(&seen).expect("a view holds nothing that JSON lacks");
            let keep = self.disk.replace(&self.file, &json);
            keep.map_err(|source| ModuleError::View { path: self.file.clone(), source })?;
            self.seen = seen;
        }
        Ok(())
    }

    async fn look(&self, trust: &Trust, now_ms: i64) -> Result<Option<Envelope>, ModuleError> {
        trust.update(&self.registry).await?;
        trust.check_current(now_ms)?;
        let found = self.registry.channel(&self.detector, &self.channel).await?;
        Ok(found.map(|(envelope, _)| envelope))
    }

    /// Whether what was seen differs by more than a little time from what is on disk.
    fn must_keep(&self, seen: &Seen) -> bool {
        let time = |seen: &Seen| seen.last_seen.map_or(i64::MIN, |seen| seen.time_ms);
        seen.view != self.seen.view
            || time(seen).saturating_sub(time(&self.seen)) >= TIME_STEP_MS
            || self.seen.last_seen.is_none()
    }

    /// An expired document still says what runs, and nobody may take that for news.
    fn check_frozen(&self, now_ms: i64) -> Result<(), ModuleError> {
        let expired = self.current().filter(|channel| now_ms >= channel.expires_ms);
        match expired {
            Some(Channel { serial, expires_ms, .. }) => {
                Err(ModuleError::Frozen { serial: *serial, expires: to_rfc3339(*expires_ms) })
            }
            None => Ok(()),
        }
    }

    /// What the document accepted last tells `device` to run, with the modules for it.
    pub async fn told(
        &self,
        device: &Device,
        root: u64,
        cache: &Mutex<ModuleCache>,
    ) -> Result<Told, ModuleError> {
        let Some((channel, champion)) = self
            .current()
            .and_then(|channel| channel.champion.as_ref().map(|champion| (channel, champion)))
        else {
            let (detector, channel) = (self.detector.to_string(), self.channel.to_string());
            return Err(ModuleError::NoChampion { detector, channel });
        };
        let duty = duty(channel, device);
        let desired = Desired {
            serial: channel.serial,
            root,
            champion: champion.digest,
            challenger: channel.challenger.as_ref().map(|challenger| challenger.digest),
            duty,
        };
        let champion = self.assigned(champion, cache).await?;
        let challenger = match &channel.challenger {
            Some(challenger) if duty != Duty::None => {
                self.assigned(challenger, cache).await.map(Some)
            }
            _ => Ok(None),
        };
        let (challenger, trouble) = match challenger {
            Ok(challenger) => (challenger, None),
            Err(error) => (None, Some(error)),
        };
        let (act, beside) = match (challenger, duty) {
            (Some(challenger), Duty::Act) => (challenger, Some((champion, Part::Fallback))),
            (challenger, _) => (champion, challenger.map(|module| (module, Part::Shadow))),
        };
        let directive = Directive {
            serial: Some(channel.serial),
            act,
            beside,
            gate: channel.policy.gate.clone(),
            sensitivity: channel.sensitivity.unwrap_or(1.0),
        };
        Ok(Told { directive, desired, trouble })
    }

    async fn assigned(
        &self,
        target: &Target,
        cache: &Mutex<ModuleCache>,
    ) -> Result<Assigned, ModuleError> {
        let module = cache.lock().await.get(&target.digest, Some(&self.registry())).await?;
        self.check(&module)?;
        Ok(Assigned { module, since: target.since })
    }

    /// Refuses a module of another detector under this one's name (mix and match), and one whose
    /// schema the sources here do not fill.
    fn check(&self, module: &Module) -> Result<(), ModuleError> {
        let name = &module.manifest().name;
        if name != self.detector.as_str() {
            let (wanted, found) = (self.detector.to_string(), name.clone());
            return Err(ModuleError::OtherDetector { wanted, found });
        }
        let Some(fields) = &self.fields else { return Ok(()) };
        let schema = &module.manifest().schema;
        let named = [&schema.entity, &schema.time].into_iter().flatten().map(String::as_str);
        match schema.fields().chain(named).find(|field| !fields.contains(*field)) {
            None => Ok(()),
            Some(field) => {
                Err(ModuleError::OtherSchema { digest: module.digest(), field: field.to_owned() })
            }
        }
    }
}

/// What `device` is to do with the challenger; one without a rollout is for the shadow everywhere.
fn duty(channel: &Channel, device: &Device) -> Duty {
    match (&channel.challenger, &channel.rollout) {
        (None, _) => Duty::None,
        (Some(_), None) => Duty::Shadow,
        (Some(_), Some(rollout)) => rollout.duty(&channel.policy, device),
    }
}
