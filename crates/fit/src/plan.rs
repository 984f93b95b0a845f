//! Which detectors take part, and on which features: chosen by what the data shows.
//!
//! The choice is made without labels. Each step leaves a sentence in [`Plan::why`], which the
//! manifest keeps and `trainer inspect` tells.

use crate::config::{ConfigError, DetectorKind, FusionChoice, Kinds, ValidConfig};
use crate::features::{self, FeatureSpec};
use crate::table::Table;
use twinge_contract::manifest::StreamRules;
use twinge_detector::alarms::Rule;

/// What kind of data a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    /// Rows that stand for themselves.
    Table,
    /// One number of one thing over time.
    Series,
    /// Several numbers of one thing at regular times.
    Sensors,
    /// Events of several entities, or at irregular times.
    Events,
}

/// What is to be trained.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the data is.
    pub data: DataKind,
    /// Detectors, in order.
    pub kinds: Vec<DetectorKind>,
    /// Whether the largest surprise counts; `None` when labels may decide.
    pub takes_largest: Option<bool>,
    /// Features, in order.
    pub features: Vec<FeatureSpec>,
    /// Share of the rows held back; `None` for fitting several times.
    pub held_back: Option<f64>,
    /// When a score is told.
    pub rule: Rule,
    /// Complete stream rules.
    pub stream: StreamRules,
    /// Share of normal events that may be called anomalous.
    pub false_alarm_rate: f64,
    /// Share of the rows that are expected to be anomalies nobody has labelled.
    pub contamination: f64,
    /// Why, in sentences.
    pub why: Vec<String>,
}

/// Share of the gaps between an entity's events that lie near the median gap of regular data.
const REGULAR_SHARE: f64 = 0.8;

/// Share of a stream's rows that are held back.
const HELD_BACK: f64 = 0.3;

/// Events after which an episode of a series ends.
const EPISODE_EVENTS: u32 = 100;

const DAY_MS: f64 = 86_400_000.0;

impl Plan {
    /// The plan for a table.
    pub fn of(table: &Table, config: &ValidConfig) -> Result<Self, ConfigError> {
        let written = &config.written;
        let mut why = Vec::new();
        let data = data_kind(table, &mut why);
        let kinds = match &written.detector.kind {
            Kinds::Given(kinds) => {
                why.push("the detectors were given".into());
                kinds.clone()
            }
            Kinds::Auto => choose(table, data, written.detector.clean, &mut why),
        };
        let features = plan_features(table, data, &kinds, config)?;
        let rule = match (kinds.as_slice(), written.threshold.episode_events) {
            ([DetectorKind::Wander], None) => Rule::Aftermath,
            ([DetectorKind::Series], None) => Rule::Episodes(EPISODE_EVENTS),
            (_, None | Some(0)) => Rule::Every,
            (_, Some(events)) => Rule::Episodes(events),
        };
        let warm_up = features.iter().map(FeatureSpec::warm_up_events).max().unwrap_or(0);
        let mut stream = written.stream_rules(warm_up)?;
        let is_set = written.stream.as_ref().is_some_and(|set| set.warm_up_events.is_some());
        if !is_set {
            shorten_warm_up(table, &mut stream, &mut why);
        }
        let learns_alone = matches!(
            kinds.as_slice(),
            [DetectorKind::Series | DetectorKind::Wander | DetectorKind::TrustedNeighbours]
        );
        let default = (data != DataKind::Table && !learns_alone).then_some(HELD_BACK);
        Ok(Self {
            data,
            takes_largest: match written.detector.fusion {
                FusionChoice::Auto => None,
                FusionChoice::Mean => Some(false),
                FusionChoice::Largest => Some(true),
            },
            features,
            held_back: if learns_alone { None } else { written.threshold.held_back.or(default) },
            kinds,
            rule,
            stream,
            contamination: written.threshold.contamination.unwrap_or(0.0),
            false_alarm_rate: false_alarm_rate(table, config, &mut why),
            why,
        })
    }
}

fn data_kind(table: &Table, why: &mut Vec<String>) -> DataKind {
    let schema = &table.schema;
    if schema.time.is_none() && schema.entity.is_none() {
        why.push("neither time nor entity: a table, whose rows stand for themselves".into());
        return DataKind::Table;
    }
    let regular = schema.time.is_some() && regular_share(table) >= REGULAR_SHARE;
    let times = if regular { "regular" } else { "irregular" };
    let of_one = table.entity_count == 1 && schema.time.is_some() && schema.categorical.is_empty();
    match table.numeric.len() {
        1 if of_one => {
            why.push(format!("one number of one thing at {times} times: a series"));
            DataKind::Series
        }
        numbers if of_one && regular => {
            why.push(format!("{numbers} numbers of one thing at regular times: its sensors"));
            DataKind::Sensors
        }
        _ => {
            let entities = table.entity_count;
            let entities =
                if entities == 1 { "one entity".into() } else { format!("{entities} entities") };
            why.push(format!("{entities} at {times} times: events"));
            DataKind::Events
        }
    }
}

