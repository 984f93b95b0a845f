//! Which features a detector computes: their names in `detector.toml` and their place in a model.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use thiserror::Error;
use twinge_contract::schema::Schema;
use twinge_detector::alarms::Rule;
use twinge_detector::feature::Feature;
use twinge_detector::inputs::{Pipeline, STATE_WORDS_COMMON, Shape};
use twinge_detector::tracker::Tracker;

/// Half-life, in events, of what is remembered of an entity unless another is given.
const HALF_LIFE_EVENTS: f64 = 20.0;

/// Added to a tracked variance, in squared scales of the field.
const VARIANCE_FLOOR: f64 = 1e-4;

/// Features by the input they look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeatureSettings {
    /// For every numeric field, such as `["value", "deviation(20)", "difference"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numeric: Option<Vec<String>>,
    /// Of the event's time, such as `["gap", "rate(3600)", "day"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Vec<String>>,
    /// For single fields, in place of those under `numeric`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Vec<String>>,
}

impl FeatureSettings {
    /// Whether nothing is set.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A feature of one input or of time.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureSpec {
    /// Its operation.
    pub feature: Feature,
    /// What it looks at of the past.
    pub tracker: Option<Tracker>,
    /// Index of the input; the number of inputs stands for time.
    pub input: usize,
    /// Name of the input.
    pub input_name: String,
    /// Half-life in events or time constant in seconds, where the operation has one.
    pub argument: Option<f64>,
}

/// Why a feature cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FeatureSpecError {
    /// No such operation here.
    #[error(
        "feature `{0}` is not known here: fields have value, deviation(events), level(events), volatility(events), difference, and the channels ratio, season, shift, rarity, turbulence and wander; time has gap, rate(seconds) and day"
    )]
    Unknown(String),
    /// An argument that is no positive number.
    #[error("feature `{0}`: its argument must be a positive number, as in deviation(20)")]
    Argument(String),
    /// The field is not a numeric field of the schema.
    #[error("features are given for `{0}`, which is not a numeric field of the schema")]
    Field(String),
    /// Features of time without a time.
    #[error("features of time are given, and the schema has no time field")]
    NoTime,
    /// More than a model can have.
    #[error("{0} features are asked for, and a model has at most 255: give fewer under [features]")]
    TooMany(usize),
}

/// The features of a schema, by the settings or by default.
///
/// `default` names those of every number, and `default_time` those of time, where the settings are
/// silent. Categories always count by their rarity.
pub fn plan(
    schema: &Schema,
    settings: &FeatureSettings,
    default: &[&str],
    default_time: &[&str],
) -> Result<Vec<FeatureSpec>, FeatureSpecError> {
    let default: Vec<String> = default.iter().map(|name| (*name).to_owned()).collect();
    if let Some(field) = settings.fields.keys().find(|field| !schema.numeric.contains(field)) {
        return Err(FeatureSpecError::Field(field.clone()));
    }
    let mut specs = Vec::new();
    for (input, name) in schema.fields().enumerate() {
        if schema.is_categorical(input) {
            specs.push(FeatureSpec {
                feature: Feature::Value,
                tracker: None,
                input,
                input_name: name.into(),
                argument: None,
            });
            continue;
        }
        for text in settings.fields.get(name).or(settings.numeric.as_ref()).unwrap_or(&default) {
            specs.push(FeatureSpec::parse(text, false, input, name)?.swap_remove(0));
        }
    }
    specs.extend(plan_time(schema, settings, default_time)?);
    if specs.len() > 255 {
        return Err(FeatureSpecError::TooMany(specs.len()));
    }
    Ok(specs)
}

fn plan_time(
    schema: &Schema,
    settings: &FeatureSettings,
    default: &[&str],
) -> Result<Vec<FeatureSpec>, FeatureSpecError> {
    let default: Vec<String> = default.iter().map(|name| (*name).to_owned()).collect();
    let wanted = settings.time.as_ref().unwrap_or(&default);
    if schema.time.is_none() && !wanted.is_empty() {
        return Err(FeatureSpecError::NoTime);
    }
    let specs: Result<Vec<_>, _> =
        wanted.iter().map(|text| FeatureSpec::parse(text, true, schema.width(), "time")).collect();
    Ok(specs?.concat())
}

