//! A temporary place with the trainer's binary, tiny data, and modules made from it once.

use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use twinge_registry::{Channel, Directory, Name, Registry};
use twinge_trust::{Digest, SigningKey};

/// The versions of the detector that are there.
pub(crate) const VERSIONS: usize = 3;

pub(crate) struct Shop {
    directory: tempfile::TempDir,
}

/// What a run of the trainer left.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// One with a root of trust, and modules that the retrainer signed.
    pub(crate) fn trusted() -> Self {
        let shop = Self::new();
        shop.check(
            &["trust", "init", "--out", "keys", "--registry", "registry"],
            0,
            &["root of trust 1"],
        );
        for version in 1..=VERSIONS {
            shop.put_module(version, "keys/retrainer.key");
        }
        shop
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn put_module(&self, version: usize, key: &str) {
        let name = format!("v{version}.wasm");
        std::fs::write(self.path(&name), module(version)).unwrap();
        self.check(&["sign", "--module", &name, "--key", key], 0, &["signed by"]);
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TWINGE_")) {
            command.env_remove(name);
        }
        command.args(arguments).current_dir(self.directory.path());
        command.env("TWINGE_HOME", self.path("home")).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs the trainer; it must end so, and say all of this somewhere.
    pub(crate) fn check(&self, arguments: &[&str], code: i32, expected: &[&str]) -> Ran {
        let ran = self.run(arguments);
        let said = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, Some(code), "{arguments:?}\n{said}");
        for text in expected {
            assert!(said.contains(text), "{arguments:?} does not say {text:?}:\n{said}");
        }
        assert!(!said.contains("\"seed\":\"") && !said.contains("panicked"), "{said}");
        ran
    }

    /// The same with registry, trust and the promoter's key.
    pub(crate) fn promoter(&self, arguments: &[&str], code: i32, expected: &[&str]) -> Ran {
        let place =
            ["--registry", "registry", "--trust", "keys/root.json", "--key", "keys/promoter.key"];
        self.check(&[arguments, &place].concat(), code, expected)
    }

    pub(crate) fn key(&self, name: &str) -> SigningKey {
        let text = std::fs::read_to_string(self.path(&format!("keys/{name}.key"))).unwrap();
        SigningKey::from_text(&text).unwrap()
    }

    pub(crate) fn registry(&self) -> Registry {
        Registry::new(Arc::new(Directory::open(self.path("registry")).unwrap()))
    }

    pub(crate) fn channel(&self) -> Option<Channel> {
        let found = block_on(self.registry().channel(&name("pump"), &name("stable")));
        found.unwrap().map(|(_, channel)| channel)
    }
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

pub(crate) fn digest(version: usize) -> Digest {
    Digest::of(module(version))
}

/// A named generator, so that a seed always tells the same story.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Rows of two pumps, the last of which leap.
pub(crate) fn csv(rows: u64) -> String {
    let mut random = Random(7);
    let mut text = String::from("timestamp,pump,pressure,flow\n");
    for row in 0..rows {
        let pressure = 100.0 + random.below(1000) as f64 / 100.0;
        let flow = 5.0 + random.below(100) as f64 / 100.0;
        let (hour, minute) = (row / 60 % 24, row % 60);
        let day = 1 + row / 1440;
        writeln!(text, "2026-01-{day:02}T{hour:02}:{minute:02}:00Z,p{},{pressure},{flow}", row % 2)
            .unwrap();
    }
    text
}

/// An unsigned module of the detector `pump`, trained by the binary under test, once.
pub(crate) fn module(version: usize) -> &'static [u8] {
    static MODULES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    &MODULES.get_or_init(|| (1..=VERSIONS).map(train).collect())[version - 1]
}

fn train(version: usize) -> Vec<u8> {
    let shop = Shop::new();
    shop.write("data.csv", &csv(1500));
    let config = format!(
        "name = \"pump\"\nversion = \"{version}\"\n[schema]\nentity = \"pump\"\ntime = \
         \"timestamp\"\nnumeric = [\"pressure\", \"flow\"]\n[detector]\nclean = true\n"
    );
    shop.write("detector.toml", &config);
    let seed = version.to_string();
    let arguments = ["train", "--data", "data.csv", "--config", "detector.toml", "--unsigned"];
    shop.check(&[&arguments[..], &["--out", "m.wasm", "--seed", &seed]].concat(), 0, &["digest"]);
    std::fs::read(shop.path("m.wasm")).unwrap()
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
