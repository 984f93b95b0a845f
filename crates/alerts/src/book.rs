//! The book of open episodes.
//!
//! A finding is taken once, by its id and by its place in the stream. It joins the open episode of
//! what it is about, or begins one. An episode is told when its first loud finding comes, then at
//! growing intervals while it goes on, and when it has ended. A finding is loud if it is as severe as
//! somebody wants to know of and no schedule silences it; the others are counted, and are part of
//! what is told later.
//!
//! When many entities have open episodes, the next ones share a single one of everything: a storm.

use crate::EVERYTHING;
use crate::episode::{Episode, Joining, Key};
pub use crate::finding::{Fact, Finding, Place};
use crate::settings::Rules;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use twinge_contract::alert::{Alert, AlertEnd, AlertKind};
use twinge_contract::verdict::identity_hash;

/// Places in streams that are remembered: detectors times partitions.
const PLACES_MAX: usize = 10_000;

/// What the book did with a finding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// The episode that it belongs to; nothing for one that was taken before.
    pub episode: Option<String>,
    /// What is to be told now.
    pub alerts: Vec<Alert>,
}

/// Figures of a book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Findings that were taken.
    pub findings: u64,
    /// Findings that had been taken before.
    pub repeated: u64,
    /// Findings that a schedule silenced.
    pub silenced: u64,
    /// Findings below the severity that somebody wants to know of.
    pub below: u64,
    /// Episodes so far.
    pub episodes: u64,
}

/// What a book is after a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    episodes: Vec<(Key, Episode)>,
    ids: Vec<[u8; 16]>,
    places: Vec<(String, u64)>,
    counts: Counts,
}

/// Open episodes and what was taken already.
#[derive(Clone, Debug)]
pub struct AlertBook {
    rules: Rules,
    episodes: BTreeMap<Key, Episode>,
    ids: BTreeSet<[u8; 16]>,
    ids_in_order: VecDeque<[u8; 16]>,
    places: BTreeMap<String, u64>,
    counts: Counts,
}

impl AlertBook {
    /// An empty book.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            episodes: BTreeMap::new(),
            ids: BTreeSet::new(),
            ids_in_order: VecDeque::new(),
            places: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// The book that was saved, under rules that may be others, at `now_ms`.
    ///
    /// The time in between does not count as quiet: nobody listened.
    pub fn restore(rules: Rules, saved: Saved, now_ms: i64) -> Self {
        let mut book = Self::new(rules);
        book.counts = saved.counts;
        book.episodes.extend(saved.episodes);
        for episode in book.episodes.values_mut() {
            episode.heard_ms = now_ms;
        }
        book.places.extend(saved.places);
        for id in saved.ids {
            book.remember(id);
        }
        book
    }

    /// What has to be kept for [`AlertBook::restore`].
    pub fn save(&self) -> Saved {
        Saved {
            episodes: self
                .episodes
                .iter()
                .map(|(key, episode)| (key.clone(), episode.clone()))
                .collect(),
            ids: self.ids_in_order.iter().copied().collect(),
            places: self.places.iter().map(|(stream, offset)| (stream.clone(), *offset)).collect(),
            counts: self.counts,
        }
    }

    /// Takes a finding at `now_ms`.
    pub fn take(&mut self, finding: &Finding, now_ms: i64) -> Taken {
        if !self.is_new(finding) {
            self.counts.repeated += 1;
            return Taken::default();
        }
        self.counts.findings += 1;
        let joining = Joining {
            id: &finding.id,
            entity: &finding.entity,
            at_ms: finding.at_ms,
            severity: finding.severity,
            score: finding.score.filter(|score| score.is_finite()),
            attribution: &finding.attribution,
            message: &finding.message,
            is_silenced: false,
            is_loud: false,
        };
        let joining = self.judged(joining, finding.kind, &finding.detector, finding.at_ms);
        self.count(&joining);
        let own = Key {
            kind: finding.kind,
            detector: finding.detector.clone(),
            entity: finding.entity.clone(),
        };
        let mut alerts = Vec::from_iter(self.end_before(&own, finding.at_ms, now_ms));
        let key = self.route(own, joining.is_loud);
        alerts.extend(self.end_before(&key, finding.at_ms, now_ms));
        let episode = self.join(&key, &joining, now_ms, &mut alerts);
        Taken { episode: Some(episode), alerts }
    }

