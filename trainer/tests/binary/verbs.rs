//! Every verb of trust and rollout through the binary: what it says, what it does, how it ends.

use crate::common::{Shop, digest, mode};
use twinge_registry::Channel;

const SHOW: [&str; 3] = ["trust", "show", "keys/root.json"];

#[test]
fn a_root_is_made_once_and_its_keys_are_secret() {
    let shop = Shop::new();
    let init = ["trust", "init", "--out", "keys"];
    shop.check(&init, 0, &["root of trust 1", "promoter", "retrainer", "native", "offline"]);
    let names = ["root", "promoter", "retrainer", "device", "native"];
    let read = |name: &str| std::fs::read(shop.path(&format!("keys/{name}"))).unwrap();
    let before: Vec<Vec<u8>> = names.iter().map(|name| read(&format!("{name}.key"))).collect();
    for name in names {
        assert_eq!(mode(&shop.path(&format!("keys/{name}.key"))), 0o600, "{name}");
    }
    assert_eq!(mode(&shop.path("keys/root.json")), 0o644);
    shop.check(&init, 0, &["is there already", "root of trust 1"]);
    // As after a crash between the last key and the root.
    std::fs::remove_file(shop.path("keys/root.json")).unwrap();
    std::fs::remove_file(shop.path("keys/native.key")).unwrap();
    shop.check(&init, 0, &["found keys/root.key", "made keys/native.key"]);
    let after: Vec<Vec<u8>> = names.iter().map(|name| read(&format!("{name}.key"))).collect();
    assert_eq!(before[..4], after[..4]);
    assert_ne!(before[4], after[4]);
    let json = shop.check(&[&SHOW[..], &["--json"]].concat(), 0, &[]).json();
    assert_eq!((json["version"].as_u64(), json["expired"].as_bool()), (Some(1), Some(false)));
    let left: Vec<_> = std::fs::read_dir(shop.path("keys")).unwrap().collect();
    assert_eq!(left.len(), 6, "no temporary file is left");
}

/// Each verb makes the next version; run again, it finds its work done.
#[test]
fn roots_follow_each_other_and_a_second_run_changes_nothing() {
    let shop = Shop::trusted();
    let public = shop.key("native").public().to_string();
    let promoter = shop.key("promoter").key_id().to_string();
    let root = shop.key("root").key_id().to_string();
    let place = ["--root", "keys/root.json", "--registry", "registry"];
    let check = |arguments: &[&str], code, expected: &[&str]| {
        shop.check(&[&["trust"], arguments, &place].concat(), code, expected)
    };
    shop.check(&["keygen", "--out", "more", "--name", "second", "--role", "promoter"], 0, &[]);
    let add = ["add", "--key", "more/second.key", "--role", "promoter", "--comment", "night shift"];
    check(&add, 0, &["root of trust 2", "night shift"]);
    check(&add, 0, &["trusted already: nothing was changed", "root of trust 2"]);
    check(
        &["add", "--public-key", &public, "--role", "device"],
        2,
        &["is there with the role native"],
    );
    check(&["add", "--public-key", "00", "--role", "device"], 2, &["64 lowercase"]);
    check(&["add", "--role", "device"], 2, &["--public-key"]);
    check(&["revoke", &promoter], 0, &["root of trust 3", "REVOKED", "trainer restate"]);
    check(&["revoke", &promoter], 0, &["revoked already: nothing was changed"]);
    check(&["revoke", &root], 2, &["is a root key", "trust rotate"]);
    check(&["revoke", "0123456789abcdef"], 2, &["is not in the root"]);
    check(&["add", "--key", "keys/promoter.key", "--role", "promoter"], 2, &["revoked for good"]);
    check(&["revoke"], 2, &["KEY_ID"]);
    check(
        &["renew", "--days", "450", "--root-key", "keys/promoter.key"],
        1,
        &["would refuse the next"],
    );
    check(&["renew"], 0, &["nothing was changed", "root of trust 3"]);
    check(&["renew", "--days", "500"], 0, &["root of trust 4"]);
    check(&["rotate"], 0, &["made keys/root-5.key", "root of trust 5"]);
    assert_eq!(mode(&shop.path("keys/root-5.key")), 0o600);
    check(&["rotate"], 0, &["rotated already: nothing was changed", "root of trust 5"]);
    check(&["renew", "--days", "700"], 1, &["would refuse the next"]);
    check(&["renew", "--days", "700", "--root-key", "keys/root-5.key"], 0, &["root of trust 6"]);
    // A device with the first root steps through all of them.
    let first = shop.path("first.json");
    std::fs::copy(shop.path("keys/root.json"), &first).unwrap();
    shop.check(&["trust", "show", "first.json", "--registry", "registry"], 0, &["root of trust 6"]);
}

