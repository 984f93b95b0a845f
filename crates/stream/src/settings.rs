//! Settings of the programs: a TOML file, and flags and environment variables over it.

use crate::bounds;
use crate::device::DevicePlan;
use crate::document::Document;
use crate::plan::JOURNAL_BYTES_MIN;
use crate::plan::{DetectorPlan, Input, Origin, Plan};
#[cfg(feature = "adls")]
use crate::rights::DeskPlan;
use crate::rights::RightsPlan;
use crate::silence::SilenceSettings;
use crate::sink::HUB_PREFIX;
use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use twinge_contract::manifest::ENTITIES_MAX_LIMIT;
use twinge_drift::DriftSettings;
use twinge_registry::Name;
use twinge_trust::Anchor;

/// What differs between programs when nothing is said.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Directory of state.
    pub state: &'static str,
    /// Output of verdicts.
    pub verdicts: &'static str,
    /// Input; `None` asks for one.
    pub input: Option<Input>,
    /// Tables of a configuration file that the program reads itself.
    pub tables: &'static [&'static str],
    /// How long what cannot be written is tried again.
    pub sink_retry: Duration,
    /// Whether entities that stop sending are told.
    pub silence: bool,
    /// MiB that the journal may take.
    pub journal_mib: u64,
    /// The argument by which the program compiles a module, where it keeps what is compiled.
    pub compile_verb: Option<&'static str>,
}

