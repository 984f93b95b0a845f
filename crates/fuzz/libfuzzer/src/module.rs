//! The target `module`, driven by coverage.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| twinge_fuzz::run_target("module", bytes));
