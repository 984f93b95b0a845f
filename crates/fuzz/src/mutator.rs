//! Makes inputs out of inputs: the same ones for the same seed. Knows no format but the words that it
//! is given.

use rand::{Rng as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Longest input that is made, in bytes.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// Most edits of one input.
const EDITS_MAX: u32 = 12;

/// Whole numbers at the edges of what programs count with.
const EDGES: [u64; 20] = [
    0,
    1,
    2,
    7,
    0x10,
    0x20,
    0x3f,
    0x40,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x0001_0000,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

/// Numbers as they are written in text.
const NUMBERS: [&str; 16] = [
    "0",
    "-0",
    "-1",
    "1",
    "255",
    "65536",
    "2147483648",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "1e308",
    "1e-320",
    "0.1",
];

/// Mutates the inputs of one corpus.
#[derive(Debug)]
pub struct Mutator<'c> {
    random: Xoshiro256PlusPlus,
    entries: Vec<&'c [u8]>,
    words: &'c [&'c [u8]],
}

impl<'c> Mutator<'c> {
    /// What this seed makes of `entries` with the format's `words`.
    pub fn new(seed: u64, entries: Vec<&'c [u8]>, words: &'c [&'c [u8]]) -> Self {
        Self { random: Xoshiro256PlusPlus::seed_from_u64(seed), entries, words }
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.entry().to_vec();
        // Few edits mostly: what is nearly right gets furthest.
        let edits =
            1 + self.random.gen_range(0..EDITS_MAX).min(self.random.gen_range(0..EDITS_MAX));
        for _ in 0..edits {
            self.edit(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn entry(&mut self) -> &'c [u8] {
        match self.entries.len() {
            0 => &[],
            count => self.entries[self.random.gen_range(0..count)],
        }
    }

    fn edit(&mut self, input: &mut Vec<u8>) {
        match self.random.gen_range(0..14) {
            0 | 1 => self.flip_bit(input),
            2 => self.set_byte(input),
            3 => self.insert_noise(input),
            4 => self.delete(input),
            5 => self.repeat(input),
            6 => self.splice(input),
            7 | 8 => self.insert_word(input),
            9 | 10 => self.set_number(input),
            11 => self.step_number(input),
            12 => self.set_written_number(input),
            _ => self.cut_or_swap(input),
        }
    }

    fn byte(&mut self) -> u8 {
        self.random.gen_range(0..=u8::MAX)
    }

    /// A place in the input, its end left out; nothing where it is empty.
    fn place(&mut self, input: &[u8]) -> Option<usize> {
        (!input.is_empty()).then(|| self.random.gen_range(0..input.len()))
    }

    /// Where and how long a piece of the input is: short ones mostly.
    fn piece(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let start = self.random.gen_range(0..=input.len());
        let rest = input.len() - start;
        let length = if self.random.gen_bool(0.9) { rest.min(16) } else { rest };
        start..start + self.random.gen_range(0..=length)
    }

    fn flip_bit(&mut self, input: &mut [u8]) {
        if let Some(place) = self.place(input) {
            input[place] ^= 1 << self.random.gen_range(0..8);
        }
    }

    fn set_byte(&mut self, input: &mut [u8]) {
        if let Some(place) = self.place(input) {
            input[place] = self.byte();
        }
    }

    fn insert_noise(&mut self, input: &mut Vec<u8>) {
        let place = self.random.gen_range(0..=input.len());
        let count = self.random.gen_range(1..9);
        let noise: Vec<u8> = (0..count).map(|_| self.byte()).collect();
        input.splice(place..place, noise);
    }

    fn delete(&mut self, input: &mut Vec<u8>) {
        let piece = self.piece(input);
        input.drain(piece);
    }

    /// Writes a piece again behind itself, now and then many times: depth and counts grow by it.
    fn repeat(&mut self, input: &mut Vec<u8>) {
        let piece = self.piece(input);
        let again = input[piece.clone()].to_vec();
        let times = if self.random.gen_bool(0.1) { 1 << self.random.gen_range(1..11) } else { 1 };
        let room = INPUT_BYTES_MAX.saturating_sub(input.len());
        let times = times.min(room / again.len().max(1));
        input.splice(piece.end..piece.end, again.repeat(times));
    }

    /// Goes on with the rest of another entry, or puts a piece of it in.
    fn splice(&mut self, input: &mut Vec<u8>) {
        let other = self.entry();
        let place = self.random.gen_range(0..=input.len());
        if self.random.gen_bool(0.5) {
            let from = self.random.gen_range(0..=other.len());
            input.truncate(place);
            input.extend_from_slice(&other[from..]);
        } else {
            let piece = self.piece(other);
            input.splice(place..place, other[piece].iter().copied());
        }
    }

    fn insert_word(&mut self, input: &mut Vec<u8>) {
        if self.words.is_empty() {
            return self.insert_noise(input);
        }
        let word = self.words[self.random.gen_range(0..self.words.len())];
        let start = self.random.gen_range(0..=input.len());
        // Over what is there, or between.
        let end =
            if self.random.gen_bool(0.5) { start } else { (start + word.len()).min(input.len()) };
        input.splice(start..end, word.iter().copied());
    }

    /// Where a binary number could stand, how long it is, and whether its last byte weighs most.
    fn field(&mut self, input: &[u8]) -> Option<(usize, usize, bool)> {
        let bytes = 1 << self.random.gen_range(0..4);
        let last = input.len().checked_sub(bytes)?;
        Some((self.random.gen_range(0..=last), bytes, self.random.gen_bool(0.5)))
    }

    fn write(input: &mut [u8], (place, bytes, is_little): (usize, usize, bool), number: u64) {
        let field = &mut input[place..place + bytes];
        if is_little {
            field.copy_from_slice(&number.to_le_bytes()[..bytes]);
        } else {
            field.copy_from_slice(&number.to_be_bytes()[8 - bytes..]);
        }
    }

    /// Puts an edge, or a length of the input, where a number could stand.
    fn set_number(&mut self, input: &mut [u8]) {
        let Some(field) = self.field(input) else { return };
        let number = match self.random.gen_range(0..4) {
            0 => (input.len() - field.0 - field.1) as u64,
            _ => EDGES[self.random.gen_range(0..EDGES.len())],
        };
        Self::write(input, field, number);
    }

    /// Makes a number that is there a little larger or smaller.
    fn step_number(&mut self, input: &mut [u8]) {
        let Some(field) = self.field(input) else { return };
        let (place, bytes, is_little) = field;
        let weigh = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        let there = &input[place..place + bytes];
        let number =
            if is_little { there.iter().rev().fold(0, weigh) } else { there.iter().fold(0, weigh) };
        let step = self.random.gen_range(1..17);
        let stepped = if self.random.gen_bool(0.5) {
            number.wrapping_add(step)
        } else {
            number.wrapping_sub(step)
        };
        Self::write(input, field, stepped);
    }

    /// Writes another number in place of one that stands there in digits.
    fn set_written_number(&mut self, input: &mut Vec<u8>) {
        let Some(from) = self.place(input) else { return };
        let digit = input[from..].iter().position(u8::is_ascii_digit);
        let Some(start) = digit.map(|place| from + place) else { return };
        let length = input[start..].iter().position(|byte| !byte.is_ascii_digit());
        let end = length.map_or(input.len(), |length| start + length);
        let number = NUMBERS[self.random.gen_range(0..NUMBERS.len())];
        input.splice(start..end, number.bytes());
    }

    /// Cuts the end off, or lets two pieces change places.
    fn cut_or_swap(&mut self, input: &mut Vec<u8>) {
        let piece = self.piece(input);
        if self.random.gen_bool(0.3) {
            input.truncate(piece.end);
            return;
        }
        let moved: Vec<u8> = input.drain(piece).collect();
        let place = self.random.gen_range(0..=input.len());
        input.splice(place..place, moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_inputs_and_another_makes_others() {
        let entries: Vec<&[u8]> = vec![br#"{"a":12}"#, b"", b"\x00\x01\x02\x03"];
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed, entries.clone(), &[b"null"]);
            (0..2000).map(|_| mutator.next_input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(3).iter().all(|input| input.len() <= INPUT_BYTES_MAX));
    }

    #[test]
    fn nothing_to_begin_from_is_survived() {
        let mut mutator = Mutator::new(7, Vec::new(), &[]);
        assert!((0..200).any(|_| !mutator.next_input().is_empty()));
    }
}
