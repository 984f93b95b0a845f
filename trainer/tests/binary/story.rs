//! A whole story through the binary: a root of trust, modules, a rollout to promotion, a bad module
//! to withdrawal, and reports that nobody should believe.

use crate::common::{Random, Shop, block_on, digest, name};
use std::time::{SystemTime, UNIX_EPOCH};
use twinge_rollout::{
    Comparison, Desired, Device, Duty, Health, Part, Report, Running, Side, Sketch,
};
use twinge_trust::{DeviceEnvelope, Enrolment, Envelope, SigningKey};

pub(crate) const DEVICES: usize = 6;

/// Devices of a large fleet.
const FLEET: usize = 10_000;

const POLICY: &str = r#"
[[stages]]
name = "shadow"
shadow = 100

[[stages]]
name = "canary"
shadow = 100
act = 50

[gate]
events_min = 100
"#;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn device_key(number: usize) -> SigningKey {
    SigningKey::from_seed([100 + number as u8; 32])
}

fn device_name(number: usize) -> String {
    format!("gateway-{number}")
}

/// The enrolment of a device, made through the binary.
pub(crate) fn enrolment(shop: &Shop, number: usize) -> Envelope {
    let public = device_key(number).public().to_string();
    let (device, out) = (device_name(number), format!("enrolment-{number}.json"));
    let arguments = ["enrol", "--device", &device, "--public-key", &public, "--out", &out];
    let trust = ["--key", "keys/device.key", "--trust", "keys/root.json"];
    shop.check(&[&arguments[..], &trust].concat(), 0, &["enroller"]);
    Envelope::from_json(&std::fs::read(shop.path(&out)).unwrap()).unwrap()
}

/// What a device of this fleet says now, if the challenger raises `alone` alarms of its own.
fn report(shop: &Shop, number: usize, alone: u64) -> Report {
    let channel = shop.channel().unwrap();
    let device = Device { name: device_name(number), ring: None };
    let champion = channel.champion.clone().unwrap();
    let challenger = channel.challenger.clone();
    let rollout = channel.rollout.clone();
    let duty = rollout.map_or(Duty::None, |rollout| rollout.duty(&channel.policy, &device));
    let side = |digest, anomalies, alone| {
        let mut scores = Sketch::default();
        scores.note(0.5);
        Side { digest, anomalies, alone, failures: 0, events: 1000, busy_us: 5000, scores }
    };
    let comparison = challenger.as_ref().map(|challenger| {
        let ours = side(challenger.digest, alone + 1, alone);
        let theirs = side(champion.digest, 1, 0);
        let (acting, other) = if duty == Duty::Act { (ours, theirs) } else { (theirs, ours) };
        Comparison { compared: 1000, acting, other }
    });
    let acting = comparison.as_ref().map_or(champion.digest, |comparison| comparison.acting.digest);
    Report {
        detector: "pump".into(),
        channel: "stable".into(),
        device,
        sent_ms: now_ms(),
        desired: Desired {
            serial: channel.serial,
            root: 1,
            champion: champion.digest,
            challenger: challenger.map(|challenger| challenger.digest),
            duty,
        },
        running: vec![Running {
            digest: acting,
            version: "1".into(),
            part: Part::Acting,
            partitions: 1,
        }],
        comparison,
        condemned: Vec::new(),
        health: Health { events: 1000, ..Health::default() },
        drifts: Vec::new(),
    }
}

fn send(shop: &Shop, path: &str, report: &Report, key: &SigningKey, enrolment: Option<Envelope>) {
    let payload = serde_json::to_vec(report).unwrap();
    let envelope = DeviceEnvelope::sign(Report::PAYLOAD_TYPE, payload, key, enrolment);
    block_on(shop.registry().put_report(&name("pump"), path, &envelope.to_json())).unwrap();
}

pub(crate) fn fleet_reports(shop: &Shop, enrolments: &[Envelope], alone: u64) {
    for (number, enrolment) in enrolments.iter().enumerate() {
        let report = report(shop, number, alone);
        send(shop, &device_name(number), &report, &device_key(number), Some(enrolment.clone()));
    }
}

const ROLLOUT: [&str; 3] = ["rollout", "--detector", "pump"];

pub(crate) fn begin(shop: &Shop) {
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &["devices take it"]);
    shop.write("policy.toml", POLICY);
    shop.promoter(&["policy", "--detector", "pump", "--file", "policy.toml"], 0, &["serial 3"]);
    shop.promoter(&["publish", "--module", "v2.wasm"], 0, &["stage shadow (1 of 2)", "--watch"]);
}

