//! `trainer generate`: streams of events with labelled anomalies.

use crate::output::tell;
use crate::progress::progress_bar;
use crate::send;
use crate::usage::Usage;
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use twinge_generator::{Event, Params, ParamsError, Shift, World, csv_header};

/// Write a stream of events with labelled anomalies; docs/generator.md tells what they are.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// World: cards, sensors or flows.
    #[arg(long, default_value = "cards")]
    world: String,
    /// Number of events.
    #[arg(long, default_value_t = 10_000)]
    events: u64,
    /// Number of entities.
    #[arg(long, default_value_t = 1000)]
    entities: u32,
    /// Events a second, over all entities, in event time.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Share of anomalous events.
    #[arg(long, default_value_t = 0.01)]
    anomalies: f64,
    /// Share of values left out.
    #[arg(long, default_value_t = 0.0)]
    missing: f64,
    /// Factor by which normal values become others for good, such as 1.5.
    #[arg(long, requires = "shift_after")]
    shift: Option<f64>,
    /// Events before that.
    #[arg(long, requires = "shift")]
    shift_after: Option<u64>,
    /// Seed: the same gives the same bytes on every machine.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Format; follows from the name of --out when left out.
    #[arg(long, value_enum)]
    format: Option<FormatFlag>,
    /// Leave out the columns `label` and `anomaly`.
    #[arg(long)]
    no_labels: bool,
    /// Where the events go; - is standard output.
    #[arg(long, default_value = "-", conflicts_with = "to")]
    out: PathBuf,
    /// Send the events instead of writing them, each with its entity as partition key.
    #[arg(long, value_enum)]
    to: Option<To>,
    #[command(flatten)]
    send: send::Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum To {
    /// To Azure Event Hubs, or to a broker on this machine.
    Eventhubs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatFlag {
    /// A header and rows.
    Csv,
    /// A JSON object a line.
    Ndjson,
}

/// The flag that a value comes from.
fn flag(error: &ParamsError) -> &'static str {
    match error {
        ParamsError::Entities(_) => "--entities",
        ParamsError::EventsPerSecond(_) => "--rate",
        ParamsError::AnomalyShare(_) => "--anomalies",
        ParamsError::MissingShare(_) => "--missing",
        ParamsError::Shift(_) => "--shift",
        ParamsError::StartMs(_) => "--start",
    }
}

/// `trainer generate`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let params = params(arguments)?;
    let world = params.world;
    let checked = params.check().map_err(|error| Usage(format!("{}: {error}", flag(&error))))?;
    let stream = checked.stream();
    let events = stream.take(usize::try_from(arguments.events).unwrap_or(usize::MAX));
    if arguments.to == Some(To::Eventhubs) {
        let with_labels = !arguments.no_labels;
        let events = events.map(|event| send::Outgoing {
            key: Some(event.entity.clone()),
            body: event.to_json(world, with_labels).into_bytes(),
        });
        return send::send_all(&arguments.send, events, arguments.events);
    }
    let cannot = || format!("cannot write {}", arguments.out.display());
    let anomalies = write(arguments, world, events).with_context(cannot)?;
    tell(&format!(
        "{} events of {} {}, {anomalies} of them anomalous",
        arguments.events,
        arguments.entities,
        world.name()
    ));
    Ok(())
}

fn params(arguments: &Arguments) -> Result<Params> {
    let world = arguments.world.parse().map_err(|error| Usage(format!("--world: {error}")))?;
    Ok(Params {
        entities: arguments.entities,
        events_per_second: arguments.rate,
        anomaly_share: arguments.anomalies,
        missing_share: arguments.missing,
        shift: arguments
            .shift
            .zip(arguments.shift_after)
            .map(|(size, after)| Shift { after, size }),
        ..Params::new(world, arguments.seed)
    })
}

/// Writes events to the file or to standard output, and answers with how many were anomalous.
fn write(
    arguments: &Arguments,
    world: World,
    events: impl Iterator<Item = Event>,
) -> std::io::Result<u64> {
    let is_csv =
        arguments.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let format =
        arguments.format.unwrap_or(if is_csv { FormatFlag::Csv } else { FormatFlag::Ndjson });
    let labels = !arguments.no_labels;
    let mut out: BufWriter<Box<dyn Write>> = BufWriter::new(match arguments.out.to_str() {
        Some("-") => Box::new(std::io::stdout()),
        _ => Box::new(File::create(&arguments.out)?),
    });
    if format == FormatFlag::Csv {
        writeln!(out, "{}", csv_header(world, labels))?;
    }
    let bar = progress_bar(arguments.events);
    let mut anomalies = 0u64;
    for event in events {
        anomalies += u64::from(event.label.is_some());
        let line = match format {
            FormatFlag::Csv => event.to_csv(labels),
            FormatFlag::Ndjson => event.to_json(world, labels),
        };
        writeln!(out, "{line}")?;
        if event.id % 4096 == 0 {
            bar.set_position(event.id);
        }
    }
    out.flush()?;
    bar.finish_and_clear();
    Ok(anomalies)
}