/// As after a crash before the file was replaced, and before the registry was written.
#[test]
fn a_change_that_a_crash_cut_short_is_taken_up() {
    let shop = Shop::trusted();
    let old = std::fs::read(shop.path("keys/root.json")).unwrap();
    let id = shop.key("native").key_id().to_string();
    let revoke = ["trust", "revoke", &id, "--registry", "registry"];
    shop.check(&revoke, 0, &["root of trust 2"]);
    std::fs::write(shop.path("keys/root.json"), &old).unwrap();
    shop.check(&revoke, 0, &["revoked already", "root of trust 2"]);
    shop.check(&SHOW, 0, &["root of trust 2"]);
    // The new root key is there and no root names it yet.
    shop.check(&["keygen", "--out", "keys", "--name", "root-3", "--role", "root"], 0, &[]);
    let rotate = ["trust", "rotate", "--registry", "registry"];
    shop.check(&rotate, 0, &["found keys/root-3.key", "root of trust 3"]);
    // Somebody else's root of the same version is never replaced.
    std::fs::write(shop.path("keys/root.json"), &old).unwrap();
    std::fs::remove_dir_all(shop.path("registry/trust")).unwrap();
    shop.check(
        &["trust", "renew", "--days", "900", "--registry", "registry"],
        0,
        &["root of trust 2"],
    );
    std::fs::write(shop.path("keys/root.json"), &old).unwrap();
    std::fs::write(shop.path("registry/trust/2.root.json"), b"{}").unwrap();
    shop.check(&["trust", "renew", "--registry", "registry"], 1, &["newest root", "2.root.json"]);
}

#[test]
fn nothing_is_signed_on_the_word_of_an_expired_root() {
    let shop = Shop::trusted();
    let root_key = shop.key("root");
    let bytes = std::fs::read(shop.path("keys/root.json")).unwrap();
    let envelope = twinge_trust::Envelope::from_json(&bytes).unwrap();
    let root = twinge_trust::Root::from_json(envelope.payload_unverified()).unwrap();
    let expired = twinge_trust::Root { expires_ms: 1_000_000, ..root };
    std::fs::write(shop.path("keys/root.json"), expired.sign(&[&root_key]).to_json()).unwrap();
    std::fs::remove_dir_all(shop.path("registry/trust")).unwrap();
    let publish = ["publish", "--module", "v1.wasm", "--promote"];
    shop.promoter(&publish, 1, &["root of trust 1 expired", "trainer trust renew"]);
    shop.check(&SHOW, 0, &["EXPIRED"]);
    shop.check(&["trust", "renew", "--registry", "registry"], 0, &["root of trust 2"]);
    shop.promoter(&publish, 0, &["champion"]);
}

