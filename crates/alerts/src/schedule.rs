//! When nobody is to be told: silences by what they match, between two times or week by week.

use serde::Deserialize;
use thiserror::Error;
use twinge_contract::alert::AlertKind;
use twinge_contract::time::TimeFormat;

const MINUTE_MS: i64 = 60_000;
const DAY_MINUTES: i64 = 1440;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// When nobody is to be told: a span of time, or windows that come every week.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SilenceSettings {
    /// What it covers; everything that is left out matches.
    #[serde(rename = "match")]
    matching: MatchSettings,
    /// When it begins, RFC 3339.
    from: Option<String>,
    /// When it ends, RFC 3339.
    until: Option<String>,
    /// Windows that come every week, such as `sat-sun 22:00-06:00`.
    weekly: Vec<String>,
    /// The offset from UTC that the windows are meant in, such as `+01:00` [default: UTC].
    utc_offset: Option<String>,
    /// Why, for whoever wonders.
    reason: String,
}

/// What a silence covers; everything that is left out matches.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MatchSettings {
    /// A detector's name.
    detector: Option<String>,
    /// An entity.
    entity: Option<String>,
    /// A kind of finding.
    kind: Option<AlertKind>,
}

/// A silence that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    detector: Option<String>,
    entity: Option<String>,
    kind: Option<AlertKind>,
    from_ms: Option<i64>,
    until_ms: Option<i64>,
    weekly: Vec<Window>,
    offset_ms: i64,
    /// Why, for whoever wonders.
    pub reason: String,
}

/// A window of a week: it begins on each of its days, and may reach into the next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    days: [bool; 7],
    start: i64,
    /// Minutes from the start's midnight; beyond a day where it ends on the next.
    end: i64,
}

/// Why a silence cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// It would never end.
    #[error("it has no end: give `until`, or `weekly` windows")]
    Endless,
    /// Nobody would know why.
    #[error("it has no `reason`: say why, for whoever wonders later")]
    NoReason,
    /// A time that cannot be read.
    #[error("`{field}` is {text:?}, which is no time: write it as 2026-01-31T22:00:00Z")]
    Time {
        /// The key.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// It ends before it begins.
    #[error("it ends before it begins: exchange `from` and `until`")]
    Backwards,
    /// A window that cannot be read.
    #[error(
        "weekly window {0:?} is not readable: write it as `sat-sun 22:00-06:00` or `daily 01:00-02:00`"
    )]
    Window(String),
    /// An offset that cannot be read.
    #[error("`utc_offset` is {0:?}: write it as +01:00, at most 14 hours from UTC")]
    Offset(String),
}

impl SilenceSettings {
    /// The silence that is described.
    pub fn checked(&self) -> Result<Silence, ScheduleError> {
        if self.until.is_none() && self.weekly.is_empty() {
            return Err(ScheduleError::Endless);
        }
        if self.reason.trim().is_empty() {
            return Err(ScheduleError::NoReason);
        }
        let from_ms = read_time("from", self.from.as_ref())?;
        let until_ms = read_time("until", self.until.as_ref())?;
        if from_ms.zip(until_ms).is_some_and(|(from, until)| from >= until) {
            return Err(ScheduleError::Backwards);
        }
        let windows = self
            .weekly
            .iter()
            .map(|text| Window::read(text).ok_or_else(|| ScheduleError::Window(text.clone())));
        let MatchSettings { detector, entity, kind } = self.matching.clone();
        Ok(Silence {
            detector,
            entity,
            kind,
            from_ms,
            until_ms,
            weekly: windows.collect::<Result<_, _>>()?,
            offset_ms: read_offset(self.utc_offset.as_deref())?,
            reason: self.reason.clone(),
        })
    }
}

impl Silence {
    /// Whether a finding of `kind` by `detector` about `entity` at `at_ms` is covered.
    pub fn covers(&self, kind: AlertKind, detector: &str, entity: &str, at_ms: i64) -> bool {
        let matches = |pattern: &Option<String>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| matches_glob(pattern, text))
        };
        self.kind.is_none_or(|wanted| wanted == kind)
            && matches(&self.detector, detector)
            && matches(&self.entity, entity)
            && self.is_on(at_ms)
    }

    fn is_on(&self, at_ms: i64) -> bool {
        let local = at_ms.saturating_add(self.offset_ms);
        self.from_ms.is_none_or(|from| at_ms >= from)
            && self.until_ms.is_none_or(|until| at_ms < until)
            && (self.weekly.is_empty() || self.weekly.iter().any(|window| window.holds(local)))
    }
}

impl Window {
    fn read(text: &str) -> Option<Self> {
        let (days, hours) = text.trim().split_once(' ')?;
        let (start, end) = hours.trim().split_once('-')?;
        let (start, end) = (read_clock(start)?, read_clock(end)?);
        if start == DAY_MINUTES {
            return None;
        }
        let end = if end > start { end } else { end + DAY_MINUTES };
        Some(Self { days: read_days(days)?, start, end })
    }

    fn holds(&self, local_ms: i64) -> bool {
        let minutes = local_ms.div_euclid(MINUTE_MS);
        let (day, minute) = (minutes.div_euclid(DAY_MINUTES), minutes.rem_euclid(DAY_MINUTES));
        // The first of January 1970 was a Thursday.
        let weekday = |day: i64| (day + 3).rem_euclid(7) as usize;
        let today = minute >= self.start && minute < self.end;
        let from_yesterday = minute < self.end - DAY_MINUTES;
        (today && self.days[weekday(day)]) || (from_yesterday && self.days[weekday(day - 1)])
    }
}

