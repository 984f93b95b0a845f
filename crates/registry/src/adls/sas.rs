//! Shared access signatures: rights on a registry for those who have no identity of their own.
//!
//! Two keys can sign them: that of the account, as emulators have it, and a user delegation key,
//! which Entra ID lends to whoever holds the role Storage Blob Delegator, for seven days at most.
//! The texts that are signed follow
//! <https://learn.microsoft.com/rest/api/storageservices/create-service-sas> and
//! <https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas>.
//!
//! Knows no clock, and does not know to whom rights are given.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::Mutex;
use twinge_contract::time::{TimeFormat, to_rfc3339};

use super::answer::{Trouble, element};
use super::{AdlsCredential, AdlsError, AdlsSettings, Container, Secret};
use crate::{StoreError, StorePath};

/// The service version whose text is signed.
const VERSION: &str = "2022-11-02";
/// Clocks of hosts and of the service differ by less, which Microsoft's words on best practices
/// advise to allow for.
const SKEW_MS: i64 = 15 * MINUTE_MS;
/// How much sooner than wanted signatures may end, so that a delegation key serves many of them.
const SLACK_MS: i64 = 60 * MINUTE_MS;
const MINUTE_MS: i64 = 60_000;

/// The longest life of a shared access signature, in milliseconds: a delegation key has no more.
pub const SAS_LIFETIME_MS_MAX: i64 = 7 * 24 * 60 * MINUTE_MS;

/// Makes shared access signatures of a registry's container, or of its folder.
#[derive(Debug)]
pub struct SasIssuer {
    place: Place,
    key: IssuingKey,
}

/// What a signature allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SasGrant<'a> {
    /// To read and list the whole registry.
    Read,
    /// To create and overwrite one object; neither to read it nor to delete it.
    Write(&'a StorePath),
}

/// Signatures that begin and end together.
#[derive(Debug)]
pub struct SasPeriod<'a> {
    place: &'a Place,
    key: SigningWith,
    start: String,
    expiry: String,
    expires_ms: i64,
}

/// Why no signature can be made now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SasError {
    /// The service lends no key.
    #[error(
        "get a user delegation key of account {account}: give this program's identity the role \
         Storage Blob Delegator on the account"
    )]
    DelegationKey {
        /// The account.
        account: String,
        /// What the service says.
        #[source]
        source: StoreError,
    },
    /// What the service lends is no key.
    #[error("read the user delegation key of account {account}: {reason}; try again")]
    MalformedKey {
        /// The account.
        account: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// What signatures are for.
#[derive(Clone, Debug)]
struct Place {
    account: String,
    container: String,
    /// Without slashes at its ends.
    prefix: String,
    address: String,
    protocols: &'static str,
}

#[derive(Debug)]
enum IssuingKey {
    Account(KeyBytes),
    /// Boxed for its size.
    Delegated {
        container: Box<Container>,
        latest: Mutex<Option<DelegationKey>>,
    },
}

#[derive(Clone, Debug)]
enum SigningWith {
    Account(KeyBytes),
    Delegated(DelegationKey),
}

#[derive(Clone)]
struct KeyBytes(Vec<u8>);

/// What the service says of a key that it lends, by the names of its answer.
#[derive(Clone, Debug)]
struct DelegationKey {
    object_id: String,
    tenant_id: String,
    start: String,
    expiry: String,
    expires_ms: i64,
    service: String,
    version: String,
    key: KeyBytes,
}

impl SasIssuer {
    /// Makes an issuer of signatures for the registry at `settings`, by the rights in there: the
    /// account's key, or an identity. Nothing is sent yet.
    ///
    /// A registry in a folder needs an account with a hierarchical namespace, since the right to a
    /// folder (`sr=d`) is known there only; whether this one has it is `hierarchical`.
    pub fn open(settings: &AdlsSettings, hierarchical: bool) -> Result<Self, AdlsError> {
        if !settings.prefix().is_empty() && !hierarchical {
            return Err(AdlsError::FlatFolder { folder: settings.prefix().to_owned() });
        }
        let key = match settings.credential() {
            AdlsCredential::AccountKey(secret) => {
                let bytes = BASE64_STANDARD.decode(secret.reveal());
                IssuingKey::Account(KeyBytes(bytes.map_err(|_would_show_it| AdlsError::Key)?))
            }
            AdlsCredential::SharedAccessSignature(_) => return Err(AdlsError::CannotIssue),
            _ => {
                let container = Box::new(Container::open(settings)?);
                IssuingKey::Delegated { container, latest: Mutex::default() }
            }
        };
        let place = Place {
            account: settings.account().to_owned(),
            container: settings.container().to_owned(),
            prefix: settings.prefix().to_owned(),
            address: settings.address(),
            protocols: if settings.is_plain_http() { "https,http" } else { "https" },
        };
        Ok(Self { place, key })
    }

    /// The address of the registry, without any right.
    pub fn address(&self) -> &str {
        &self.place.address
    }

    /// Signatures that hold from a little before `now_ms` for about `lifetime_ms`, both in
    /// milliseconds. They may end up to an hour sooner, and at most seven days after they were
    /// made, since a delegation key lasts no longer; it is asked for as seldom as that allows.
    pub async fn period(&self, now_ms: i64, lifetime_ms: i64) -> Result<SasPeriod<'_>, SasError> {
        let wanted_ms = now_ms.saturating_add(lifetime_ms.min(SAS_LIFETIME_MS_MAX - SKEW_MS));
        let (key, expires_ms) = match &self.key {
            IssuingKey::Account(key) => (SigningWith::Account(key.clone()), wanted_ms),
            IssuingKey::Delegated { container, latest } => {
                let key = delegation_key(container, latest, now_ms, wanted_ms).await?;
                let expires_ms = wanted_ms.min(key.expires_ms);
                (SigningWith::Delegated(key), expires_ms)
            }
        };
        let expires_ms = whole_seconds(expires_ms);
        let start = time(now_ms.saturating_sub(SKEW_MS));
        Ok(SasPeriod { place: &self.place, key, start, expiry: time(expires_ms), expires_ms })
    }
}

