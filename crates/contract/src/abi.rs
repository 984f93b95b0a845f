//! The binary interface between a detector module and whoever runs it. docs/abi.md is its text.
//!
//! A call is one batch. The caller asks for room with [`PREPARE`], which answers with the address
//! of a [`Layout`]; it writes rows and entity states to the addresses found there, calls [`SCORE`],
//! and reads verdicts and the new states from the same place. Nothing else crosses.

/// The version of the interface that this crate describes.
pub const VERSION: u32 = 1;

/// Name of the exported memory.
pub const MEMORY: &str = "memory";

/// `twinge_abi() -> i32`: the interface version that the module speaks.
pub const ABI: &str = "twinge_abi";

/// `twinge_prepare(rows: i32, entities: i32) -> i32`: makes room for a batch of at most so many
/// rows and distinct entities, and answers with the address of a [`Layout`]; 0 when there is no
/// room. Addresses hold until the next call of the same function.
pub const PREPARE: &str = "twinge_prepare";

/// `twinge_score(rows: i32, entities: i32, flags: i32) -> i32`: scores the rows in order; 0 when
/// done, else one of the `ERROR_` codes.
pub const SCORE: &str = "twinge_score";

/// Name of the custom section that holds the manifest (JSON).
pub const MANIFEST_SECTION: &str = "twinge.manifest";

/// Name of the exported header, a pair of words (address, length) that the linker fills in. Only
/// modules made by the trainer have it; the interface does not ask for it.
pub const MODEL_HEADER: &str = "TWINGE_MODEL";

/// Flag of [`SCORE`]: work out the attribution of every row, not only of anomalous ones.
pub const FLAG_EXPLAIN_ALL: u32 = 1;

/// Result of [`SCORE`]: more rows or entities than were prepared.
pub const ERROR_ROOM: i32 = 1;
/// Result of [`SCORE`]: an entity index is out of range.
pub const ERROR_ENTITY: i32 = 2;
/// Result of [`SCORE`] and, negated in spirit, a zero of [`PREPARE`]: the model cannot be read.
pub const ERROR_MODEL: i32 = 3;

/// Most rows that a caller may ask for in one batch.
pub const ROWS_MAX: u32 = 65_536;
/// Most bytes of state that an entity may have.
pub const STATE_BYTES_MAX: u32 = 65_536;
/// Most input fields that a module may have.
pub const FIELDS_MAX: u32 = 255;

/// Where a batch lies in the module's memory: ten little-endian `u32` words.
///
/// All arrays are dense and in row order; all addresses are multiples of eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Input fields of a row.
    pub fields: u32,
    /// Bytes of state that an entity has; a multiple of eight. All zero is a new entity.
    pub state_bytes: u32,
    /// `f64[rows]`: event time in milliseconds since 1970, 0 where the schema has no time.
    pub times: u32,
    /// `u32[rows]`: which of the batch's states the row belongs to.
    pub entities: u32,
    /// `f64[rows * fields]`: numbers as they are, categories as [`crate::category::code`], any
    /// value that is not finite for a missing one.
    pub inputs: u32,
    /// `[u8; state_bytes][entities]`: read and written.
    pub states: u32,
    /// `f64[rows]`, written: at least 1 means anomalous.
    pub scores: u32,
    /// `u32[rows]`, written: a [`Outcome`] with [`VERDICT_LATE`] perhaps added.
    pub verdicts: u32,
    /// `f32[rows * (fields + 1)]`, written: what each field, and in the last place time itself,
    /// adds to the score; zeros where nothing was asked for.
    pub attributions: u32,
    /// Zero for now.
    pub reserved: u32,
}

impl Layout {
    /// Bytes of a layout in memory.
    pub const BYTES: usize = 40;

    /// Reads a layout from its ten words.
    pub fn from_words(words: [u32; 10]) -> Self {
        let [
            fields,
            state_bytes,
            times,
            entities,
            inputs,
            states,
            scores,
            verdicts,
            attributions,
            reserved,
        ] = words;
        Self {
            fields,
            state_bytes,
            times,
            entities,
            inputs,
            states,
            scores,
            verdicts,
            attributions,
            reserved,
        }
    }

    /// The ten words in order.
    pub fn to_words(self) -> [u32; 10] {
        [
            self.fields,
            self.state_bytes,
            self.times,
            self.entities,
            self.inputs,
            self.states,
            self.scores,
            self.verdicts,
            self.attributions,
            self.reserved,
        ]
    }
}

/// Added to a verdict word: the event came too late, so the entity's state was left alone.
pub const VERDICT_LATE: u32 = 1 << 8;
/// Added to a verdict word: the row goes on with an episode that has been told already, so its score
/// was held back.
pub const VERDICT_CONTINUES: u32 = 1 << 9;

/// What a detector says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "host",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum Outcome {
    /// Score below 1.
    Normal,
    /// Score at least 1.
    Anomalous,
    /// The entity has not been seen often enough yet; the score is told and means nothing.
    WarmingUp,
    /// Nothing to score: every input of the row is missing.
    Invalid,
}

impl Outcome {
    /// The low byte of a verdict word.
    pub fn code(self) -> u32 {
        match self {
            Self::Normal => 0,
            Self::Anomalous => 1,
            Self::WarmingUp => 2,
            Self::Invalid => 3,
        }
    }

    /// Reads the low byte of a verdict word.
    pub fn from_code(word: u32) -> Option<Self> {
        match word & 0xff {
            0 => Some(Self::Normal),
            1 => Some(Self::Anomalous),
            2 => Some(Self::WarmingUp),
            3 => Some(Self::Invalid),
            _ => None,
        }
    }

    /// The word used in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Anomalous => "anomalous",
            Self::WarmingUp => "warming-up",
            Self::Invalid => "invalid",
        }
    }
}
