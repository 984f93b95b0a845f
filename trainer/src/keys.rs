//! Signing keys and files of trusted keys.
//!
//! Who only trains and scores needs to know nothing of this: the first `trainer train` makes a
//! developer key in the user's own directory, which the user's own trainer trusts. A fleet's keys
//! are made with `trainer keygen`.

use crate::{print, tell};
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use twinge_trust::{Keyring, Role, SigningKey, TrustedKey};

/// Make a signing key.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory for the key and for trust.json.
    #[arg(long, default_value = "keys")]
    out: PathBuf,
    /// Name of the key: it is written to NAME.key.
    #[arg(long, default_value = "promoter")]
    name: String,
    /// What the key may sign; given more than once for several.
    #[arg(long = "role", value_enum, default_values = ["retrainer", "promoter"])]
    roles: Vec<RoleFlag>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleFlag {
    /// Modules, for shadow only.
    Retrainer,
    /// Modules for canary and champion, and rollbacks.
    Promoter,
    /// Precompiled artefacts.
    Native,
    /// A device's own reports.
    Device,
}

impl From<RoleFlag> for Role {
    fn from(flag: RoleFlag) -> Self {
        match flag {
            RoleFlag::Retrainer => Self::Retrainer,
            RoleFlag::Promoter => Self::Promoter,
            RoleFlag::Native => Self::Native,
            RoleFlag::Device => Self::Device,
        }
    }
}

/// `trainer keygen`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let roles: Vec<Role> = arguments.roles.iter().copied().map(Role::from).collect();
    let key_path = arguments.out.join(format!("{}.key", arguments.name));
    let trust_path = arguments.out.join("trust.json");
    let key = make(&key_path, &trust_path, &roles, &arguments.name)?;
    print(&format!("key      {}  (keep it secret)", key_path.display()));
    print(&format!("trusted  {}  (give it to hosts and devices)", trust_path.display()));
    print(&format!("key id   {}", key.key_id()));
    Ok(())
}

/// Makes a key and adds its public half to a file of trusted keys.
fn make(key_path: &Path, trust_path: &Path, roles: &[Role], comment: &str) -> Result<SigningKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| anyhow::anyhow!("no randomness to make a key from: {error}"))?;
    let key = SigningKey::from_seed(seed);
    if let Some(directory) = key_path.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let trusted = match fs::read(trust_path) {
        Ok(bytes) => Keyring::from_json(&bytes)
            .with_context(|| format!("{} is not usable", trust_path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Keyring::default(),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", trust_path.display()));
        }
    };
    let trusted = trusted.with(TrustedKey::new(key.public(), roles, comment))?;
    // A key that exists is never overwritten: what it signed would be worth nothing.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(key_path);
    let mut file = file.with_context(|| {
        format!("cannot create {}: remove or rename it if it is not needed", key_path.display())
    })?;
    file.write_all(key.to_text().as_bytes())
        .with_context(|| format!("cannot write {}", key_path.display()))?;
    fs::write(trust_path, trusted.to_json())
        .with_context(|| format!("cannot write {}", trust_path.display()))?;
    Ok(key)
}

/// The key in a file.
pub(crate) fn read_key(path: &Path) -> Result<SigningKey> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the key {}", path.display()))?;
    SigningKey::from_text(&text)
        .with_context(|| format!("{} is not a key that `trainer keygen` wrote", path.display()))
}

/// The keys in a file, or else the developer's own.
pub(crate) fn keyring(path: Option<&Path>) -> Result<Keyring> {
    let own = home().map(|home| home.join("trust.json"));
    let path = match (path, own) {
        (Some(path), _) => path.to_owned(),
        (None, Some(own)) if own.exists() => own,
        _ => return Ok(Keyring::default()),
    };
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Keyring::from_json(&bytes).with_context(|| format!("{} is not usable", path.display()))
}

/// The developer's own key, made when there is none; `None` where there is no home directory.
pub(crate) fn developer_key() -> Result<Option<SigningKey>> {
    let Some(home) = home() else { return Ok(None) };
    let path = home.join("developer.key");
    if path.exists() {
        return read_key(&path).map(Some);
    }
    let key =
        make(&path, &home.join("trust.json"), &[Role::Retrainer, Role::Promoter], "developer")?;
    tell(&format!(
        "made a developer key in {} to sign modules with; your own trainer trusts it",
        home.display()
    ));
    Ok(Some(key))
}

/// Where the developer's key lies: `TWINGE_HOME`, or `.twinge` in the home directory.
fn home() -> Option<PathBuf> {
    let own = std::env::var_os("TWINGE_HOME").map(PathBuf::from);
    own.or_else(|| std::env::home_dir().map(|home| home.join(".twinge")))
        .filter(|path| path.is_absolute())
}