    /// Takes note of how a condition stands at `now_ms`.
    pub fn note(&mut self, fact: &Fact, now_ms: i64) -> Vec<Alert> {
        let own =
            Key { kind: fact.kind, detector: fact.detector.clone(), entity: fact.entity.clone() };
        if !fact.is_on {
            if let Some(episode) = self.episodes.get_mut(&own) {
                episode.is_on = false;
            }
            return Vec::new();
        }
        let id = format!("{} at {now_ms}", fact.kind.as_str());
        let joining = Joining {
            id: &id,
            entity: &fact.entity,
            at_ms: now_ms,
            severity: fact.severity,
            score: fact.value.filter(|value| value.is_finite()),
            attribution: &[],
            message: &fact.message,
            is_silenced: false,
            is_loud: false,
        };
        let joining = self.judged(joining, fact.kind, &fact.detector, now_ms);
        let key = self.route(own, joining.is_loud);
        let holds = |episode: &Episode| {
            episode.is_on && (!key.is_storm() || episode.members.contains(&fact.entity))
        };
        let mut alerts = Vec::new();
        if let Some(episode) = self.episodes.get_mut(&key).filter(|episode| holds(episode)) {
            episode.hold(&joining, now_ms);
            alerts.extend(episode.tell(&key, joining.is_loud, &self.rules, now_ms));
            return alerts;
        }
        self.counts.findings += 1;
        self.count(&joining);
        self.join(&key, &joining, now_ms, &mut alerts);
        if let Some(episode) = self.episodes.get_mut(&key) {
            episode.is_on = true;
        }
        alerts
    }

    /// An event of `entity` came at `now_ms`: if it was silent, it is no longer.
    pub fn seen(&mut self, detector: &str, entity: &str, now_ms: i64) -> Vec<Alert> {
        // Asked with every event, and hardly ever is anything silent.
        if !self.has_silent(detector) {
            return Vec::new();
        }
        let own = Key {
            kind: AlertKind::Silence,
            detector: detector.to_owned(),
            entity: entity.to_owned(),
        };
        let storm = Key::storm(AlertKind::Silence, detector);
        let mut alerts = Vec::from_iter(self.end(&own, AlertEnd::Returned, now_ms));
        let has_ended = self.episodes.get_mut(&storm).is_some_and(|episode| {
            episode.members.remove(entity);
            // A silence of everything ends with any event.
            episode.members.remove(EVERYTHING);
            episode.members.is_empty()
        });
        if has_ended {
            alerts.extend(self.end(&storm, AlertEnd::Returned, now_ms));
        }
        alerts
    }

    /// Whether anything of a detector is silent.
    pub fn has_silent(&self, detector: &str) -> bool {
        let first =
            Key { kind: AlertKind::Silence, detector: detector.to_owned(), entity: String::new() };
        self.episodes
            .range(first..)
            .next()
            .is_some_and(|(key, _)| key.kind == AlertKind::Silence && key.detector == detector)
    }

    /// Whether anything of any detector is silent.
    pub fn is_silent(&self) -> bool {
        let key = |kind| Key { kind, detector: String::new(), entity: String::new() };
        self.episodes.range(key(AlertKind::Silence)..key(AlertKind::Drift)).next().is_some()
    }

    /// Ends what has become quiet by `now_ms`, and tells how the rest goes on.
    pub fn tick(&mut self, now_ms: i64) -> Vec<Alert> {
        let mut ended = Vec::new();
        let mut alerts = Vec::new();
        for (key, episode) in &mut self.episodes {
            episode.heard_ms = episode.heard_ms.min(now_ms);
            match has_ended(key, episode, &self.rules, now_ms) {
                Some(end) => ended.push((key.clone(), end)),
                None => alerts.extend(episode.tell(key, false, &self.rules, now_ms)),
            }
        }
        for (key, end) in ended {
            alerts.extend(self.end(&key, end, now_ms));
        }
        alerts
    }

    /// Episodes that somebody was told of and that have not ended.
    pub fn open(&self) -> usize {
        self.episodes.values().filter(|episode| episode.is_told()).count()
    }

    /// Episodes that have not ended, told or not.
    pub fn len(&self) -> usize {
        self.episodes.len()
    }

    /// Whether no episode is open.
    pub fn is_empty(&self) -> bool {
        self.episodes.is_empty()
    }

