//! Who Twinge is to Azure when no connection string says so.

use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long a kind of identity may take to answer before the next is tried. A machine outside of
/// Azure has nobody who answers for managed identities.
const ANSWER: Duration = Duration::from_secs(10);

/// Which identity is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// Workload identity where its variables are set, then managed identity, then the developer's
    /// login.
    #[default]
    Auto,
    /// The identity of the machine, or the one that `AZURE_CLIENT_ID` names.
    Managed,
    /// The identity of a Kubernetes service account.
    Workload,
    /// Whoever is logged in with `az` or `azd`.
    Developer,
}

impl<'de> serde::Deserialize<'de> for Identity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for Identity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "managed" => Ok(Self::Managed),
            "workload" => Ok(Self::Workload),
            "developer" => Ok(Self::Developer),
            _ => Err(format!("`{text}` is no identity: use auto, managed, workload or developer")),
        }
    }
}

/// The credential of an identity.
pub(crate) fn credential(identity: &Identity) -> azure_core::Result<Arc<dyn TokenCredential>> {
    Ok(match identity {
        Identity::Managed => managed()?,
        Identity::Workload => WorkloadIdentityCredential::new(None)?,
        Identity::Developer => DeveloperToolsCredential::new(None)?,
        Identity::Auto => {
            let mut kinds: Vec<Arc<dyn TokenCredential>> = Vec::new();
            if std::env::var_os("AZURE_FEDERATED_TOKEN_FILE").is_some() {
                kinds.push(WorkloadIdentityCredential::new(None)?);
            }
            kinds.push(managed()?);
            kinds.push(DeveloperToolsCredential::new(None)?);
            Arc::new(FirstThatAnswers { kinds, found: AtomicUsize::new(usize::MAX) })
        }
    })
}

fn managed() -> azure_core::Result<Arc<dyn TokenCredential>> {
    let user_assigned_id = std::env::var("AZURE_CLIENT_ID").ok().map(UserAssignedId::ClientId);
    let options = ManagedIdentityCredentialOptions { user_assigned_id, ..Default::default() };
    Ok(ManagedIdentityCredential::new(Some(options))?)
}

/// Several kinds of identity, tried in turn; the first that gives a token is kept to.
#[derive(Debug)]
struct FirstThatAnswers {
    kinds: Vec<Arc<dyn TokenCredential>>,
    found: AtomicUsize,
}

#[async_trait::async_trait]
impl TokenCredential for FirstThatAnswers {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if let Some(found) = self.kinds.get(self.found.load(Ordering::Relaxed)) {
            return found.get_token(scopes, options).await;
        }
        let mut reasons = Vec::new();
        for (number, kind) in self.kinds.iter().enumerate() {
            match tokio::time::timeout(ANSWER, kind.get_token(scopes, options.clone())).await {
                Ok(Ok(token)) => {
                    self.found.store(number, Ordering::Relaxed);
                    return Ok(token);
                }
                Ok(Err(error)) => reasons.push(error.to_string()),
                Err(_elapsed) => reasons.push(format!("no answer within {ANSWER:?}")),
            }
        }
        Err(azure_core::Error::with_message(
            azure_core::error::ErrorKind::Credential,
            format!(
                "no identity gives a token ({}): assign a managed identity, log in with `az login`, or set EVENTHUB_CONNECTION_STRING",
                reasons.join("; ")
            ),
        ))
    }
}
