//! What should happen with a challenger, and the figures that say so. How they come about is not
//! known here.

use serde::Serialize;

/// What should happen, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// Why, in one sentence with the figures, for whoever is woken up by it.
    pub sentence: String,
    /// All that was looked at; nothing if there was nothing to look at.
    pub facts: Vec<Fact>,
}

/// What to do with a challenger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing yet.
    Wait,
    /// On to the next stage.
    Advance,
    /// It becomes the champion.
    Promote,
    /// It goes back everywhere.
    Withdraw,
}

/// One figure against its limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fact {
    /// What is measured.
    pub name: &'static str,
    /// The figure; shares are fractions of one. Nothing if it is not known yet.
    pub measured: Option<f64>,
    /// What it must reach, for `soak`, `coverage` and `events`, or must not exceed.
    pub limit: f64,
    /// Whether it is kept. An unknown figure keeps every limit, and no need.
    pub passed: bool,
    /// The same in words.
    pub text: String,
}