/// Share of gaps, each between two events of an entity, within half of the median gap from it.
fn regular_share(table: &Table) -> f64 {
    let mut latest = vec![f64::NAN; table.entity_count];
    let mut gaps = Vec::new();
    for (entity, time) in table.entities.iter().zip(&table.times_ms) {
        let latest = &mut latest[*entity as usize];
        if !latest.is_nan() {
            gaps.push(time - *latest);
        }
        *latest = *time;
    }
    if gaps.is_empty() {
        return 0.0;
    }
    gaps.sort_unstable_by(f64::total_cmp);
    let median = gaps[gaps.len() / 2];
    let near = gaps.iter().filter(|gap| (*gap - median).abs() <= 0.5 * median).count();
    if median > 0.0 { near as f64 / gaps.len() as f64 } else { 0.0 }
}

fn choose(
    table: &Table,
    data: DataKind,
    clean: Option<bool>,
    why: &mut Vec<String>,
) -> Vec<DetectorKind> {
    match data {
        DataKind::Table => choose_for_rows(table, clean, why),
        DataKind::Series => {
            why.push(
                "a series is judged by its own past, learned while running: season, shift, rarity, turbulence"
                    .into(),
            );
            vec![DetectorKind::Series]
        }
        DataKind::Sensors => {
            why.push("each sensor is judged against its level, which may wander".into());
            vec![DetectorKind::Wander]
        }
        DataKind::Events => choose_for_events(table, clean, why),
    }
}

/// Whether the rows to fit are believed to hold no anomalies.
fn believed_clean(table: &Table, clean: Option<bool>, why: &mut Vec<String>) -> bool {
    match (clean, &table.labels) {
        (Some(clean), _) => {
            why.push(format!("the data is said to be {}clean", if clean { "" } else { "not " }));
            clean
        }
        (None, Some(_)) => {
            why.push("labelled anomalies are left out of fitting, so the rest is clean".into());
            true
        }
        (None, None) => {
            why.push("nobody says that the data is clean, so it is taken not to be".into());
            false
        }
    }
}

/// Detectors of combinations: of clean rows two, of others one.
fn choose_for_rows(table: &Table, clean: Option<bool>, why: &mut Vec<String>) -> Vec<DetectorKind> {
    if believed_clean(table, clean, why) {
        why.push("clean rows: neighbours and a mixture, each where the other is weak".into());
        vec![DetectorKind::Neighbours, DetectorKind::Mixture]
    } else {
        why.push(
            "rows of unknown kind: neighbours among the two thirds that a first look trusts".into(),
        );
        vec![DetectorKind::TrustedNeighbours]
    }
}

fn choose_for_events(
    table: &Table,
    clean: Option<bool>,
    why: &mut Vec<String>,
) -> Vec<DetectorKind> {
    let has_profiles = table.schema.time.is_some() && table.entity_count > 1;
    if has_profiles && table.schema.width() == 1 && table.numeric.iter().any(|c| is_amount(c)) {
        why.push("one amount: judged against each entity's own profile".into());
        return vec![DetectorKind::Ratio];
    }
    let mut kinds = choose_for_rows(table, clean, why);
    why.push("tails besides, for extremes of single features".into());
    kinds.push(DetectorKind::Tails);
    let is_never_negative = |column: &Vec<f64>| !column.iter().any(|value| *value < 0.0);
    if has_profiles && table.numeric.iter().any(is_never_negative) {
        why.push("and amounts against each entity's own profile".into());
        kinds.push(DetectorKind::Ratio);
    }
    kinds
}

/// A number that is never negative and has a long upper tail.
fn is_amount(column: &[f64]) -> bool {
    let mut values: Vec<f64> = column.iter().copied().filter(|value| !value.is_nan()).collect();
    if values.is_empty() || values.iter().any(|value| *value < 0.0) {
        return false;
    }
    values.sort_unstable_by(f64::total_cmp);
    let median = values[values.len() / 2];
    let upper = values[(values.len() - 1) * 99 / 100];
    upper > 3.0 * median && upper > 0.0
}

fn plan_features(
    table: &Table,
    data: DataKind,
    kinds: &[DetectorKind],
    config: &ValidConfig,
) -> Result<Vec<FeatureSpec>, ConfigError> {
    let schema = &table.schema;
    let mut default: Vec<&str> = match data {
        DataKind::Table => vec!["value"],
        _ => vec!["value", "deviation", "difference"],
    };
    let only_channels = kinds.iter().all(|kind| !kind.channels().is_empty());
    if only_channels {
        default.clear();
    }
    let channels: Vec<&str> = kinds.iter().flat_map(|kind| kind.channels()).copied().collect();
    let has_gaps = schema.entity.is_some() && schema.time.is_some() && !only_channels;
    let mut settings = config.written.features.clone();
    // Channels belong to the detectors, whatever else is listed.
    for listed in settings.numeric.iter_mut().chain(settings.fields.values_mut()) {
        for channel in &channels {
            if !listed.iter().any(|known| known == channel) {
                listed.push((*channel).to_owned());
            }
        }
    }
    default.extend(&channels);
    let time: &[&str] = if has_gaps { &["gap"] } else { &[] };
    Ok(features::plan(schema, &settings, &default, time)?)
}