impl FeatureSpec {
    /// Reads one entry; `day` stands for two features.
    fn parse(
        text: &str,
        of_time: bool,
        input: usize,
        input_name: &str,
    ) -> Result<Vec<Self>, FeatureSpecError> {
        let (name, argument) = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let argument = argument.map(|argument| argument.trim().parse::<f64>());
        let argument = match argument {
            None => None,
            Some(Ok(value)) if value > 0.0 && value.is_finite() => Some(value),
            Some(_) => return Err(FeatureSpecError::Argument(text.into())),
        };
        let average = Some(Tracker::Average);
        let features: &[(Feature, Option<Tracker>)] = match (of_time, name.trim()) {
            (false, "value") => &[(Feature::Value, None)],
            (false, "deviation") => &[(Feature::Deviation, average)],
            (false, "level") => &[(Feature::Level, average)],
            (false, "volatility") => &[(Feature::Volatility, average)],
            (false, "difference") => &[(Feature::Difference, Some(Tracker::Previous))],
            (true, "gap") => &[(Feature::Gap, None)],
            (true, "rate") => &[(Feature::Rate, Some(Tracker::Count))],
            (true, "day") => &[(Feature::DaySine, None), (Feature::DayCosine, None)],
            (false, name) => match channel(name) {
                Some(tracker) => &[(Feature::Surprise, Some(tracker))],
                None => return Err(FeatureSpecError::Unknown(text.into())),
            },
            _ => return Err(FeatureSpecError::Unknown(text.into())),
        };
        let spec = |(feature, tracker): &(Feature, Option<Tracker>)| Self {
            feature: *feature,
            tracker: *tracker,
            input,
            input_name: input_name.into(),
            argument,
        };
        Ok(features.iter().map(spec).collect())
    }

    /// Events of an entity before this feature means something.
    pub fn warm_up_events(&self) -> u32 {
        match self.tracker {
            Some(Tracker::Average) => self.half_life_events().ceil() as u32,
            Some(Tracker::Previous) => 1,
            // Of all channels, a profile alone starts from what is usual for everyone.
            Some(Tracker::Ratio | Tracker::Count) => 0,
            Some(Tracker::Wander) => 50,
            Some(_) => 100,
            None => u32::from(self.feature == Feature::Gap),
        }
    }

    fn half_life_events(&self) -> f64 {
        self.argument.unwrap_or(HALF_LIFE_EVENTS)
    }

    /// The tracker's parameter: a gain, a time constant in ms, or nothing.
    fn tracker_parameter(&self, tracker: Tracker) -> f64 {
        match tracker {
            Tracker::Average => 1.0 - libm::exp2(-1.0 / self.half_life_events()),
            Tracker::Count => self.argument.unwrap_or(3600.0) * 1000.0,
            _ => 0.0,
        }
    }
}

/// Channels by name.
const CHANNELS: [(&str, Tracker); 6] = [
    ("ratio", Tracker::Ratio),
    ("season", Tracker::Season),
    ("shift", Tracker::Shift),
    ("rarity", Tracker::Rarity),
    ("turbulence", Tracker::Turbulence),
    ("wander", Tracker::Wander),
];

fn channel(name: &str) -> Option<Tracker> {
    CHANNELS.iter().find(|(known, _)| *known == name).map(|(_, tracker)| *tracker)
}

impl fmt::Display for FeatureSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.feature {
            Feature::Value => "value",
            Feature::Deviation => "deviation",
            Feature::Level => "level",
            Feature::Volatility => "volatility",
            Feature::Difference => "difference",
            Feature::Gap => "gap",
            Feature::Rate => "rate",
            Feature::DaySine => "day-sine",
            Feature::DayCosine => "day-cosine",
            Feature::Surprise => CHANNELS
                .iter()
                .find(|(_, tracker)| Some(*tracker) == self.tracker)
                .map_or("surprise", |(name, _)| *name),
        };
        write!(formatter, "{}:{name}", self.input_name)?;
        match self.argument {
            Some(argument) => write!(formatter, "({argument})"),
            None => Ok(()),
        }
    }
}

/// The part of a model that computes features, as owned arrays; the fields are those of
/// [`Pipeline`].
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are documented where they are read")]
pub struct PipelineParts {
    pub shape: Shape,
    pub lateness_ms: f64,
    pub numbers: Vec<[f64; 2]>,
    pub trackers: Vec<[u32; 4]>,
    pub tracker_parameters: Vec<f64>,
    pub features: Vec<[u32; 4]>,
    pub feature_parameters: Vec<[f64; 3]>,
    pub category_ranges: Vec<[u32; 2]>,
    pub category_codes: Vec<f64>,
    pub category_values: Vec<f64>,
    pub category_unseen: Vec<f64>,
    /// First word of the rule of alarms.
    pub alarm_word: u32,
}

