//! Retraining through the binary: what is published, what is not, and what labels do.

use crate::common::{Random, Shop, csv};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use twinge_experiments::{Lease, LeaseError};

/// As the modules of the shop are trained, so that champion and challenger alarm alike.
const CONFIG: &str = "name = \"pump\"\n[schema]\nentity = \"pump\"\ntime = \"timestamp\"\nnumeric = \
                      [\"pressure\", \"flow\"]\n[detector]\nclean = true\n";
const RETRAINER: [&str; 6] =
    ["--registry", "registry", "--trust", "keys/root.json", "--key", "keys/retrainer.key"];

/// A shop with a champion and data to retrain on.
fn shop(gates: &str) -> Shop {
    let shop = Shop::trusted();
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &["champion"]);
    shop.write("recent.csv", &csv(6000));
    shop.write("detector.toml", &format!("{CONFIG}[retrain.gates]\n{gates}"));
    shop
}

fn retrain(shop: &Shop, more: &[&str], code: i32, expected: &[&str]) -> crate::common::Ran {
    let arguments =
        ["retrain", "--data", "recent.csv", "--config", "detector.toml", "--report", "report"];
    shop.check(&[&arguments[..], &RETRAINER, more].concat(), code, expected)
}

#[test]
fn a_challenger_that_passes_runs_in_shadow_and_no_further() {
    let shop = shop("verdict_rate_max = 0.1\nagreement_min = 0.9");
    let before = shop.channel().unwrap();
    let ran = retrain(&shop, &["--json", "--reason", "drift"], 0, &["shadow"]);
    let told = ran.json();
    assert_eq!(told["outcome"], "published", "{told}");
    let after = shop.channel().unwrap();
    assert_eq!(after.champion, before.champion);
    assert_eq!(after.challenger.unwrap().digest.to_string(), told["digest"].as_str().unwrap());
    assert!(after.rollout.is_none_or(|rollout| rollout.stage == 0), "it acts nowhere");
    for file in ["report.html", "report.md", "plots/scores.svg", "plots/psi.svg"] {
        assert!(shop.path("report").join(file).is_file(), "{file}");
    }
    // Its key goes no further than that.
    let promote = ["promote", "--detector", "pump"];
    shop.check(&[&promote[..], &RETRAINER].concat(), 1, &["devices would refuse it"]);
    let list = ["experiments", "list", "--detector", "pump", "--registry", "registry", "--json"];
    let listed = shop.check(&list, 0, &[]).json();
    assert_eq!(listed["runs"][0]["tags"]["outcome"], "published");
    assert_eq!(listed["runs"][0]["tags"]["reason"], "drift");
    let aliases = &listed["model"]["aliases"];
    assert_eq!((&aliases["champion"], &aliases["challenger"]), (&json!(1), &json!(2)));
    shop.promoter(&promote, 0, &["serial"]);
    let listed = shop.check(&list, 0, &[]).json();
    assert_eq!(listed["model"]["aliases"], json!({ "champion": 2 }));
}

#[test]
fn a_challenger_that_fails_a_gate_is_reported_and_not_published() {
    let shop = shop("rows_min = 1000000");
    let before = shop.channel().unwrap();
    retrain(&shop, &[], 3, &["not published", "rows"]);
    assert_eq!(shop.channel().unwrap(), before);
    let page = std::fs::read_to_string(shop.path("report/report.html")).unwrap();
    assert!(page.contains("FAILED") && page.contains("at least 1000000"), "{page}");
    let list = ["experiments", "list", "--detector", "pump", "--registry", "registry"];
    let listed = shop.check(&[&list[..], &["--json"]].concat(), 0, &[]).json();
    assert_eq!(listed["runs"][0]["tags"]["outcome"], "gates-failed");
    assert_eq!(listed["runs"][0]["tags"]["gates.failed"], "rows");
    // Another seed differs, and comparing tells in what.
    retrain(&shop, &["--seed", "1"], 3, &["not published"]);
    let listed = shop.check(&[&list[..], &["--json"]].concat(), 0, &[]).json();
    let id = |run: usize| listed["runs"][run]["id"].as_str().unwrap().to_owned();
    let (new, old) = (id(0), id(1));
    let whose = ["--detector", "pump", "--registry", "registry"];
    let compare = [&["experiments", "compare", &new, &old][..], &whose].concat();
    shop.check(&compare, 0, &["seed"]);
    let show = [&["experiments", "show", &new, "--files", "run"][..], &whose].concat();
    shop.check(&show, 0, &["plots/scores.svg", "challenger.verdict_rate"]);
    assert!(shop.path("run/detector.wasm").is_file());
}

#[test]
fn two_do_not_retrain_at_once() {
    let shop = shop("");
    let now_ms = i64::try_from(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis(),
    )
    .unwrap();
    let take = |now_ms| {
        let store = std::sync::Arc::clone(shop.registry().store());
        crate::common::block_on(async move {
            let (work, detector) = ("retrain".parse().unwrap(), "pump".parse().unwrap());
            Lease::take(store, &work, &detector, "the other", now_ms, 600_000).await
        })
    };
    let mut other = take(now_ms).unwrap();
    retrain(&shop, &[], 1, &["being retrained already", "the other"]);
    crate::common::block_on(other.renew(now_ms)).unwrap();
    crate::common::block_on(other.release()).unwrap();
    retrain(&shop, &["--dry-run"], 0, &["--dry-run"]);
    // It gave the lease back.
    let free: Result<Lease, LeaseError> = take(now_ms);
    free.unwrap();
}