/// Flags that the programs share.
#[derive(Debug, Args)]
pub struct Flags {
    /// Configuration file; flags go before it.
    #[arg(long, env = "TWINGE_CONFIG")]
    config: Option<PathBuf>,
    /// Set a key of a table in the configuration, as in mqtt.broker=mqtt://127.0.0.1; may be repeated.
    /// The variable `TWINGE_MQTT__BROKER` does the same.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Check the configuration and end.
    #[arg(long)]
    pub check: bool,
    /// Detector module, with its signature beside it as NAME.sig.
    #[arg(long, env = "TWINGE_MODULE", conflicts_with_all = ["registry", "detector"])]
    module: Option<PathBuf>,
    /// Registry to follow, with --detector and --channel: a directory, or the address of a container
    /// such as <https://ACCOUNT.blob.core.windows.net/CONTAINER>.
    #[arg(long, env = "TWINGE_REGISTRY", requires = "detector")]
    registry: Option<String>,
    /// Detector to run from the registry.
    #[arg(long, env = "TWINGE_DETECTOR", requires = "registry")]
    detector: Option<Name>,
    /// Channel to follow.
    #[arg(long, env = "TWINGE_CHANNEL", default_value = "stable")]
    channel: Name,
    /// File of events, one JSON object a line; the program ends with it.
    #[arg(long, env = "TWINGE_REPLAY", conflicts_with = "follow")]
    replay: Option<PathBuf>,
    /// File of events that grows, followed until the program is stopped.
    #[arg(long, env = "TWINGE_FOLLOW")]
    follow: Option<PathBuf>,
    /// Address for HTTP; port 0 takes a free one. Without a file, events come in here.
    #[arg(long, env = "TWINGE_LISTEN", value_parser = address)]
    listen: Option<SocketAddr>,
    /// File of verdicts; - is standard output [default: of a host verdicts.ndjson, of an edge agent -].
    #[arg(long, env = "TWINGE_VERDICTS")]
    verdicts: Option<String>,
    /// File of dead letters; - is standard output [default: dead-letters.ndjson].
    #[arg(long, env = "TWINGE_DEAD_LETTERS")]
    dead_letters: Option<String>,
    /// Directory of checkpoints, journal and module cache [default: host-state or edge-state].
    #[arg(long, env = "TWINGE_STATE")]
    state: Option<PathBuf>,
    /// Root of trust or keys that are trusted, as `trainer trust` or `trainer keygen` writes them.
    #[arg(long, env = "TWINGE_TRUST")]
    trust: Option<PathBuf>,
    /// Run a module file without signature; refuses a registry.
    #[arg(long, env = "TWINGE_ALLOW_UNSIGNED")]
    allow_unsigned: bool,
    /// Run precompiled artefacts of a registry, which are machine code, where a native key signed
    /// them for this engine.
    #[arg(long, env = "TWINGE_ALLOW_NATIVE")]
    allow_native: bool,
    /// Entities remembered by each detector, in place of what the module says.
    #[arg(long, env = "TWINGE_ENTITIES_MAX")]
    entities_max: Option<u32>,
    /// Events scored in one call at most [default: 1024].
    #[arg(long, env = "TWINGE_BATCH_ROWS_MAX")]
    batch_rows_max: Option<usize>,
    /// Milliseconds that scoring a batch may take. A batch is what has arrived, so a quiet stream is
    /// answered at once; the bound is for busy ones and slow detectors [default: 5].
    #[arg(long, env = "TWINGE_BATCH_MS")]
    batch_ms: Option<f64>,
    /// Events after which a checkpoint is taken [default: 50000].
    #[arg(long, env = "TWINGE_CHECKPOINT_EVENTS")]
    checkpoint_events: Option<u64>,
    /// Seconds after which a checkpoint is taken [default: 5].
    #[arg(long, env = "TWINGE_CHECKPOINT_SECONDS")]
    checkpoint_seconds: Option<f64>,
    /// Seconds that a failing output is tried again before the program stops [default: 30].
    #[arg(long, env = "TWINGE_SINK_RETRY_SECONDS")]
    sink_retry_seconds: Option<f64>,
    /// Seconds between looks at the channel [default: 5].
    #[arg(long, env = "TWINGE_POLL_SECONDS")]
    poll_seconds: Option<f64>,
    /// Seconds between reports to the registry, if nothing changes [default: 60].
    #[arg(long, env = "TWINGE_REPORT_SECONDS")]
    report_seconds: Option<f64>,
    /// Name of this device in the registry [default: that of its enrolment, else made from its key].
    #[arg(long, env = "TWINGE_DEVICE")]
    device: Option<String>,
    /// Ring of this device: new modules reach some rings earlier.
    #[arg(long, env = "TWINGE_RING")]
    ring: Option<String>,
    /// Enrolment of this device, as `trainer enrol` writes it [default: enrolment.json in the state].
    #[arg(long, env = "TWINGE_ENROLMENT")]
    enrolment: Option<PathBuf>,
    /// Fields that the events here have; modules that want others are refused.
    #[arg(long, env = "TWINGE_FIELDS", value_delimiter = ',')]
    fields: Option<Vec<String>>,
    /// File of anomalies with all that it takes to replay them; - is standard output.
    #[arg(long, env = "TWINGE_AUDITS")]
    audits: Option<String>,
    /// Host that gives this device rights on the registry, such as <https://twinge.example.com>; it
    /// is asked whenever those at hand come to their end.
    #[arg(long, env = "TWINGE_RIGHTS")]
    rights: Option<String>,
    /// Certificates that the host's may be signed with, in PEM [default: the system's].
    #[arg(long, env = "TWINGE_RIGHTS_CA")]
    rights_ca: Option<PathBuf>,
    /// MiB that events may take on disk before they are scored [default: of a host 1024, of an edge
    /// agent 256].
    #[arg(long, env = "TWINGE_JOURNAL_MIB")]
    journal_mib: Option<u64>,
    /// Milliseconds that a module's call may take [default: 1000].
    #[arg(long, env = "TWINGE_DEADLINE_MS")]
    deadline_ms: Option<u64>,
}

/// An address as a flag has it.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_unsaid| "write it with its port, as 127.0.0.1:8080".to_owned())
}

