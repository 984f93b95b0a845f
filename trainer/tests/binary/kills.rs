//! A trainer that is killed at any moment leaves a registry that can be read, and a command that
//! can be run again.

use crate::common::{Random, Shop, VERSIONS, block_on, digest};
use crate::story::{DEVICES, begin, enrolment, fleet_reports};
use std::time::{Duration, Instant};
use twinge_trust::{Envelope, TrustedRoot};

const KILLS: usize = 40;

const PLACE: [&str; 6] =
    ["--registry", "registry", "--trust", "keys/root.json", "--key", "keys/promoter.key"];

/// Kills the command after each of many delays, looks at what it left, and runs it to its end.
fn check(seed: u64, commands: &[Vec<&str>]) {
    println!("seed {seed}");
    let mut random = Random(seed);
    let shop = Shop::trusted();
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &[]);
    // How long the command takes of late: one that was slow once must not make all kills late.
    let mut usual = Duration::from_millis(30);
    let mut killed = 0;
    for round in 0..KILLS {
        let command = [&commands[round % commands.len()][..], &PLACE].concat();
        let delay = Duration::from_micros(random.below(usual.as_micros() as u64 + 1));
        killed += usize::from(kill(&shop, &command, delay));
        check_registry(&shop);
        let began = Instant::now();
        shop.check(&command, 0, &[]);
        usual = (usual * 3 + began.elapsed()) / 4;
        check_registry(&shop);
    }
    assert!(killed > KILLS / 10, "{killed} of {KILLS} were killed");
}

/// However often it is killed, a rollout takes one step at a time.
#[test]
fn a_killed_rollout_goes_on_where_it_was() {
    let seed = 4;
    println!("seed {seed}");
    let mut random = Random(seed);
    let shop = Shop::trusted();
    begin(&shop);
    let enrolments: Vec<Envelope> = (0..DEVICES).map(|number| enrolment(&shop, number)).collect();
    let command = [&["rollout", "--detector", "pump"], &PLACE[..]].concat();
    for round in 0..KILLS / 4 {
        let version = 1 + (round + 1) % VERSIONS;
        shop.promoter(&["publish", "--module", &format!("v{version}.wasm")], 0, &[]);
        let begun = shop.channel().unwrap().serial;
        for _ in 0..2 {
            fleet_reports(&shop, &enrolments, 0);
            let before = shop.channel().unwrap();
            let delay = Duration::from_micros(random.below(40_000));
            kill(&shop, &command, delay);
            check_registry(&shop);
            let after = shop.channel().unwrap();
            if after.serial == before.serial {
                shop.check(&command, 0, &["serial"]);
            }
            assert_eq!(shop.channel().unwrap().serial, before.serial + 1);
        }
        let end = shop.channel().unwrap();
        assert_eq!((end.serial, end.champion.unwrap().digest), (begun + 2, digest(version)));
    }
}

/// Starts the command and kills it after a while; whether it was still there.
fn kill(shop: &Shop, command: &[&str], delay: Duration) -> bool {
    let mut child = shop
        .command(command)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

/// Whatever a channel points at can be fetched, by whoever trusts the root.
fn check_registry(shop: &Shop) {
    let bytes = std::fs::read(shop.path("keys/root.json")).unwrap();
    let root = TrustedRoot::anchor(Envelope::from_json(&bytes).unwrap()).unwrap();
    let registry = shop.registry();
    let channel = shop.channel().unwrap();
    let pointed = channel.champion.iter().chain(&channel.challenger).chain(&channel.history);
    for target in pointed {
        let fetched = block_on(registry.fetch(&target.digest, root.keyring()));
        assert_eq!(fetched.unwrap().digest(), target.digest);
    }
}

#[test]
fn a_killed_publish_can_be_run_again() {
    let mut commands = Vec::new();
    for file in ["v2.wasm", "v3.wasm", "v1.wasm"] {
        commands.push(vec!["publish", "--module", file]);
        commands.push(vec!["publish", "--module", file, "--promote"]);
    }
    check(1, &commands);
}

/// Named by digest, a promotion that was done is found done.
#[test]
fn a_killed_promotion_is_done_once() {
    let seed = 2;
    println!("seed {seed}");
    let mut random = Random(seed);
    let shop = Shop::trusted();
    shop.promoter(&["publish", "--module", "v1.wasm", "--promote"], 0, &[]);
    for round in 0..KILLS / 2 {
        let version = 1 + (round + 1) % VERSIONS;
        let (file, named) = (format!("v{version}.wasm"), digest(version).to_string());
        shop.promoter(&["publish", "--module", &file], 0, &[]);
        let before = shop.channel().unwrap().serial;
        let promote = ["promote", "--detector", "pump", "--digest", &named];
        let command = [&promote[..], &PLACE].concat();
        kill(&shop, &command, Duration::from_micros(random.below(40_000)));
        check_registry(&shop);
        shop.check(&command, 0, &[]);
        let after = shop.channel().unwrap();
        assert_eq!((after.serial, after.champion.unwrap().digest), (before + 1, digest(version)));
    }
}

/// The keys of a root that was not finished are taken up again, whole.
#[test]
fn a_killed_init_or_rotation_can_be_run_again() {
    let seed = 3;
    println!("seed {seed}");
    let mut random = Random(seed);
    for _ in 0..KILLS / 4 {
        let shop = Shop::new();
        let mut commands = vec![vec!["trust", "init", "--registry", "registry"]];
        commands.push(vec!["trust", "rotate", "--registry", "registry"]);
        for command in &commands {
            kill(&shop, command, Duration::from_micros(random.below(60_000)));
            shop.check(command, 0, &["root of trust"]);
        }
        let json =
            shop.check(&["trust", "show", "--registry", "registry", "--json"], 0, &[]).json();
        assert_eq!(json["version"], 2);
        shop.check(
            &["trust", "renew", "--root-key", "keys/root-2.key", "--days", "800"],
            0,
            &["root of trust 3"],
        );
    }
}
