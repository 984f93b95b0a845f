//! Where a container is, read from a URL or a connection string.

use std::net::IpAddr;

use url::{Host, Url};

use super::credential::{AdlsCredential, Secret};
use super::error::AdlsError;
use crate::{RetrySettings, StorePath};

/// The account of every emulator, and its published key
/// (<https://learn.microsoft.com/azure/storage/common/storage-use-azurite>).
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000/devstoreaccount1";
const CONNECTION_STRING: &str = "AZURE_STORAGE_CONNECTION_STRING";

/// Where a container is, and by what right it is used.
#[derive(Clone, Debug)]
pub struct AdlsSettings {
    account: String,
    container: String,
    /// Without slashes at its ends.
    prefix: String,
    /// Of the account; without a slash at its end.
    endpoint: String,
    credential: AdlsCredential,
    /// How long is tried again.
    pub retries: RetrySettings,
}

impl AdlsSettings {
    /// Reads a location: `https://ACCOUNT.blob.core.windows.net/CONTAINER[/FOLDER]`, the same with
    /// `dfs`, `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net[/FOLDER]`, or of an emulator
    /// `http://127.0.0.1:10000/ACCOUNT/CONTAINER[/FOLDER]`.
    pub fn new(location: &str, credential: AdlsCredential) -> Result<Self, AdlsError> {
        let url = Url::parse(location).map_err(|_may_show_it| invalid("it is no URL"))?;
        if url.query().is_some() || url.fragment().is_some() || url.password().is_some() {
            return Err(invalid("a signature does not belong into it"));
        }
        let host = url.host_str().ok_or_else(|| invalid("it has no host"))?;
        let path = url.path();
        let (endpoint, path) = match url.scheme() {
            "abfss" | "abfs" if url.username().is_empty() => {
                return Err(invalid("it has no container before the @"));
            }
            "abfss" | "abfs" => {
                (format!("https://{}", blob_host(host)), format!("{}{path}", url.username()))
            }
            "https" | "http" if account_of_host(host).is_some() => {
                (format!("{}://{}", url.scheme(), blob_host(host)), path.to_owned())
            }
            "https" | "http" => {
                let (account, rest) =
                    path.trim_start_matches('/').split_once('/').unwrap_or(("", ""));
                let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
                (format!("{}://{authority}/{account}", url.scheme()), rest.to_owned())
            }
            _ => return Err(invalid("it is neither https nor abfss")),
        };
        Self::at(&endpoint, &path, credential)
    }

    /// Reads a connection string, for the folder `path` (`CONTAINER[/FOLDER]`) of its account.
    /// `UseDevelopmentStorage=true` means the emulator at its usual port.
    pub fn from_connection_string(text: &str, path: &str) -> Result<Self, AdlsError> {
        let (endpoint, credential) = read_connection_string(text)?;
        Self::at(&endpoint, path, credential)
    }

