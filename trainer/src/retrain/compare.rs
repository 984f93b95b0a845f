//! What champion and challenger say of the same rows, and what follows.

use super::sample::{Events, Sample, Split};
use super::spoken::Spoken;
use super::work::{Challenger, Work};
use std::collections::BTreeMap;
use twinge_contract::manifest::Manifest;
use twinge_experiments::judge::{Comparison, Cost, Gate, Passage, Said};
use twinge_experiments::plot::psi;
use twinge_fit::Config;
use twinge_fit::read::Row;
use twinge_trust::Digest;

/// Both, with the sizes of their modules.
pub(crate) struct Judged<'a> {
    pub(crate) champion: Option<(u64, &'a Spoken)>,
    pub(crate) challenger: (u64, &'a Spoken),
}

/// All that an outcome is made of.
pub(crate) struct Materials<'a> {
    pub(crate) work: &'a Work,
    pub(crate) events: &'a Events,
    pub(crate) split: &'a Split,
    pub(crate) sample: &'a Sample,
    pub(crate) judged: Judged<'a>,
    pub(crate) trained: Challenger,
    pub(crate) config: Config,
    pub(crate) champion: Option<Digest>,
    pub(crate) reason: &'static str,
}

/// What came of a retraining, for the report, the tracker and the channel.
pub(crate) struct Outcome {
    pub(crate) began_ms: i64,
    pub(crate) reason: &'static str,
    pub(crate) trained: Challenger,
    pub(crate) config: Config,
    pub(crate) champion: Option<Digest>,
    pub(crate) comparison: Comparison,
    pub(crate) gates: Vec<Gate>,
    /// Scores of the judged rows that count.
    pub(crate) champion_scores: Vec<f64>,
    pub(crate) challenger_scores: Vec<f64>,
    /// The labels that are known, with the scores of both.
    pub(crate) labelled: Labelled,
    /// PSI of each input between what the challenger learned and the rows that were judged.
    pub(crate) psi: Vec<(String, f64)>,
    pub(crate) rows: usize,
    pub(crate) trained_rows: usize,
    pub(crate) period_ms: Option<(i64, i64)>,
    pub(crate) judged_from_ms: Option<i64>,
    pub(crate) notes: Vec<String>,
}

/// Labelled rows among those that were judged.
#[derive(Default)]
pub(crate) struct Labelled {
    pub(crate) labels: Vec<bool>,
    pub(crate) champion: Vec<f64>,
    pub(crate) challenger: Vec<f64>,
}

/// Compares on the rows behind the split, and judges.
pub(crate) fn outcome(materials: Materials<'_>) -> Outcome {
    let Materials { work, events, split, sample, judged, .. } = &materials;
    let rows = events.rows.len();
    let cost = |bytes: u64, spoken: &Spoken| Cost {
        bytes,
        row_us: spoken.in_module.as_secs_f64() * 1e6 / rows.max(1) as f64,
    };
    let (bytes, challenger) = judged.challenger;
    let known = &sample.known[split.at..];
    let late = |spoken: &Spoken| spoken.said[split.at..].to_vec();
    let by_champion = judged.champion.map(|(bytes, spoken)| (late(spoken), cost(bytes, spoken)));
    let by_challenger = late(challenger);
    let comparison = Comparison::new(
        by_champion.as_ref().map(|(said, cost)| (&said[..], *cost)),
        (&by_challenger, cost(bytes, challenger)),
        known,
    );
    let scores = |said: &[Said]| -> Vec<f64> {
        said.iter().filter(|said| said.counts).map(|said| said.score).collect()
    };
    let champion_said = by_champion.as_ref().map(|(said, _)| &said[..]);
    let times = |row: usize| events.rows[row].time_ms;
    let mut notes = vec![sample.told()];
    if sample.strays > 0 {
        notes.push(format!("{} labels are about no row of the data", sample.strays));
    }
    Outcome {
        began_ms: work.began_ms,
        reason: materials.reason,
        gates: work.settings.gates.judge(&comparison),
        comparison,
        champion_scores: champion_said.map(scores).unwrap_or_default(),
        challenger_scores: scores(&by_challenger),
        labelled: labelled(known, champion_said, &by_challenger),
        psi: drift(&materials.trained.manifest, &events.rows[split.at..]),
        rows,
        trained_rows: split.at,
        period_ms: times(0).zip(times(rows - 1)),
        judged_from_ms: times(split.at),
        notes,
        champion: materials.champion,
        config: materials.config.clone(),
        trained: materials.trained,
    }
}