/// Where events come from, which detectors see them, and where verdicts go; the keys before the first
/// table.
// A key without a comment means what the flag of its name means.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    replay: Option<PathBuf>,
    follow: Option<PathBuf>,
    listen: Option<SocketAddr>,
    state: Option<PathBuf>,
    trust: Option<PathBuf>,
    allow_unsigned: bool,
    allow_native: bool,
    verdicts: Option<String>,
    dead_letters: Option<String>,
    entities_max: Option<u32>,
    batch_rows_max: Option<usize>,
    batch_ms: Option<f64>,
    checkpoint_events: Option<u64>,
    checkpoint_seconds: Option<f64>,
    sink_retry_seconds: Option<f64>,
    poll_seconds: Option<f64>,
    report_seconds: Option<f64>,
    deadline_ms: Option<u64>,
    device: Option<String>,
    ring: Option<String>,
    enrolment: Option<PathBuf>,
    fields: Option<Vec<String>>,
    audits: Option<String>,
    rights: Option<String>,
    rights_ca: Option<PathBuf>,
    journal_mib: Option<u64>,
    /// When the silence of an entity is told.
    silence: Option<SilenceSettings>,
    /// When drift is told.
    drift: Option<DriftSettings>,
    /// Where labels go that people give.
    labels: LabelSettings,
    /// The detectors that run side by side. `--module`, or `--registry` and `--detector`, put one in
    /// place of all of them.
    detector: Vec<DetectorSettings>,
    /// Tables that the program reads itself.
    #[cfg(feature = "adls")]
    #[serde(skip)]
    desk: Option<DeskPlan>,
    /// Outputs beside those of detectors.
    #[serde(skip)]
    also: Vec<String>,
    #[serde(skip)]
    own: Document,
    #[serde(skip)]
    input: Option<Input>,
}

/// Where labels go that people give over HTTP (`POST /v1/labels`).
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LabelSettings {
    /// File that each label is added to as a line of JSON [default: labels.ndjson in the state].
    file: Option<PathBuf>,
}

/// A detector: a module file, or one that a channel of a registry names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DetectorSettings {
    /// Module file, with its signature beside it as NAME.sig; either this, or `registry` and `name`.
    module: Option<PathBuf>,
    /// Registry to follow: a directory, or the address of a container.
    registry: Option<String>,
    /// Detector to run from the registry.
    name: Option<Name>,
    /// Channel to follow [default: `"stable"`].
    channel: Option<Name>,
    /// File or hub of its verdicts, in place of the common one; several detectors need one each.
    verdicts: Option<String>,
    /// File or hub of its dead letters, in place of the common one; several detectors need one each.
    dead_letters: Option<String>,
    /// File of its anomalies with all that it takes to replay them, in place of the common one.
    audits: Option<String>,
}

impl Settings {
    /// Reads the file that the flags name and puts the flags over it.
    pub fn read(flags: &Flags, defaults: &Defaults) -> anyhow::Result<Self> {
        let mut document = Document::read(flags.config.as_deref())?;
        document.put_over_variables(std::env::vars())?;
        for set in &flags.set {
            let (key, value) = set
                .split_once('=')
                .with_context(|| format!("--set {set}: write it as KEY=VALUE"))?;
            document.put_over(key.trim(), value.trim())?;
        }
        let own = document.split_off(defaults.tables);
        let mut settings = Self { own, ..document.rest(defaults.tables)? };
        settings.put_over(flags);
        Ok(settings)
    }

    /// A table that the program reads itself, if it is there.
    pub fn take<T: DeserializeOwned>(&mut self, table: &str) -> anyhow::Result<Option<T>> {
        self.own.take(table)
    }

    /// Rights are given to devices, over HTTP.
    #[cfg(feature = "adls")]
    pub fn give_rights(&mut self, desk: DeskPlan) {
        self.desk = Some(desk);
    }

    /// The input of a program that gives rights and is told nothing else: a file that stays empty.
    #[cfg(feature = "adls")]
    fn no_events(&self) -> Option<Input> {
        self.desk.as_ref().map(|_| Input::Follow("/dev/null".into()))
    }

    #[cfg(not(feature = "adls"))]
    #[expect(clippy::unused_self, reason = "as with the feature `adls`")]
    fn no_events(&self) -> Option<Input> {
        None
    }

    /// A key of a table that the program reads itself, which is left without it.
    pub fn take_inner<T: DeserializeOwned>(
        &mut self,
        table: &str,
        key: &str,
    ) -> anyhow::Result<Option<T>> {
        self.own.take_inner(table, key)
    }

    /// Who this device is said to be.
    pub fn device(&self) -> DevicePlan {
        let Self { device, ring, enrolment, .. } = self;
        DevicePlan { name: device.clone(), ring: ring.clone(), enrolment: enrolment.clone() }
    }