#[test]
fn mistakes_are_told_before_anything_is_done() {
    let shop = shop("agreement_min = 2.0");
    retrain(&shop, &[], 2, &["agreement_min"]);
    shop.write("detector.toml", CONFIG);
    shop.write("labels.ndjson", "{\"entity\":\"p0\",\"label\":\"normal\"}\n");
    retrain(&shop, &["--labels", "labels.ndjson"], 2, &["labels.ndjson line 1"]);
    assert!(!shop.path("registry/leases").exists());
}

/// Counts in a period: false alarms and anomalies found, of scores and labels.
fn counts(scores: &str, labelled: &str) -> (usize, usize) {
    let verdicts = scores.lines().skip(1).map(|line| line.split(',').nth(2) == Some("anomalous"));
    let labels = labelled.lines().map(is_anomaly);
    let pairs: Vec<(bool, bool)> = verdicts.zip(labels).collect();
    let count = |label| pairs.iter().filter(|pair| **pair == (true, label)).count();
    (count(false), count(true))
}

fn is_anomaly(json: &str) -> bool {
    serde_json::from_str::<Value>(json).unwrap()["label"] == 1
}

fn without_label(json: &str) -> String {
    let mut event: Value = serde_json::from_str(json).unwrap();
    let members = event.as_object_mut().unwrap();
    members.retain(|name, _| name != "label" && name != "anomaly");
    format!("{event}\n")
}

/// Two hundred labels of false alarms, in a world that does not change: of the next period's false
/// alarms at most half are left, and no fewer anomalies are found.
#[test]
fn labels_of_false_alarms_halve_those_of_the_next_period() {
    const SEED: u64 = 5;
    println!("seed {SEED}");
    let shop = Shop::new();
    let seed = SEED.to_string();
    let generate = ["generate", "--world", "flows", "--events", "200000", "--entities", "300"];
    let to = ["--seed", &seed, "--out", "all.ndjson"];
    shop.check(&[&generate[..], &to].concat(), 0, &[]);
    let all = std::fs::read_to_string(shop.path("all.ndjson")).unwrap();
    let lines: Vec<&str> = all.lines().collect();
    let periods = [&lines[..60_000], &lines[60_000..140_000], &lines[140_000..]];
    for (number, period) in periods.iter().enumerate() {
        let text: String = period.iter().map(|line| without_label(line)).collect();
        shop.write(&format!("period-{number}.ndjson"), &text);
    }
    shop.write(
        "detector.toml",
        "name = \"flows\"\n[schema]\nentity = \"source_ip\"\ntime = \"time\"\nnumeric = \
         [\"duration_s\", \"bytes_out\", \"bytes_in\", \"packets\", \"distinct_ports\"]\ncategorical \
         = [\"protocol\", \"service\"]\n[threshold]\nfalse_alarm_rate = 0.005\ncontamination = \
         0.01\n[retrain]\njudge_share = 0.1\n[retrain.gates]\nrow_us_max = 10000.0\n\
         row_time_factor_max = 100.0\n",
    );
    let train = ["train", "--data", "period-0.ndjson", "--config", "detector.toml"];
    shop.check(&[&train[..], &["--out", "champion.wasm"]].concat(), 0, &["digest"]);
    let publish = ["publish", "--module", "champion.wasm", "--promote", "--registry", "registry"];
    shop.check(&publish, 0, &["champion"]);
    let score = |module: &str, period: usize| {
        let data = format!("period-{period}.ndjson");
        let arguments = ["score", "--allow-unsigned", "--module", module, "--data", &data];
        shop.check(&arguments, 0, &["rows scored"]).out
    };
    let scores = score("champion.wasm", 1);
    shop.write("labels.ndjson", &labels(&scores, &periods[1][..72_000], 200));
    let retrain = ["retrain", "--data", "period-1.ndjson", "--config", "detector.toml"];
    let more = ["--labels", "labels.ndjson", "--report", "report", "--registry", "registry"];
    let ran = shop.check(&[&retrain[..], &more, &["--json"]].concat(), 0, &[]);
    let digest = ran.json()["digest"].as_str().unwrap().to_owned();
    let challenger = format!("registry/modules/{digest}.wasm");
    let labelled = periods[2].join("\n");
    let before = counts(&score("champion.wasm", 2), &labelled);
    let after = counts(&score(&challenger, 2), &labelled);
    println!("false alarms and anomalies found: champion {before:?}, challenger {after:?}");
    assert!(before.0 >= 100, "there is something to halve: {before:?}");
    assert!(after.0 * 2 <= before.0 && after.1 >= before.1, "{before:?}, {after:?}");
}

/// What somebody would say who looks at `count` false alarms, picked at random.
fn labels(scores: &str, period: &[&str], count: usize) -> String {
    let alarms: Vec<usize> = scores
        .lines()
        .skip(1)
        .zip(period)
        .enumerate()
        .filter(|(_, (score, _))| score.split(',').nth(2) == Some("anomalous"))
        .filter(|(_, (_, event))| !is_anomaly(event))
        .map(|(row, _)| row)
        .collect();
    assert!(alarms.len() > count, "{} false alarms", alarms.len());
    let (mut random, mut chosen) = (Random(3), BTreeSet::new());
    while chosen.len() < count {
        chosen.insert(alarms[random.below(alarms.len() as u64) as usize]);
    }
    let mut text = String::new();
    for row in chosen {
        let event: Value = serde_json::from_str(period[row]).unwrap();
        let (entity, time) = (&event["source_ip"], &event["time"]);
        let line = json!({ "entity": entity, "time": time, "label": "false-alarm" });
        writeln!(text, "{line}").unwrap();
    }
    text
}
