//! Fleets under trouble, driven through releases; see `fleet`. The full counts are for the example
//! `simulate`.

mod fleet;

fn check(seeds: std::ops::Range<u64>, devices: usize) {
    let summary = fleet::simulate_all(seeds, devices).unwrap_or_else(|problem| panic!("{problem}"));
    assert!(summary.seeds > 0 && summary.documents > 0, "{summary:?}");
}

#[test]
fn small_fleets_come_through() {
    check(0..500, 200);
}

#[test]
fn a_large_fleet_comes_through() {
    check(0..1, 100_000);
}
