//! `trainer trust`: the root of trust, from the first version to its successors.
//!
//! Every change makes the version after the newest, signed by the root keys of both, and puts it
//! into the registry before the file is replaced: the registry decides between two who change the
//! root at once. Run again after a crash, a verb finds its own work done.

use crate::keys::{self, RoleFlag};
use crate::output::{print, tell};
use crate::place::{Missing, block_on, open};
use crate::table::Table;
use crate::time::{DAY_MS, now_ms};
use crate::usage::Usage;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use std::fs;
use std::path::{Path, PathBuf};
use twinge_contract::time::to_rfc3339;
use twinge_registry::Registry;
use twinge_trust::{
    Envelope, KeyId, Keyring, PublicKey, Role, Root, SigningKey, TrustedKey, TrustedRoot,
};

/// Say which keys hold which roles.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a root key, a key for each role, and the first root of trust.
    Init(InitArguments),
    /// Show a root of trust: which keys hold which roles, and until when.
    Show(ShowArguments),
    /// Trust one key more.
    Add(AddArguments),
    /// Believe nothing any more that a key signed, whenever it did.
    Revoke(RevokeArguments),
    /// Put a new root key in the place of the old one.
    Rotate(RotateArguments),
    /// The same keys, believed for longer.
    Renew(RenewArguments),
}

/// Make a root key, a key for each role, and the first root of trust.
#[derive(Debug, Args)]
struct InitArguments {
    /// Directory for the keys and root.json.
    #[arg(long, default_value = "keys")]
    out: PathBuf,
    /// Registry to put the root into as well: a directory or an address.
    #[arg(long, env = "TWINGE_REGISTRY")]
    registry: Option<String>,
    /// Days that the root is believed.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Show a root of trust.
#[derive(Debug, Args)]
struct ShowArguments {
    /// File of the root.
    #[arg(env = "TWINGE_TRUST", default_value = "keys/root.json")]
    root: PathBuf,
    /// Registry in which to step from the file's root to the newest.
    #[arg(long, env = "TWINGE_REGISTRY")]
    registry: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// From which root to which, and who signs.
#[derive(Debug, Args)]
struct Change {
    /// File of the root to begin with; it is replaced by the new one.
    #[arg(long, env = "TWINGE_TRUST", default_value = "keys/root.json")]
    root: PathBuf,
    /// Registry in which to step to the newest root, and to put the new one into.
    #[arg(long, env = "TWINGE_REGISTRY")]
    registry: Option<String>,
    /// Root key to sign with; given more than once where more than one must sign.
    #[arg(long = "root-key", env = "TWINGE_ROOT_KEY", default_value = "keys/root.key")]
    root_keys: Vec<PathBuf>,
    /// Days that the new root is believed.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Trust one key more.
#[derive(Debug, Args)]
struct AddArguments {
    /// The key, as 64 hexadecimal characters.
    #[arg(long, required_unless_present = "key", conflicts_with = "key")]
    public_key: Option<PublicKey>,
    /// File of the key, of which only the public half is taken.
    #[arg(long)]
    key: Option<PathBuf>,
    /// What it may sign; given more than once for several.
    #[arg(long = "role", value_enum, required = true)]
    roles: Vec<RoleFlag>,
    /// Whose key it is, for people.
    #[arg(long, default_value = "")]
    comment: String,
    #[command(flatten)]
    change: Change,
}

/// Believe nothing any more that a key signed.
#[derive(Debug, Args)]
struct RevokeArguments {
    /// Id of the key, as `trainer trust show` prints it.
    #[arg(required_unless_present = "public_key", conflicts_with = "public_key")]
    key_id: Option<KeyId>,
    /// A key that the root need not name yet, such as a lost device's.
    #[arg(long)]
    public_key: Option<PublicKey>,
    /// Whose key it is, for people, where the root does not name it yet.
    #[arg(long, default_value = "")]
    comment: String,
    #[command(flatten)]
    change: Change,
}

/// Put a new root key in the place of the old one.
#[derive(Debug, Args)]
struct RotateArguments {
    /// File for the new root key; one that is there already is used [default: root-VERSION.key
    /// beside the old key].
    #[arg(long)]
    new_key: Option<PathBuf>,
    #[command(flatten)]
    change: Change,
}

/// The same keys, believed for longer.
#[derive(Debug, Args)]
struct RenewArguments {
    #[command(flatten)]
    change: Change,
}

/// A root at work: the newest, where it goes, and who signs the next.
struct Workshop {
    believed: TrustedRoot,
    registry: Option<(String, Registry)>,
    file: PathBuf,
    signers: Vec<SigningKey>,
    expires_ms: i64,
    json: bool,
}

/// `trainer trust`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    block_on(async {
        match &arguments.verb {
            Verb::Init(arguments) => init(arguments).await,
            Verb::Show(arguments) => show(arguments).await,
            Verb::Add(arguments) => add(arguments).await,
            Verb::Revoke(arguments) => revoke(arguments).await,
            Verb::Rotate(arguments) => rotate(arguments).await,
            Verb::Renew(arguments) => Workshop::open(&arguments.change).await?.renew().await,
        }
    })
}

