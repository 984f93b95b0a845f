//! What is told of a raw score, by what was told before: the rule of alarms.
//!
//! - [`Rule::Every`]: every score is told as it is.
//! - [`Rule::Episodes`]: one alarm an episode. An episode holds its highest score so far; further
//!   scores in it are told only when they are higher still, the others are held back to nothing. It
//!   ends when no new high has come for a number of events. A series that has told high scores often
//!   is believed less: a told score loses a quarter of the decimal places of how many earlier ones
//!   were as high. Words: the highest score, the events since, scores told, and their mean.
//! - [`Rule::Aftermath`]: scores are smoothed (their logarithm, so that one outlier is not dragged
//!   along), and after a very high one a score must reach a share of the decaying peak to be told in
//!   full. Words: whether there is a score, the smoothed logarithm, and the peak.

use crate::sections::{ModelError, Sections, Tag, ensure};
use crate::steps::{larger, smaller};
use libm::{exp, log, log10};

/// A quarter of a decimal place for each decimal place of earlier scores.
const PENALTY: f64 = 0.25;

/// Gain of the smoothed logarithm.
const SMOOTHING: f64 = 0.05;
/// Smallest score that is told apart from nothing in the logarithm.
const FLOOR: f64 = 0.1;
/// Share of the peak that a score must reach.
const PEAK_SHARE: f64 = 0.4;
/// What is left of the peak after an event.
const PEAK_DECAY: f64 = 0.998;
/// Largest peak, in thresholds: a huge event must not hide all that follow.
const PEAK_MAX: f64 = 40.0;

/// The rule of alarms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// Every score is told.
    #[default]
    Every,
    /// One alarm an episode, which ends so many events after its highest score.
    Episodes(u32),
    /// Smoothed scores, less believed after a very high one.
    Aftermath,
}

/// A rule and where its words are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// The rule.
    pub rule: Rule,
    /// First of its words of state.
    pub word: u32,
}

impl Rule {
    /// Words of state that the rule takes.
    pub fn words(self) -> u32 {
        match self {
            Self::Every => 0,
            Self::Episodes(_) => 4,
            Self::Aftermath => 3,
        }
    }
}

impl Alarms {
    /// The raw score to tell, by the raw score and the threshold; words change unless `late`.
    pub fn told(&self, raw: f64, threshold: f64, state: &mut [f64], late: bool) -> f64 {
        let count = self.rule.words() as usize;
        let words = &mut state[self.word as usize..][..count];
        let mut changed = [0.0; 4];
        let changed = &mut changed[..count];
        for (changed, word) in changed.iter_mut().zip(&*words) {
            // A damaged word is one never written.
            *changed = if word.is_finite() { *word } else { 0.0 };
        }
        let told = match self.rule {
            Rule::Every => raw,
            Rule::Episodes(events) => episodes(raw, f64::from(events), changed),
            Rule::Aftermath => aftermath(raw, threshold, changed),
        };
        if !late {
            words.copy_from_slice(changed);
        }
        told
    }

    pub(crate) fn parse(sections: &Sections<'_>, state_words: u32) -> Result<Self, ModelError> {
        let [code, events, word] = *sections.one::<[u32; 3]>(Tag::ALARMS)?;
        let rule = match code {
            0 => Rule::Every,
            1 => Rule::Episodes(events),
            2 => Rule::Aftermath,
            _ => return Err(ModelError::Value(Tag::ALARMS.number())),
        };
        let end = word.checked_add(rule.words());
        let has_room =
            word >= crate::inputs::STATE_WORDS_COMMON && end.is_some_and(|end| end <= state_words);
        ensure(rule == Rule::Every || has_room, Tag::ALARMS)?;
        Ok(Self { rule, word: if rule == Rule::Every { 0 } else { word } })
    }

    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, writer: &mut crate::sections::Writer) {
        let [code, events] = match self.rule {
            Rule::Every => [0, 0],
            Rule::Episodes(events) => [1, events],
            Rule::Aftermath => [2, 0],
        };
        writer.section(Tag::ALARMS, &[[code, events, self.word]]);
    }
}

fn episodes(raw: f64, events: f64, words: &mut [f64]) -> f64 {
    if words[1] > events {
        words[0] = 0.0;
    }
    if raw <= words[0] {
        words[1] += 1.0;
        return 0.0;
    }
    (words[0], words[1]) = (raw, 0.0);
    // Told scores are taken to be exponential about their mean, which takes no room.
    let as_high = if words[3] > 0.0 { words[2] * exp(-raw / words[3]) } else { 0.0 };
    words[2] += 1.0;
    words[3] += (raw - words[3]) / words[2];
    larger(raw - PENALTY * log10(1.0 + as_high), 0.0)
}

/// The smoothed score; `words` are whether there is one, and its logarithm.
pub fn smoothed(raw: f64, words: &mut [f64]) -> f64 {
    let logarithm = log(larger(raw, FLOOR));
    words[1] += if words[0] > 0.0 { SMOOTHING * (logarithm - words[1]) } else { logarithm };
    words[0] = 1.0;
    exp(words[1])
}

fn aftermath(raw: f64, threshold: f64, words: &mut [f64]) -> f64 {
    let smoothed = smoothed(raw, words);
    let peak = larger(words[2], threshold);
    words[2] = smaller(larger(peak * PEAK_DECAY, smoothed), PEAK_MAX * threshold);
    smoothed / larger(PEAK_SHARE * peak / threshold, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_alarms_once_and_again_at_a_new_high() {
        let alarms = Alarms { rule: Rule::Episodes(3), word: 2 };
        let mut state = [0.0; 6];
        let mut told = |raw| alarms.told(raw, 1.0, &mut state, false);
        assert_eq!(told(1.5), 1.5);
        assert_eq!(told(1.2), 0.0);
        assert!(told(2.0) > 1.9);
        for _ in 0..4 {
            assert_eq!(told(0.5), 0.0);
        }
        assert!(told(1.1) > 1.0, "the episode is over");
    }

    #[test]
    fn scores_told_often_are_believed_less() {
        let alarms = Alarms { rule: Rule::Episodes(0), word: 2 };
        let mut state = [0.0; 6];
        let mut told = |raw| {
            alarms.told(0.0, 1.0, &mut state, false);
            alarms.told(raw, 1.0, &mut state, false)
        };
        let first = told(2.0);
        for _ in 0..50 {
            told(2.0);
        }
        assert!(told(2.0) < first - 0.2);
        assert!(told(20.0) > 19.9);
    }

    #[test]
    fn the_aftermath_of_a_very_high_score_is_told_less() {
        let alarms = Alarms { rule: Rule::Aftermath, word: 2 };
        let mut state = [0.0; 5];
        let mut told = |raw| alarms.told(raw, 1.0, &mut state, false);
        let settled = |told: &mut dyn FnMut(f64) -> f64, raw| {
            (0..200).map(|_| told(raw)).last().unwrap_or_default()
        };
        assert!((settled(&mut told, 2.0) - 2.0).abs() < 0.01);
        assert!(settled(&mut told, 30.0) > 2.0);
        assert!(settled(&mut told, 2.0) < 1.0);
    }

    #[test]
    fn a_late_row_and_the_plain_rule_leave_no_trace() {
        let mut state = [0.0; 6];
        let alarms = Alarms { rule: Rule::Episodes(3), word: 2 };
        assert_eq!(alarms.told(3.0, 1.0, &mut state, true), 3.0);
        assert_eq!(Alarms::default().told(3.0, 1.0, &mut state, false), 3.0);
        assert_eq!(state, [0.0; 6]);
    }
}
