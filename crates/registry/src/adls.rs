//! The storage contract on a container of Azure storage (ADLS Gen2 or plain blobs), through the
//! blob endpoint and the `object_store` crate.
//!
//! A creation is a put with `If-None-Match: *`, a replacement one with `If-Match`. `object_store`
//! is kept from asking again on its own: it would hide whether a conflict met our own write, which
//! [`Retrying`] has to know. Every request has a deadline that grows with the bytes it moves.
//!
//! Folders are not objects: those of a hierarchical namespace are left out by their type, and the
//! empty blobs with `hdi_isfolder` by which older tools mark folders are not found by `get`. `list`
//! does not see that mark; it leaves out empty blobs under which others lie, so that at most a
//! marked folder with nothing in it is listed, and then not found.

mod answer;
mod credential;
mod error;
mod http;
mod login;
mod sas;
mod settings;

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::poll_fn;
use std::hash::BuildHasher;
use std::time::Duration;

use async_trait::async_trait;
use object_store::azure::{AzureAuthorizer, MicrosoftAzure};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpRequest, HttpRequestBody, HttpResponse,
};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetResult, HeaderValue, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutOptions, PutPayload, UpdateVersion,
};

use self::answer::{AnswersAreErrors, Trouble, failed};
use crate::store::{check_prefix, check_size};
use crate::{
    Etag, METADATA_KEYS_MAX, Metadata, OBJECT_BYTES_MAX, Object, Retrying, Store, StoreError,
    StorePath,
};

pub use credential::{AdlsCredential, Secret};
pub use error::AdlsError;
pub use sas::{SAS_LIFETIME_MS_MAX, SasError, SasGrant, SasIssuer, SasPeriod};
pub use settings::AdlsSettings;

/// How long a request may take, beside the time for its bytes.
const DEADLINE: Duration = Duration::from_secs(15);
/// The slowest line that is still waited for.
const BYTES_PER_SECOND_MIN: u64 = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Five million objects; one that holds more is not ours.
const LIST_PAGES_MAX: usize = 1000;
/// How Hadoop and its kin mark an empty blob as a folder.
const FOLDER_MARK: &str = "hdi_isfolder";

/// A [`Store`] in a container, or in a folder of one.
#[derive(Debug)]
pub struct Adls {
    container: Retrying<Container>,
}

impl Adls {
    /// Makes the client of a container. Nothing is sent yet.
    pub fn open(settings: &AdlsSettings) -> Result<Self, AdlsError> {
        let container = Container::open(settings)?;
        // Random enough to part those that were cut off together.
        let jitter_seed = RandomState::new().hash_one(settings.endpoint());
        Ok(Self { container: Retrying::new(container, settings.retries, jitter_seed) })
    }

    /// Makes the container if it is not there, for emulators and first steps; in a real account it
    /// is made along with its rights, by whoever manages those.
    pub async fn create_container(&self) -> Result<(), StoreError> {
        let mut attempts = 0;
        loop {
            match self.container.inner().create_container().await {
                Ok(()) => return Ok(()),
                Err(error) => self.container.pause(&mut attempts, error).await?,
            }
        }
    }
}

#[async_trait]
impl Store for Adls {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        self.container.get_within(path, bytes_max).await
    }

    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        self.container.create_with(path, bytes, metadata).await
    }

    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        let outcome = self.container.replace_with(path, bytes, metadata, expected).await;
        // The service says the same of a blob with another tag and of none at all. Where it does
        // not tell which even now, what it said before still holds.
        if matches!(outcome, Err(StoreError::Changed { .. }))
            && matches!(self.container.get(path).await, Ok(None))
        {
            return Err(StoreError::NotFound { path: path.to_string() });
        }
        outcome
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        self.container.list(prefix).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.container.delete(path).await
    }
}

/// The container as it answers once, which calls a missing object a changed one.
struct Container {
    blobs: MicrosoftAzure,
    /// For what `object_store` does not send.
    http: HttpClient,
    account: String,
    /// Of the account; without a slash at its end.
    endpoint: String,
    /// Of the container; the same.
    url: String,
    /// Empty, or with a slash at its end.
    prefix: String,
}

/// The client's own output would show its credentials.
impl fmt::Debug for Container {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Container({}/{})", self.url, self.prefix)
    }
}