    /// Figures so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    fn is_new(&mut self, finding: &Finding) -> bool {
        if let Some(place) = &finding.place {
            let stream = format!("{}\n{}", finding.detector, place.stream);
            match self.places.get_mut(&stream) {
                Some(known) if place.offset <= *known => return false,
                Some(known) => *known = place.offset,
                None => {
                    if self.places.len() >= PLACES_MAX {
                        self.places.pop_first();
                    }
                    self.places.insert(stream, place.offset);
                }
            }
        }
        self.remember(identity_hash(&[finding.detector.as_bytes(), finding.id.as_bytes()]))
    }

    /// Answers with whether the id is new.
    fn remember(&mut self, id: [u8; 16]) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.ids_in_order.push_back(id);
        while self.ids_in_order.len() > self.rules.ids_max {
            if let Some(oldest) = self.ids_in_order.pop_front() {
                self.ids.remove(&oldest);
            }
        }
        true
    }

    /// Counts a finding that nobody is told of by itself.
    fn count(&mut self, joining: &Joining<'_>) {
        self.counts.silenced += u64::from(joining.is_silenced);
        self.counts.below += u64::from(!joining.is_loud && !joining.is_silenced);
    }

    /// Decides whether somebody is to be told.
    fn judged<'a>(
        &self,
        joining: Joining<'a>,
        kind: AlertKind,
        detector: &str,
        at_ms: i64,
    ) -> Joining<'a> {
        let silences = &self.rules.silences;
        let is_silenced =
            silences.iter().any(|silence| silence.covers(kind, detector, joining.entity, at_ms));
        let is_loud = !is_silenced && joining.severity >= self.rules.severity_min;
        Joining { is_silenced, is_loud, ..joining }
    }

    /// The episode that a finding about `own` belongs to.
    fn route(&self, own: Key, is_loud: bool) -> Key {
        let known = self.episodes.get(&own);
        if known.is_some_and(|episode| episode.is_told() || !is_loud) {
            return own;
        }
        let storm = Key::storm(own.kind, &own.detector);
        let has_room = known.is_some() || self.episodes.len() < self.rules.episodes_max;
        let is_storm = self.episodes.get(&storm).is_some_and(Episode::is_told)
            || (is_loud && self.told(&own) >= self.rules.storm_entities);
        if has_room && !is_storm {
            return own;
        }
        if has_room || self.episodes.contains_key(&storm) {
            return storm;
        }
        // One of all detectors, so that memory has a bound whatever detectors there are.
        Key::storm(own.kind, EVERYTHING)
    }

    /// Episodes of the kind and detector of `own` that somebody was told of.
    fn told(&self, own: &Key) -> usize {
        let first = Key { kind: own.kind, detector: own.detector.clone(), entity: String::new() };
        let same = self
            .episodes
            .range(first..)
            .take_while(|(key, _)| key.kind == own.kind && key.detector == own.detector);
        same.filter(|(key, episode)| !key.is_storm() && episode.is_told()).count()
    }

    fn join(
        &mut self,
        key: &Key,
        joining: &Joining<'_>,
        now_ms: i64,
        alerts: &mut Vec<Alert>,
    ) -> String {
        let counts = &mut self.counts;
        let episode = self.episodes.entry(key.clone()).or_insert_with(|| {
            counts.episodes += 1;
            Episode::begin(key, joining)
        });
        episode.join(key, joining, &self.rules, now_ms);
        alerts.extend(episode.tell(key, joining.is_loud, &self.rules, now_ms));
        episode.id.clone()
    }

    /// Ends an episode whose findings lie too far before `at_ms` for the next to belong to it.
    fn end_before(&mut self, key: &Key, at_ms: i64, now_ms: i64) -> Option<Alert> {
        let episode = self.episodes.get(key)?;
        let is_over = key.kind == AlertKind::Anomaly
            && at_ms.saturating_sub(episode.last_ms) > self.rules.gap_ms;
        if is_over { self.end(key, AlertEnd::Quiet, now_ms) } else { None }
    }

    fn end(&mut self, key: &Key, end: AlertEnd, now_ms: i64) -> Option<Alert> {
        self.episodes.remove(key)?.end(key, end, &self.rules, now_ms)
    }
}

fn has_ended(key: &Key, episode: &Episode, rules: &Rules, now_ms: i64) -> Option<AlertEnd> {
    let quiet_ms = now_ms.saturating_sub(episode.heard_ms);
    let (after_ms, end) = match key.kind {
        AlertKind::Anomaly => (rules.gap_ms, AlertEnd::Quiet),
        AlertKind::Silence => (rules.forget_ms, AlertEnd::Forgotten),
        AlertKind::Drift | AlertKind::DataQuality | AlertKind::Lag | AlertKind::Health => {
            (rules.clear_ms, AlertEnd::Cleared)
        }
    };
    (quiet_ms > after_ms).then_some(end)
}
