//! Settings of the rights that a host gives to devices: flags, environment, and the table
//! `[devices]` of the configuration file.

use anyhow::{Context, ensure};
use clap::Args;
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;
use twinge_registry::{AdlsSettings, SAS_LIFETIME_MS_MAX};
use twinge_stream::rights::DeskPlan;
use twinge_stream::settings::{Settings, address};

const DAYS_MAX: f64 = SAS_LIFETIME_MS_MAX as f64 / 86_400_000.0;
/// An hour: below that, devices would do little else than ask.
const DAYS_MIN: f64 = 1.0 / 24.0;

/// Flags of rights for devices.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Rights for devices")]
#[expect(clippy::struct_field_names, reason = "flags are named by their fields")]
pub(crate) struct DeviceFlags {
    /// Registry that devices are given rights on, over HTTP: the address of a container such as
    /// <https://ACCOUNT.blob.core.windows.net/CONTAINER>. They are made by the rights that the
    /// environment gives this host: an identity, or the account's key.
    #[arg(long, env = "TWINGE_DEVICE_RIGHTS")]
    device_rights: Option<String>,
    /// Days that such rights last, 7 at most [default: 7].
    #[arg(long, env = "TWINGE_DEVICE_RIGHTS_DAYS")]
    device_rights_days: Option<f64>,
    /// Address that devices ask for rights at; port 0 takes a free one. Nothing else is served there
    /// but /livez and /readyz. It has no TLS: put a proxy before it, for devices ask over https only.
    #[arg(long, env = "TWINGE_DEVICE_RIGHTS_LISTEN", value_parser = address)]
    device_rights_listen: Option<SocketAddr>,
    /// The account has a hierarchical namespace, so that rights may be for the registry's folder.
    #[arg(long, env = "TWINGE_DEVICE_RIGHTS_HIERARCHICAL")]
    device_rights_hierarchical: bool,
}

/// The rights on a registry that the host gives to devices.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    rights: Option<String>,
    rights_days: Option<f64>,
    rights_hierarchical: bool,
    listen: Option<SocketAddr>,
}

impl DeviceFlags {
    /// Adds the rights that flags and file describe to `settings`, if they describe any.
    pub(crate) fn extend(&self, settings: &mut Settings) -> anyhow::Result<()> {
        let table: Table = settings.take("devices")?.unwrap_or_default();
        let days = self.device_rights_days.or(table.rights_days).unwrap_or(DAYS_MAX);
        ensure!(
            (DAYS_MIN..=DAYS_MAX).contains(&days),
            "device_rights_days must lie between an hour, 0.042, and 7: no delegation key lasts longer"
        );
        let listen = self.device_rights_listen.or(table.listen);
        let Some(registry) = self.device_rights.clone().or(table.rights) else {
            ensure!(
                listen.is_none(),
                "device_rights_listen goes with device_rights, the registry that rights are for"
            );
            return Ok(());
        };
        ensure!(
            registry.contains("://"),
            "rights for devices are for the address of a container, such as https://ACCOUNT.blob.core.windows.net/CONTAINER: a directory knows none"
        );
        let listen = listen.context(
            "devices ask for rights at an address of their own: give --device-rights-listen, such as 127.0.0.1:8081",
        )?;
        let variable = |name: &str| std::env::var(name).ok();
        settings.give_rights(DeskPlan {
            settings: AdlsSettings::from_environment(&registry, &variable)?,
            hierarchical: self.device_rights_hierarchical || table.rights_hierarchical,
            lifetime: Duration::from_secs_f64(days * 86_400.0),
            listen,
        });
        Ok(())
    }
}