    /// Events come from what the program brings along.
    pub fn use_input(&mut self, input: Input) {
        self.input = Some(input);
    }

    /// Records go where they were told to, or else to these outputs.
    pub fn use_outputs(&mut self, verdicts: &str, dead_letters: &str) {
        self.verdicts.get_or_insert_with(|| verdicts.to_owned());
        self.dead_letters.get_or_insert_with(|| dead_letters.to_owned());
    }

    /// Whether an input was named.
    pub fn has_input(&self) -> bool {
        self.replay.is_some() || self.follow.is_some() || self.listen.is_some()
    }

    /// The directory of state.
    pub fn state(&self, default: &str) -> PathBuf {
        self.state.clone().unwrap_or_else(|| default.into())
    }

    /// A program writes to this output as well.
    pub fn also_output(&mut self, output: &str) {
        self.also.push(output.to_owned());
    }

    /// Every output that was named.
    pub fn outputs(&self) -> Vec<String> {
        let own = self
            .detector
            .iter()
            .flat_map(|one| [one.verdicts.clone(), one.dead_letters.clone(), one.audits.clone()]);
        let common = [self.verdicts.clone(), self.dead_letters.clone(), self.audits.clone()];
        own.chain(common).flatten().chain(self.also.clone()).collect()
    }

    fn put_over(&mut self, flags: &Flags) {
        fn over<T: Clone>(setting: &mut Option<T>, flag: Option<&T>) {
            if let Some(flag) = flag {
                *setting = Some(flag.clone());
            }
        }
        over(&mut self.replay, flags.replay.as_ref());
        over(&mut self.follow, flags.follow.as_ref());
        over(&mut self.listen, flags.listen.as_ref());
        over(&mut self.state, flags.state.as_ref());
        over(&mut self.trust, flags.trust.as_ref());
        over(&mut self.verdicts, flags.verdicts.as_ref());
        over(&mut self.dead_letters, flags.dead_letters.as_ref());
        over(&mut self.entities_max, flags.entities_max.as_ref());
        over(&mut self.batch_rows_max, flags.batch_rows_max.as_ref());
        over(&mut self.batch_ms, flags.batch_ms.as_ref());
        over(&mut self.checkpoint_events, flags.checkpoint_events.as_ref());
        over(&mut self.checkpoint_seconds, flags.checkpoint_seconds.as_ref());
        over(&mut self.sink_retry_seconds, flags.sink_retry_seconds.as_ref());
        over(&mut self.poll_seconds, flags.poll_seconds.as_ref());
        over(&mut self.report_seconds, flags.report_seconds.as_ref());
        over(&mut self.deadline_ms, flags.deadline_ms.as_ref());
        over(&mut self.device, flags.device.as_ref());
        over(&mut self.ring, flags.ring.as_ref());
        over(&mut self.enrolment, flags.enrolment.as_ref());
        over(&mut self.fields, flags.fields.as_ref());
        over(&mut self.audits, flags.audits.as_ref());
        over(&mut self.rights, flags.rights.as_ref());
        over(&mut self.rights_ca, flags.rights_ca.as_ref());
        over(&mut self.journal_mib, flags.journal_mib.as_ref());
        self.allow_unsigned |= flags.allow_unsigned;
        self.allow_native |= flags.allow_native;
        if flags.module.is_some() || flags.registry.is_some() {
            self.detector = vec![DetectorSettings {
                module: flags.module.clone(),
                registry: flags.registry.clone(),
                name: flags.detector.clone(),
                channel: Some(flags.channel.clone()),
                ..DetectorSettings::default()
            }];
        }
    }