/// Keys before the root that names them; those that a crash left are taken up again.
async fn init(arguments: &InitArguments) -> Result<()> {
    let file = arguments.out.join("root.json");
    let registry = open_registry(arguments.registry.as_deref(), Missing::Make).await?;
    if file.exists() {
        let believed = read_root(&file)?;
        tell(&format!("{} is there already: nothing was made", file.display()));
        put(registry.as_ref(), &believed).await?;
        return finish(&believed, "unchanged", arguments.json);
    }
    let names = [
        ("root", Role::Root),
        ("promoter", Role::Promoter),
        ("retrainer", Role::Retrainer),
        ("device", Role::Device),
        ("native", Role::Native),
    ];
    let (mut entries, mut root_key) = (Vec::new(), None);
    for (name, role) in names {
        let path = arguments.out.join(format!("{name}.key"));
        let (key, is_new) = keys::key_or_new(&path)?;
        let word = if is_new { "made" } else { "found" };
        tell(&format!("{word} {}", path.display()));
        entries.push(TrustedKey::new(key.public(), &[role], name));
        root_key.get_or_insert(key);
    }
    let root_key = root_key.context("no root key was made")?;
    let expires_ms = now_ms().saturating_add(i64::from(arguments.days) * DAY_MS);
    let keyring = Keyring::new(entries).context("two roles have the same key")?;
    let root = Root { version: 1, expires_ms, threshold: 1, keyring };
    let believed = TrustedRoot::anchor(root.sign(&[&root_key]))?;
    keys::replace(&file, &believed.envelope().to_json())?;
    put(registry.as_ref(), &believed).await?;
    tell(&format!("wrote {}: give it to hosts and devices", file.display()));
    tell(&format!(
        "keep {} offline, with a copy in another place: whoever has it names all other keys, and \
         without it none can be revoked",
        arguments.out.join("root.key").display()
    ));
    finish(&believed, "made", arguments.json)
}

async fn show(arguments: &ShowArguments) -> Result<()> {
    let mut believed = read_root(&arguments.root)?;
    if let Some((_, registry)) =
        open_registry(arguments.registry.as_deref(), Missing::Refuse).await?
    {
        believed =
            registry.newest_root(&believed).await.context("cannot step to the newest root")?;
    }
    finish(&believed, "shown", arguments.json)
}

async fn add(arguments: &AddArguments) -> Result<()> {
    let public = match (&arguments.public_key, &arguments.key) {
        (Some(public), _) => *public,
        (None, Some(path)) => keys::read_key(path)?.public(),
        (None, None) => return Err(Usage("no key: give --public-key or --key".into()).into()),
    };
    let mut roles: Vec<Role> = arguments.roles.iter().copied().map(Role::from).collect();
    roles.sort_unstable();
    roles.dedup();
    let workshop = Workshop::open(&arguments.change).await?;
    let key_id = public.key_id();
    if let Some(there) = workshop.believed.keyring().key(&key_id) {
        if there.revoked {
            let reason = "is revoked for good: make another key and add that";
            return Err(Usage(format!("key {key_id} {reason}")).into());
        }
        let mut held = there.roles.clone();
        held.sort_unstable();
        if held == roles {
            return workshop.keep(&format!("key {key_id} is trusted already")).await;
        }
        let reason = "revoke it, and add another key for these roles";
        let roles = names(&there.roles);
        return Err(Usage(format!("key {key_id} is there with {roles}: {reason}")).into());
    }
    let entry = TrustedKey::new(public, &roles, &arguments.comment);
    let next = workshop.believed.root().with_key(entry, workshop.expires_ms)?;
    workshop.go_on(&next, &[], "added").await
}