impl PipelineParts {
    /// What a module keeps.
    pub fn model(&self) -> Pipeline<'_> {
        Pipeline {
            shape: self.shape,
            lateness_ms: self.lateness_ms,
            numbers: &self.numbers,
            trackers: &self.trackers,
            tracker_parameters: &self.tracker_parameters,
            features: &self.features,
            feature_parameters: &self.feature_parameters,
            category_ranges: &self.category_ranges,
            category_codes: &self.category_codes,
            category_values: &self.category_values,
            category_unseen: &self.category_unseen,
        }
    }

    /// Tracker number `index`: its kind, its input, and its parameters to fill in.
    pub fn tracker_mut(&mut self, index: usize) -> Option<(Tracker, usize, &mut [f64])> {
        let [code, input, _, first] = *self.trackers.get(index)?;
        let tracker = Tracker::ALL.into_iter().find(|tracker| *tracker as u32 == code)?;
        let range = first as usize..first as usize + tracker.parameters();
        Some((tracker, input as usize, &mut self.tracker_parameters[range]))
    }
}

/// Lays out features: trackers shared where they are the same, scales and channels not fitted yet.
pub fn lay_out(
    specs: &[FeatureSpec],
    schema: &Schema,
    warm_up_events: u32,
    lateness_ms: f64,
    rule: Rule,
) -> PipelineParts {
    let mut trackers: Vec<[u32; 4]> = Vec::new();
    let mut tracker_parameters: Vec<f64> = Vec::new();
    let mut features = Vec::new();
    let mut state_words = STATE_WORDS_COMMON;
    for spec in specs {
        let mut place = 0;
        if let Some(tracker) = spec.tracker {
            let parameter = spec.tracker_parameter(tracker);
            let same = |known: &[u32; 4]| {
                known[..2] == [tracker as u32, spec.input as u32]
                    && (tracker.parameters() == 0
                        || tracker_parameters[known[3] as usize] == parameter)
            };
            place = trackers.iter().position(same).unwrap_or_else(|| {
                let first = tracker_parameters.len();
                trackers.push([tracker as u32, spec.input as u32, state_words, first as u32]);
                tracker_parameters.resize(first + tracker.parameters(), parameter);
                state_words += tracker.words();
                trackers.len() - 1
            });
        }
        features.push([spec.feature as u32, spec.input as u32, place as u32, 0]);
    }
    PipelineParts {
        shape: Shape {
            fields: schema.width() as u32,
            numeric: schema.numeric.len() as u32,
            state_words: state_words + rule.words(),
            warm_up_events,
        },
        lateness_ms,
        numbers: vec![[0.0, 1.0]; schema.numeric.len()],
        trackers,
        tracker_parameters,
        feature_parameters: vec![[VARIANCE_FLOOR, 0.0, 1.0]; features.len()],
        features,
        category_ranges: Vec::new(),
        category_codes: Vec::new(),
        category_values: Vec::new(),
        category_unseen: Vec::new(),
        alarm_word: state_words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        Schema {
            entity: Some("card".into()),
            time: Some("time".into()),
            numeric: vec!["amount".into(), "distance".into()],
            categorical: vec!["country".into()],
            ..Schema::default()
        }
    }

    #[test]
    fn defaults_follow_the_schema() {
        let defaults = ["value", "deviation", "difference"];
        let names: Vec<String> = plan(&schema(), &FeatureSettings::default(), &defaults, &["gap"])
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names.len(), 8);
        assert_eq!(names[1], "amount:deviation");
        assert_eq!(names[7], "time:gap");
    }

    #[test]
    fn equal_trackers_are_shared() {
        let settings = FeatureSettings {
            numeric: Some(vec!["deviation(10)".into(), "level(10)".into(), "level(99)".into()]),
            time: Some(vec!["day".into(), "rate(60)".into()]),
            ..FeatureSettings::default()
        };
        let specs = plan(&schema(), &settings, &[], &[]).unwrap();
        let parts = lay_out(&specs, &schema(), 10, 0.0, Rule::Every);
        assert_eq!(parts.trackers.len(), 5);
        assert_eq!(parts.shape.state_words, 2 + 4 * 3 + 1);
        assert_eq!(specs.len(), 2 * 3 + 1 + 3);
    }

    #[test]
    fn mistakes_are_told() {
        let check = |numeric: &str| {
            plan(
                &schema(),
                &FeatureSettings {
                    numeric: Some(vec![numeric.into()]),
                    ..FeatureSettings::default()
                },
                &[],
                &[],
            )
        };
        assert!(matches!(check("gap"), Err(FeatureSpecError::Unknown(_))));
        assert!(matches!(check("deviation(-1)"), Err(FeatureSpecError::Argument(_))));
        assert!(matches!(check("deviation(nan)"), Err(FeatureSpecError::Argument(_))));
    }
}
