//! The trainer's runs on a real MLflow server, whose address is in `TWINGE_TEST_MLFLOW`; without it,
//! nothing is tested here.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::hash::{BuildHasher, RandomState};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

fn trainer(folder: &Path, address: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.args(arguments).current_dir(folder).env("TWINGE_HOME", folder.join("home"));
    command.env("MLFLOW_TRACKING_URI", address).env_remove("TWINGE_REGISTRY");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("no alias"), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn what_is_trained_published_and_promoted_is_seen_at_mlflow() {
    let Some(address) = std::env::var("TWINGE_TEST_MLFLOW").ok().filter(|text| !text.is_empty())
    else {
        let line = "skipped: TWINGE_TEST_MLFLOW holds no address of an MLflow server\n";
        drop(std::io::stderr().write_all(line.as_bytes()));
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let detector = format!("cards-{}", RandomState::new().hash_one(0) % 1_000_000_000);
    let run = |arguments: &[&str]| trainer(folder.path(), &address, arguments);
    run(&["generate", "--world", "cards", "--events", "4000", "--out", "cards.csv"]);
    let config = format!(
        "name = \"{detector}\"\n[schema]\nentity = \"card\"\ntime = \"time\"\nnumeric = \
         [\"amount\", \"distance_km\"]\nlabel = \"label\"\n"
    );
    std::fs::write(folder.path().join("detector.toml"), config).unwrap();
    let told = run(&["train", "--data", "cards.csv", "--config", "detector.toml"]);
    assert!(told.contains("run        2"), "{told}");
    let list = ["experiments", "list", "--detector", &detector, "--json"];
    let read = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let listed = read(run(&list));
    let module = listed["runs"][0]["lineage"]["module_digest"].as_str().unwrap().to_owned();
    assert!(listed["runs"][0]["metrics"].to_string().contains("auc_roc"), "{listed}");
    assert_eq!(listed["model"]["versions"][0]["module_digest"], module);
    let publish = ["publish", "--module", "detector.wasm", "--registry", "registry"];
    run(&publish);
    assert_eq!(read(run(&list))["model"]["aliases"], serde_json::json!({ "challenger": 1 }));
    run(&["promote", "--detector", &detector, "--registry", "registry"]);
    assert_eq!(read(run(&list))["model"]["aliases"], serde_json::json!({ "champion": 1 }));
    let id = listed["runs"][0]["id"].as_str().unwrap();
    run(&["experiments", "show", id, "--detector", &detector, "--files", "files"]);
    let same = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(same("files/detector.wasm"), same("detector.wasm"));
    assert!(!folder.path().join("registry/experiments").exists(), "it is kept in one place");
}