#[test]
fn a_revoked_promoter_is_refused_and_the_channel_is_restated() {
    let shop = Shop::trusted();
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &[]);
    shop.promoter(&["publish", "--module", "v2.wasm", "--promote"], 0, &[]);
    let old = std::fs::read(shop.path("keys/root.json")).unwrap();
    shop.check(&["keygen", "--out", "keys", "--name", "next", "--role", "promoter"], 0, &[]);
    let change = ["--registry", "registry"];
    let add = ["trust", "add", "--key", "keys/next.key", "--role", "promoter"];
    shop.check(&[&add[..], &change].concat(), 0, &[]);
    let thief = shop.key("promoter").key_id().to_string();
    let retrainer = shop.key("retrainer").key_id().to_string();
    for id in [&thief, &retrainer] {
        shop.check(&[&["trust", "revoke", id], &change[..]].concat(), 0, &[]);
    }
    // The thief has the old root; the registry tells of the newer one.
    std::fs::write(shop.path("old.json"), old).unwrap();
    let by = |key: &'static str, arguments: &[&'static str]| {
        let place = ["--registry", "registry", "--trust", "old.json", "--key", key];
        [arguments, &["--detector", "pump"], &place].concat()
    };
    let revoked = format!("key {thief} is revoked");
    shop.check(&by("keys/promoter.key", &["renew"]), 1, &[&revoked]);
    shop.check(&by("keys/next.key", &["renew"]), 1, &[&revoked, "restate"]);
    let status = ["status", "--registry", "registry", "--trust", "old.json"];
    shop.check(&status, 0, &["NOT BELIEVED", "root of trust 4"]);
    let champion = digest(2).to_string();
    let restate = |key| {
        let mut arguments = by(key, &["restate", "--champion"]);
        arguments.insert(2, &champion);
        shop.run(&arguments)
    };
    let refused = restate("keys/promoter.key");
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    let done = restate("keys/next.key");
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("signed module") && done.err.contains("left out of the history"));
    shop.check(&by("keys/next.key", &["renew"]), 0, &["believed until"]);
    let ran = shop.check(&status, 0, &["version 2"]);
    assert!(!ran.out.contains("NOT BELIEVED"));
}

/// The drills of docs/rollout.md: a stolen retrainer's key, and a storage that is gone.
#[test]
fn a_module_is_vouched_for_anew_and_a_lost_storage_is_filled_again() {
    let shop = Shop::trusted();
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &[]);
    let thief = shop.key("retrainer").key_id().to_string();
    shop.check(&["trust", "revoke", &thief, "--registry", "registry"], 0, &["no key holds"]);
    shop.promoter(&["publish", "--module", "v2.wasm"], 1, &["is revoked"]);
    let champion = digest(1).to_string();
    let restate = ["restate", "--detector", "pump", "--champion", &champion];
    shop.promoter(&restate, 0, &["signed module", "serial 3"]);
    shop.promoter(&restate, 0, &["serial 4"]);
    shop.promoter(
        &["restate", "--detector", "pump", "--champion", &"0".repeat(64)],
        2,
        &["has no module"],
    );

    std::fs::remove_dir_all(shop.path("registry")).unwrap();
    shop.check(&["trust", "renew", "--registry", "registry"], 0, &["root of trust 2"]);
    assert!(shop.path("registry/trust/2.root.json").is_file());
    shop.check(&["sign", "--module", "v1.wasm", "--key", "keys/promoter.key"], 0, &[]);
    shop.promoter(&["publish", "--module", "v1.wasm"], 0, &["serial 1"]);
    let later = [&restate[..], &["--serial", "50"]].concat();
    shop.promoter(&later, 0, &["serial 51", "challenger  none"]);
}

