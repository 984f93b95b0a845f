//! A backlog in memory, a place for refused records, and records that tell who they are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use twinge_uplink::{Backlog, BacklogError, Bell, Refusals, Waiting};

/// Records in memory; every call can be made to fail.
#[derive(Debug, Default)]
pub(crate) struct MemoryBacklog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Waiting>,
    next: u64,
    failing: u32,
}

impl MemoryBacklog {
    /// Adds a record that [`number_of`] knows again, and rings.
    pub(crate) fn add(&self, bell: &Bell, key: Option<&str>, is_urgent: bool) -> u64 {
        let mut kept = self.0.lock().unwrap();
        let sequence = kept.next;
        // Gaps, as dropped records leave them.
        kept.next += 1 + sequence % 3;
        let bytes = event(sequence, key.unwrap_or("none"));
        let key = key.map(str::to_owned);
        kept.records.push_back(Waiting { sequence, is_urgent, key, bytes });
        drop(kept);
        bell.ring(is_urgent);
        sequence
    }

    /// Adds something that is no event.
    pub(crate) fn add_bytes(&self, bell: &Bell, bytes: &[u8]) -> u64 {
        let mut kept = self.0.lock().unwrap();
        let sequence = kept.next;
        kept.next += 1;
        let record = Waiting { sequence, is_urgent: false, key: None, bytes: bytes.to_vec() };
        kept.records.push_back(record);
        drop(kept);
        bell.ring(false);
        sequence
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().records.len()
    }

    /// The next calls fail.
    pub(crate) fn fail(&self, calls: u32) {
        self.0.lock().unwrap().failing = calls;
    }
}

impl Backlog for MemoryBacklog {
    fn peek(&self, entries_max: usize, bytes_max: usize) -> Result<Vec<Waiting>, BacklogError> {
        let mut kept = self.0.lock().unwrap();
        fail_if(&mut kept.failing)?;
        let mut bytes = 0;
        let found = kept.records.iter().take(entries_max).take_while(|record| {
            let is_first = bytes == 0;
            bytes += record.bytes.len();
            is_first || bytes <= bytes_max
        });
        Ok(found.cloned().collect())
    }

    fn release(&self, through: u64) -> Result<(), BacklogError> {
        let mut kept = self.0.lock().unwrap();
        fail_if(&mut kept.failing)?;
        kept.records.retain(|record| record.sequence > through);
        Ok(())
    }
}

fn fail_if(failing: &mut u32) -> Result<(), BacklogError> {
    if *failing == 0 {
        return Ok(());
    }
    *failing -= 1;
    Err("the disk is full".into())
}

/// Keeps refused records; can be made to fail.
#[derive(Debug, Default)]
pub(crate) struct Refused(Mutex<(Vec<(u64, String)>, u32)>);

impl Refused {
    pub(crate) fn sequences(&self) -> Vec<u64> {
        self.0.lock().unwrap().0.iter().map(|(sequence, _)| *sequence).collect()
    }

    pub(crate) fn reasons(&self) -> Vec<String> {
        self.0.lock().unwrap().0.iter().map(|(_, reason)| reason.clone()).collect()
    }

    pub(crate) fn fail(&self, calls: u32) {
        self.0.lock().unwrap().1 = calls;
    }
}

impl Refusals for Refused {
    fn keep(&self, record: &Waiting, reason: &str) -> Result<(), BacklogError> {
        let mut kept = self.0.lock().unwrap();
        fail_if(&mut kept.1)?;
        kept.0.push((record.sequence, reason.to_owned()));
        Ok(())
    }
}

/// A verdict whose id is its sequence number.
pub(crate) fn event(sequence: u64, entity: &str) -> Vec<u8> {
    let event = serde_json::json!({
        "specversion": "1.0", "type": "io.twinge.verdict.v1", "id": sequence.to_string(),
        "source": "/twinge/pump", "subject": entity, "data": { "text": "\"quoted\" ö" },
    });
    serde_json::to_vec(&event).unwrap()
}

/// The sequence number in an event.
pub(crate) fn number_of(event: &[u8]) -> u64 {
    let event: serde_json::Value = serde_json::from_slice(event).unwrap();
    event["id"].as_str().unwrap().parse().unwrap()
}

/// Waits for a condition with a bound.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    until_within(Duration::from_mins(2), what, condition).await;
}

pub(crate) async fn until_within(bound: Duration, what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(bound, met).await.unwrap_or_else(|_| panic!("{what}"));
}

/// Each of `wanted` is there, and where one comes for the first time it is in order.
pub(crate) fn assert_all_in_order(arrived: &[u64], wanted: &[u64]) {
    let mut firsts: Vec<u64> = Vec::new();
    for number in arrived {
        if firsts.last().is_none_or(|last| last < number) {
            firsts.push(*number);
        } else {
            assert!(firsts.contains(number), "{number} comes after {:?}", firsts.last());
        }
    }
    assert_eq!(firsts, wanted);
}

pub(crate) fn shared<T: Default>() -> Arc<T> {
    Arc::default()
}

/// `SplitMix64`, so that a seed gives the same faults on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