fn labelled(known: &[Option<bool>], champion: Option<&[Said]>, challenger: &[Said]) -> Labelled {
    let mut labelled = Labelled::default();
    for (row, label) in known.iter().enumerate() {
        let counts = challenger[row].counts && champion.is_none_or(|said| said[row].counts);
        let (Some(label), true) = (label, counts) else { continue };
        labelled.labels.push(*label);
        labelled.challenger.push(challenger[row].score);
        labelled.champion.extend(champion.map(|said| said[row].score));
    }
    labelled
}

/// How far each input has moved, by the histograms that the module carries.
fn drift(manifest: &Manifest, rows: &[Row]) -> Vec<(String, f64)> {
    let numeric = &manifest.schema.numeric;
    let mut moved = Vec::new();
    for reference in &manifest.reference {
        let bins = reference.shares.len();
        let mut counts = vec![0_u64; bins];
        for row in rows {
            let bin = if let Some(place) = numeric.iter().position(|name| *name == reference.field)
            {
                let value = row.numeric[place];
                let bin = reference.bounds.partition_point(|bound| *bound < value);
                (!value.is_nan()).then_some(bin)
            } else {
                let place =
                    manifest.schema.categorical.iter().position(|name| *name == reference.field);
                let text = place.map(|place| row.categorical[place].as_str()).unwrap_or_default();
                let known = reference.categories.iter().position(|category| category == text);
                (!text.is_empty()).then(|| known.unwrap_or(bins.saturating_sub(1)))
            };
            if let Some(count) = bin.and_then(|bin| counts.get_mut(bin)) {
                *count += 1;
            }
        }
        let total: u64 = counts.iter().sum();
        let normed = |share: f64, of: f64| if of > 0.0 { share / of } else { 0.0 };
        let all = reference.shares.iter().fold(0.0, |sum, share| sum + share);
        let expected: Vec<f64> = reference.shares.iter().map(|share| normed(*share, all)).collect();
        let found: Vec<f64> =
            counts.iter().map(|count| normed(*count as f64, total as f64)).collect();
        if let Some(psi) = psi(&expected, &found, total).filter(|_| total > 0) {
            moved.push((reference.field.clone(), psi));
        }
    }
    moved
}

impl Outcome {
    /// The word for what became of the challenger.
    pub(crate) fn word(&self, is_published: bool) -> &'static str {
        match (is_published, self.failed().is_empty()) {
            (true, _) => "published",
            (false, true) => "passed",
            (false, false) => "gates-failed",
        }
    }

    /// The names of the gates that failed.
    pub(crate) fn failed(&self) -> String {
        let failed = self.gates.iter().filter(|gate| gate.passage == Passage::Failed);
        failed.map(|gate| gate.name).collect::<Vec<_>>().join(", ")
    }

    /// The figures that a tracker keeps.
    pub(crate) fn metrics(&self) -> BTreeMap<String, f64> {
        let comparison = &self.comparison;
        let mut metrics: BTreeMap<String, f64> = [
            ("judged.rows", Some(comparison.rows as f64)),
            ("judged.labelled", Some(comparison.labelled as f64)),
            ("judged.agreement", comparison.agreement),
            ("judged.overlap", comparison.overlap),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
        let sides = [
            ("challenger", Some(&comparison.challenger)),
            ("champion", comparison.champion.as_ref()),
        ];
        for (name, side) in sides {
            let Some(side) = side else { continue };
            let figures = [
                ("verdict_rate", Some(side.verdict_rate)),
                ("alarms", Some(side.alarms as f64)),
                ("precision", side.precision),
                ("recall", side.recall),
                ("bytes", Some(side.bytes as f64)),
                ("row_us", Some(side.row_us)),
            ];
            for (figure, value) in figures {
                metrics.extend(value.map(|value| (format!("{name}.{figure}"), value)));
            }
        }
        metrics.extend(self.psi.iter().filter_map(|(field, psi)| {
            let is_name = field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            (is_name && field.len() <= 100).then(|| (format!("psi.{field}"), *psi))
        }));
        metrics
    }
}
