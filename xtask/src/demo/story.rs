//! The book of a turn of the loop: told while it happens, and left as a page with a picture.

use super::world::{Tally, World};
use crate::run::print;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use twinge_experiments::plot::timeline;
use twinge_experiments::report::{Plot, Report, Table};

/// Events of a point of the picture.
const POINT: usize = 2000;

/// What happened.
#[derive(Debug)]
pub(super) struct Chapter {
    /// Since the beginning.
    pub(super) seconds: f64,
    /// Events sent by then.
    pub(super) event: usize,
    /// A word for the picture.
    pub(super) name: &'static str,
    pub(super) words: String,
}

/// All that happened.
#[derive(Debug, Default)]
pub(super) struct Story {
    chapters: Vec<Chapter>,
    /// Parts of the stream, and what came of each.
    pub(super) phases: Vec<(&'static str, Tally)>,
}

impl Story {
    pub(super) fn tell(&mut self, chapter: Chapter) {
        print(&format!("{:>5.0} s  {:<10}  {}", chapter.seconds, chapter.name, chapter.words));
        self.chapters.push(chapter);
    }

    /// Leaves `report.html` and `report.md`, and answers with the first.
    pub(super) fn write(
        &mut self,
        directory: &Path,
        world: &World,
        sent: usize,
    ) -> Result<PathBuf> {
        let report = self.report(world, sent);
        let page = directory.join("report.html");
        let cannot = || format!("cannot write {}", page.display());
        std::fs::write(&page, report.html()).with_context(cannot)?;
        std::fs::write(directory.join("report.md"), report.markdown()).with_context(cannot)?;
        let plots = directory.join("plots");
        std::fs::create_dir_all(&plots).with_context(cannot)?;
        for plot in &report.plots {
            std::fs::write(plots.join(&plot.file), plot.svg.as_str()).with_context(cannot)?;
        }
        Ok(page)
    }

    fn report(&self, world: &World, sent: usize) -> Report {
        let seconds = self.chapters.last().map_or(0.0, |chapter| chapter.seconds);
        let rate = |place: usize| {
            let rate = self.phases.get(place).map_or(f64::NAN, |(_, tally)| tally.rate());
            format!("{:.2} %", 100.0 * rate)
        };
        Report {
            title: "One turn of the loop".into(),
            outcome: format!(
                "False alarms went from {} to {} when the world changed, and back to {} with the \
                 challenger that was trained for it: {seconds:.0} seconds, and people did nothing \
                 but say of some alarms what they were.",
                rate(0),
                rate(1),
                rate(2)
            ),
            is_good: true,
            tables: vec![self.phases_table(), self.chapters_table()],
            plots: vec![self.picture(world, sent)],
            ..Report::default()
        }
    }

    fn phases_table(&self) -> Table {
        let row = |(name, tally): &(&str, Tally)| {
            vec![
                (*name).to_owned(),
                (tally.normal + tally.anomalies).to_string(),
                format!("{} ({:.2} %)", tally.false_alarms, 100.0 * tally.rate()),
                format!("{} of {}", tally.found, tally.anomalies),
            ]
        };
        Table {
            title: "What the verdicts were worth".into(),
            header: ["when", "events judged", "false alarms", "anomalies found"]
                .map(str::to_owned)
                .into(),
            rows: self.phases.iter().map(row).collect(),
        }
    }

    fn chapters_table(&self) -> Table {
        let row = |chapter: &Chapter| {
            vec![
                format!("{:.0} s", chapter.seconds),
                chapter.event.to_string(),
                chapter.words.clone(),
            ]
        };
        Table {
            title: "What happened".into(),
            header: ["at", "events so far", "what"].map(str::to_owned).into(),
            rows: self.chapters.iter().map(row).collect(),
        }
    }

    fn picture(&self, world: &World, sent: usize) -> Plot {
        let points: Vec<(f64, f64)> = (0..sent)
            .step_by(POINT)
            .map(|from| {
                let to = (from + POINT).min(sent);
                (f64::midpoint(from as f64, to as f64), world.tally(from..to).rate())
            })
            .collect();
        let shown = ["change", "challenger", "canary", "promoted"];
        let moments: Vec<(f64, &str)> = self
            .chapters
            .iter()
            .filter(|chapter| shown.contains(&chapter.name))
            .map(|chapter| (chapter.event as f64, chapter.name))
            .collect();
        Plot {
            file: "false-alarms.svg".into(),
            caption: format!(
                "False alarms among normal payments, for each {POINT}: they rise when prices do, and \
                 fall again with the new champion."
            ),
            svg: timeline("False alarms", "payments", &points, &moments),
        }
    }
}
