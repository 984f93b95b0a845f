//! Doors of a host: none that nobody asked for, and the same bounds at each.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod common;

use common::{Running, Workshop, by_id, listeners, wait_for};
use std::fs;

#[test]
fn nothing_listens_unless_it_is_told_to() {
    let workshop = Workshop::new();
    let events = workshop.path("events.ndjson");
    fs::write(&events, workshop.events(3, 10).join("\n") + "\n").unwrap();
    let host = Running::replaying(workshop.host("closed").arg("--follow").arg(&events));
    wait_for("the verdicts", || by_id(&workshop.verdicts("closed")).len() == 10);
    assert_eq!(listeners(host.id()), 0);
    assert_eq!(host.stop(), Some(0));
    let open = Running::listening(&mut workshop.host("open"));
    assert_eq!(listeners(open.id()), 1, "what listens is counted");
}