impl SasPeriod<'_> {
    /// When the signatures end, in milliseconds since 1970.
    pub fn expires_ms(&self) -> i64 {
        self.expires_ms
    }

    /// A signature, as the query of a URL.
    pub fn sign(&self, grant: SasGrant<'_>) -> Secret {
        let Place { account, container, prefix, protocols, .. } = self.place;
        let within = |path: &str| match (prefix.as_str(), path) {
            ("", "") => format!("/blob/{account}/{container}"),
            ("", path) | (path, "") => format!("/blob/{account}/{container}/{path}"),
            (prefix, path) => format!("/blob/{account}/{container}/{prefix}/{path}"),
        };
        let (permissions, resource, canonical) = match grant {
            SasGrant::Read if prefix.is_empty() => ("rl", "c", within("")),
            SasGrant::Read => ("rl", "d", within("")),
            SasGrant::Write(path) => ("cw", "b", within(path.as_str())),
        };
        let depth = match resource {
            "d" => prefix.split('/').count().to_string(),
            _ => String::new(),
        };
        let (start, expiry) = (self.start.as_str(), self.expiry.as_str());
        let [named, signed_by] = self.key.words();
        let text = [&[permissions, start, expiry, &canonical], &signed_by[..]].concat();
        // No address, no snapshot, no encryption scope, and none of the five response headers.
        let rest = ["", protocols, VERSION, resource, "", "", "", "", "", "", ""];
        let text = [&text[..], &rest].concat().join("\n");
        let signature = BASE64_STANDARD.encode(self.key.sign(&text));
        let base = [
            ("st", start),
            ("se", expiry),
            ("sp", permissions),
            ("spr", protocols),
            ("sv", VERSION),
            ("sr", resource),
            ("sdd", &depth),
        ];
        let names = ["skoid", "sktid", "skt", "ske", "sks", "skv"];
        let key = names.into_iter().zip(named);
        Secret::new(query(base.into_iter().chain(key).chain([("sig", signature.as_str())])))
    }
}

impl SigningWith {
    /// What the query tells of the key, and what the signed text holds in its place: an identifier
    /// of a stored policy, which is none here, or the delegation key and three more empty words.
    fn words(&self) -> [Vec<&str>; 2] {
        match self {
            Self::Account(_) => [vec![], vec![""]],
            Self::Delegated(key) => {
                let named = vec![
                    key.object_id.as_str(),
                    &key.tenant_id,
                    &key.start,
                    &key.expiry,
                    &key.service,
                    &key.version,
                ];
                let signed = [&named[..], &["", "", ""]].concat();
                [named, signed]
            }
        }
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        let (Self::Account(KeyBytes(key))
        | Self::Delegated(DelegationKey { key: KeyBytes(key), .. })) = self;
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }
}

impl DelegationKey {
    fn read(document: &str) -> Option<Self> {
        let word = |name| element(document, name).filter(|word| !word.is_empty());
        let expiry = word("SignedExpiry")?;
        Some(Self {
            object_id: word("SignedOid")?,
            tenant_id: word("SignedTid")?,
            start: word("SignedStart")?,
            expires_ms: TimeFormat::Rfc3339.read_text(&expiry)?,
            expiry,
            service: word("SignedService")?,
            version: word("SignedVersion")?,
            key: KeyBytes(BASE64_STANDARD.decode(word("Value")?).ok()?),
        })
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyBytes")
    }
}