/// Shortens the warm-up when half of the entities would never get through it.
fn shorten_warm_up(table: &Table, stream: &mut StreamRules, why: &mut Vec<String>) {
    let mut events = vec![0u32; table.entity_count];
    for entity in &table.entities {
        events[*entity as usize] += 1;
    }
    events.sort_unstable();
    let median = events.get(events.len() / 2).copied().unwrap_or(0);
    if stream.warm_up_events > median / 4 {
        why.push(format!(
            "half of the entities have at most {median} events, so the warm-up was shortened from {} events to {}",
            stream.warm_up_events,
            median / 4
        ));
        stream.warm_up_events = median / 4;
    }
}

fn false_alarm_rate(table: &Table, config: &ValidConfig, why: &mut Vec<String>) -> f64 {
    let threshold = &config.written.threshold;
    let Some(alarms) = threshold.alarms_per_day else { return threshold.false_alarm_rate };
    let (first, last) =
        table.times_ms.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), time| {
            (low.min(*time), high.max(*time))
        });
    let days = (last - first) / DAY_MS;
    if table.schema.time.is_none() || !(days > 0.0 && days.is_finite()) {
        why.push("alarms a day need event times: the false-alarm rate was used instead".into());
        return threshold.false_alarm_rate;
    }
    let events_per_day = table.rows() as f64 / days;
    let rate = (alarms / events_per_day).min(0.49);
    why.push(format!("{alarms} alarms a day of {events_per_day:.0} events: a rate of {rate:.6}"));
    rate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use twinge_contract::schema::Schema;

    fn plan(table: &Table, toml: &str) -> Plan {
        let mut config = Config::parse(&format!("name = \"t\"\n{toml}\n[schema]\n")).unwrap();
        config.schema = table.schema.clone();
        Plan::of(table, &config.check().unwrap()).unwrap()
    }

    fn table(entities: u32, step_ms: impl Fn(u32) -> f64, columns: usize) -> Table {
        let rows = 400;
        let mut time = 0.0;
        let mut times_ms = Vec::new();
        for row in 0..rows {
            time += step_ms(row);
            times_ms.push(time);
        }
        let names = ["a", "b", "c"];
        Table {
            schema: Schema {
                time: Some("t".into()),
                entity: (entities > 1).then(|| "e".into()),
                numeric: names[..columns].iter().map(|name| (*name).to_owned()).collect(),
                ..Schema::default()
            },
            entities: (0..rows).map(|row| row % entities).collect(),
            entity_count: entities as usize,
            times_ms,
            numeric: (0..columns)
                .map(|_| (0..rows).map(|row| f64::from(row % 37).exp2()).collect())
                .collect(),
            ..Table::default()
        }
    }

    #[test]
    fn the_data_chooses_the_detectors() {
        let irregular = |row: u32| f64::from(row * row % 101) * 1000.0;
        let cases = [
            (table(1, |_| 3.6e6, 1), DataKind::Series, vec![DetectorKind::Series]),
            (table(1, |_| 1000.0, 3), DataKind::Sensors, vec![DetectorKind::Wander]),
            (table(7, irregular, 1), DataKind::Events, vec![DetectorKind::Ratio]),
            (
                table(7, irregular, 2),
                DataKind::Events,
                vec![DetectorKind::TrustedNeighbours, DetectorKind::Tails, DetectorKind::Ratio],
            ),
        ];
        for (table, data, kinds) in cases {
            let plan = plan(&table, "");
            assert_eq!((plan.data, plan.kinds), (data, kinds), "{:?}", plan.why);
        }
        let mut rows = table(1, |_| 1.0, 2);
        rows.schema.time = None;
        assert_eq!(plan(&rows, "").kinds, [DetectorKind::TrustedNeighbours]);
        rows.labels = Some(vec![false; 400]);
        assert_eq!(plan(&rows, "").kinds, [DetectorKind::Neighbours, DetectorKind::Mixture]);
    }

    #[test]
    fn what_is_given_is_taken() {
        let series = table(1, |_| 3.6e6, 1);
        let plan = plan(
            &series,
            "[detector]\nkind = [\"mixture\", \"tails\"]\n[threshold]\nalarms_per_day = 2.4\nepisode_events = 9",
        );
        assert_eq!(plan.kinds, [DetectorKind::Mixture, DetectorKind::Tails]);
        assert_eq!(plan.rule, Rule::Episodes(9));
        assert!((plan.false_alarm_rate - 0.1).abs() < 1e-3);
        assert_eq!(plan.features.len(), 3);
    }
}
