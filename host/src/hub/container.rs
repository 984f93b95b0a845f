//! Checkpoints and ownerships in a container of Azure storage.

use std::sync::Arc;
use twinge_registry::{Adls, AdlsSettings, Store};
use twinge_stream::assembly::ExtensionError;

/// Opens the container at `address`, with the rights that the environment gives.
pub(super) async fn open(address: &str) -> Result<Arc<dyn Store>, ExtensionError> {
    let settings = AdlsSettings::from_environment(address, &|name| std::env::var(name).ok())?;
    let store = Adls::open(&settings)?;
    // An emulator begins empty; in a real account a host has no right to make containers.
    if settings.endpoint().starts_with("http://") {
        store.create_container().await?;
    }
    Ok(Arc::new(store))
}