    fn check(&self, defaults: &Defaults) -> anyhow::Result<()> {
        if self.detector.is_empty() {
            bail!(
                "no detector: give --module, or --registry and --detector, or [[detector]] in a configuration file"
            );
        }
        if self.input(defaults).is_none() {
            bail!(
                "no input: give --replay or --follow with a file, --listen with an address such as 127.0.0.1:8080, or (the cloud host) --hub"
            );
        }
        if self.replay.is_some() && self.follow.is_some() {
            bail!("two inputs: give either `replay` or `follow`");
        }
        if self.input.is_some() && (self.replay.is_some() || self.follow.is_some()) {
            bail!("two inputs: give either a file or a hub, broker or device");
        }
        self.check_detectors()?;
        if self.trust.is_none() && !self.allow_unsigned {
            bail!(
                "no trusted keys: give --trust with a file that `trainer keygen` wrote, or --allow-unsigned for a module file of your own"
            );
        }
        self.check_bounds()?;
        if let Some(silence) = &self.silence {
            silence.check()?;
        }
        if let Some(drift) = &self.drift {
            drift.check()?;
        }
        self.check_rights()
    }

    fn check_detectors(&self) -> anyhow::Result<()> {
        for detector in &self.detector {
            match (&detector.module, &detector.registry, &detector.name) {
                (Some(_), None, _) | (None, Some(_), Some(_)) => {}
                _ => bail!("each [[detector]] has either `module`, or `registry` and `name`"),
            }
            if self.allow_unsigned && detector.registry.is_some() {
                bail!(
                    "--allow-unsigned goes with a module file only: a registry's modules are signed"
                );
            }
        }
        Ok(())
    }

    fn check_bounds(&self) -> anyhow::Result<()> {
        if self.entities_max.is_some_and(|entities| !(1..=ENTITIES_MAX_LIMIT).contains(&entities)) {
            bail!("entities_max must lie between 1 and {ENTITIES_MAX_LIMIT}");
        }
        if self.batch_rows_max.is_some_and(|rows| !(1..=65_536).contains(&rows)) {
            bail!("batch_rows_max must lie between 1 and 65536");
        }
        if self.batch_ms.is_some_and(|ms| !(0.1..=60_000.0).contains(&ms)) {
            bail!("batch_ms must lie between 0.1 and 60000");
        }
        for (key, seconds) in [
            ("checkpoint_seconds", self.checkpoint_seconds),
            ("sink_retry_seconds", self.sink_retry_seconds),
            ("poll_seconds", self.poll_seconds),
            ("report_seconds", self.report_seconds),
        ] {
            if seconds.is_some_and(|seconds| !(0.0..=86_400.0).contains(&seconds)) {
                bail!("{key} must lie between 0 and 86400");
            }
        }
        if self.journal_mib.is_some_and(|mib| mib < JOURNAL_BYTES_MIN >> 20) {
            bail!("journal_mib must be at least {}", JOURNAL_BYTES_MIN >> 20);
        }
        Ok(())
    }

    fn check_rights(&self) -> anyhow::Result<()> {
        if self.rights.is_none() && self.rights_ca.is_some() {
            bail!("`rights_ca` goes with `rights`, the host that it is for");
        }
        let addresses = self.detector.iter().filter_map(|detector| detector.registry.as_ref());
        let mut addresses: Vec<_> = addresses.filter(|place| place.contains("://")).collect();
        addresses.dedup();
        if self.rights.is_some() && addresses.len() != 1 {
            bail!(
                "`rights` are for one registry with an address: name one, the same in each [[detector]]"
            );
        }
        Ok(())
    }

    fn input(&self, defaults: &Defaults) -> Option<Input> {
        if self.input.is_some() {
            return self.input.clone();
        }
        let replay = self.replay.clone().map(Input::Replay);
        let file = replay.or_else(|| self.follow.clone().map(Input::Follow));
        file.or_else(|| self.listen.map(|_| Input::Pushed))
            .or_else(|| defaults.input.clone())
            .or_else(|| self.no_events())
    }