async fn revoke(arguments: &RevokeArguments) -> Result<()> {
    let workshop = Workshop::open(&arguments.change).await?;
    let keyring = workshop.believed.keyring();
    let key_id = match (arguments.key_id, arguments.public_key) {
        (Some(key_id), _) => key_id,
        (None, Some(public)) => public.key_id(),
        (None, None) => return Err(Usage("no key: give its id, or --public-key".into()).into()),
    };
    let there = match (keyring.key(&key_id), arguments.public_key) {
        (Some(there), _) => there,
        (None, Some(public)) => return workshop.shut_out(public, &arguments.comment).await,
        (None, None) => {
            let reason = "`trainer trust show` prints those that are; a lost device's key is \
                          revoked by --public-key";
            return Err(Usage(format!("key {key_id} is not in the root: {reason}")).into());
        }
    };
    if there.revoked {
        return workshop.keep(&format!("key {key_id} is revoked already")).await;
    }
    let left = |role| {
        keyring
            .keys()
            .iter()
            .filter(|key| key.key_id != key_id && keyring.allows(&key.key_id, role))
            .count()
    };
    let needed = usize::from(workshop.believed.root().threshold.max(1));
    if there.roles.contains(&Role::Root) && left(Role::Root) < needed {
        let reason = "without it no root could follow; `trainer trust rotate` replaces it";
        return Err(Usage(format!("key {key_id} is a root key: {reason}")).into());
    }
    let bereft: Vec<Role> = there.roles.iter().copied().filter(|role| left(*role) == 0).collect();
    let promoter = there.roles.contains(&Role::Promoter);
    let next = workshop.believed.root().revoking(&key_id, workshop.expires_ms)?;
    workshop.go_on(&next, &[], "revoked").await?;
    if !bereft.is_empty() {
        let roles = names(&bereft);
        tell(&format!("no key holds {roles} now: make one and `trainer trust add` it"));
    }
    if promoter {
        tell(
            "channels that it signed are not believed any more, and what runs goes on: sign each \
             anew with `trainer restate`",
        );
    }
    Ok(())
}

/// The new key is on disk before any root names it, so that a crash loses neither.
async fn rotate(arguments: &RotateArguments) -> Result<()> {
    let workshop = Workshop::open(&arguments.change).await?;
    let (old, root) = (&workshop.signers[0], workshop.believed.root());
    let keyring = workshop.believed.keyring();
    if keyring.key(&old.key_id()).is_some_and(|key| key.revoked) {
        let said =
            format!("root key {} is revoked as of this root: it was rotated already", old.key_id());
        return workshop.keep(&said).await;
    }
    let beside = arguments.change.root_keys[0].parent().unwrap_or(Path::new("."));
    let path = arguments
        .new_key
        .clone()
        .unwrap_or_else(|| beside.join(format!("root-{}.key", root.version.saturating_add(1))));
    let (new, is_new) = keys::key_or_new(&path)?;
    if keyring.key(&new.key_id()).is_some_and(|key| key.revoked || !key.roles.contains(&Role::Root))
    {
        let reason = "is in the root already as something else: give another --new-key";
        return Err(Usage(format!("key {} {reason}", new.key_id())).into());
    }
    tell(&format!("{} {}", if is_new { "made" } else { "found" }, path.display()));
    let mut next = root.next(workshop.expires_ms)?;
    if keyring.key(&new.key_id()).is_none() {
        let comment = format!("root since {}", next.version);
        let entry = TrustedKey::new(new.public(), &[Role::Root], &comment);
        next.keyring = next.keyring.with(entry)?;
    }
    next.keyring.revoke(&old.key_id());
    workshop.go_on(&next, &[&new], "rotated").await?;
    tell(&format!(
        "from now on {} signs roots: keep it offline, with a copy; the old key is worth nothing",
        path.display()
    ));
    Ok(())
}

impl Workshop {
    async fn open(change: &Change) -> Result<Self> {
        let signers: Vec<SigningKey> =
            change.root_keys.iter().map(|path| keys::read_key(path)).collect::<Result<_>>()?;
        let mut believed = read_root(&change.root)?;
        let registry = open_registry(change.registry.as_deref(), Missing::Make).await?;
        if let Some((location, registry)) = &registry {
            let newest = registry.newest_root(&believed).await;
            believed =
                newest.with_context(|| format!("cannot step to the newest root in {location}"))?;
        }
        Ok(Self {
            believed,
            registry,
            file: change.root.clone(),
            signers,
            expires_ms: now_ms().saturating_add(i64::from(change.days) * DAY_MS),
            json: change.json,
        })
    }

