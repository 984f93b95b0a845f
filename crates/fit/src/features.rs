//! Which features a detector computes: their names in `detector.toml` and their place in a model.

use crate::config::FeatureSettings;
use std::fmt;
use thiserror::Error;
use twinge_contract::schema::Schema;
use twinge_detector::model::{ModelParts, STATE_WORDS_COMMON, Shape};
use twinge_detector::pipeline::{Feature, Tracker};

/// Half-life, in events, of what is remembered of an entity unless another is given.
const HALF_LIFE_EVENTS: f64 = 20.0;

/// Added to a tracked variance, in squared scales of the field.
const VARIANCE_FLOOR: f64 = 1e-4;

/// A feature of one input or of time.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureSpec {
    /// Its operation.
    pub feature: Feature,
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
        "feature `{0}` is not known here: fields have value, deviation(events), level(events), volatility(events) and difference; time has gap, rate(seconds) and day"
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
/// By default a stream (with entities or time) gets value, deviation and difference of every
/// number, and the gap between events where there is both entity and time; a table gets plain
/// values. Categories always count by their rarity.
pub fn plan(
    schema: &Schema,
    settings: &FeatureSettings,
) -> Result<Vec<FeatureSpec>, FeatureSpecError> {
    let is_stream = schema.entity.is_some() || schema.time.is_some();
    let default: &[&str] =
        if is_stream { &["value", "deviation", "difference"] } else { &["value"] };
    let default: Vec<String> = default.iter().map(|name| (*name).to_owned()).collect();
    if let Some(field) = settings.fields.keys().find(|field| !schema.numeric.contains(field)) {
        return Err(FeatureSpecError::Field(field.clone()));
    }
    let mut specs = Vec::new();
    for (input, name) in schema.fields().enumerate() {
        if schema.is_categorical(input) {
            specs.push(FeatureSpec {
                feature: Feature::Value,
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
    specs.extend(plan_time(schema, settings)?);
    if specs.len() > 255 {
        return Err(FeatureSpecError::TooMany(specs.len()));
    }
    Ok(specs)
}

fn plan_time(
    schema: &Schema,
    settings: &FeatureSettings,
) -> Result<Vec<FeatureSpec>, FeatureSpecError> {
    let default: Vec<String> =
        if schema.entity.is_some() && schema.time.is_some() { vec!["gap".into()] } else { vec![] };
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
        let features: &[Feature] = match (of_time, name.trim()) {
            (false, "value") => &[Feature::Value],
            (false, "deviation") => &[Feature::Deviation],
            (false, "level") => &[Feature::Level],
            (false, "volatility") => &[Feature::Volatility],
            (false, "difference") => &[Feature::Difference],
            (true, "gap") => &[Feature::Gap],
            (true, "rate") => &[Feature::Rate],
            (true, "day") => &[Feature::DaySine, Feature::DayCosine],
            _ => return Err(FeatureSpecError::Unknown(text.into())),
        };
        let spec = |feature: &Feature| Self {
            feature: *feature,
            input,
            input_name: input_name.into(),
            argument,
        };
        Ok(features.iter().map(spec).collect())
    }

    /// Events of an entity before this feature means something.
    pub fn warm_up_events(&self) -> u32 {
        match self.feature.tracker() {
            Some(Tracker::Average) => self.half_life_events().ceil() as u32,
            Some(Tracker::Previous) => 1,
            Some(Tracker::Count) | None => u32::from(self.feature == Feature::Gap),
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
            Tracker::Previous => 0.0,
        }
    }
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
        };
        write!(formatter, "{}:{name}", self.input_name)?;
        match self.argument {
            Some(argument) => write!(formatter, "({argument})"),
            None => Ok(()),
        }
    }
}

/// The part of a model that computes features: trackers shared where they are the same, and
/// features that are not scaled yet.
pub fn lay_out(
    specs: &[FeatureSpec],
    schema: &Schema,
    warm_up_events: u32,
    lateness_ms: f64,
    numbers: Vec<[f64; 2]>,
) -> ModelParts {
    let mut trackers: Vec<[u32; 4]> = Vec::new();
    let mut tracker_parameters: Vec<f64> = Vec::new();
    let mut features = Vec::new();
    let mut state_words = STATE_WORDS_COMMON;
    for spec in specs {
        let mut place = 0;
        if let Some(tracker) = spec.feature.tracker() {
            let parameter = spec.tracker_parameter(tracker);
            let same = |(known, value): (&[u32; 4], &f64)| {
                known[0] == tracker as u32 && known[1] == spec.input as u32 && *value == parameter
            };
            place = trackers.iter().zip(&tracker_parameters).position(same).unwrap_or_else(|| {
                trackers.push([tracker as u32, spec.input as u32, state_words, 0]);
                tracker_parameters.push(parameter);
                state_words += tracker.words();
                trackers.len() - 1
            });
        }
        features.push([spec.feature as u32, spec.input as u32, place as u32, 0]);
    }
    ModelParts {
        shape: Shape {
            fields: schema.width() as u32,
            numeric: schema.numeric.len() as u32,
            state_words,
            warm_up_events,
        },
        lateness_ms,
        numbers,
        trackers,
        tracker_parameters,
        feature_parameters: vec![[VARIANCE_FLOOR, 0.0, 1.0]; features.len()],
        features,
        category_ranges: Vec::new(),
        category_codes: Vec::new(),
        category_values: Vec::new(),
        category_unseen: Vec::new(),
        forest: None,
        tails: None,
        calibration: None,
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
        let names: Vec<String> = plan(&schema(), &FeatureSettings::default())
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
        let specs = plan(&schema(), &settings).unwrap();
        let parts = lay_out(&specs, &schema(), 10, 0.0, vec![[0.0, 1.0]; 2]);
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
            )
        };
        assert!(matches!(check("gap"), Err(FeatureSpecError::Unknown(_))));
        assert!(matches!(check("deviation(-1)"), Err(FeatureSpecError::Argument(_))));
        assert!(matches!(check("deviation(nan)"), Err(FeatureSpecError::Argument(_))));
    }
}
