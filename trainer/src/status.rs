//! `trainer status`: what channels point at, and what devices make of it.

use crate::channel::lines;
use crate::fleet::{Fleet, Heard};
use crate::output::{print, tell};
use crate::place::{Missing, Reader, Source, block_on};
use crate::table::{Table, one_line};
use crate::time::now_ms;
use crate::words::{count, many, span};
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use twinge_contract::time::to_rfc3339;
use twinge_registry::{Channel, Name};
use twinge_rollout::{Part, Report, Running};

/// Devices shown unless all are asked for.
const DEVICES_SHOWN: usize = 50;

/// Refused reports shown unless all are asked for.
const REFUSED_SHOWN: usize = 10;

/// Tell what a registry's channels point at, and what devices report.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The detector [default: all].
    #[arg(long)]
    detector: Option<Name>,
    /// Show every device, not only the first 50.
    #[arg(long)]
    all: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A channel that was looked at.
struct Looked {
    document: Channel,
    /// Why devices do not believe it, if they do not.
    refused: Option<String>,
    devices: Vec<Device>,
}

/// A device in the table.
#[derive(Debug, Serialize)]
struct Device {
    #[serde(rename = "device")]
    name: String,
    ring: Option<String>,
    enrolled: bool,
    acting: Option<Running>,
    beside: Option<Running>,
    serial: u64,
    behind: bool,
    root: u64,
    age_ms: i64,
    silent: bool,
    condemned: Vec<String>,
    trouble: Option<String>,
    report: Report,
}

/// What is told as one JSON object in the end.
#[derive(Default)]
struct Gathered {
    channels: Vec<Value>,
    broken: Vec<Value>,
    refused: Vec<Value>,
}

/// `trainer status`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    block_on(async {
        let reader = Reader::open(&arguments.source, Missing::Refuse).await?;
        if !arguments.json {
            tell_root(&reader);
        }
        let detectors = reader.registry.detectors().await?;
        let wanted = |name: &Name| arguments.detector.as_ref().is_none_or(|one| one == name);
        let (mut gathered, mut seen) = (Gathered::default(), 0);
        for (detector, names) in detectors.into_iter().filter(|(name, _)| wanted(name)) {
            let fleet = Fleet::read(&reader, &detector).await?;
            for name in names {
                seen += 1;
                gathered.channel(&reader, (&detector, &name), &fleet, arguments).await?;
            }
            if !arguments.json {
                print_refused(&detector, &fleet, arguments.all);
            }
            gathered.refused.extend(fleet.refused.iter().map(
                |one| json!({ "detector": detector, "device": one.device, "reason": one.reason }),
            ));
        }
        if arguments.json {
            print(&serde_json::to_string_pretty(&gathered.to_json(&reader))?);
        } else if seen == 0 {
            print("the registry has no channel yet: `trainer publish` makes one");
        }
        Ok(())
    })
}

impl Gathered {
    /// A channel, looked at and, but for JSON, told at once.
    async fn channel(
        &mut self,
        reader: &Reader,
        (detector, name): (&Name, &Name),
        fleet: &Fleet,
        arguments: &Arguments,
    ) -> Result<()> {
        match reader.document(detector, name).await {
            Ok(None) => {}
            Ok(Some((document, genuine))) => {
                let refusal =
                    genuine.err().map(|error| format!("{:#}", anyhow::Error::from(error)));
                let looked = look(document, refusal, fleet);
                if arguments.json {
                    self.channels.push(looked.to_json()?);
                } else {
                    looked.print(arguments.all);
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                if !arguments.json {
                    print(&format!("{detector}/{name}  BROKEN: {error}"));
                }
                self.broken.push(json!({ "detector": detector, "channel": name, "error": error }));
            }
        }
        Ok(())
    }

    fn to_json(&self, reader: &Reader) -> Value {
        let root = reader.root().map(|root| {
            json!({
                "version": root.root().version, "expires": to_rfc3339(root.root().expires_ms),
                "expired": root.is_expired(now_ms()),
            })
        });
        let Self { channels, broken, refused } = self;
        json!({ "channels": channels, "broken": broken, "refused": refused, "root": root })
    }
}

fn tell_root(reader: &Reader) {
    if let Some(root) = reader.root() {
        let word = if root.is_expired(now_ms()) { "EXPIRED at" } else { "believed until" };
        let (version, expires) = (root.root().version, to_rfc3339(root.root().expires_ms));
        print(&format!("root of trust {version}, {word} {expires}"));
    } else if reader.keyring().keys().is_empty() {
        tell("no key is trusted here, so nothing is verified: give --trust");
    }
}

fn print_refused(detector: &Name, fleet: &Fleet, all: bool) {
    let shown = if all { fleet.refused.len() } else { REFUSED_SHOWN };
    if fleet.refused.is_empty() {
        return;
    }
    print(&format!(
        "{detector}: {} refused, which count for nothing",
        many(fleet.refused.len(), "report")
    ));
    let mut table = Table::new(&["device", "why"]);
    for refused in fleet.refused.iter().take(shown) {
        table.row(vec![refused.device.clone(), refused.reason.clone()]);
    }
    table.lines(2).iter().for_each(|line| print(line));
    print_rest(fleet.refused.len(), shown);
}

fn print_rest(all: usize, shown: usize) {
    if all > shown {
        print(&format!("  and {} more; --all shows them", count(all - shown)));
    }
}

fn look(document: Channel, refused: Option<String>, fleet: &Fleet) -> Looked {
    let now_ms = now_ms();
    let on = fleet.on(&document.channel);
    let devices = on.map(|heard| Device::new(heard, &document, now_ms)).collect();
    Looked { document, refused, devices }
}

impl Device {
    fn new(heard: &Heard, document: &Channel, now_ms: i64) -> Self {
        let report = &heard.report;
        let age_ms = now_ms.saturating_sub(report.sent_ms);
        let silence_ms = document.policy.gate.silence_seconds.saturating_mul(1000);
        let beside = report.running.iter().find(|running| running.part != Part::Acting);
        let health = &report.health;
        Self {
            name: report.device.name.clone(),
            ring: report.device.ring.clone(),
            enrolled: heard.is_enrolled(),
            acting: report.acting().cloned(),
            beside: beside.cloned(),
            serial: report.desired.serial,
            behind: report.desired.serial < document.serial,
            root: report.desired.root,
            age_ms,
            silent: age_ms > i64::try_from(silence_ms).unwrap_or(i64::MAX),
            condemned: report
                .condemned
                .iter()
                .map(|one| format!("{}: {}", one.digest.short(), one.reason))
                .collect(),
            trouble: health.refused.clone().or_else(|| health.trouble.clone()),
            report: report.clone(),
        }
    }

