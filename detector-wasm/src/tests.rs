//! Calls as an engine makes them, through addresses. For targets whose addresses have 32 bits.
#![expect(unsafe_code, reason = "what an engine does from outside of memory")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use crate::memory::Memory;
use crate::shell::Shell;
use std::slice;
use twinge_contract::abi::{ERROR_ENTITY, ERROR_MODEL, ERROR_ROOM, FLAG_EXPLAIN_ALL, Layout};
use twinge_detector::{Batch, Detector};

/// Models with all kinds of detectors; crates/fit/tests/every_kind.rs keeps them as training makes them.
const MODELS: [&[u8]; 3] = [
    include_bytes!("../../fixtures/guest/one.model"),
    include_bytes!("../../fixtures/guest/two.model"),
    include_bytes!("../../fixtures/guest/three.model"),
];

fn words(model: &[u8]) -> Vec<u64> {
    let words = model.chunks_exact(8);
    words.map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
}

/// Values at an address that a layout tells.
fn at<T>(address: u32, length: usize) -> &'static mut [T] {
    let address = std::ptr::with_exposed_provenance_mut(address as usize);
    // SAFETY: the layout says that they lie there, and a test uses one of them at a time.
    unsafe { slice::from_raw_parts_mut(address, length) }
}

/// Rows with ordinary, missing and extreme inputs, of one entity after the other.
fn inputs(rows: usize, fields: usize) -> Vec<f64> {
    let wild = [f64::NAN, f64::INFINITY, f64::MAX, -0.0];
    let value = |place: usize| match place % 11 {
        7 => wild[place / 11 % 4],
        _ => (place as u64 * 2_654_435_761 >> 8 & 0xffff) as f64 / 6553.6,
    };
    (0..rows * fields).map(value).collect()
}

#[test]
fn calls_through_addresses_give_the_bits_of_the_detector() {
    for model in MODELS {
        compare(&words(model));
    }
}

fn compare(words: &[u64]) {
    let (memory, header) = Memory::holding(words);
    let mut shell = Shell::new(memory);
    let detector = Detector::parse(bytemuck::cast_slice(words)).unwrap();
    // Rooms that grow, that were large enough already, and one for nothing.
    for (rows, entities) in [(1, 1), (3, 2), (0, 0)] {
        let layout = shell.prepare(header, rows as u32, entities as u32).unwrap();
        let layout = Layout::from_words(*layout);
        let (fields, words) = (detector.fields(), detector.state_words());
        let inputs = inputs(rows, fields);
        let times: Vec<f64> = (0..rows).map(|row| row as f64 * 60_000.0).collect();
        let places: Vec<u32> = (0..rows).map(|row| (row % entities.max(1)) as u32).collect();
        at(layout.times, rows).copy_from_slice(&times);
        at(layout.entities, rows).copy_from_slice(&places);
        at(layout.inputs, rows * fields).copy_from_slice(&inputs);
        at(layout.states, entities * words).fill(0.0_f64);
        assert_eq!(shell.score(rows as u32, entities as u32, FLAG_EXPLAIN_ALL), 0);

        let (mut states, mut scores) = (vec![0.0; entities * words], vec![0.0; rows]);
        let (mut verdicts, mut told) = (vec![0; rows], vec![0.0; rows * (fields + 1)]);
        let mut batch = Batch {
            times: &times,
            entities: &places,
            inputs: &inputs,
            states: &mut states,
            scores: &mut scores,
            verdicts: &mut verdicts,
            attributions: &mut told,
        };
        detector.score(&mut batch, true, &mut vec![0.0; detector.scratch_len()]).unwrap();
        assert_eq!(bits(at(layout.scores, rows)), bits(&scores));
        assert_eq!(bits(at(layout.states, states.len())), bits(&states));
        assert_eq!(at::<u32>(layout.verdicts, rows), verdicts);
        assert_eq!(at::<f32>(layout.attributions, told.len()), told);
        assert!(scores.iter().all(|score| score.is_finite()));
    }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn what_does_not_fit_is_answered_and_touches_nothing() {
    let (memory, header) = Memory::holding(&words(MODELS[0]));
    let mut shell = Shell::new(memory);
    assert_eq!(shell.score(0, 0, 0), ERROR_MODEL);
    for nowhere in [[0, 64], [u32::MAX, u32::MAX], [header[0], u32::MAX / 2], [header[0], 8]] {
        assert!(shell.prepare(nowhere, 1, 1).is_none(), "{nowhere:?}");
    }
    assert!(shell.prepare(header, 1, 2).is_none(), "more entities than rows");
    assert!(shell.prepare(header, 65_536, 65_536).is_none(), "no memory for so much");
    let layout = Layout::from_words(*shell.prepare(header, 2, 2).unwrap());
    assert_eq!(shell.score(3, 2, 0), ERROR_ROOM);
    at(layout.entities, 2).copy_from_slice(&[0, 2_u32]);
    assert_eq!(shell.score(2, 2, 0), ERROR_ENTITY);
}
