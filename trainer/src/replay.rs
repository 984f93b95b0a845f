//! `trainer replay`: reaches recorded verdicts again, bit for bit, and tells how they came about.

mod lake;

use crate::data::{Trust, Usage, load_module};
use crate::place::{Missing, Reader, Source, block_on};
use crate::table::one_line;
use crate::words::{count, many};
use crate::{print, tell};
use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use twinge_contract::audit::{AUDIT_TYPE, Audit, AuditData};
use twinge_contract::manifest::Manifest;
use twinge_contract::verdict::{Contribution, Verdict};
use twinge_engine::{Engine, Limits, Module};
use twinge_runner::Slot;
use twinge_trust::{Digest, Provenance};

/// Longest line of a file of audit records, in bytes: a record holds an event and a state, in
/// base64.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Records told in full unless all are asked for.
const RECORDS_SHOWN: usize = 20;

/// Reach the verdicts of audit records again, and tell how they came about.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// File of audit records, one a line; - is standard input.
    #[arg(long, required_unless_present = "lake", conflicts_with = "lake")]
    audit: Option<PathBuf>,
    /// A lake instead: a directory, or the address of a container. Takes any verdict.
    #[arg(long, requires = "detector", requires = "id")]
    lake: Option<String>,
    /// The detector whose verdict is meant.
    #[arg(long, requires = "lake")]
    detector: Option<String>,
    /// The source of the events may deliver them again under other offsets, as Event Hubs do.
    #[arg(long, requires = "lake")]
    redelivers: bool,
    /// Only the verdict with this id.
    #[arg(long)]
    id: Option<String>,
    /// Registry to fetch the modules from: a directory or an address.
    #[arg(long, env = "TWINGE_REGISTRY", required_unless_present = "module")]
    registry: Option<String>,
    /// A module's file instead; records of other modules are left out.
    #[arg(long)]
    module: Option<PathBuf>,
    /// Tell every record in full, not only the first 20.
    #[arg(long)]
    all: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    trust: Trust,
}

impl Arguments {
    fn audit_name(&self) -> String {
        self.audit.as_ref().map_or_else(|| "-".into(), |path| path.display().to_string())
    }
}

/// Where modules come from.
enum Modules {
    File(Box<Module>),
    Registry { reader: Box<Reader>, engine: Box<Engine> },
}

/// A module that gave verdicts.
struct Witness {
    slot: Slot,
    manifest: Manifest,
    signer: String,
}

/// What became of the lines.
#[derive(Default)]
struct Tally {
    told: Vec<Value>,
    total: usize,
    identical: usize,
    /// Records of other modules than the one given.
    left_out: usize,
    first_failure: Option<String>,
    lineage: BTreeMap<String, Value>,
}

/// `trainer replay`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    block_on(async {
        if let Some(place) = &arguments.lake {
            return lake::run(arguments, place).await;
        }
        let mut modules = Modules::open(arguments).await?;
        let mut witnesses: BTreeMap<String, Result<Witness, String>> = BTreeMap::new();
        let mut tally = Tally::default();
        let mut lines = lines(arguments)?;
        let (mut number, mut line) = (0u64, Vec::new());
        loop {
            line.clear();
            let read = (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            let bytes = read.with_context(|| format!("cannot read {}", arguments.audit_name()))?;
            if bytes == 0 {
                break;
            }
            number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let audit = match parse(line.trim_ascii()) {
                Ok(audit) => audit,
                Err(reason) => {
                    tally.damaged(number, &reason, arguments);
                    continue;
                }
            };
            if arguments.id.as_ref().is_some_and(|id| *id != audit.id) {
                continue;
            }
            let digest = audit.data.verdict.data.module.to_string();
            if let Modules::File(module) = &modules
                && module.digest().to_string() != digest
            {
                tally.left_out += 1;
                continue;
            }
            if !witnesses.contains_key(&digest) {
                witnesses.insert(digest.clone(), modules.witness(&digest).await);
            }
            let witness = witnesses.get_mut(&digest).expect("it was just put there");
            tally.record(number, &audit, witness, arguments);
        }
        tally.finish(arguments)
    })
}

fn lines(arguments: &Arguments) -> Result<Box<dyn BufRead>> {
    let Some(path) = arguments.audit.as_ref().filter(|path| path.to_str() != Some("-")) else {
        return Ok(Box::new(std::io::stdin().lock()));
    };
    let file =
        File::open(path).with_context(|| format!("cannot read {}", arguments.audit_name()))?;
    Ok(Box::new(BufReader::new(file)))
}

