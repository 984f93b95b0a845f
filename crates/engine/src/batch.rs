//! The rows of a call and what came of them, on the caller's side.

use twinge_contract::abi::{Outcome, VERDICT_CONTINUES, VERDICT_LATE};

/// Rows, the states they touch, and the verdicts.
///
/// Rows are added with [`Batch::push`] after their state with [`Batch::push_state`]; one batch is
/// reused for many calls.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    fields: usize,
    state_bytes: usize,
    state_count: usize,
    pub(crate) times: Vec<f64>,
    pub(crate) entities: Vec<u32>,
    pub(crate) inputs: Vec<f64>,
    pub(crate) states: Vec<u8>,
    pub(crate) scores: Vec<f64>,
    pub(crate) verdicts: Vec<u32>,
    /// Rows that were explained, ascending.
    pub(crate) explained: Vec<u32>,
    /// Their contributions.
    pub(crate) attributions: Vec<f32>,
    /// The contributions of a row that was not explained.
    nothing: Vec<f32>,
}

impl Batch {
    /// An empty batch for rows of `fields` inputs and states of `state_bytes`.
    pub fn new(fields: usize, state_bytes: usize) -> Self {
        Self { fields, state_bytes, nothing: vec![0.0; fields + 1], ..Self::default() }
    }

    /// Forgets rows and states, keeps the room.
    pub fn clear(&mut self) {
        self.times.clear();
        self.entities.clear();
        self.inputs.clear();
        self.states.clear();
        self.state_count = 0;
        self.scores.clear();
        self.verdicts.clear();
        self.attributions.clear();
        self.explained.clear();
    }

    /// Adds an entity's state and returns its place. `None` is an entity never seen.
    pub fn push_state(&mut self, state: Option<&[u8]>) -> u32 {
        let place = self.state_count;
        self.state_count += 1;
        match state {
            Some(state) => {
                assert_eq!(
                    state.len(),
                    self.state_bytes,
                    "a state has as many bytes as the manifest says"
                );
                self.states.extend_from_slice(state);
            }
            None => self.states.resize(self.states.len() + self.state_bytes, 0),
        }
        place as u32
    }

    /// Adds a row of an entity whose state was added before.
    pub fn push(&mut self, time_ms: f64, entity: u32, inputs: &[f64]) {
        assert_eq!(inputs.len(), self.fields, "a row has one value for each field of the manifest");
        self.times.push(time_ms);
        self.entities.push(entity);
        self.inputs.extend_from_slice(inputs);
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// Number of states.
    pub fn states(&self) -> usize {
        self.state_count
    }

    /// State `place` as it is now.
    pub fn state(&self, place: u32) -> &[u8] {
        let start = place as usize * self.state_bytes;
        &self.states[start..start + self.state_bytes]
    }

    /// Which of the states a row belongs to.
    pub fn entity(&self, row: usize) -> u32 {
        self.entities[row]
    }

    /// Copies all states as they are now.
    pub fn copy_states_to(&self, copy: &mut Vec<u8>) {
        copy.clone_from(&self.states);
    }

    /// State `place` in a copy of the states.
    pub fn state_in<'a>(&self, copy: &'a [u8], place: u32) -> &'a [u8] {
        let start = place as usize * self.state_bytes;
        &copy[start..start + self.state_bytes]
    }

    /// A batch of some of the rows, all of one entity, whose state is `state`.
    #[must_use]
    pub fn of_one(&self, rows: &[usize], state: &[u8]) -> Self {
        let mut some = Self::new(self.fields, self.state_bytes);
        let place = some.push_state(Some(state));
        for row in rows {
            let inputs = &self.inputs[row * self.fields..(row + 1) * self.fields];
            some.push(self.times[*row], place, inputs);
        }
        some
    }

    /// Score of a row, once scored.
    pub fn score(&self, row: usize) -> f64 {
        self.scores[row]
    }

    /// What the detector says of a row, once scored.
    pub fn outcome(&self, row: usize) -> Outcome {
        Outcome::from_code(self.verdicts[row]).expect("outcomes were checked after the call")
    }

    /// Whether a row came too late to change its entity's state.
    pub fn is_late(&self, row: usize) -> bool {
        self.verdicts[row] & VERDICT_LATE != 0
    }

    /// Whether a row goes on with an episode that has been told already.
    pub fn continues(&self, row: usize) -> bool {
        self.verdicts[row] & VERDICT_CONTINUES != 0
    }

    /// What each field, and in the last place time, adds to a row's score; nothing where it was not
    /// explained.
    pub fn attribution(&self, row: usize) -> &[f32] {
        let Ok(place) = self.explained.binary_search(&(row as u32)) else { return &self.nothing };
        let width = self.nothing.len();
        &self.attributions[place * width..(place + 1) * width]
    }

    /// A batch of some of the rows, with all states as they are.
    #[must_use]
    pub fn part(&self, rows: std::ops::Range<usize>) -> Self {
        let mut part = Self::new(self.fields, self.state_bytes);
        part.states.clone_from(&self.states);
        part.state_count = self.state_count;
        for row in rows {
            part.push(
                self.times[row],
                self.entities[row],
                &self.inputs[row * self.fields..(row + 1) * self.fields],
            );
        }
        part
    }

    /// Takes over the verdicts and states of a scored part that began at row `start`; parts come in order.
    pub fn take_part(&mut self, part: &Self, start: usize) {
        let (end, rows) = (start + part.rows(), self.rows());
        self.scores.resize(rows, 0.0);
        self.verdicts.resize(rows, 0);
        self.scores[start..end].copy_from_slice(&part.scores);
        self.verdicts[start..end].copy_from_slice(&part.verdicts);
        self.explained.extend(part.explained.iter().map(|row| row + start as u32));
        self.attributions.extend_from_slice(&part.attributions);
        self.states.copy_from_slice(&part.states);
    }

    /// Forgets what a call before this one said.
    pub(crate) fn forget_verdicts(&mut self) {
        self.scores.clear();
        self.verdicts.clear();
        self.attributions.clear();
        self.explained.clear();
    }

    pub(crate) fn fields(&self) -> usize {
        self.fields
    }

    pub(crate) fn state_bytes(&self) -> usize {
        self.state_bytes
    }
}
