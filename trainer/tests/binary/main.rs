//! The trainer's verbs of trust, rollout and audit, through the binary itself.

mod common;
mod kills;
mod replay;
mod story;
mod verbs;