impl Container {
    fn open(settings: &AdlsSettings) -> Result<Self, AdlsError> {
        // A program may be built with more than one provider of cryptography, and rustls wants to be
        // told which; whoever was first has chosen.
        rustls::crypto::ring::default_provider().install_default().ok();
        // Deadlines are kept here, since they depend on the bytes.
        let options = ClientOptions::new()
            .with_allow_http(settings.is_plain_http())
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout_disabled();
        let client_failed = |source| AdlsError::Client { source: Box::new(source) };
        let http = AnswersAreErrors.connect(&options).map_err(client_failed)?;
        Ok(Self {
            blobs: login::client(settings, &options)?,
            http,
            account: settings.account().to_owned(),
            endpoint: settings.endpoint().to_owned(),
            url: format!("{}/{}", settings.endpoint(), settings.container()),
            prefix: match settings.prefix() {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
        })
    }

    fn key(&self, path: &StorePath) -> Path {
        Path::from(format!("{}{path}", self.prefix))
    }

    async fn create_container(&self) -> Result<(), StoreError> {
        let url = format!("{}?restype=container", self.url);
        match self.send("PUT", &url).await {
            Err(Trouble::Answer(answer)) if answer.code == "ContainerAlreadyExists" => Ok(()),
            outcome => outcome.map_err(|trouble| trouble.into_error("create container", &self.url)),
        }
    }

    /// Sends a request without a body, for what `object_store` does not do, or only for many at
    /// once: its batches of deletions are refused to shared access signatures by Azurite.
    async fn send(&self, method: &str, url: &str) -> Result<(), Trouble> {
        within(0, self.exchange(method, url, String::new())).await.map(drop)
    }

    /// Posts a document to the account's blob service, and returns the one in its answer.
    async fn ask_service(&self, query: &str, body: String) -> Result<String, Trouble> {
        let url = format!("{}/?{query}", self.endpoint);
        within(0, async {
            let answer = self.exchange("POST", &url, body).await?;
            let bytes = answer.into_body().bytes().await;
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(failed)
        })
        .await
    }

    async fn exchange(
        &self,
        method: &str,
        url: &str,
        body: String,
    ) -> object_store::Result<HttpResponse> {
        let length = HeaderValue::from(body.len());
        let mut request = HttpRequest::new(HttpRequestBody::from(body));
        *request.method_mut() = method.parse().expect("a method is valid");
        *request.uri_mut() = url.parse().expect("what was checked as a URL is one");
        request.headers_mut().insert("content-length", length);
        let credential = self.blobs.credentials().get_credential().await?;
        AzureAuthorizer::new(&credential, &self.account).try_authorize(&mut request)?;
        self.http.execute(request).await.map_err(failed)
    }

    async fn put(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        mode: PutMode,
    ) -> Result<Etag, Trouble> {
        let mut attributes = Attributes::new();
        for (key, value) in metadata.iter() {
            let key = Attribute::Metadata(key.to_owned().into());
            attributes.insert(key, value.to_owned().into());
        }
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        let key = self.key(path);
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.blobs.put_opts(&key, payload, options);
        let written = within(bytes.len() as u64, put).await?;
        written.e_tag.map(Etag::new).ok_or_else(|| Trouble::strange("a write without a tag"))
    }

    async fn read(&self, path: &StorePath, bytes_max: u64) -> Result<Option<Object>, StoreError> {
        let failed = |trouble: Trouble| trouble.into_error("read", path.as_str());
        let found = match within(0, self.blobs.get(&self.key(path))).await {
            Ok(found) => found,
            Err(Trouble::Answer(answer)) if answer.is_missing_blob() => return Ok(None),
            Err(Trouble::Folder) => return Ok(None),
            Err(trouble) => return Err(failed(trouble)),
        };
        let size = found.meta.size;
        // Before anything of the body is taken in.
        check_size("read", path, size, bytes_max)?;
        let metadata = kept_metadata(&found);
        if size == 0 && metadata.value(FOLDER_MARK) == Some("true") {
            return Ok(None);
        }
        let modified_ms = found.meta.last_modified.timestamp_millis();
        let etag = found.meta.e_tag.clone().map(Etag::new);
        let etag = etag.ok_or_else(|| failed(Trouble::strange("an object without a tag")))?;
        let bytes = within(size, body(found, bytes_max)).await.map_err(failed)?;
        check_size("read", path, bytes.len() as u64, bytes_max)?;
        Ok(Some(Object { bytes, metadata, etag, modified_ms }))
    }

    /// All blobs below a folder, which ends with a slash or is empty.
    async fn blobs_below(&self, folder: &str) -> Result<Vec<ObjectMeta>, Trouble> {
        let mut blobs = Vec::new();
        let mut page_token = None;
        for _ in 0..LIST_PAGES_MAX {
            let options = PaginatedListOptions { page_token, ..PaginatedListOptions::default() };
            let folder = Some(folder).filter(|folder| !folder.is_empty());
            let page = within(0, self.blobs.list_paginated(folder, options)).await?;
            blobs.extend(page.result.objects);
            page_token = page.page_token;
            if page_token.is_none() {
                return Ok(blobs);
            }
        }
        Err(Trouble::strange("more than a thousand pages of names"))
    }
}

#[async_trait]
impl Store for Container {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        self.read(path, bytes_max).await
    }

    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        check_size("create", path, bytes.len() as u64, OBJECT_BYTES_MAX)?;
        match self.put(path, bytes, metadata, PutMode::Create).await {
            Err(Trouble::Answer(answer)) if answer.is_existing_blob() => {
                Err(StoreError::AlreadyExists { path: path.to_string() })
            }
            outcome => outcome.map_err(|trouble| trouble.into_error("create", path.as_str())),
        }
    }

    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        check_size("replace", path, bytes.len() as u64, OBJECT_BYTES_MAX)?;
        let version = UpdateVersion { e_tag: Some(expected.as_str().to_owned()), version: None };
        match self.put(path, bytes, metadata, PutMode::Update(version)).await {
            Err(Trouble::Answer(answer)) if answer.is_unmet_condition() => {
                Err(StoreError::Changed { path: path.to_string() })
            }
            outcome => outcome.map_err(|trouble| trouble.into_error("replace", path.as_str())),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        let prefix = check_prefix(prefix)?;
        let folder = match prefix {
            "" => self.prefix.clone(),
            _ => format!("{}{prefix}/", self.prefix),
        };
        let blobs = self.blobs_below(&folder).await;
        let blobs = blobs.map_err(|trouble| trouble.into_error("list", &folder))?;
        Ok(objects_of(&self.prefix, blobs))
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        let url = format!("{}/{}{path}", self.url, self.prefix);
        match self.send("DELETE", &url).await {
            Err(Trouble::Answer(answer)) if answer.is_missing_blob() => Ok(()),
            outcome => outcome.map_err(|trouble| trouble.into_error("delete", path.as_str())),
        }
    }
}

