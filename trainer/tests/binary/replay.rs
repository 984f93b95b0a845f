//! Recorded verdicts are reached again, bit for bit, and doctored records are found.

use crate::common::{Random, Shop};
use serde_json::{Value, json};
use twinge_contract::audit::Audit;
use twinge_engine::{Engine, Limits};
use twinge_runner::{Arrival, Place, Runner};
use twinge_trust::VerifiedModule;

const SEED: u64 = 5;

type Change<'a> = &'a dyn Fn(&mut Value);

/// The audit records of a runner on events of which some are far off.
fn audits(redelivers: bool) -> Vec<Audit> {
    println!("seed {SEED}");
    let mut random = Random(SEED);
    let engine = Engine::new(Limits::default()).unwrap();
    let module = engine.load(&VerifiedModule::allow_unsigned(crate::common::module(1))).unwrap();
    let place =
        Place { detector: "pump".into(), source: "hub".into(), partition: "3".into(), redelivers };
    let mut runner = Runner::new(place, &module, None);
    runner.keep_audits();
    let arrivals: Vec<Arrival> = (0..1200)
        .map(|offset| {
            let leap = if offset > 200 && random.below(40) == 0 { 400.0 } else { 0.0 };
            let pressure = 100.0 + leap + random.below(1000) as f64 / 100.0;
            let minute = offset % 60;
            let hour = offset / 60 % 24;
            let time = format!("2026-02-01T{hour:02}:{minute:02}:00Z");
            let flow = 5.0 + random.below(100) as f64 / 100.0;
            let event = json!({ "timestamp": time, "pump": format!("p{}", offset % 2),
                "pressure": pressure, "flow": flow });
            Arrival {
                offset,
                ingested_ms: 1_800_000_000_000,
                key: None,
                attributes: None,
                bytes: event.to_string().into_bytes(),
            }
        })
        .collect();
    for batch in arrivals.chunks(64) {
        runner.process(batch);
    }
    runner.take_audits()
}

fn lines(audits: &[Value]) -> String {
    audits.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n"
}

fn values(audits: &[Audit]) -> Vec<Value> {
    audits.iter().map(|audit| serde_json::to_value(audit).unwrap()).collect()
}

#[test]
fn every_verdict_is_reached_again_from_registry_and_file() {
    let shop = Shop::trusted();
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &[]);
    for redelivers in [false, true] {
        let audits = audits(redelivers);
        assert!(audits.len() > 5, "{} anomalies", audits.len());
        shop.write("audit.ndjson", &lines(&values(&audits)));
        let all = format!("{0} of {0} identical", audits.len());
        let replay = ["replay", "--audit", "audit.ndjson", "--trust", "keys/root.json"];
        let expected = [&*all, "signed by", "(retrainer)", "seed 1", "why", "pressure"];
        shop.check(&[&replay[..], &["--registry", "registry"]].concat(), 0, &expected);
        shop.check(&[&replay[..], &["--module", "v1.wasm"]].concat(), 0, &[&all]);
        let id = &audits[3].id;
        let one = [&replay[..], &["--registry", "registry", "--id", id, "--json"]].concat();
        let json = shop.check(&one, 0, &[]).json();
        assert_eq!((&json["total"], &json["records"][0]["id"]), (&1.into(), &(**id).into()));
        let bits = format!("{:016x}", audits[3].data.verdict.data.score.to_bits());
        assert_eq!(json["records"][0]["score_bits"], bits);
        shop.check(
            &[&replay[..], &["--module", "v2.wasm"]].concat(),
            2,
            &["of other modules left out"],
        );
        let missing = [&replay[..], &["--module", "v1.wasm", "--id", "none"]].concat();
        shop.check(&missing, 2, &["no record of verdict none"]);
    }
}

/// Each of these changes one thing in the fourth record.
#[test]
fn a_doctored_record_is_found() {
    let shop = Shop::trusted();
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &[]);
    let good = values(&audits(false));
    let next = |value: &Value| f64::from_bits(value.as_f64().unwrap().to_bits() + 1);
    let data = |record: &mut Value, change: &dyn Fn(&mut Value)| {
        change(&mut record["data"]["verdict"]["data"]);
    };
    let score: Change<'_> =
        &|record| data(record, &|data| data["score"] = next(&data["score"]).into());
    let outcome: Change<'_> = &|record| data(record, &|data| data["verdict"] = "normal".into());
    let share: Change<'_> = &|record| {
        data(record, &|data| {
            let share = data["attribution"][0]["share"].as_f64().unwrap() as f32;
            data["attribution"][0]["share"] = f64::from(f32::from_bits(share.to_bits() + 1)).into();
        });
    };
    let severity: Change<'_> = &|record| data(record, &|data| data["severity"] = "none".into());
    let offset: Change<'_> = &|record| data(record, &|data| data["origin"]["offset"] = 1.into());
    let module: Change<'_> =
        &|record| data(record, &|data| data["module"] = "ab".repeat(32).into());
    let state: Change<'_> = &|record| record["data"]["prior_state"] = "AAAA".into();
    let event: Change<'_> = &|record| record["data"]["event"] = "e30=".into();
    let head: Change<'_> = &|record| record["subject"] = "p9".into();
    for (name, change, expected) in [
        ("score", score, "score"),
        ("outcome", outcome, "outcome normal was recorded, anomalous is reached"),
        ("share", share, "attribution"),
        ("severity", severity, "severity"),
        ("offset", offset, "id"),
        ("module", module, "its module cannot be had"),
        ("state", state, "the state before has 3 bytes"),
        ("event", event, "no verdict is reached"),
        ("head", head, "the record's head"),
    ] {
        println!("{name}");
        let mut doctored = good.clone();
        change(&mut doctored[3]);
        shop.write("audit.ndjson", &lines(&doctored));
        let replay = ["replay", "--audit", "audit.ndjson", "--trust", "keys/root.json"];
        let count = format!("{} of {} identical", good.len() - 1, good.len());
        let registry = [&replay[..], &["--registry", "registry"]].concat();
        shop.check(&registry, 1, &[&count, "line 4, verdict", expected]);
        let json = shop.check(&[&registry[..], &["--json"]].concat(), 1, &[]);
        let json: Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(json["records"][3]["identical"], false);
    }
}

#[test]
fn a_damaged_record_is_told_with_its_line() {
    let shop = Shop::trusted();
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &[]);
    let good = values(&audits(false));
    let text = lines(&good);
    let first = text.lines().next().unwrap();
    let verdict = good[1]["data"]["verdict"].to_string();
    for (second, expected) in [
        (&first[..first.len() / 2], "line 2 is damaged: EOF"),
        ("{}", "line 2 is damaged: it is no audit record"),
        ("\u{0}\u{1b}[2J", "line 2 is damaged"),
        (&verdict, "it is a io.twinge.verdict.v1, no audit record"),
    ] {
        shop.write("audit.ndjson", &format!("{first}\n{second}\n\n{first}\n"));
        let replay = ["replay", "--audit", "audit.ndjson", "--trust", "keys/root.json"];
        let replay = [&replay[..], &["--registry", "registry"]].concat();
        shop.check(&replay, 1, &["2 of 3 identical", expected]);
    }
    shop.write("audit.ndjson", "");
    let replay = ["replay", "--audit", "audit.ndjson", "--trust", "keys/root.json"];
    shop.check(&[&replay[..], &["--registry", "registry"]].concat(), 2, &["there is no record"]);
    shop.check(&replay, 2, &["--registry"]);
}