    /// Revokes a key that no root named so far, and that never held a role.
    async fn shut_out(self, public: PublicKey, comment: &str) -> Result<()> {
        let entry = TrustedKey { revoked: true, ..TrustedKey::new(public, &[], comment) };
        let next = self.believed.root().with_key(entry, self.expires_ms)?;
        self.go_on(&next, &[], "revoked").await
    }

    /// A renewal that gains less than a day is one that was run twice.
    async fn renew(self) -> Result<()> {
        let root = self.believed.root();
        if root.expires_ms > self.expires_ms - DAY_MS {
            let said = format!("it is believed until {} already", to_rfc3339(root.expires_ms));
            return self.keep(&said).await;
        }
        let next = root.next(self.expires_ms)?;
        self.go_on(&next, &[], "renewed").await
    }

    /// Signs the next root, and puts it where it belongs.
    async fn go_on(&self, next: &Root, more: &[&SigningKey], done: &str) -> Result<()> {
        let signers: Vec<&SigningKey> = self.signers.iter().chain(more.iter().copied()).collect();
        let envelope: Envelope = next.sign(&signers);
        let accepted = self.believed.accept(&envelope).with_context(|| {
            let version = self.believed.root().version;
            format!(
                "devices that have root {version} would refuse the next: give --root-key a root key"
            )
        })?;
        // Whoever begins with the file's own root needs it there too.
        put(self.registry.as_ref(), &self.believed).await?;
        put(self.registry.as_ref(), &accepted).await.context(
            "somebody else changed the root at the same time: look with `trainer trust show`, and \
             try again",
        )?;
        self.write(&accepted)?;
        finish(&accepted, done, self.json)
    }

    /// There is nothing to do but what a crash may have left undone.
    async fn keep(&self, said: &str) -> Result<()> {
        put(self.registry.as_ref(), &self.believed).await?;
        self.write(&self.believed)?;
        tell(&format!("{said}: nothing was changed"));
        finish(&self.believed, "unchanged", self.json)
    }

    fn write(&self, root: &TrustedRoot) -> Result<()> {
        keys::replace(&self.file, &root.envelope().to_json())
    }
}

async fn open_registry(
    location: Option<&str>,
    missing: Missing,
) -> Result<Option<(String, Registry)>> {
    let Some(location) = location else { return Ok(None) };
    Ok(Some((location.to_owned(), open(location, missing).await?)))
}

async fn put(registry: Option<&(String, Registry)>, root: &TrustedRoot) -> Result<()> {
    let Some((location, registry)) = registry else { return Ok(()) };
    let put = registry.put_root(root).await;
    put.with_context(|| format!("cannot put root {} into {location}", root.root().version))
}

/// The signed root in a file.
fn read_root(path: &Path) -> Result<TrustedRoot> {
    let bytes = fs::read(path).with_context(|| {
        format!("cannot read the root of trust {}: `trainer trust init` makes one", path.display())
    })?;
    let anchored = Envelope::from_json(&bytes).and_then(TrustedRoot::anchor);
    anchored.with_context(|| {
        format!(
            "{} is not a signed root: give the root.json of `trainer trust init`",
            path.display()
        )
    })
}

fn names(roles: &[Role]) -> String {
    let names: Vec<String> = roles.iter().map(ToString::to_string).collect();
    let word = if roles.len() == 1 { "the role" } else { "the roles" };
    format!("{word} {}", names.join(", "))
}

fn finish(believed: &TrustedRoot, done: &str, json: bool) -> Result<()> {
    let root = believed.root();
    let expired = believed.is_expired(now_ms());
    if json {
        let mut object = serde_json::to_value(root)?;
        object["done"] = done.into();
        object["expired"] = expired.into();
        object["expires"] = to_rfc3339(root.expires_ms).into();
        print(&serde_json::to_string_pretty(&object)?);
        return Ok(());
    }
    let word = if expired { "EXPIRED at" } else { "believed until" };
    print(&format!("root of trust {}, {word} {}", root.version, to_rfc3339(root.expires_ms)));
    if root.threshold > 1 {
        print(&format!("  {} root keys must sign the next", root.threshold));
    }
    let mut table = Table::new(&["key id", "roles", "", "comment"]);
    for key in root.keyring.keys() {
        let roles: Vec<String> = key.roles.iter().map(ToString::to_string).collect();
        let revoked = if key.revoked { "REVOKED" } else { "" };
        let id = key.key_id.to_string();
        table.row(vec![id, roles.join(", "), revoked.into(), key.comment.clone()]);
    }
    for line in table.lines(2) {
        print(&line);
    }
    Ok(())
}