    /// The plan that the settings describe, once the whole was checked.
    pub fn into_plan(self, defaults: &Defaults) -> anyhow::Result<Plan> {
        self.check(defaults)?;
        let anchor = self.anchor()?;
        let several = self.detector.len() > 1;
        let plans =
            self.detector.iter().map(|detector| self.detector_plan(detector, several, defaults));
        let detectors = plans.collect::<Result<_, _>>()?;
        let input = self.input(defaults).context("no input")?;
        let is_replay = matches!(input, Input::Replay(_));
        let (device, settings) = (self.device(), self.bounds(defaults));
        Ok(Plan {
            detectors,
            state: self.state.unwrap_or_else(|| defaults.state.into()),
            anchor,
            allow_unsigned: self.allow_unsigned,
            allow_native: self.allow_native,
            compile_verb: defaults.compile_verb,
            input,
            listen: self.listen,
            settings,
            entities_max: self.entities_max,
            deadline: Duration::from_millis(self.deadline_ms.unwrap_or(1000)),
            poll: seconds(self.poll_seconds, Duration::from_secs(5)),
            report: seconds(self.report_seconds, Duration::from_mins(1)),
            device,
            fields: self.fields.map(|fields| fields.into_iter().collect()),
            rights: self.rights.map(|url| RightsPlan { url, ca: self.rights_ca }),
            #[cfg(feature = "adls")]
            desk: self.desk,
            journal_bytes_max: self.journal_mib.unwrap_or(defaults.journal_mib) << 20,
            labels: self.labels.file,
            // Of a file that is read once, the time between events says nothing.
            silence: self.silence.filter(|_| !is_replay).unwrap_or(SilenceSettings {
                enabled: defaults.silence && !is_replay,
                ..SilenceSettings::default()
            }),
            // Whoever replays a file asks for its verdicts; of drift, only if they say so.
            drift: self
                .drift
                .unwrap_or(DriftSettings { enabled: !is_replay, ..DriftSettings::default() }),
        })
    }

    /// Where trust begins; nowhere where nothing is said.
    fn anchor(&self) -> anyhow::Result<Anchor> {
        let Some(path) = &self.trust else { return Ok(Anchor::default()) };
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Anchor::from_json(&bytes).with_context(|| format!("{} is not usable", path.display()))
    }

    fn bounds(&self, defaults: &Defaults) -> bounds::Settings {
        let default = bounds::Settings::default();
        bounds::Settings {
            batch_rows_max: self.batch_rows_max.unwrap_or(default.batch_rows_max),
            batch_time: seconds(self.batch_ms.map(|ms| ms / 1000.0), default.batch_time),
            checkpoint_events: self.checkpoint_events.unwrap_or(default.checkpoint_events),
            checkpoint_interval: seconds(self.checkpoint_seconds, default.checkpoint_interval),
            sink_retry: seconds(self.sink_retry_seconds, defaults.sink_retry),
        }
    }

    fn detector_plan(
        &self,
        detector: &DetectorSettings,
        several: bool,
        defaults: &Defaults,
    ) -> anyhow::Result<DetectorPlan> {
        let origin = match (&detector.module, &detector.registry, &detector.name) {
            (None, Some(registry), Some(name)) => Origin::Channel {
                registry: registry.clone(),
                detector: name.clone(),
                channel: match &detector.channel {
                    Some(channel) => channel.clone(),
                    None => "stable".parse().context("the default channel")?,
                },
            },
            (Some(module), _, _) => Origin::File(module.clone()),
            _ => bail!("each [[detector]] has either `module`, or `registry` and `name`"),
        };
        let output = |own: &Option<String>, common: &Option<String>, default: &str| {
            let is_hub = common.as_deref().is_some_and(|name| name.starts_with(HUB_PREFIX));
            if several && own.is_none() && !is_hub {
                bail!(
                    "with several detectors, each [[detector]] needs `verdicts` and `dead_letters` of its own"
                );
            }
            Ok(own.clone().or_else(|| common.clone()).unwrap_or_else(|| default.to_owned()))
        };
        Ok(DetectorPlan {
            origin,
            verdicts: output(&detector.verdicts, &self.verdicts, defaults.verdicts)?,
            dead_letters: output(
                &detector.dead_letters,
                &self.dead_letters,
                "dead-letters.ndjson",
            )?,
            audits: match (&detector.audits, &self.audits) {
                (None, Some(_)) if several => {
                    bail!("with several detectors, `audits` goes into each [[detector]]")
                }
                (own, common) => own.clone().or_else(|| common.clone()),
            },
        })
    }
}

fn seconds(setting: Option<f64>, default: Duration) -> Duration {
    setting.map_or(default, Duration::from_secs_f64)
}
