//! SIGKILL at any time: after duplicates by id are dropped, the verdicts are those of an
//! undisturbed run.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod common;

use common::{Running, Workshop, by_id, finish, wait_for};
use std::fs;

const KILLS: u64 = 20;

#[test]
fn twenty_kills_during_a_replay_change_no_verdict() {
    let workshop = Workshop::new();
    let events = workshop.path("events.ndjson");
    let mut lines = workshop.events(2, 60_000);
    // What cannot be read has its place among the rest, and must come out of it once.
    for (place, bad) in [(100, "not json"), (30_000, "{}"), (59_999, "{\"sensor\":1}")] {
        lines.insert(place, bad.to_owned());
    }
    fs::write(&events, lines.join("\n")).unwrap();
    let undisturbed = finish(workshop.host("undisturbed").arg("--replay").arg(&events));
    assert!(undisturbed.status.success(), "{}", String::from_utf8_lossy(&undisturbed.stderr));
    let whole = fs::metadata(workshop.verdicts("undisturbed")).unwrap().len();

    let command = || {
        let mut host = workshop.host("killed");
        // Small, so that kills fall into every phase of a checkpoint.
        host.args(["--checkpoint-events", "700", "--batch-rows-max", "100"])
            .arg("--replay")
            .arg(&events);
        host
    };
    let written = || fs::metadata(workshop.verdicts("killed")).map_or(0, |file| file.len());
    let mut kills = 0;
    for round in 1..=KILLS {
        let mut host = Running::replaying(&mut command());
        let enough = whole * round / (KILLS + 5);
        wait_for("the host to get on", || written() >= enough || host.has_ended());
        kills += u64::from(host.kill());
    }
    assert_eq!(kills, KILLS, "every kill must hit a host at work");
    let last = finish(&mut command());
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));

    assert_eq!(by_id(&workshop.verdicts("undisturbed")).len(), 60_000);
    assert!(
        by_id(&workshop.verdicts("killed")) == by_id(&workshop.verdicts("undisturbed")),
        "verdicts differ"
    );
    assert_eq!(by_id(&workshop.dead_letters("undisturbed")).len(), 3);
    assert_eq!(
        by_id(&workshop.dead_letters("killed")),
        by_id(&workshop.dead_letters("undisturbed"))
    );
}

#[test]
fn events_accepted_over_http_survive_kills_and_second_deliveries() {
    let workshop = Workshop::new();
    let batches: Vec<Vec<String>> =
        workshop.events(3, 3000).chunks(100).map(<[String]>::to_vec).collect();
    let send = |address: &str, batch: &[String]| -> bool {
        let response = ureq::post(format!("http://{address}/v1/events"))
            .content_type("application/x-ndjson")
            .send(batch.join("\n"));
        response.is_ok_and(|response| response.status() == 202)
    };
    let command = |name: &str| {
        let mut host = workshop.host(name);
        host.args(["--checkpoint-events", "250"]);
        host
    };
    let quiet = Running::listening(&mut command("quiet"));
    for batch in &batches {
        assert!(send(&quiet.address, batch));
    }
    wait_for("all verdicts", || by_id(&workshop.verdicts("quiet")).len() == 3000);
    assert_eq!(quiet.stop(), Some(0));

    let mut next = 0;
    for round in 1..=5 {
        let host = Running::listening(&mut command("stormy"));
        while next < batches.len() * round / 6 {
            assert!(send(&host.address, &batches[next]));
            next += 1;
        }
        host.kill();
        // The sender cannot know what became of its last batch, and sends it again.
        next -= 1;
    }
    let host = Running::listening(&mut command("stormy"));
    for batch in &batches[next..] {
        assert!(send(&host.address, batch));
    }
    wait_for("all verdicts", || by_id(&workshop.verdicts("stormy")).len() >= 3000);
    let metrics = ureq::get(format!("http://{}/metrics", host.address))
        .call()
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    assert!(metrics.contains("twinge_verdicts_total"), "{metrics}");
    assert_eq!(host.stop(), Some(0));
    // Another journal has another name, so ids differ; what was said of each event does not.
    let said = |name: &str| {
        let mut said: Vec<String> =
            by_id(&workshop.verdicts(name)).into_values().map(|line| essence(&line)).collect();
        said.sort();
        said
    };
    assert_eq!(said("stormy").len(), 3000);
    assert!(said("stormy") == said("quiet"), "verdicts differ");
}

fn essence(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    format!(
        "{} {} {} {}",
        value["time"], value["subject"], value["data"]["score"], value["data"]["verdict"]
    )
}
