//! Records of a host are what `docs/reference/*.schema.json` say, and a broken one is not.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod common;

use common::{Workshop, finish};
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A schema of the reference pages.
fn schema(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    let text = fs::read_to_string(folder.join(format!("{name}.schema.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Its validator, which knows a verdict where an audit record names it.
fn validator(name: &str) -> Validator {
    let schema = schema(name);
    jsonschema::draft202012::meta::validate(&schema).map_err(|error| error.to_string()).unwrap();
    let verdict = self::schema("verdict");
    let address = verdict["$id"].as_str().unwrap().to_owned();
    let registry = Registry::new().add(address, verdict).unwrap().prepare().unwrap();
    let options = jsonschema::draft202012::options();
    options.with_registry(&registry).should_validate_formats(true).build(&schema).unwrap()
}

fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn check(validator: &Validator, record: &Value) {
    let wrong: Vec<_> = validator
        .iter_errors(record)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{record:#}\n{wrong:#?}");
}

/// Events of all kinds: usual ones, one far out, one without values, and broken ones.
fn events(workshop: &Workshop) -> Vec<String> {
    let mut events = workshop.events(4, 3000);
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    let mut far = last.clone();
    for field in ["temperature_c", "vibration_mm_s", "pressure_kpa", "current_a"] {
        far[field] = json!(1e6);
    }
    let mut empty = json!({"sensor": "s"});
    empty["time"] = last["time"].clone();
    let enveloped = json!({
        "specversion": "1.0", "id": "a", "source": "/plant", "type": "reading", "subject": "s",
        "time": last["time"], "data": {"temperature_c": 20.5}
    });
    events.extend([far.to_string(), empty.to_string(), enveloped.to_string()]);
    events.extend(["{oops".to_owned(), "[1]".to_owned()]);
    events
}

#[test]
fn records_are_what_the_schemas_say_and_broken_ones_are_not() {
    let workshop = Workshop::new();
    let file = workshop.path("events.ndjson");
    fs::write(&file, events(&workshop).join("\n")).unwrap();
    let audits = workshop.path("audits.ndjson");
    let mut host = workshop.host("schemas");
    let done = finish(host.arg("--replay").arg(&file).arg("--audits").arg(&audits));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let kinds = [
        ("verdict", workshop.verdicts("schemas"), "verdict"),
        ("dead-letter", workshop.dead_letters("schemas"), "reason"),
        ("audit", audits, "prior_state"),
    ];
    for (name, path, member) in kinds {
        let (validator, records) = (validator(name), records(&path));
        assert!(!records.is_empty(), "there is no {name}");
        for record in &records {
            check(&validator, record);
        }
        let is_valid = |change: &dyn Fn(&mut Value)| {
            let mut record = records[0].clone();
            change(&mut record);
            validator.is_valid(&record)
        };
        assert!(is_valid(&|_| ()));
        assert!(!is_valid(&|record| drop(record["data"].as_object_mut().unwrap().remove(member))));
        assert!(!is_valid(&|record| record["data"][member] = json!(1)));
        assert!(!is_valid(&|record| record["id"] = json!("another")));
        assert!(!is_valid(&|record| record["more"] = json!(true)));
    }
    let told: Vec<_> = records(&workshop.verdicts("schemas"))
        .iter()
        .map(|record| record["data"]["verdict"].as_str().unwrap().to_owned())
        .collect();
    for outcome in ["normal", "anomalous", "invalid"] {
        assert!(told.iter().any(|told| told == outcome), "no verdict is {outcome}");
    }
}

#[test]
fn events_are_what_the_schemas_say() {
    let workshop = Workshop::new();
    let (bare, enveloped) = (validator("event"), validator("cloud-event"));
    for event in workshop.events(4, 20) {
        let event: Value = serde_json::from_str(&event).unwrap();
        check(&bare, &event);
        let wrapped = json!({"specversion": "1.0", "id": "a", "source": "/s", "data": event});
        check(&enveloped, &wrapped);
        assert!(!bare.is_valid(&wrapped), "a CloudEvent passes for a bare event");
        assert!(!enveloped.is_valid(&event), "a bare event passes for a CloudEvent");
    }
    for name in ["event", "cloud-event"] {
        for example in schema(name)["examples"].as_array().unwrap() {
            check(&validator(name), example);
        }
        assert!(!validator(name).is_valid(&json!([1])));
    }
    assert!(!enveloped.is_valid(&json!({"specversion": "1.0"})), "there are no data");
}