/// What an answer brings, up to the piece with which it is more than `bytes_max` bytes: the length
/// that it announces is only a promise.
async fn body(found: GetResult, bytes_max: u64) -> object_store::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(found.meta.size.min(bytes_max) as usize);
    let mut pieces = found.into_stream();
    while let Some(piece) = poll_fn(|context| pieces.as_mut().poll_next(context)).await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() as u64 > bytes_max {
            break;
        }
    }
    Ok(bytes)
}

/// Waits for a request that moves so many bytes, and no longer.
async fn within<T>(
    bytes: u64,
    request: impl Future<Output = object_store::Result<T>>,
) -> Result<T, Trouble> {
    let deadline = DEADLINE + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
    match tokio::time::timeout(deadline, request).await {
        Ok(outcome) => outcome.map_err(Trouble::from),
        Err(_elapsed) => Err(Trouble::late(deadline)),
    }
}

/// What the contract allows of a blob's metadata; others may have written more.
fn kept_metadata(found: &GetResult) -> Metadata {
    let entries = found.attributes.iter().filter_map(|(attribute, value)| match attribute {
        Attribute::Metadata(key) => Some((key.to_string(), value.to_string())),
        _ => None,
    });
    let mut kept: Vec<_> = entries.filter(|entry| Metadata::new([entry.clone()]).is_ok()).collect();
    kept.sort();
    kept.truncate(METADATA_KEYS_MAX);
    Metadata::new(kept).unwrap_or_default()
}

/// The objects among blobs: what has a valid path and is no folder.
fn objects_of(prefix: &str, blobs: Vec<ObjectMeta>) -> Vec<StorePath> {
    let named = blobs.into_iter().filter_map(|blob| {
        let path = blob.location.as_ref().strip_prefix(prefix)?;
        Some((StorePath::new(path).ok()?, blob.size))
    });
    let sizes: Vec<(StorePath, u64)> = named.collect();
    let parents: BTreeSet<String> = sizes.iter().flat_map(|(path, _)| parents_of(path)).collect();
    let is_folder = |path: &StorePath, bytes: u64| bytes == 0 && parents.contains(path.as_str());
    let objects = sizes.into_iter().filter(|(path, bytes)| !is_folder(path, *bytes));
    let mut paths: Vec<StorePath> = objects.map(|(path, _)| path).collect();
    paths.sort();
    paths
}

fn parents_of(path: &StorePath) -> impl Iterator<Item = String> {
    path.as_str().match_indices('/').map(|(end, _)| path.as_str()[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(name: &str, size: u64) -> ObjectMeta {
        ObjectMeta {
            location: Path::from(name),
            last_modified: std::time::UNIX_EPOCH.into(),
            size,
            e_tag: None,
            version: None,
        }
    }

    #[test]
    fn folders_and_strange_names_are_not_listed() {
        let blobs = vec![
            blob("p/b", 1),
            blob("p/a", 0),
            blob("p/a/deep", 0),
            blob("p/a/deep/c", 0),
            blob("p/a-", 0),
            blob("p/with space", 1),
            blob("p/.hidden", 1),
            blob("q/b", 1),
        ];
        let expected = ["a-", "a/deep/c", "b"].map(|path| StorePath::new(path).unwrap());
        assert_eq!(objects_of("p/", blobs), expected);
    }
}
