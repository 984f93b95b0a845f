//! Alerts that wait to be sent to one sink: bounded, in order, tried again with growing pauses.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use twinge_contract::alert::{Alert, AlertState};

/// How long and how often an alert is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Alerts that wait at most.
    pub waiting_max: usize,
    /// Tries of one alert before it is given up.
    pub tries_max: u32,
    /// Pause after the first failed try, ms; it doubles with each.
    pub pause_first_ms: i64,
    /// Longest pause, ms.
    pub pause_max_ms: i64,
}

impl Default for Retries {
    fn default() -> Self {
        // In all a little more than two hours.
        Self { waiting_max: 1000, tries_max: 30, pause_first_ms: 1000, pause_max_ms: 300_000 }
    }
}

/// Alerts that wait for one sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outbox {
    waiting: VecDeque<Alert>,
    /// Failed tries of the first.
    tries: u32,
    next_try_ms: i64,
    dropped: u64,
}

impl Outbox {
    /// Adds an alert; answers with how many had to go to make room.
    ///
    /// An update says what a later one says again, so the oldest of these goes first.
    pub fn push(&mut self, alert: Alert, retries: &Retries) -> u64 {
        let mut dropped = 0;
        while self.waiting.len() >= retries.waiting_max.max(1) {
            let update =
                self.waiting.iter().position(|alert| alert.data.state == AlertState::Updated);
            self.remove(update.unwrap_or(0));
            dropped += 1;
        }
        self.waiting.push_back(alert);
        self.dropped += dropped;
        dropped
    }

    /// The alert to send at `now_ms`, if it is time.
    pub fn next(&self, now_ms: i64, retries: &Retries) -> Option<&Alert> {
        // Further off than the longest pause, the clock was set back.
        let is_time =
            now_ms >= self.next_try_ms || self.next_try_ms - now_ms > retries.pause_max_ms;
        self.waiting.front().filter(|_| is_time)
    }

    /// The alert with this id was sent, or will never be.
    pub fn done(&mut self, id: &str) {
        if let Some(index) = self.waiting.iter().position(|alert| alert.id == id) {
            self.remove(index);
        }
    }

    /// The alert with this id could not be sent at `now_ms`; answers with whether it was given up.
    pub fn failed(&mut self, id: &str, now_ms: i64, retries: &Retries) -> bool {
        if self.waiting.front().is_none_or(|alert| alert.id != id) {
            return false;
        }
        self.tries += 1;
        if self.tries >= retries.tries_max {
            self.remove(0);
            self.dropped += 1;
            return true;
        }
        let doubled = retries.pause_first_ms.saturating_mul(1 << (self.tries - 1).min(30));
        self.next_try_ms = now_ms.saturating_add(doubled.min(retries.pause_max_ms));
        false
    }

    /// Alerts that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Alerts that were never sent, so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn remove(&mut self, index: usize) {
        if self.waiting.remove(index).is_some() && index == 0 {
            (self.tries, self.next_try_ms) = (0, 0);
        }
    }
}
