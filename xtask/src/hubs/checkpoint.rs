//! `cargo xtask bench checkpoint`: how long a checkpoint of many entities takes, whole and incremental,
//! in a directory and, where there is one, in an emulator of Azure storage.

use super::Workshop;
use super::peers::Azurite;
use crate::run::{print, tell};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::sync::Arc;
use std::time::Instant;
use twinge_engine::{Engine, Limits, Module};
use twinge_registry::{Adls, AdlsSettings, Directory, Store};
use twinge_runner::{Arrival, Checkpoints, Layout, Place, Progress, Runner};
use twinge_trust::VerifiedModule;

/// How long a checkpoint takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Entities.
    #[arg(long, default_value_t = 100_000)]
    entities: u32,
}

/// `cargo xtask bench checkpoint`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workshop = Workshop::prepare("checkpoint", "dev")?;
    let bytes = fs::read(&workshop.module)?;
    let module = Engine::new(Limits::default())?.load(&VerifiedModule::allow_unsigned(bytes))?;
    let state_bytes = module.manifest().state_bytes;
    print(&format!("{} entities of {state_bytes} bytes", arguments.entities));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let directory: Arc<dyn Store> = Arc::new(Directory::open(workshop.path("store"))?);
    runtime.block_on(measure("directory", directory, &module, arguments.entities))?;
    match Azurite::start(&workshop.directory)? {
        Err(missing) => tell(&missing),
        Ok(azurite) => {
            let settings =
                AdlsSettings::from_connection_string(&azurite.connection_string, "checkpoints")?;
            let store = Adls::open(&settings)?;
            runtime.block_on(store.create_container())?;
            let store: Arc<dyn Store> = Arc::new(store);
            runtime.block_on(measure("Azurite", store, &module, arguments.entities))?;
        }
    }
    Ok(())
}

async fn measure(name: &str, store: Arc<dyn Store>, module: &Module, entities: u32) -> Result<()> {
    let place = Place {
        detector: "sensors".into(),
        source: "bench".into(),
        partition: "0".into(),
        redelivers: false,
    };
    let layout = Layout::of("bench", "0");
    let mut runner = Runner::new(place.clone(), module, Some(entities));
    let mut offset = 0;
    let mut events = |count: u32, runner: &mut Runner| {
        for start in (0..count).step_by(1024) {
            let arrivals: Vec<Arrival> = (start..count.min(start + 1024))
                .map(|entity| {
                    offset += 1;
                    arrival(offset, entity)
                })
                .collect();
            runner.process(&arrivals);
        }
    };
    events(entities, &mut runner);
    ensure!(runner.status().entities == entities as usize, "every entity is remembered");
    let mut checkpoints = Checkpoints::open(Arc::clone(&store), layout.clone()).await?;
    let progress = Progress::default();
    let began = Instant::now();
    checkpoints.save(&mut [&mut runner], &progress).await?;
    let whole = began.elapsed();
    let mut incremental = Vec::new();
    for share in [100, 10] {
        events(entities / share, &mut runner);
        let began = Instant::now();
        checkpoints.save(&mut [&mut runner], &progress).await?;
        incremental.push((share, began.elapsed()));
    }
    let began = Instant::now();
    let checkpoints = Checkpoints::open(store, layout).await?;
    let restored = checkpoints.restore(&place, module, None, Some(entities)).await?;
    let restore = began.elapsed();
    ensure!(
        restored.context("a runner was saved")?.next_offset() == runner.next_offset(),
        "the restored runner stands elsewhere"
    );
    let seconds = |time: std::time::Duration| format!("{:>7.3} s", time.as_secs_f64());
    print(&format!("{name:<10} whole         {}", seconds(whole)));
    for (share, time) in incremental {
        print(&format!("{name:<10} changed 1/{share:<3} {}", seconds(time)));
    }
    print(&format!("{name:<10} restored      {}", seconds(restore)));
    Ok(())
}

fn arrival(offset: u64, entity: u32) -> Arrival {
    let body = format!(
        r#"{{"time":"2026-01-01T00:00:{:02}Z","sensor":"sensor-{entity:06}","temperature_c":41.5,"vibration_mm_s":2.5,"pressure_kpa":300.0,"current_a":7.5,"mode":"run"}}"#,
        offset % 60
    );
    Arrival {
        offset,
        ingested_ms: i64::MAX / 2,
        key: None,
        attributes: None,
        bytes: body.into_bytes(),
    }
}