#[test]
fn a_module_is_rolled_out_and_a_bad_one_withdrawn() {
    let shop = Shop::trusted();
    begin(&shop);
    shop.promoter(&ROLLOUT, 0, &["wait, stage shadow (1 of 2)", "no known device", "coverage"]);
    let enrolments: Vec<Envelope> = (0..DEVICES).map(|number| enrolment(&shop, number)).collect();
    fleet_reports(&shop, &enrolments, 0);
    let dry = ["--dry-run", "--registry", "registry", "--trust", "keys/root.json"];
    let dry = shop.check(&[&ROLLOUT[..], &dry].concat(), 0, &["go on", "--dry-run", "ok  soak"]);
    assert!(!dry.out.contains("advanced"), "{}", dry.out);
    let json = shop.promoter(&[&ROLLOUT[..], &["--json"]].concat(), 0, &[]).json();
    assert_eq!((&json["action"], &json["done"]), (&"advance".into(), &"advanced".into()));
    assert_eq!(json["facts"].as_array().unwrap().len(), 10);
    // Reports from before the stage do not count for it.
    shop.promoter(&ROLLOUT, 0, &["wait, stage canary (2 of 2)"]);
    fleet_reports(&shop, &enrolments, 0);
    shop.promoter(&ROLLOUT, 0, &["promote it, stage canary (2 of 2)", "promoted: serial 6"]);
    assert_eq!(shop.channel().unwrap().champion.unwrap().digest, digest(2));
    shop.promoter(&ROLLOUT, 0, &["nothing is rolled out"]);

    shop.promoter(&["publish", "--module", "v3.wasm"], 0, &["stage shadow"]);
    fleet_reports(&shop, &enrolments, 300);
    shop.promoter(&ROLLOUT, 0, &["withdraw it", "it raised alarms on 30.1 % of", "withdrawn"]);
    let channel = shop.channel().unwrap();
    assert_eq!((channel.challenger, channel.champion.unwrap().digest), (None, digest(2)));
}

#[test]
fn only_the_word_of_enrolled_devices_counts() {
    let shop = Shop::trusted();
    begin(&shop);
    for number in 0..DEVICES {
        send(&shop, &device_name(number), &report(&shop, number, 0), &device_key(number), None);
    }
    shop.promoter(&ROLLOUT, 0, &["wait, stage shadow", "6 devices that nobody enrolled"]);
    let status = ["status", "--registry", "registry", "--trust", "keys/root.json"];
    shop.check(&status, 0, &["6 devices: 6 unknown", "gateway-5"]);
    let trusting = [&ROLLOUT[..], &["--dry-run", "--believe-unknown"]].concat();
    shop.promoter(&trusting, 0, &["go on, stage shadow (1 of 2)"]);

    // One report is another device's, one is signed by another key, one is no report.
    let (own, other) = (enrolment(&shop, 0), enrolment(&shop, 1));
    send(&shop, &device_name(0), &report(&shop, 1, 0), &device_key(0), Some(own));
    send(&shop, &device_name(1), &report(&shop, 1, 0), &device_key(9), Some(other));
    let damaged = shop.registry();
    block_on(damaged.put_report(&name("pump"), "gateway-2", b"{")).unwrap();
    let expected = [
        "3 reports refused",
        "it is the report of `gateway-1`",
        "or of another key",
        "not DSSE JSON",
    ];
    shop.check(&status, 0, &expected);
    let json = shop.check(&[&status[..], &["--json"]].concat(), 0, &[]).json();
    assert_eq!(json["refused"].as_array().unwrap().len(), 3);
    assert_eq!(json["channels"][0]["fleet"]["devices"], 3);
    shop.promoter(&ROLLOUT, 0, &["report of gateway-0 refused"]);

    // A device that was lost is shut out by its key.
    let lost = device_key(5).public().to_string();
    let revoke = ["trust", "revoke", "--public-key", &lost, "--registry", "registry"];
    shop.check(&revoke, 0, &["root of trust 2", "REVOKED"]);
    shop.check(&revoke, 0, &["revoked already"]);
    shop.check(&status, 0, &["4 reports refused", "is revoked"]);

    // The key in a report can be enrolled, and the report of another name cannot.
    let enrol = |device: &'static str| {
        let place = ["--registry", "registry", "--detector", "pump", "--trust", "keys/root.json"];
        [&["enrol", "--report", "--device", device], &place[..]].concat()
    };
    let key_id = device_key(3).key_id().to_string();
    shop.check(&enrol("gateway-3"), 0, &[&key_id]);
    shop.check(&enrol("gateway-0"), 1, &["speaks of `gateway-1`"]);
    shop.check(&enrol("gateway-8"), 2, &["has not reported"]);
}