/// A record, if it is one and whole.
fn parse(line: &[u8]) -> Result<Audit, String> {
    if line.len() as u64 == LINE_BYTES_MAX {
        return Err("it is longer than any record".into());
    }
    let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    match value["type"].as_str() {
        Some(AUDIT_TYPE) => {}
        Some(other) => return Err(format!("it is a {}, no audit record", one_line(other))),
        None => return Err("it is no audit record".into()),
    }
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

impl Modules {
    async fn open(arguments: &Arguments) -> Result<Self> {
        if let Some(path) = &arguments.module {
            return Ok(Self::File(Box::new(load_module(path, &arguments.trust)?)));
        }
        if arguments.trust.allow_unsigned {
            let reason = "is for a --module; what a registry holds is verified";
            return Err(Usage(format!("--allow-unsigned {reason}")).into());
        }
        let registry = arguments.registry.clone().unwrap_or_default();
        let source = Source { registry, trust: arguments.trust.trust.clone() };
        let reader = Box::new(Reader::open(&source, Missing::Refuse).await?);
        Ok(Self::Registry { reader, engine: Box::new(Engine::new(Limits::default())?) })
    }

    /// The module with a digest; why not, if it cannot be had.
    async fn module(&mut self, digest: &str) -> Result<Module, String> {
        let (module, _) = self.signed(digest).await?;
        let found = module.digest().to_string();
        if found == digest {
            Ok(module)
        } else {
            Err(format!("{digest} was asked for, and {found} is given"))
        }
    }

    /// The module with a digest, ready to be asked.
    async fn witness(&mut self, digest: &str) -> Result<Witness, String> {
        let (module, signer) = self.signed(digest).await?;
        let manifest = Manifest::clone(module.manifest());
        Ok(Witness { slot: Slot::new(&module, Some(1)), manifest, signer })
    }

    async fn signed(&mut self, digest: &str) -> Result<(Module, String), String> {
        Ok(match self {
            Self::File(module) => ((**module).clone(), "verified as a file".to_owned()),
            Self::Registry { reader, engine } => {
                let fetched = fetch(reader, engine, digest).await;
                fetched.map_err(|error| format!("{error:#}"))?
            }
        })
    }
}

async fn fetch(reader: &Reader, engine: &Engine, digest: &str) -> Result<(Module, String)> {
    let digest: Digest = digest.parse()?;
    let verified = reader.registry.fetch(&digest, reader.keyring()).await?;
    let signer = match verified.provenance() {
        Provenance::Signed { key_id, role } => format!("{key_id} ({role})"),
        Provenance::Unsigned => "nobody".into(),
    };
    Ok((engine.load(&verified)?, signer))
}

impl Witness {
    /// In which ways the recorded verdict is not the one that is reached now.
    fn differences(&mut self, audit: &Audit) -> Vec<String> {
        if Audit::new(audit.data.clone()) != *audit {
            return vec!["the record's head is not that of its verdict".into()];
        }
        match self.slot.replay(&audit.data) {
            Ok(reached) => differences(&audit.data.verdict, &reached),
            Err(reason) => vec![format!("no verdict is reached: {reason}")],
        }
    }

    fn lineage(&self) -> Value {
        let lineage = &self.manifest.lineage;
        json!({
            "detector": self.manifest.name, "version": self.manifest.version,
            "data_digest": lineage.data_digest, "rows": lineage.rows,
            "config_digest": lineage.config_digest, "seed": lineage.seed,
            "runtime_digest": lineage.runtime_digest, "signer": self.signer,
        })
    }
}

fn differences(recorded: &Verdict, reached: &Verdict) -> Vec<String> {
    let (ours, theirs) = (&reached.data, &recorded.data);
    let mut found = Vec::new();
    let mut compare = |name: &str, recorded: String, reached: String| {
        if recorded != reached {
            found.push(format!("{name} {recorded} was recorded, {reached} is reached"));
        }
    };
    let bits = |score: f64| format!("{score} (bits {:016x})", score.to_bits());
    compare("score", bits(theirs.score), bits(ours.score));
    compare("outcome", theirs.verdict.as_str().into(), ours.verdict.as_str().into());
    compare(
        "attribution",
        attribution(&theirs.attribution, true),
        attribution(&ours.attribution, true),
    );
    compare("severity", format!("{:?}", theirs.severity), format!("{:?}", ours.severity));
    compare("version", theirs.version.to_string(), ours.version.to_string());
    compare("id", recorded.id.clone(), reached.id.clone());
    compare("entity", recorded.subject.clone(), reached.subject.clone());
    if found.is_empty() && recorded != reached {
        found.push("the rest of the verdict is another".into());
    }
    found
}

/// The parts of a score in words; with their bits, where every one counts.
fn attribution(parts: &[Contribution], with_bits: bool) -> String {
    let part = |part: &Contribution| {
        let bits = if with_bits { format!(":{:08x}", part.share.to_bits()) } else { String::new() };
        format!("{} {:.3}{bits}", part.field, part.share)
    };
    let parts: Vec<String> = parts.iter().map(part).collect();
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}

impl Tally {
    /// A line that may hold any record; where one is looked for, it is no failure to have others.
    fn damaged(&mut self, number: u64, reason: &str, arguments: &Arguments) {
        let said = format!("line {number} is damaged: {}", one_line(reason));
        if arguments.id.is_some() {
            tell(&said);
            return;
        }
        self.total += 1;
        if !arguments.json && (arguments.all || self.total <= RECORDS_SHOWN) {
            print(&said);
        }
        self.fail(said);
        self.told.push(json!({ "line": number, "identical": false, "damaged": reason }));
    }

    fn fail(&mut self, failure: String) {
        self.first_failure.get_or_insert(failure);
    }

    fn record(
        &mut self,
        number: u64,
        audit: &Audit,
        witness: &mut Result<Witness, String>,
        arguments: &Arguments,
    ) {
        self.total += 1;
        let digest = &audit.data.verdict.data.module;
        let differences = match witness {
            Ok(witness) => {
                self.lineage.entry(digest.to_string()).or_insert_with(|| witness.lineage());
                witness.differences(audit)
            }
            Err(reason) => vec![format!("its module cannot be had: {reason}")],
        };
        let identical = differences.is_empty();
        let is_first_failure = !identical && self.first_failure.is_none();
        self.identical += usize::from(identical);
        if !identical {
            let said = one_line(&differences.join("; "));
            self.fail(format!("line {number}, verdict {} differs: {said}", one_line(&audit.id)));
        }
        if arguments.json {
            self.told.push(to_json(number, audit, &differences));
        } else if arguments.all || self.total <= RECORDS_SHOWN || is_first_failure {
            let lineage = self.lineage.get(&**digest);
            for line in lines_of(number, &audit.data, &differences, lineage) {
                print(&line);
            }
        }
    }

    fn finish(self, arguments: &Arguments) -> Result<()> {
        if arguments.json {
            let object = json!({
                "identical": self.identical, "total": self.total, "left_out": self.left_out,
                "records": self.told, "modules": self.lineage,
            });
            print(&serde_json::to_string_pretty(&object)?);
        } else {
            print(&format!("{} of {} identical", count(self.identical), count(self.total)));
        }
        if self.left_out > 0 {
            tell(&format!(
                "{} of other modules left out: give --registry",
                many(self.left_out, "record")
            ));
        }
        if let Some(failure) = self.first_failure {
            anyhow::bail!("not every verdict was reached again: {failure}");
        }
        if self.total == 0 {
            let reason = match &arguments.id {
                Some(id) => format!("no record of verdict {} is there", one_line(id)),
                None => "there is no record to replay".into(),
            };
            return Err(Usage(format!("{}: {reason}", arguments.audit_name())).into());
        }
        Ok(())
    }
}

fn to_json(number: u64, audit: &Audit, differences: &[String]) -> Value {
    let data = &audit.data;
    json!({
        "line": number, "id": audit.id, "identical": differences.is_empty(),
        "differences": differences, "verdict": data.verdict, "serial": data.serial,
        "beside": data.beside, "score_bits": format!("{:016x}", data.verdict.data.score.to_bits()),
    })
}

/// A record for people: what was live, why, and where it came from.
fn lines_of(
    number: u64,
    data: &AuditData,
    differences: &[String],
    lineage: Option<&Value>,
) -> Vec<String> {
    let verdict = &data.verdict.data;
    let serial = data
        .serial
        .map_or("a module file, no channel".into(), |serial| format!("channel serial {serial}"));
    let beside = data.beside.as_ref().map_or("nothing beside it".into(), |other| {
        format!("{} beside it", one_line(other.get(..12).unwrap_or(other)))
    });
    let sensitivity = verdict.sensitivity.unwrap_or(1.0);
    let time = data.verdict.time.as_deref().unwrap_or("at no time");
    let word = if differences.is_empty() { "identical" } else { "DIFFERS" };
    let mut lines = vec![
        format!("line {number}  {}  {word}", one_line(&data.verdict.id)),
        format!(
            "  verdict   {}, score {} (bits {:016x}), entity {}, {}",
            verdict.verdict.as_str(),
            verdict.score,
            verdict.score.to_bits(),
            one_line(&data.verdict.subject),
            one_line(time)
        ),
        format!(
            "  live      version {}, {}, {serial}, sensitivity {sensitivity}, {beside}",
            one_line(&verdict.version),
            one_line(&verdict.module)
        ),
        format!("  why       {}", one_line(&attribution(&verdict.attribution, false))),
    ];
    if let Some(lineage) = lineage {
        let short = |name: &str| {
            lineage[name]
                .as_str()
                .map(|text| text.get(..12).unwrap_or(text))
                .unwrap_or_default()
                .to_owned()
        };
        lines.push(format!(
            "  lineage   data {} ({} rows), configuration {}, seed {}, runtime {}, signed by {}",
            short("data_digest"),
            lineage["rows"],
            short("config_digest"),
            lineage["seed"],
            short("runtime_digest"),
            lineage["signer"].as_str().unwrap_or_default()
        ));
    }
    lines.extend(
        differences.iter().map(|difference| format!("  DIFFERS   {}", one_line(difference))),
    );
    lines
}