/// The latest key while it covers what is wanted, else a new one; the latest again where there is
/// no new one and it has some life left.
async fn delegation_key(
    container: &Container,
    latest: &Mutex<Option<DelegationKey>>,
    now_ms: i64,
    wanted_ms: i64,
) -> Result<DelegationKey, SasError> {
    let mut latest = latest.lock().await;
    if let Some(key) = latest.as_ref().filter(|key| key.expires_ms >= wanted_ms - SLACK_MS) {
        return Ok(key.clone());
    }
    match ask_for_delegation_key(container, now_ms).await {
        Ok(key) => Ok(latest.insert(key).clone()),
        Err(error) => match latest.as_ref() {
            Some(key) if key.expires_ms > now_ms.saturating_add(SLACK_MS) => {
                tracing::warn!(%error, "no new user delegation key; the latest is used again");
                Ok(key.clone())
            }
            _ => Err(error),
        },
    }
}

/// <https://learn.microsoft.com/rest/api/storageservices/get-user-delegation-key>
async fn ask_for_delegation_key(
    container: &Container,
    now_ms: i64,
) -> Result<DelegationKey, SasError> {
    let account = container.account.clone();
    let start = time(now_ms.saturating_sub(SKEW_MS));
    // Seven days after now are refused by a service whose clock is behind.
    let expiry = time(now_ms.saturating_add(SAS_LIFETIME_MS_MAX - SKEW_MS));
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <KeyInfo><Start>{start}</Start><Expiry>{expiry}</Expiry></KeyInfo>"
    );
    let answer = container.ask_service("restype=service&comp=userdelegationkey", body).await;
    let document = answer.map_err(|trouble: Trouble| SasError::DelegationKey {
        source: trouble.into_error("ask for a user delegation key of", &account),
        account: account.clone(),
    })?;
    let malformed = |reason| SasError::MalformedKey { account: account.clone(), reason };
    let key = DelegationKey::read(&document).ok_or_else(|| malformed("it is no XML of a key"))?;
    // It would go into queries and signed texts as it is.
    let words =
        [&key.object_id, &key.tenant_id, &key.start, &key.expiry, &key.service, &key.version];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-:.".contains(&byte);
    if !words.iter().all(|word| word.bytes().all(plain)) {
        return Err(malformed("a word in it holds strange characters"));
    }
    Ok(key)
}

fn query<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.filter(|(_, value)| !value.is_empty());
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs).finish()
}

/// ISO 8601 with whole seconds, in UTC.
fn time(ms: i64) -> String {
    to_rfc3339(whole_seconds(ms))
}