#[test]
fn a_watch_goes_on_by_itself_and_ends_when_told() {
    let shop = Shop::trusted();
    begin(&shop);
    let enrolments: Vec<Envelope> = (0..DEVICES).map(|number| enrolment(&shop, number)).collect();
    fleet_reports(&shop, &enrolments, 0);
    let place =
        ["--registry", "registry", "--trust", "keys/root.json", "--key", "keys/promoter.key"];
    let watch = [&ROLLOUT[..], &["--watch", "--every", "1", "--json"], &place].concat();
    let mut child = shop.command(&watch).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut done = Vec::new();
    while !done.contains(&"promoted".to_owned()) {
        let line: serde_json::Value =
            serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        done.extend(line["done"].as_str().map(str::to_owned));
        fleet_reports(&shop, &enrolments, 0);
    }
    assert_eq!(done, ["advanced", "promoted"]);
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_channel_is_renewed_when_half_of_its_life_is_over() {
    let shop = Shop::trusted();
    begin(&shop);
    let channel = shop.channel().unwrap();
    shop.promoter(&ROLLOUT, 0, &["serial 4"]);
    let registry = shop.registry();
    let root = Envelope::from_json(&std::fs::read(shop.path("keys/root.json")).unwrap()).unwrap();
    let root = twinge_trust::TrustedRoot::anchor(root).unwrap();
    let day = 86_400_000;
    // As somebody left it 20 days ago.
    let author = twinge_registry::Author {
        key: &shop.key("promoter"),
        keyring: root.keyring(),
        now_ms: now_ms() - 20 * day,
        lifetime_ms: 30 * day,
        known: twinge_registry::KnownSerial::Nothing,
        promoted: None,
    };
    block_on(registry.renew(&name("pump"), &name("stable"), &author)).unwrap();
    let old = shop.channel().unwrap();
    let dry = [&ROLLOUT[..], &["--dry-run"]].concat();
    shop.promoter(&dry, 0, &["serial 5"]);
    shop.promoter(&ROLLOUT, 0, &["renewed: serial 6"]);
    let new = shop.channel().unwrap();
    assert!(new.expires_ms > old.expires_ms + 19 * day && new.challenger == channel.challenger);
}

#[test]
fn a_large_fleet_is_shown_in_bounds_and_in_time() {
    let (shop, seed) = (Shop::trusted(), 11);
    println!("seed {seed}");
    let mut random = Random(seed);
    begin(&shop);
    let folder = shop.path("registry/fleet/pump");
    std::fs::create_dir_all(&folder).unwrap();
    let key = device_key(0);
    let mut trouble = 0;
    for number in 0..FLEET {
        let mut report = report_from(&shop, number);
        if random.below(100) == 0 {
            report.health.trouble = Some("the broker is away\u{1b}[2J".into());
            trouble += 1;
        }
        let payload = serde_json::to_vec(&report).unwrap();
        let envelope = DeviceEnvelope::sign(Report::PAYLOAD_TYPE, payload, &key, None);
        let file = folder.join(format!("{}.json", report.device.name));
        std::fs::write(file, envelope.to_json()).unwrap();
    }
    let status = ["status", "--registry", "registry", "--trust", "keys/root.json"];
    let began = std::time::Instant::now();
    let expected = format!("10,000 unknown, {trouble} in trouble");
    let ran = shop.check(&status, 0, &[&expected, "and 9,950 more; --all shows them"]);
    println!("{FLEET} reports in {:?}", began.elapsed());
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    assert!(ran.out.lines().count() < 70 && !ran.out.contains('\u{1b}'), "{}", ran.out);
    let all = shop.check(&[&status[..], &["--all"]].concat(), 0, &[]);
    assert!(all.out.lines().count() > FLEET);
}

fn report_from(shop: &Shop, number: usize) -> Report {
    thread_local! {
        static FIRST: std::cell::RefCell<Option<Report>> = const { std::cell::RefCell::new(None) };
    }
    FIRST.with(|first| {
        let mut first = first.borrow_mut();
        let report = first.get_or_insert_with(|| report(shop, 0, 0)).clone();
        let device = Device { name: device_name(number), ring: None };
        Report { device, sent_ms: now_ms(), ..report }
    })
}

#[test]
fn an_enrolment_says_what_it_says() {
    let shop = Shop::trusted();
    let envelope = enrolment(&shop, 4);
    let said = Enrolment::read(&envelope).unwrap();
    assert_eq!((said.device, said.public_key), (device_name(4), device_key(4).public()));
    let public = device_key(4).public().to_string();
    let place = ["--trust", "keys/root.json", "--device"];
    for (arguments, code, expected) in [
        (vec!["a/b", "--public-key", &public], 2, "is not usable"),
        (vec!["a", "--public-key", "12"], 2, "64 lowercase"),
        (vec!["a"], 2, "--public-key"),
        (vec!["a", "--public-key", &public, "--key", "keys/promoter.key"], 2, "the role device"),
    ] {
        shop.check(&[&["enrol"], &place[..], &arguments].concat(), code, &[expected]);
    }
}