#[test]
fn a_policy_is_shown_set_and_checked() {
    let shop = Shop::trusted();
    let policy = ["policy", "--detector", "pump"];
    let shown = shop.promoter(&policy, 0, &["there is no channel", "[[stages]]", "soak_seconds"]);
    shop.write("policy.toml", &shown.out);
    let file = |name: &'static str| [&policy[..], &["--file", name]].concat();
    shop.promoter(&file("policy.toml"), 0, &["serial 1"]);
    shop.promoter(&file("policy.toml"), 0, &["nothing was changed", "serial 1"]);
    shop.write("policy.json", r#"{"gate": {"events_min": 7}}"#);
    shop.promoter(&file("policy.json"), 0, &["serial 2"]);
    let json = shop.promoter(&[&policy[..], &["--json"]].concat(), 0, &[]).json();
    assert_eq!(json["gate"]["events_min"], 7);
    for (text, expected) in [
        ("[gate]\nevents_min = 0", "gate.events_min must be at least 1"),
        ("[gate]\nevent_min = 5", "`gate.event_min`"),
        ("[gate]\nevents_min = \"x\"", "line 2"),
        ("[[stages]]\nact = 5\nshadow = 100", "first stage and acts"),
        ("[[stages]]\nname = \"a\"\nshadow = 100\nsoak = 5", "`stages[0].soak`"),
        ("[[stages]]\nname = \"a\"\nshadow = 101", "between 0 and 100"),
        ("{\"gate\": 3}", "is no policy"),
        ("stage = 1", "`stage`"),
    ] {
        shop.write("wrong.toml", text);
        shop.promoter(&file("wrong.toml"), 2, &[expected, "wrong.toml"]);
    }
    shop.promoter(&file("missing.toml"), 1, &["cannot read missing.toml"]);
}

/// One channel through all that people can do to it.
#[test]
fn a_channel_does_what_it_is_told() {
    let shop = Shop::trusted();
    let on = |verb: &[&str], code, expected: &[&str]| {
        shop.promoter(&[verb, &["--detector", "pump"]].concat(), code, expected)
    };
    let publish = |file: &str, code, expected: &[&str]| {
        shop.promoter(&["publish", "--module", file], code, expected);
    };
    let status = ["status", "--registry", "registry", "--trust", "keys/root.json"];
    std::fs::create_dir_all(shop.path("registry")).unwrap();
    shop.check(&status, 0, &["no channel yet", "root of trust 1"]);
    on(&["stop"], 2, &["has no channel `stable`"]);
    publish("v1.wasm", 0, &["no champion yet"]);
    on(&["rollout"], 0, &["no champion to compare with"]);
    on(&["promote"], 0, &["serial 2"]);
    on(&["promote"], 2, &["no challenger"]);
    on(&["rollback"], 1, &["no earlier champion"]);
    on(&["hold", "--reason", "wait"], 1, &["nothing is rolled out"]);
    on(&["stop"], 0, &["nothing is rolled out", "serial 2"]);
    publish("v2.wasm", 0, &["stage shadow (1 of 4)", "serial 3"]);
    publish("v2.wasm", 0, &["serial 3"]);
    on(&["hold", "--reason", "a holiday"], 0, &["held        a holiday", "serial 4"]);
    on(&["hold", "--reason", "a holiday"], 0, &["serial 4"]);
    on(&["hold", "--reason", " "], 2, &["--reason is empty"]);
    on(&["rollout"], 0, &["it is held (a holiday)"]);
    shop.check(&status, 0, &["held        a holiday"]);
    on(&["release"], 0, &["serial 5"]);
    on(&["release"], 0, &["nothing was changed", "serial 5"]);
    on(&["promote", "--digest", &digest(3).to_string()], 1, &["the challenger is"]);
    on(&["promote"], 0, &["serial 6", "version 2"]);
    on(&["sensitivity"], 0, &["1 (as trained)"]);
    on(&["sensitivity", "--set", "1.2"], 0, &["sensitivity 1.2", "serial 7"]);
    on(&["sensitivity", "--set", "1.2"], 0, &["nothing was changed"]);
    on(&["sensitivity", "--set", "0"], 2, &["above zero"]);
    on(&["sensitivity", "--set", "1", "--clear"], 2, &["--clear"]);
    on(&["sensitivity", "--clear"], 0, &["serial 8"]);
    on(&["renew", "--days", "60"], 0, &["serial 9"]);
    on(&["renew", "--days", "0"], 2, &["--days"]);
    publish("v3.wasm", 0, &["serial 10"]);
    let json = on(&["stop", "--json"], 0, &[]).json();
    assert_eq!((&json["done"], &json["serial"]), (&"withdrawn".into(), &11.into()));
    let from = digest(2).to_string();
    on(&["rollback", "--from", &from], 0, &["serial 12", "version 1"]);
    on(&["rollback", "--from", &from], 0, &["nothing was changed", "serial 12"]);
    on(&["rollback", "--to", &from], 1, &["not in the history"]);
    let json = shop.check(&[&status[..], &["--json"]].concat(), 0, &[]).json();
    let champion = json["channels"][0]["champion"]["digest"].as_str();
    assert_eq!(champion, Some(&*digest(1).to_string()));
}

#[test]
fn a_challenger_that_acts_is_withdrawn_by_a_rollback() {
    let shop = Shop::trusted();
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &[]);
    shop.promoter(&["publish", "--module", "v2.wasm"], 0, &[]);
    let (key, bytes) = (shop.key("promoter"), std::fs::read(shop.path("keys/root.json")).unwrap());
    let root = twinge_trust::Envelope::from_json(&bytes).unwrap();
    let root = twinge_trust::TrustedRoot::anchor(root).unwrap();
    let now_ms = shop.channel().unwrap().issued_ms;
    let author = twinge_registry::Author {
        key: &key,
        keyring: root.keyring(),
        now_ms,
        lifetime_ms: 86_400_000,
        known: twinge_registry::KnownSerial::Nothing,
        promoted: None,
    };
    let (pump, stable) = (crate::common::name("pump"), crate::common::name("stable"));
    crate::common::block_on(shop.registry().advance(&pump, &stable, &digest(2), 2, &author))
        .unwrap();
    let on = |verb: &[&str], code, expected: &[&str]| {
        shop.promoter(&[verb, &["--detector", "pump"]].concat(), code, expected)
    };
    shop.write("policy.json", r#"{"gate": {"events_min": 7}}"#);
    on(&["policy", "--file", "policy.json"], 2, &["acts on devices", "trainer stop"]);
    shop.promoter(&["publish", "--module", "v3.wasm"], 1, &["acts on devices"]);
    let status = ["status", "--registry", "registry", "--trust", "keys/root.json"];
    shop.check(&status, 0, &["stage early (3 of 4)", "acts on 10 %", "rings canary, early"]);
    on(&["rollback"], 0, &["is withdrawn", "challenger  none"]);
    assert_eq!(shop.channel().unwrap().champion.unwrap().digest, digest(1));
}

#[test]
fn a_retrainer_reaches_the_shadow_and_no_further() {
    let shop = Shop::trusted();
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &[]);
    let by = ["--registry", "registry", "--trust", "keys/root.json", "--key", "keys/retrainer.key"];
    let check = |arguments: &[&str], code, expected: &[&str]| {
        shop.check(&[arguments, &by].concat(), code, expected)
    };
    check(&["publish", "--module", "v2.wasm"], 0, &["stage shadow"]);
    let detector = ["--detector", "pump"];
    for verb in [&["promote"][..], &["rollback"], &["sensitivity", "--set", "2"]] {
        let refused = check(&[verb, &detector].concat(), 1, &[]);
        assert!(!refused.err.contains("panicked"), "{}", refused.err);
    }
    assert_eq!(shop.channel().unwrap().challenger.unwrap().digest, digest(2));
}