fn read_days(text: &str) -> Option<[bool; 7]> {
    if text.eq_ignore_ascii_case("daily") {
        return Some([true; 7]);
    }
    let number = |day: &str| DAYS.iter().position(|known| known.eq_ignore_ascii_case(day));
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (number(first)?, number(last)?);
        days[day] = true;
        // `fri-mon` goes over the end of the week.
        while day != last {
            day = (day + 1) % 7;
            days[day] = true;
        }
    }
    Some(days)
}

/// Minutes since midnight; `24:00` is the end of a day.
fn read_clock(text: &str) -> Option<i64> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let two = |text: &str| {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| text.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= DAY_MINUTES).then_some(total)
}

fn read_offset(text: Option<&str>) -> Result<i64, ScheduleError> {
    let Some(text) = text else { return Ok(0) };
    let error = || ScheduleError::Offset(text.to_owned());
    if text.eq_ignore_ascii_case("z") {
        return Ok(0);
    }
    let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (_, Some(rest)) => (-1, rest),
        _ => return Err(error()),
    };
    let minutes = read_clock(rest).filter(|minutes| *minutes <= 14 * 60).ok_or_else(error)?;
    Ok(sign * minutes * MINUTE_MS)
}

fn read_time(field: &'static str, text: Option<&String>) -> Result<Option<i64>, ScheduleError> {
    let Some(text) = text else { return Ok(None) };
    let time = TimeFormat::Rfc3339.read_text(text);
    time.map(Some).ok_or_else(|| ScheduleError::Time { field, text: text.clone() })
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters and `?` for one.
///
/// After a mismatch it goes on behind the latest star only, so it takes at most the product of both
/// lengths.
pub fn matches_glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while place < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == text[place] => {
                at += 1;
                place += 1;
            }
            _ => match star {
                Some((behind, taken)) => {
                    star = Some((behind, taken + 1));
                    (at, place) = (behind + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        TimeFormat::Rfc3339.read_text(text).unwrap()
    }

    fn silence(toml: &str) -> Result<Silence, ScheduleError> {
        toml::from_str::<SilenceSettings>(toml).unwrap().checked()
    }

    #[test]
    fn a_window_reaches_over_midnight_and_over_the_end_of_the_week() {
        let silence = silence("weekly = ['sat-sun 22:00-06:00']\nreason = 'backups'").unwrap();
        // The 31st of January 2026 is a Saturday.
        for (text, expected) in [
            ("2026-01-31T21:59:59Z", false),
            ("2026-01-31T22:00:00Z", true),
            ("2026-02-01T05:59:59Z", true),
            ("2026-02-01T06:00:00Z", false),
            ("2026-02-01T23:00:00Z", true),
            ("2026-02-02T05:00:00Z", true),
            ("2026-02-02T23:00:00Z", false),
            ("2026-01-31T05:00:00Z", false),
            ("1969-12-28T23:00:00Z", true),
        ] {
            assert_eq!(silence.is_on(at(text)), expected, "{text}");
        }
    }

    #[test]
    fn windows_are_meant_in_their_offset() {
        let silence =
            silence("weekly = ['daily 02:00-03:00']\nutc_offset = '+05:30'\nreason = 'x'").unwrap();
        assert!(silence.is_on(at("2026-01-31T20:30:00Z")));
        assert!(!silence.is_on(at("2026-01-31T21:30:00Z")));
    }

    #[test]
    fn a_silence_covers_what_it_names() {
        let silence = silence(
            "match = { detector = 'pumps', entity = 'hall-?/*', kind = 'anomaly' }
             from = '2026-01-01T00:00:00Z'
             until = '2026-02-01T00:00:00Z'
             reason = 'new motors'",
        );
        let silence = silence.unwrap();
        let now = at("2026-01-15T00:00:00Z");
        assert!(silence.covers(AlertKind::Anomaly, "pumps", "hall-1/p7", now));
        assert!(!silence.covers(AlertKind::Silence, "pumps", "hall-1/p7", now));
        assert!(!silence.covers(AlertKind::Anomaly, "cards", "hall-1/p7", now));
        assert!(!silence.covers(AlertKind::Anomaly, "pumps", "hall-12/p7", now));
        assert!(!silence.covers(AlertKind::Anomaly, "pumps", "hall-1/p7", at("2026-02-01")));
        assert!(!silence.covers(AlertKind::Anomaly, "pumps", "hall-1/p7", at("2025-12-31")));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        for (toml, error) in [
            ("reason = 'x'", ScheduleError::Endless),
            ("until = '2026-01-01'", ScheduleError::NoReason),
            (
                "until = 'soon'\nreason = 'x'",
                ScheduleError::Time { field: "until", text: "soon".into() },
            ),
            ("from = '2026-01-02'\nuntil = '2026-01-01'\nreason = 'x'", ScheduleError::Backwards),
            (
                "weekly = ['someday 10:00-11:00']\nreason = 'x'",
                ScheduleError::Window("someday 10:00-11:00".into()),
            ),
            (
                "weekly = ['mon 10:00-24:01']\nreason = 'x'",
                ScheduleError::Window("mon 10:00-24:01".into()),
            ),
            (
                "weekly = ['mon 10:00-11:00']\nutc_offset = '1h'\nreason = 'x'",
                ScheduleError::Offset("1h".into()),
            ),
        ] {
            assert_eq!(silence(toml), Err(error), "{toml}");
        }
    }

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*c", "abbbc", true),
            ("a*c", "abbbd", false),
            ("*a*a*a", "aaaaaaaaab", false),
            ("?", "ä", true),
            ("a?", "a", false),
            ("pump-*", "pump-", true),
        ] {
            assert_eq!(matches_glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
