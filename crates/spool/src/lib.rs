//! Store-and-forward on disk: bounded in bytes and age, normal records dropped first and anomalies last.
#![forbid(unsafe_code)]