/// The retrainer's key and the storage together repeat what the promoter has left, under a greater
/// serial and as long as they like: nobody who knows better signs that anew.
#[test]
fn an_older_champion_under_a_newer_document_is_not_signed_anew() {
    let shop = Shop::trusted();
    let path = shop.path("registry/channels/pump/stable.json");
    let read = || twinge_trust::Envelope::from_json(&std::fs::read(&path).unwrap()).unwrap();
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &[]);
    let older = read();
    let earlier = shop.channel().unwrap();
    shop.promoter(&["publish", "--module", "v2.wasm", "--promote"], 0, &[]);
    let newest = shop.channel().unwrap();
    let doctored = Channel {
        serial: newest.serial + 7,
        endorsement: Some(older),
        expires_ms: i64::MAX,
        ..earlier.clone()
    };
    std::fs::write(&path, doctored.sign(&shop.key("retrainer")).to_json()).unwrap();
    let (seen, found) = (format!("serial {}", newest.serial), format!("serial {}", earlier.serial));
    let told = [seen.as_str(), &found, "restate the channel", "retrainer's key"];
    let detector = ["--detector", "pump"];
    for verb in [&["renew"][..], &["hold", "--reason", "wait"], &["sensitivity", "--set", "2"]] {
        shop.promoter(&[verb, &detector].concat(), 1, &told);
    }
    shop.promoter(&["publish", "--module", "v3.wasm"], 1, &told);
    assert_eq!(shop.channel().unwrap(), doctored, "nothing was signed");
    let champion = digest(2).to_string();
    shop.promoter(&["restate", "--detector", "pump", "--champion", &champion], 0, &["version 2"]);
    shop.promoter(&["renew", "--detector", "pump"], 0, &["believed until"]);
}