fn whole_seconds(ms: i64) -> i64 {
    ms.div_euclid(1000) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "YSBrZXkgZm9yIHRlc3RzIG9ubHksIDMyIGJ5dGVzISE=";
    /// 2026-01-31T12:00:00Z and some.
    const NOW_MS: i64 = 1_769_860_800_123;

    fn settings(path: &str) -> AdlsSettings {
        let key = AdlsCredential::AccountKey(Secret::new(KEY));
        AdlsSettings::new(&format!("https://acme1.blob.core.windows.net/{path}"), key).unwrap()
    }

    fn delegated() -> SigningWith {
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><UserDelegationKey>\
             <SignedOid>11111111-2222-3333-4444-555555555555</SignedOid>\
             <SignedTid>66666666-7777-8888-9999-000000000000</SignedTid>\
             <SignedStart>2026-01-31T12:00:00Z</SignedStart>\
             <SignedExpiry>2026-02-07T12:00:00Z</SignedExpiry>\
             <SignedService>b</SignedService><SignedVersion>2022-11-02</SignedVersion>\
             <Value>{KEY}</Value></UserDelegationKey>"
        );
        SigningWith::Delegated(DelegationKey::read(&document).unwrap())
    }

    /// What Microsoft's own library makes of the same, `azure-storage-blob` for Python
    /// (`BlobSharedAccessSignature` with this service version), but for slashes in signatures, which
    /// it leaves as they are.
    #[tokio::test]
    async fn signatures_are_those_of_the_services_own_library() {
        let report = StorePath::new("fleet/pump/p-7.json").unwrap();
        let (read, write) = (SasGrant::Read, SasGrant::Write(&report));
        let of_key = "skoid=11111111-2222-3333-4444-555555555555\
                      &sktid=66666666-7777-8888-9999-000000000000&skt=2026-01-31T12%3A00%3A00Z\
                      &ske=2026-02-07T12%3A00%3A00Z&sks=b&skv=2022-11-02&";
        let cases = [
            ("lake", read, false, "rl", "sr=c", "liLN3u1JhjHgBaA3ImQvC8HvwU2TGpOm/50NRg/OkQI%3D"),
            (
                "lake/a/b",
                write,
                false,
                "cw",
                "sr=b",
                "De/mIM0H%2BtAGeivNZ5XDIcc1I12w4JUBxtRArLqFGx4%3D",
            ),
            (
                "lake/a/b",
                read,
                false,
                "rl",
                "sr=d&sdd=2",
                "soDYNDjZ7yrq8zOS8e%2BCB1mxODwJOdRv9a8Z/gtfIZY%3D",
            ),
            (
                "lake",
                read,
                true,
                "rl",
                "sr=c",
                "xomFVkPT/CfK4i/buCJUpCSlrzuGGiEMrz%2BzTH0%2BBVk%3D",
            ),
            (
                "lake/a/b",
                write,
                true,
                "cw",
                "sr=b",
                "sXkkllVvr%2ByTx0ffMe5M0IWkAlCGipJQVOE73PGsEuc%3D",
            ),
            (
                "lake/a/b",
                read,
                true,
                "rl",
                "sr=d&sdd=2",
                "zQTqPb9HLtWHGyYrMrn2m/%2BAhbQdzWqs%2BID2O6HK1Kg%3D",
            ),
        ];
        for (path, grant, is_delegated, permissions, resource, signature) in cases {
            let issuer = SasIssuer::open(&settings(path), true).unwrap();
            let mut period = issuer.period(NOW_MS, SAS_LIFETIME_MS_MAX).await.unwrap();
            // The library was given the whole of seven days.
            period.expiry = "2026-02-07T12:00:00Z".into();
            if is_delegated {
                period.key = delegated();
            }
            let of_key = if is_delegated { of_key } else { "" };
            let signature = signature.replace('/', "%2F");
            let expected = format!(
                "st=2026-01-31T11%3A45%3A00Z&se=2026-02-07T12%3A00%3A00Z&sp={permissions}&spr=https\
                 &sv=2022-11-02&{resource}&{of_key}sig={signature}"
            );
            assert_eq!(period.sign(grant).reveal(), expected, "{path} {grant:?} {is_delegated}");
        }
    }

    #[tokio::test]
    async fn a_period_ends_in_seven_days_at_most_and_with_its_key() {
        let issuer = SasIssuer::open(&settings("lake"), false).unwrap();
        let end = |lifetime_ms| {
            let issuer = &issuer;
            async move { issuer.period(NOW_MS, lifetime_ms).await.unwrap().expires_ms() }
        };
        assert_eq!(end(5000).await, NOW_MS + 5000 - 123);
        assert_eq!(end(i64::MAX).await, NOW_MS + SAS_LIFETIME_MS_MAX - SKEW_MS - 123);
        let SigningWith::Delegated(key) = delegated() else { unreachable!() };
        let container = Box::new(Container::open(&settings("lake")).unwrap());
        let latest = Mutex::new(Some(key));
        let lent = SasIssuer { key: IssuingKey::Delegated { container, latest }, ..issuer };
        let later_ms = NOW_MS + 40 * MINUTE_MS;
        let period = lent.period(later_ms, SAS_LIFETIME_MS_MAX).await.unwrap();
        assert_eq!(period.expiry, "2026-02-07T12:00:00Z");
    }

    #[test]
    fn what_cannot_issue_is_told_at_once_and_keys_are_not_shown() {
        let flat = SasIssuer::open(&settings("lake/a"), false).unwrap_err();
        assert!(matches!(flat, AdlsError::FlatFolder { .. }), "{flat}");
        let signed = AdlsCredential::SharedAccessSignature(Secret::new("sig=x"));
        let address = "https://acme1.blob.core.windows.net/lake";
        let settings_of = |credential| AdlsSettings::new(address, credential).unwrap();
        let refused = SasIssuer::open(&settings_of(signed), false).unwrap_err();
        assert!(matches!(refused, AdlsError::CannotIssue), "{refused}");
        let damaged = AdlsCredential::AccountKey(Secret::new("topsecret!"));
        let refused = SasIssuer::open(&settings_of(damaged), false).unwrap_err();
        assert!(matches!(refused, AdlsError::Key), "{refused}");
        let issuer = SasIssuer::open(&settings("lake"), false).unwrap();
        let shown = format!("{issuer:?} {:?}", delegated());
        assert!(!shown.contains(KEY) && !shown.contains("97, 32, 107"), "{shown}");
    }

    #[test]
    fn what_is_no_delegation_key_is_none() {
        for document in ["", "{}", "<UserDelegationKey></UserDelegationKey>", "<Value>x</Value>"] {
            assert!(DelegationKey::read(document).is_none(), "{document}");
        }
    }
}
