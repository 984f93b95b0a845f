//! `eventhubs-local`.
fn main() {}
