//! The target `parquet`, driven by coverage.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| twinge_fuzz::run_target("parquet", bytes));
