//! `trainer enrol`: the word on a device's own key.

use crate::keys;
use crate::output::{print, tell};
use crate::place::{Missing, Reader, Source, block_on};
use crate::usage::Usage;
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;
use twinge_registry::{Name, StorePath};
use twinge_rollout::Report;
use twinge_trust::{DeviceEnvelope, Enrolment, PublicKey, Role};

/// Say that a key is a device's own, so that its reports count.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Name of the device.
    #[arg(long)]
    device: String,
    /// The key that the device made for itself, as 64 hexadecimal characters.
    #[arg(long, required_unless_present = "report", conflicts_with = "report")]
    public_key: Option<PublicKey>,
    /// Take the key out of the device's own report in the registry; compare its id with the one
    /// that the device prints, since anybody who may write reports could have put it there.
    #[arg(long, requires = "registry", requires = "detector")]
    report: bool,
    /// The registry with the report: a directory or an address.
    #[arg(long, env = "TWINGE_REGISTRY")]
    registry: Option<String>,
    /// A detector that the device reports on.
    #[arg(long)]
    detector: Option<Name>,
    /// Key to sign with; it must hold the role device.
    #[arg(long, env = "TWINGE_DEVICE_KEY", default_value = "keys/device.key")]
    key: PathBuf,
    /// Root of trust, or the trusted keys [default: your developer key].
    #[arg(long, env = "TWINGE_TRUST")]
    trust: Option<PathBuf>,
    /// The enrolment; the device takes it as enrolment.json beside its state.
    #[arg(long, default_value = "enrolment.json")]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// `trainer enrol`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let name = &arguments.device;
    if name.len() > 100 || name.contains('/') || StorePath::new(name).is_err() {
        let reason = "take at most 100 letters, digits and . _ = $ -, not a dot first";
        return Err(Usage(format!("device name `{name}` is not usable: {reason}")).into());
    }
    block_on(async {
        let (keyring, reader) = match &arguments.registry {
            Some(registry) => {
                let source = Source { registry: registry.clone(), trust: arguments.trust.clone() };
                let reader = Reader::open(&source, Missing::Refuse).await?;
                reader.check_current()?;
                (reader.keyring().clone(), Some(reader))
            }
            None => (keys::keyring_to_sign_by(arguments.trust.as_deref())?, None),
        };
        let key = keys::read_key(&arguments.key)?;
        if !keyring.allows(&key.key_id(), Role::Device) {
            let reason = "does not hold the role device, so nobody would believe it: `trainer \
                          trust add --role device` it, or give --trust the root that names it";
            return Err(Usage(format!("key {} {reason}", key.key_id())).into());
        }
        let public_key = match (arguments.public_key, &reader, &arguments.detector) {
            (Some(public_key), ..) => public_key,
            (None, Some(reader), Some(detector)) => reported(reader, detector, name).await?,
            _ => return Err(Usage("no key: give --public-key or --report".into()).into()),
        };
        if keyring.key(&public_key.key_id()).is_some_and(|key| key.revoked) {
            let reason = "is revoked: have the device make another";
            return Err(Usage(format!("key {} {reason}", public_key.key_id())).into());
        }
        let enrolment = Enrolment { device: name.clone(), public_key };
        keys::replace(&arguments.out, &enrolment.sign(&key).to_json())?;
        if arguments.json {
            print(&serde_json::to_string_pretty(&serde_json::json!({
                "device": name, "public_key": public_key, "key_id": public_key.key_id(),
                "enroller": key.key_id(), "file": arguments.out,
            }))?);
            return Ok(());
        }
        print(&format!("device    {name}"));
        print(&format!("key id    {}", public_key.key_id()));
        print(&format!("enroller  {}", key.key_id()));
        tell(&format!(
            "wrote {}: put it beside the device's state as enrolment.json, and start it again",
            arguments.out.display()
        ));
        Ok(())
    })
}

/// The key that a device's report is signed with.
async fn reported(reader: &Reader, detector: &Name, device: &str) -> Result<PublicKey> {
    let report = reader.registry.report(detector, device).await?;
    let missing = || Usage(format!("device `{device}` has not reported on detector `{detector}`"));
    let report = report.ok_or_else(missing)?;
    let whose = || format!("the report of device `{device}` is not usable");
    // An old enrolment is none of our business; that the device holds the key is.
    let envelope = DeviceEnvelope::from_json(&report).with_context(whose)?;
    let envelope = DeviceEnvelope { enrolment: None, ..envelope };
    let verified = envelope.verify(Report::PAYLOAD_TYPE, device, reader.keyring());
    let (payload, _) = verified.with_context(whose)?;
    let report: Report = serde_json::from_slice(&payload).with_context(whose)?;
    if report.device.name != device {
        anyhow::bail!(
            "the report of device `{device}` speaks of `{}`: it was moved",
            report.device.name
        );
    }
    Ok(envelope.public_key)
}