/// A promoter's own document from before, as it was.
#[test]
fn an_old_document_is_not_built_on() {
    let shop = Shop::trusted();
    let path = shop.path("registry/channels/pump/stable.json");
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &[]);
    let old = std::fs::read(&path).unwrap();
    shop.promoter(&["publish", "--module", "v2.wasm"], 0, &[]);
    std::fs::write(&path, old).unwrap();
    let detector = ["--detector", "pump"];
    for verb in [&["renew"][..], &["hold", "--reason", "wait"], &["sensitivity", "--set", "2"]] {
        shop.promoter(&[verb, &detector].concat(), 1, &["put an old document back", "restate"]);
    }
    // A memory that cannot be read is not one of nothing.
    let seen = shop.path("home/seen.json");
    std::fs::write(&seen, "{").unwrap();
    shop.promoter(&["renew", "--detector", "pump"], 1, &["seen.json", "put a copy back"]);
}

#[test]
fn what_cannot_be_is_told_with_a_way_out() {
    let shop = Shop::trusted();
    shop.write("broken.json", "{\"keys\": 3}");
    let trust = ["--trust", "keys/root.json"];
    for (arguments, code, expected) in [
        (vec!["status", "--registry", "nowhere"], 2, "nowhere is not a directory"),
        (vec!["stop", "--registry", "nowhere", "--detector", "pump"], 2, "is not a directory"),
        (vec!["status", "--registry", "ftp://x/y"], 2, "cannot use the registry"),
        (vec!["status", "--registry", "registry", "--trust", "broken.json"], 1, "neither a root"),
        (vec!["trust", "show", "broken.json"], 1, "is not a signed root"),
        (vec!["trust", "show", "missing.json"], 1, "trainer trust init"),
        (vec!["publish", "--registry", "registry", "--module", "missing.wasm"], 1, "missing.wasm"),
        (vec!["rollout", "--registry", "registry", "--detector", "Pump"], 2, "a-z, 0-9"),
        (
            vec!["rollout", "--registry", "registry", "--detector", "pump", "--every", "0"],
            2,
            "--every",
        ),
    ] {
        let given = arguments.contains(&"--trust") || arguments[0] == "trust";
        let all = if given { arguments.clone() } else { [&arguments[..], &trust].concat() };
        shop.check(&all, code, &[expected]);
    }
    assert!(!shop.path("nowhere").exists());
    std::fs::write(shop.path("unsigned.wasm"), crate::common::module(1)).unwrap();
    shop.promoter(&["publish", "--module", "unsigned.wasm"], 2, &["is unsigned", "trainer sign"]);
    // A document that somebody doctored is shown as what it is, and built on by nobody.
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &[]);
    let path = shop.path("registry/channels/pump/stable.json");
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    shop.check(&["status", "--registry", "registry", "--trust", "keys/root.json"], 0, &["BROKEN"]);
    shop.promoter(&["rollout", "--detector", "pump"], 1, &["channels/pump/stable.json"]);
}

