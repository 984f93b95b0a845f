//! From what an operator writes to a store: a directory, or the address of a container.

use std::sync::Arc;

use crate::{Directory, Store, StoreError};

/// Why a location cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// The directory.
    #[error("open {location}")]
    Directory {
        /// The directory.
        location: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The container.
    #[cfg(feature = "adls")]
    #[error("open {location}")]
    Container {
        /// The address.
        location: String,
        /// Why.
        #[source]
        source: crate::AdlsError,
    },
    /// This program knows directories only.
    #[error("open {location}: this program was built without Azure storage; give a directory")]
    NoContainers {
        /// The address.
        location: String,
    },
}

/// Opens the directory `location`, or the container at an address such as
/// `https://ACCOUNT.blob.core.windows.net/CONTAINER/FOLDER`, with the rights that the environment
/// gives, which is seen through `variable`. Nothing is sent yet, except to an emulator, which
/// begins empty and is given the container.
pub async fn open_store(
    location: &str,
    variable: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Arc<dyn Store>, LocationError> {
    if location.contains("://") {
        return open_container(location, variable).await;
    }
    let store = Directory::open(location);
    let store = store
        .map_err(|source| LocationError::Directory { location: location.to_owned(), source })?;
    Ok(Arc::new(store))
}

#[cfg(feature = "adls")]
async fn open_container(
    location: &str,
    variable: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Arc<dyn Store>, LocationError> {
    let error = |source| LocationError::Container { location: location.to_owned(), source };
    let settings = crate::AdlsSettings::from_environment(location, &variable).map_err(error)?;
    let store = crate::Adls::open(&settings).map_err(error)?;
    // In a real account a program has no right to make containers, and need not.
    if settings.endpoint().starts_with("http://")
        && let Err(source) = store.create_container().await
    {
        tracing::warn!(location, error = %source, "the emulator's container cannot be made");
    }
    Ok(Arc::new(store))
}

#[cfg(not(feature = "adls"))]
#[expect(clippy::unused_async, reason = "as with the feature `adls`")]
async fn open_container(
    location: &str,
    _variable: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Arc<dyn Store>, LocationError> {
    Err(LocationError::NoContainers { location: location.to_owned() })
}