    /// Reads a location with the rights that the environment gives, which is seen through
    /// `variable`: [`AdlsCredential::from_environment`], and before that
    /// `AZURE_STORAGE_CONNECTION_STRING`, with which a location may also be `CONTAINER[/FOLDER]`.
    pub fn from_environment(
        location: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, AdlsError> {
        let Some(text) = variable(CONNECTION_STRING).filter(|text| !text.is_empty()) else {
            return Self::new(location, AdlsCredential::from_environment(variable));
        };
        if !location.contains("://") {
            return Self::from_connection_string(&text, location);
        }
        let (endpoint, credential) = read_connection_string(&text)?;
        let wanted = Self::new(location, credential.clone())?;
        let path = format!("{}/{}", wanted.container, wanted.prefix);
        let found = Self::at(&endpoint, &path, credential)?;
        if found.account == wanted.account {
            return Ok(found);
        }
        Err(AdlsError::OtherAccount { wanted: wanted.account, found: found.account })
    }

    /// The account's name.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The container, which ADLS calls a file system.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// The folder in it that holds everything; empty for none.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The URL of the account's blob service, without a slash at its end.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where the container or its folder is, in the one form that all ways to write it come to.
    pub fn address(&self) -> String {
        let (endpoint, container, prefix) = (&self.endpoint, &self.container, &self.prefix);
        let separator = if prefix.is_empty() { "" } else { "/" };
        format!("{endpoint}/{container}{separator}{prefix}")
    }

    pub(super) fn credential(&self) -> &AdlsCredential {
        &self.credential
    }

    pub(super) fn is_plain_http(&self) -> bool {
        self.endpoint.starts_with("http://")
    }

    fn at(endpoint: &str, path: &str, credential: AdlsCredential) -> Result<Self, AdlsError> {
        let (account, endpoint) = check_endpoint(endpoint)?;
        let path = path.trim_matches('/');
        let (container, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.trim_matches('/');
        if !is_container(container) {
            return Err(invalid("a container is 3 to 63 lowercase letters, digits and dashes"));
        }
        if !prefix.is_empty() && StorePath::new(prefix).is_err() {
            return Err(invalid("its folder may hold only letters, digits and . _ = $ -"));
        }
        let (container, prefix) = (container.to_owned(), prefix.to_owned());
        let retries = RetrySettings::default();
        Ok(Self { account, container, prefix, endpoint, credential, retries })
    }
}

/// The account of an endpoint, and the endpoint without a slash at its end.
fn check_endpoint(text: &str) -> Result<(String, String), AdlsError> {
    let url = Url::parse(text).map_err(|_may_show_it| invalid("its endpoint is no URL"))?;
    let host = url.host_str().ok_or_else(|| invalid("its endpoint has no host"))?;
    let in_path = url.path().trim_matches('/');
    let account = match account_of_host(host) {
        Some(account) if in_path.is_empty() => account,
        _ => in_path,
    };
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !(3..=24).contains(&account.len()) || !account.bytes().all(letters) {
        return Err(invalid("an account is 3 to 24 lowercase letters and digits"));
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) || account == EMULATOR_ACCOUNT => {}
        "http" => return Err(AdlsError::PlainHttp { host: host.to_owned() }),
        _ => return Err(invalid("its endpoint is not https")),
    }
    Ok((account.to_owned(), text.trim_end_matches('/').to_owned()))
}

/// `ACCOUNT.blob.core.windows.net` and the like, also of other clouds; anything else has the
/// account in its path.
fn account_of_host(host: &str) -> Option<&str> {
    let (account, service) = host.split_once('.')?;
    let known = service.starts_with("blob.") || service.starts_with("dfs.");
    known.then_some(account)
}

/// The blob service does what the other does not: it takes conditions and metadata in one request.
fn blob_host(host: &str) -> String {
    host.replacen(".dfs.", ".blob.", 1)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

fn is_container(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let dashes = name.starts_with('-') || name.ends_with('-') || name.contains("--");
    (3..=63).contains(&name.len()) && name.bytes().all(allowed) && !dashes
}

/// The endpoint and the right of a connection string.
fn read_connection_string(text: &str) -> Result<(String, AdlsCredential), AdlsError> {
    let refused = |reason| AdlsError::ConnectionString { reason };
    let pairs = text.split(';').map(str::trim).filter(|pair| !pair.is_empty());
    let pairs: Option<Vec<(&str, &str)>> = pairs.map(|pair| pair.split_once('=')).collect();
    let pairs = pairs.ok_or_else(|| refused("a part is not NAME=VALUE"))?;
    let value = |wanted: &str| {
        pairs.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value)
    };
    if value("UseDevelopmentStorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        let credential = AdlsCredential::AccountKey(Secret::new(EMULATOR_KEY));
        return Ok((EMULATOR_ENDPOINT.to_owned(), credential));
    }
    let credential = match (value("AccountKey"), value("SharedAccessSignature")) {
        (Some(key), _) => AdlsCredential::AccountKey(Secret::new(key)),
        (None, Some(signature)) => AdlsCredential::SharedAccessSignature(Secret::new(signature)),
        (None, None) => {
            return Err(refused("it has neither AccountKey nor SharedAccessSignature"));
        }
    };
    if let Some(endpoint) = value("BlobEndpoint") {
        return Ok((endpoint.trim_end_matches('/').to_owned(), credential));
    }
    let account = value("AccountName").ok_or_else(|| refused("it has no AccountName"))?;
    let scheme = value("DefaultEndpointsProtocol").unwrap_or("https");
    let suffix = value("EndpointSuffix").unwrap_or("core.windows.net");
    Ok((format!("{scheme}://{account}.blob.{suffix}"), credential))
}

fn invalid(reason: &'static str) -> AdlsError {
    AdlsError::Location { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AdlsCredential {
        AdlsCredential::AccountKey(Secret::new("a2V5"))
    }

    fn parts(settings: &AdlsSettings) -> [&str; 4] {
        [settings.endpoint(), settings.account(), settings.container(), settings.prefix()]
    }

    #[test]
    fn locations_are_read() {
        let real = "https://acme1.blob.core.windows.net";
        let cases = [
            ("https://acme1.blob.core.windows.net/lake", [real, "acme1", "lake", ""]),
            ("https://acme1.dfs.core.windows.net/lake/a/b/", [real, "acme1", "lake", "a/b"]),
            ("abfss://lake@acme1.dfs.core.windows.net/a", [real, "acme1", "lake", "a"]),
            ("abfss://lake@acme1.dfs.core.windows.net", [real, "acme1", "lake", ""]),
            (
                "https://acme1.blob.core.chinacloudapi.cn/lake",
                ["https://acme1.blob.core.chinacloudapi.cn", "acme1", "lake", ""],
            ),
            (
                "http://127.0.0.1:10000/devstoreaccount1/lake/a",
                ["http://127.0.0.1:10000/devstoreaccount1", "devstoreaccount1", "lake", "a"],
            ),
            (
                "http://azurite:10000/devstoreaccount1/lake",
                ["http://azurite:10000/devstoreaccount1", "devstoreaccount1", "lake", ""],
            ),
            ("http://[::1]:10000/acme1/lake", ["http://[::1]:10000/acme1", "acme1", "lake", ""]),
        ];
        for (location, expected) in cases {
            let settings = AdlsSettings::new(location, key()).unwrap();
            assert_eq!(parts(&settings), expected, "{location}");
            let again = AdlsSettings::new(&settings.address(), key()).unwrap();
            assert_eq!(parts(&again), expected, "{location}");
        }
    }

    #[test]
    fn what_is_no_location_is_refused_without_repeating_it() {
        for location in [
            "",
            "lake",
            "s3://lake",
            "https://acme1.blob.core.windows.net",
            "https://acme1.blob.core.windows.net/No-Container",
            "https://acme1.blob.core.windows.net/lake?sv=1&sig=topsecret",
            "https://acme1.blob.core.windows.net/lake/%20",
            "https://x:topsecret@acme1.blob.core.windows.net/lake",
            "https://127.0.0.1",
            "http://127.0.0.1:10000/acme1",
            "abfss://acme1.dfs.core.windows.net/lake",
        ] {
            let error =
                AdlsSettings::new(location, key()).map(|settings| parts(&settings).concat());
            let error = error.unwrap_err().to_string();
            assert!(!error.contains("topsecret"), "{error}");
        }
        for location in ["http://acme1.blob.core.windows.net/lake", "http://10.0.0.1/acme1/lake"] {
            let error = AdlsSettings::new(location, key()).unwrap_err();
            assert!(matches!(error, AdlsError::PlainHttp { .. }), "{location}: {error}");
        }
    }

    #[test]
    fn connection_strings_are_read() {
        let cases = [
            ("UseDevelopmentStorage=true", EMULATOR_ENDPOINT),
            (
                "DefaultEndpointsProtocol=https;AccountName=acme1;AccountKey=a2V5==;EndpointSuffix=core.windows.net",
                "https://acme1.blob.core.windows.net",
            ),
            (
                "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=a2V5;\
                 BlobEndpoint=http://127.0.0.1:4000/devstoreaccount1/;",
                "http://127.0.0.1:4000/devstoreaccount1",
            ),
            (
                "BlobEndpoint=https://acme1.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x%3D",
                "https://acme1.blob.core.windows.net",
            ),
        ];
        for (text, endpoint) in cases {
            let settings = AdlsSettings::from_connection_string(text, "lake/a").unwrap();
            assert_eq!((settings.endpoint(), settings.prefix()), (endpoint, "a"), "{text}");
        }
        for text in [
            "",
            "topsecret",
            "AccountName=acme1",
            "AccountKey=topsecret",
            "AccountName=acme1;AccountKey=topsecret;DefaultEndpointsProtocol=http",
            "AccountName=acme1;AccountKey=topsecret;DefaultEndpointsProtocol=ftp",
        ] {
            let error = AdlsSettings::from_connection_string(text, "lake").unwrap_err();
            assert!(!error.to_string().contains("topsecret"), "{error}");
        }
    }

    #[test]
    fn the_environments_connection_string_comes_first() {
        let variable = |name: &str| {
            let text = "AccountName=acme1;AccountKey=a2V5";
            (name == CONNECTION_STRING).then(|| text.to_owned())
        };
        for location in ["lake/a", "abfss://lake@acme1.dfs.core.windows.net/a"] {
            let settings = AdlsSettings::from_environment(location, &variable).unwrap();
            assert_eq!(settings.credential(), &key());
            assert_eq!((settings.account(), settings.prefix()), ("acme1", "a"));
        }
        let other = "https://other.blob.core.windows.net/lake";
        let error = AdlsSettings::from_environment(other, &variable).unwrap_err();
        assert!(matches!(error, AdlsError::OtherAccount { .. }), "{error}");
        let settings = AdlsSettings::from_environment(other, &|_| None).unwrap();
        let credential = settings.credential();
        assert!(matches!(credential, AdlsCredential::ManagedIdentityOrCli { .. }));
    }
}