    /// Devices that somebody should look at come first.
    fn urgency(&self) -> u8 {
        match () {
            () if self.trouble.is_some() => 0,
            () if !self.condemned.is_empty() => 1,
            () if self.silent => 2,
            () if self.behind => 3,
            () if !self.report.drifts.is_empty() => 4,
            () => 5,
        }
    }

    fn row(&self) -> Vec<String> {
        let module = |running: &Running| format!("{} {}", running.version, running.digest.short());
        let part = |part: Part| match part {
            Part::Acting => "acting",
            Part::Shadow => "shadow",
            Part::WarmingUp => "warming up",
            Part::Fallback => "fallback",
        };
        let beside =
            self.beside.as_ref().map(|one| format!("{} ({})", module(one), part(one.part)));
        let mark = |text: String, marked: bool, word: &str| {
            if marked { format!("{text} {word}") } else { text }
        };
        vec![
            self.name.clone(),
            self.ring.clone().unwrap_or_default(),
            if self.enrolled { "enrolled" } else { "unknown" }.into(),
            self.acting.as_ref().map(module).unwrap_or_default(),
            beside.unwrap_or_default(),
            mark(self.serial.to_string(), self.behind, "behind"),
            mark(span(self.age_ms), self.silent, "SILENT"),
            self.condemned.join("; "),
            self.trouble.clone().or_else(|| self.drifting()).unwrap_or_default(),
        ]
    }

    /// What no longer looks as it did, where something does not.
    fn drifting(&self) -> Option<String> {
        let fields: Vec<&str> =
            self.report.drifts.iter().map(|drift| drift.field.as_str()).collect();
        (!fields.is_empty()).then(|| format!("drift of {}", fields.join(", ")))
    }
}

impl Looked {
    fn print(&self, all: bool) {
        for line in lines(&self.document) {
            print(&line);
        }
        if let Some(reason) = &self.refused {
            print(&format!("  NOT BELIEVED: {}", one_line(reason)));
        }
        print(&format!("  fleet       {}", self.summary()));
        if self.devices.is_empty() {
            return;
        }
        let mut devices: Vec<&Device> = self.devices.iter().collect();
        devices.sort_by_key(|device| device.urgency());
        let shown = if all { devices.len() } else { DEVICES_SHOWN };
        let mut table = Table::new(&[
            "device",
            "ring",
            "standing",
            "acting",
            "beside",
            "serial",
            "report",
            "condemned",
            "trouble",
        ]);
        for device in devices.iter().take(shown) {
            table.row(device.row());
        }
        table.lines(4).iter().for_each(|line| print(line));
        print_rest(devices.len(), shown);
    }

    fn summary(&self) -> String {
        let counts = self.counts().into_iter().filter(|(_, count)| *count > 0);
        let parts: Vec<String> =
            counts.map(|(word, number)| format!("{} {word}", count(number))).collect();
        let devices = many(self.devices.len(), "device");
        if parts.is_empty() { devices } else { format!("{devices}: {}", parts.join(", ")) }
    }

    fn counts(&self) -> [(&'static str, usize); 6] {
        let of = |is: fn(&Device) -> bool| self.devices.iter().filter(|device| is(device)).count();
        [
            ("enrolled", of(|device| device.enrolled)),
            ("unknown", of(|device| !device.enrolled)),
            ("behind", of(|device| device.behind)),
            ("silent", of(|device| device.silent)),
            ("condemned", of(|device| !device.condemned.is_empty())),
            ("in trouble", of(|device| device.trouble.is_some())),
        ]
    }

    /// The document with what was found beside it.
    fn to_json(&self) -> Result<Value> {
        let mut object = serde_json::to_value(&self.document)?;
        let counts: serde_json::Map<String, Value> = self
            .counts()
            .into_iter()
            .map(|(word, count)| (word.replace(' ', "_"), count.into()))
            .collect();
        let stage = self.document.rollout.as_ref().and_then(|one| one.stage(&self.document.policy));
        object["expires"] = to_rfc3339(self.document.expires_ms).into();
        object["expired"] = (self.document.expires_ms <= now_ms()).into();
        object["not_believed"] = self.refused.clone().into();
        object["stage"] = stage.map(|stage| stage.name.clone()).into();
        object["fleet"] = json!({
            "devices": self.devices.len(), "counts": counts, "reports": self.devices,
        });
        Ok(object)
    }
}
