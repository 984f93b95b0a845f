//! What keys may sign for. Which key may is not known here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a key may sign for. No role includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Whoever says which keys hold which roles: signs roots of trust and nothing else.
    Root,
    /// The unattended retrainer: statements, and channels as far as the shadow slot goes.
    Retrainer,
    /// Someone who answers for canary and champion.
    Promoter,
    /// Whoever vouches for precompiled artefacts, which are machine code.
    Native,
    /// Whoever enrols devices: signs the word on each device's own key.
    Device,
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Root => "root",
            Self::Retrainer => "retrainer",
            Self::Promoter => "promoter",
            Self::Native => "native",
            Self::Device => "device",
        })
    }
}
