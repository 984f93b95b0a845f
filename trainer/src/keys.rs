//! Signing keys and files of trusted keys.
//!
//! Who only trains and scores needs to know nothing of this: the first `trainer train` makes a
//! developer key in the user's own directory, which the user's own trainer trusts. A fleet's keys
//! are made with `trainer trust init`, or for small setups with `trainer keygen`.

use crate::output::{print, tell};
use crate::time::now_ms;
use crate::usage::Usage;
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use twinge_contract::time::to_rfc3339;
use twinge_trust::{Anchor, Keyring, Role, SigningKey, TrustedKey, TrustedRoot};

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
    /// Print one JSON object; the key itself is in none.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleFlag {
    /// Roots of trust, and nothing else.
    Root,
    /// Modules, for shadow only.
    Retrainer,
    /// Modules for canary and champion, and rollbacks.
    Promoter,
    /// Precompiled artefacts.
    Native,
    /// Enrolments: the word on a device's own key.
    Device,
}

impl From<RoleFlag> for Role {
    fn from(flag: RoleFlag) -> Self {
        match flag {
            RoleFlag::Root => Self::Root,
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
    if arguments.json {
        print(&serde_json::to_string_pretty(&serde_json::json!({
            "key": key_path, "trusted": trust_path, "key_id": key.key_id(),
            "public_key": key.public(),
        }))?);
        return Ok(());
    }
    print(&format!("key      {}  (keep it secret)", key_path.display()));
    print(&format!("trusted  {}  (give it to hosts and devices)", trust_path.display()));
    print(&format!("key id   {}", key.key_id()));
    Ok(())
}

/// Makes a key and adds its public half to a file of trusted keys.
fn make(key_path: &Path, trust_path: &Path, roles: &[Role], comment: &str) -> Result<SigningKey> {
    let trusted = match fs::read(trust_path) {
        Ok(bytes) => Keyring::from_json(&bytes)
            .with_context(|| format!("{} is not usable", trust_path.display()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Keyring::default(),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", trust_path.display()));
        }
    };
    let key = new_key(key_path)?;
    let trusted = trusted.with(TrustedKey::new(key.public(), roles, comment))?;
    replace(trust_path, trusted.to_json().as_bytes())?;
    Ok(key)
}

/// Makes a key in a file that only its owner may read. A key that exists is never overwritten:
/// what it signed would be worth nothing. A crash leaves the whole key or none.
pub(crate) fn new_key(path: &Path) -> Result<SigningKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| anyhow::anyhow!("no randomness to make a key from: {error}"))?;
    let key = SigningKey::from_seed(seed);
    seed = [0; 32];
    std::hint::black_box(&seed);
    let temporary = write_beside(path, key.to_text().as_bytes())?;
    let linked = fs::hard_link(&temporary, path);
    let removed = fs::remove_file(&temporary);
    linked.with_context(|| {
        format!("cannot create {}: remove or rename it if it is not needed", path.display())
    })?;
    removed.with_context(|| format!("cannot remove {}", temporary.display()))?;
    sync_folder(path)?;
    Ok(key)
}

/// The key in a file, or a new one where there is none, and whether it is new.
pub(crate) fn key_or_new(path: &Path) -> Result<(SigningKey, bool)> {
    if path.exists() { Ok((read_key(path)?, false)) } else { Ok((new_key(path)?, true)) }
}

/// Writes a file in one step: a crash leaves the old content or the new.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = write_beside(path, bytes)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o644))
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    sync_folder(path)
}

/// A synced file of a name that nobody uses, readable by its owner only, in the folder of `path`,
/// which is made if it is not there.
fn write_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf> {
    let folder = folder_of(path);
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut number = [0; 8];
    getrandom::fill(&mut number)
        .map_err(|error| anyhow::anyhow!("no randomness for a file name: {error}"))?;
    let temporary = folder.join(format!(".temporary-{:016x}", u64::from_le_bytes(number)));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .with_context(|| format!("cannot write {}", temporary.display()))?;
    Ok(temporary)
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("cannot sync {}", folder.display()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The key in a file.
pub(crate) fn read_key(path: &Path) -> Result<SigningKey> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the key {}", path.display()))?;
    SigningKey::from_text(&text)
        .with_context(|| format!("{} is not a key that the trainer wrote", path.display()))
}

/// The key that a verb signs with: the one in the file, or else the developer's own.
pub(crate) fn signing_key(path: Option<&Path>) -> Result<SigningKey> {
    match path {
        Some(path) => read_key(path),
        None => developer_key()?.ok_or_else(|| Usage("no key: give --key".into()).into()),
    }
}

/// Where trust begins: a root or keys in a file, or else the developer's own keys.
pub(crate) fn anchor(path: Option<&Path>) -> Result<Anchor> {
    let own = home().map(|home| home.join("trust.json"));
    let path = match (path, own) {
        (Some(path), _) => path.to_owned(),
        (None, Some(own)) if own.exists() => own,
        _ => return Ok(Anchor::default()),
    };
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Anchor::from_json(&bytes).with_context(|| {
        format!("{} is neither a root of trust nor a trust.json that can be used", path.display())
    })
}

/// The keys of [`anchor`], without a registry to look for a newer root in. To be signed by, they
/// must be current.
pub(crate) fn keyring(path: Option<&Path>) -> Result<Keyring> {
    Ok(anchor(path)?.keyring().clone())
}

/// The same, to sign by.
pub(crate) fn keyring_to_sign_by(path: Option<&Path>) -> Result<Keyring> {
    let anchor = anchor(path)?;
    if let Anchor::Root(root) = &anchor {
        check_current(root, now_ms())?;
    }
    Ok(anchor.keyring().clone())
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
pub(crate) fn home() -> Option<PathBuf> {
    let own = std::env::var_os("TWINGE_HOME").map(PathBuf::from);
    own.or_else(|| std::env::home_dir().map(|home| home.join(".twinge")))
        .filter(|path| path.is_absolute())
}

/// Refuses a root that nobody renewed in time.
pub(crate) fn check_current(root: &TrustedRoot, now_ms: i64) -> Result<()> {
    if !root.is_expired(now_ms) {
        return Ok(());
    }
    let (version, expires) = (root.root().version, to_rfc3339(root.root().expires_ms));
    anyhow::bail!(
        "root of trust {version} expired at {expires}, so nothing is signed on its word: make the \
         next with `trainer trust renew`"
    )
}