/// What each verb prints with `--json` is one object.
#[test]
fn every_result_is_printed_as_json_too() {
    let shop = Shop::new();
    let public = twinge_trust::SigningKey::from_seed([9; 32]).public();
    let (public, id) = (public.to_string(), public.key_id().to_string());
    let first = ["trust", "init", "--registry", "registry", "--json"];
    assert_eq!(shop.check(&first, 0, &[]).json()["done"], "made");
    for version in 1..=3 {
        shop.put_module(version, "keys/retrainer.key");
    }
    let champion = digest(1).to_string();
    let (trust, on) = (["--registry", "registry"], ["--detector", "pump"]);
    for (verb, done) in [
        (vec!["trust", "add", "--public-key", &public, "--role", "native"], "added"),
        (vec!["trust", "revoke", &id], "revoked"),
        (vec!["trust", "renew", "--days", "800"], "renewed"),
        (vec!["trust", "rotate"], "rotated"),
        (vec!["trust", "show"], "shown"),
    ] {
        let ran = shop.check(&[&verb[..], &trust, &["--json"]].concat(), 0, &[]);
        assert_eq!(ran.json()["done"], done, "{verb:?}");
    }
    let check = |verb: &[&str], done: &str| {
        let ran = shop.promoter(&[verb, &["--json"]].concat(), 0, &[]);
        assert_eq!(ran.json()["done"], done, "{verb:?}");
    };
    check(&["publish", "--module", "v1.wasm", "--promote"], "champion");
    check(&["publish", "--module", "v2.wasm"], "challenger");
    for (verb, done) in [
        (vec!["hold", "--reason", "x"], "held"),
        (vec!["release"], "released"),
        (vec!["promote"], "promoted"),
        (vec!["sensitivity", "--set", "2"], "sensitivity-set"),
        (vec!["renew"], "renewed"),
        (vec!["rollback"], "rolled-back"),
        (vec!["stop"], "unchanged"),
        (vec!["restate", "--champion", &champion], "restated"),
    ] {
        check(&[&verb[..], &on].concat(), done);
    }
    assert!(
        shop.promoter(&[&["rollout", "--json"], &on[..]].concat(), 0, &[]).json()["done"].is_null()
    );
    let device = twinge_trust::SigningKey::from_seed([8; 32]).public().to_string();
    let enrol = ["enrol", "--device", "a", "--public-key", &device, "--trust", "keys/root.json"];
    shop.check(&[&enrol[..], &["--json"]].concat(), 0, &["\"enroller\""]).json();
}

#[test]
fn small_setups_do_with_plain_keys() {
    let shop = Shop::new();
    shop.check(&["keygen", "--out", "keys"], 0, &["keep it secret"]);
    shop.check(&["keygen", "--out", "keys"], 1, &["cannot create keys/promoter.key"]);
    assert_eq!(mode(&shop.path("keys/promoter.key")), 0o600);
    shop.put_module(1, "keys/promoter.key");
    let place =
        ["--registry", "registry", "--trust", "keys/trust.json", "--key", "keys/promoter.key"];
    shop.check(
        &[&["publish", "--module", "v1.wasm", "--promote"], &place[..]].concat(),
        0,
        &["serial 2"],
    );
    shop.check(&["status", "--registry", "registry", "--json"], 0, &["\"champion\""]);
    let precompile = ["precompile", "--module", "v1.wasm", "--key", "keys/promoter.key"];
    shop.check(
        &[&precompile[..], &["--trust", "keys/trust.json"]].concat(),
        2,
        &["the role native"],
    );
    let json = ["sign", "--module", "v1.wasm", "--key", "keys/promoter.key", "--json"];
    let json = shop.check(&json, 0, &[]).json();
    assert_eq!(json["digest"], digest(1).to_string());
    let keygen = ["keygen", "--out", "keys", "--name", "native", "--role", "native", "--json"];
    let json = shop.check(&keygen, 0, &[]).json();
    assert_eq!(json["key_id"], shop.key("native").key_id().to_string());
    let precompile = ["precompile", "--module", "v1.wasm", "--key", "keys/native.key", "--json"];
    let place = ["--trust", "keys/trust.json", "--registry", "registry"];
    let json = shop.check(&[&precompile[..], &place].concat(), 0, &[]).json();
    let artefact = json["artefacts"][0]["place"].as_str().unwrap();
    assert!(shop.path(artefact).is_file(), "{artefact}");
    // The developer's own key, which nobody has to know of.
    let home = Shop::new();
    home.write("data.csv", &crate::common::csv(1500));
    home.check(&["train", "--data", "data.csv", "--out", "m.wasm"], 0, &["made a developer key"]);
    home.check(
        &["publish", "--registry", "r", "--module", "m.wasm", "--promote"],
        0,
        &["champion"],
    );
    home.check(&["status", "--registry", "r"], 0, &["champion"]);
}
