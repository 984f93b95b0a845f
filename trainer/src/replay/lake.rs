//! Reaches a verdict again out of the lake: by the past of its entity, event by event.
//!
//! A module remembers of an entity what its events were, and nothing of others, so the rows of one
//! entity are all that a verdict follows from.

use super::arguments::Arguments;
use super::modules::Modules;
use super::words::attribution;
use crate::dataset::open;
use crate::output::{print, tell};
use crate::table::one_line;
use crate::usage::Usage;
use crate::words::{count, many};
use anyhow::{Result, bail};
use serde::Serialize;
use twinge_contract::verdict::Verdict;
use twinge_engine::Module;
use twinge_lake::{Lake, Place, Range, Row};
use twinge_runner::{Arrival, Record, Runner};

/// Beginnings of a memory that are tried where the whole past gives another score.
const BEGINNINGS_TRIED: usize = 256;

/// What is told as JSON; the verdict to the letter as it was told then.
#[derive(Serialize)]
struct Told<'a> {
    id: &'a str,
    identical: bool,
    events: usize,
    events_in_lake: usize,
    partition: &'a str,
    offset: u64,
    entity: Option<&'a str>,
    score_bits: String,
    verdict: &'a Verdict,
}

/// `trainer replay --lake`.
pub(super) async fn run(arguments: &Arguments, place: &str) -> Result<()> {
    let lake = open(place).await?;
    let (Some(detector), Some(id)) = (&arguments.detector, &arguments.id) else {
        return Err(Usage("--lake needs --detector and --id".into()).into());
    };
    let Some((of, row)) = find(&lake, detector, id).await? else {
        let reason = "is not in the lake: it may be staged still, or its day has expired";
        return Err(Usage(format!("verdict {} of {detector} {reason}", one_line(id))).into());
    };
    let Some(digest) = &row.module else {
        let reason = row.reason.as_deref().unwrap_or("no reason");
        bail!("{} got no verdict, it is a dead letter: {}", one_line(id), one_line(reason));
    };
    let past = past(&lake, detector, &of, &row).await?;
    let module = Modules::open(arguments).await?.module(digest).await;
    let module = module.map_err(|reason| anyhow::anyhow!("its module cannot be had: {reason}"))?;
    let Some((verdict, seen)) = reach(&module, detector, &of, &past, &row, arguments) else {
        let score = row.score.unwrap_or(f64::NAN);
        bail!(
            "score {score} (bits {:016x}) is not reached by any of the last {} beginnings of the \
             entity's past: it may have been forgotten and met again meanwhile, or its past has expired",
            score.to_bits(),
            count(BEGINNINGS_TRIED.min(past.len()))
        );
    };
    report(arguments, &of, &row, &verdict, seen, past.len())
}

/// The row of a verdict.
async fn find(lake: &Lake, detector: &str, id: &str) -> Result<Option<(Place, Row)>> {
    for file in lake.files(detector, Range::ALL).await? {
        for row in lake.rows(&file).await? {
            let (place, row) = row?;
            if row.id == id {
                return Ok(Some((place, row)));
            }
        }
    }
    Ok(None)
}

/// The events of the row's entity up to it, in their order.
async fn past(lake: &Lake, detector: &str, of: &Place, until: &Row) -> Result<Vec<Arrival>> {
    let mut past = Vec::new();
    for file in lake.files(detector, Range::ALL).await? {
        for row in lake.rows(&file).await? {
            let (place, row) = row?;
            if place == *of && row.entity == until.entity && row.offset <= until.offset {
                past.push(arrival(row));
            }
        }
    }
    past.sort_by_key(|arrival| arrival.offset);
    Ok(past)
}

fn arrival(row: Row) -> Arrival {
    Arrival {
        offset: row.offset,
        ingested_ms: row.ingested_ms,
        attributes: row.attributes(),
        key: row.key,
        bytes: row.event,
    }
}

/// The verdict with the row's score, and from how many events it follows: all of them, or those
/// since the module, or its memory of the entity, began.
fn reach(
    module: &Module,
    detector: &str,
    of: &Place,
    past: &[Arrival],
    row: &Row,
    arguments: &Arguments,
) -> Option<(Verdict, usize)> {
    let later = past.len().saturating_sub(BEGINNINGS_TRIED)..past.len();
    std::iter::once(0).chain(later).find_map(|beginning| {
        let place = twinge_runner::Place {
            detector: detector.to_owned(),
            source: of.source.as_str().into(),
            partition: of.partition.as_str().into(),
            redelivers: arguments.redelivers,
        };
        let mut runner = Runner::new(place, module, Some(1));
        let records = runner.process(&past[beginning..]);
        let Some(Record::Verdict(verdict)) = records.into_iter().next_back() else { return None };
        let is_reached = row.score.map(f64::to_bits) == Some(verdict.data.score.to_bits());
        is_reached.then_some((*verdict, past.len() - beginning))
    })
}

fn report(
    arguments: &Arguments,
    of: &Place,
    row: &Row,
    verdict: &Verdict,
    seen: usize,
    past: usize,
) -> Result<()> {
    let data = &verdict.data;
    if arguments.json {
        let object = Told {
            id: &row.id,
            identical: true,
            events: seen,
            events_in_lake: past,
            partition: &of.partition,
            offset: row.offset,
            entity: row.entity.as_deref(),
            score_bits: format!("{:016x}", data.score.to_bits()),
            verdict,
        };
        print(&serde_json::to_string_pretty(&object)?);
        return Ok(());
    }
    let entity = row.entity.as_deref().unwrap_or_default();
    print(&format!("{}  identical", one_line(&row.id)));
    print(&format!(
        "  verdict   {}, score {} (bits {:016x}), entity {}, {}",
        data.verdict.as_str(),
        data.score,
        data.score.to_bits(),
        one_line(entity),
        one_line(verdict.time.as_deref().unwrap_or("at no time"))
    ));
    let (version, module) = (one_line(&data.version), one_line(&data.module));
    print(&format!("  live      version {version}, {module}"));
    print(&format!("  why       {}", one_line(&attribution(&data.attribution, false))));
    print(&format!(
        "  from      {} of the entity, offset {} of partition {}",
        many(seen, "event"),
        row.offset,
        one_line(&of.partition)
    ));
    if seen < past {
        tell(&format!(
            "the lake has {} of it from before: the module did not know them, or had forgotten them",
            many(past - seen, "event")
        ));
    }
    if row.verdict != data.verdict.as_str() {
        tell(&format!(
            "it was told as {}: the channel's sensitivity was another then",
            one_line(&row.verdict)
        ));
    }
    Ok(())
}
