//! `trainer replay`: reaches recorded verdicts again, bit for bit, and tells how they came about.

mod arguments;
mod lake;
mod modules;
mod witness;
mod words;

use crate::output::{print, tell};
use crate::place::block_on;
use crate::table::one_line;
use crate::usage::Usage;
use crate::words::{count, many};
use anyhow::{Context, Result};
pub(crate) use arguments::Arguments;
use modules::Modules;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use twinge_contract::audit::{AUDIT_TYPE, Audit, AuditData};
use witness::Witness;
use words::attribution;

/// Longest line of a file of audit records, in bytes: a record holds an event and a state, in
/// base64.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Records told in full unless all are asked for.
const RECORDS_SHOWN: usize = 20;

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
                witnesses.insert(digest.clone(), Witness::of(&mut modules, &digest).await);
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
    lines.extend(lineage.map(line_of_lineage));
    lines.extend(
        differences.iter().map(|difference| format!("  DIFFERS   {}", one_line(difference))),
    );
    lines
}

fn line_of_lineage(lineage: &Value) -> String {
    let short = |name: &str| {
        lineage[name]
            .as_str()
            .map(|text| text.get(..12).unwrap_or(text))
            .unwrap_or_default()
            .to_owned()
    };
    format!(
        "  lineage   data {} ({} rows), configuration {}, seed {}, runtime {}, signed by {}",
        short("data_digest"),
        lineage["rows"],
        short("config_digest"),
        lineage["seed"],
        short("runtime_digest"),
        lineage["signer"].as_str().unwrap_or_default()
    )
}
