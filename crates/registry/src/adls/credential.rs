//! By what right a container is used.

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use object_store::azure::{
    AzureConfigKey, AzureCredential, AzureCredentialProvider, MicrosoftAzure,
    MicrosoftAzureBuilder, split_sas,
};
use object_store::client::ClientOptions;
use object_store::{CredentialProvider, RetryConfig};

use super::answer::AnswersAreErrors;
use super::{AdlsError, AdlsSettings};

/// A text that is never shown, unless it is asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be passed on to whom it is meant for, and to nobody's eyes.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// A right to use a container.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdlsCredential {
    /// The key of the whole account, in base64.
    AccountKey(Secret),
    /// A shared access signature, as the portal gives it. It must allow to read, create, write,
    /// delete and list.
    SharedAccessSignature(Secret),
    /// Workload identity, as in Kubernetes.
    WorkloadIdentity {
        /// The application.
        client_id: String,
        /// The directory.
        tenant_id: String,
        /// The file with the token of the cluster, read whenever one is needed.
        token_file: String,
        /// Who gives out tokens, if not the public cloud.
        authority_host: Option<String>,
    },
    /// A service principal with a password.
    ClientSecret {
        /// The application.
        client_id: String,
        /// The directory.
        tenant_id: String,
        /// Its password.
        secret: Secret,
        /// Who gives out tokens, if not the public cloud.
        authority_host: Option<String>,
    },
    /// The identity of the machine or service that this runs on. A service that has its own
    /// endpoint for it also sets `IDENTITY_HEADER`, which is read when a token is needed.
    ManagedIdentity {
        /// Which of several; none for the system's own.
        client_id: Option<String>,
        /// Where tokens are to be had; none for the metadata service of virtual machines.
        endpoint: Option<String>,
    },
    /// Whoever is logged in by `az login`. Each new token blocks the thread that asked for it for
    /// about a second.
    AzureCli,
    /// Managed identity where there is one, else the Azure CLI.
    ManagedIdentityOrCli {
        /// As above.
        client_id: Option<String>,
        /// As above.
        endpoint: Option<String>,
    },
}

impl AdlsCredential {
    /// The right that the environment gives, by the variables that Azure's own tools read: first
    /// `AZURE_STORAGE_KEY` and `AZURE_STORAGE_SAS_TOKEN`, which nobody sets without meaning it;
    /// then workload identity (`AZURE_CLIENT_ID`, `AZURE_TENANT_ID`,
    /// `AZURE_FEDERATED_TOKEN_FILE`), a service principal (`AZURE_CLIENT_SECRET` instead of the
    /// file), managed identity (`IDENTITY_ENDPOINT`, `AZURE_CLIENT_ID`), and `az login`.
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(key) = set("AZURE_STORAGE_KEY") {
            return Self::AccountKey(Secret(key));
        }
        if let Some(signature) = set("AZURE_STORAGE_SAS_TOKEN") {
            return Self::SharedAccessSignature(Secret(signature));
        }
        let authority_host = set("AZURE_AUTHORITY_HOST");
        let client_id = set("AZURE_CLIENT_ID");
        if let (Some(client_id), Some(tenant_id)) = (client_id.clone(), set("AZURE_TENANT_ID")) {
            if let Some(token_file) = set("AZURE_FEDERATED_TOKEN_FILE") {
                return Self::WorkloadIdentity { client_id, tenant_id, token_file, authority_host };
            }
            if let Some(secret) = set("AZURE_CLIENT_SECRET").map(Secret) {
                return Self::ClientSecret { client_id, tenant_id, secret, authority_host };
            }
        }
        let endpoint = set("IDENTITY_ENDPOINT");
        if endpoint.is_some() {
            return Self::ManagedIdentity { client_id, endpoint };
        }
        Self::ManagedIdentityOrCli { client_id, endpoint }
    }
}

/// The client of a container.
pub(super) fn client(
    settings: &AdlsSettings,
    options: &ClientOptions,
) -> Result<MicrosoftAzure, AdlsError> {
    let client_failed = |source| AdlsError::Client { source: Box::new(source) };
    let build = |credential: &AdlsCredential| -> Result<MicrosoftAzure, AdlsError> {
        let builder = builder(settings, options);
        authorized(builder, credential)?.build().map_err(|error| match credential {
            // The error itself would tell which character of the key is wrong.
            AdlsCredential::AccountKey(_) => AdlsError::Key,
            _ => client_failed(error),
        })
    };
    let AdlsCredential::ManagedIdentityOrCli { client_id, endpoint } = settings.credential() else {
        return build(settings.credential());
    };
    let (client_id, endpoint) = (client_id.clone(), endpoint.clone());
    let machine = build(&AdlsCredential::ManagedIdentity { client_id, endpoint })?;
    let developer = build(&AdlsCredential::AzureCli)?;
    let either = Either::new(machine.credentials().clone(), developer.credentials().clone());
    let builder = builder(settings, options).with_credentials(Arc::new(either));
    builder.build().map_err(client_failed)
}

fn builder(settings: &AdlsSettings, options: &ClientOptions) -> MicrosoftAzureBuilder {
    MicrosoftAzureBuilder::new()
        .with_account(settings.account())
        .with_container_name(settings.container())
        .with_endpoint(settings.endpoint().to_owned())
        .with_client_options(options.clone())
        .with_http_connector(AnswersAreErrors)
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
}

fn authorized(
    builder: MicrosoftAzureBuilder,
    credential: &AdlsCredential,
) -> Result<MicrosoftAzureBuilder, AdlsError> {
    let builder = builder.with_credential_type(match credential {
        AdlsCredential::AccountKey(_) => "access_key",
        AdlsCredential::SharedAccessSignature(_) => "sas_token",
        AdlsCredential::WorkloadIdentity { .. } => "workload_identity",
        AdlsCredential::ClientSecret { .. } => "client_secret",
        AdlsCredential::ManagedIdentity { .. } => "managed_identity",
        AdlsCredential::AzureCli | AdlsCredential::ManagedIdentityOrCli { .. } => "azure_cli",
    });
    let option = |builder: MicrosoftAzureBuilder, key, value: &Option<String>| match value {
        Some(value) => builder.with_config(key, value),
        None => builder,
    };
    Ok(match credential {
        AdlsCredential::AccountKey(Secret(key)) => builder.with_access_key(key),
        AdlsCredential::SharedAccessSignature(Secret(signature)) => {
            let pairs = split_sas(signature);
            builder.with_sas_authorization(pairs.map_err(|_may_show_it| AdlsError::Signature)?)
        }
        AdlsCredential::WorkloadIdentity { client_id, tenant_id, token_file, authority_host } => {
            let builder = builder
                .with_client_id(client_id)
                .with_tenant_id(tenant_id)
                .with_federated_token_file(token_file);
            option(builder, AzureConfigKey::AuthorityHost, authority_host)
        }
        AdlsCredential::ClientSecret { client_id, tenant_id, secret, authority_host } => {
            let builder = builder.with_client_secret_authorization(client_id, &secret.0, tenant_id);
            option(builder, AzureConfigKey::AuthorityHost, authority_host)
        }
        AdlsCredential::ManagedIdentity { client_id, endpoint } => {
            let builder = option(builder, AzureConfigKey::ClientId, client_id);
            option(builder, AzureConfigKey::MsiEndpoint, endpoint)
        }
        AdlsCredential::AzureCli | AdlsCredential::ManagedIdentityOrCli { .. } => builder,
    })
}

/// Asks the machine first, and stays with whoever was the first to give a credential: without an
/// identity, each question to the metadata service would cost the second that connecting may take.
#[derive(Debug)]
struct Either {
    machine: AzureCredentialProvider,
    developer: AzureCredentialProvider,
    chosen: OnceLock<AzureCredentialProvider>,
}

impl Either {
    fn new(machine: AzureCredentialProvider, developer: AzureCredentialProvider) -> Self {
        Self { machine, developer, chosen: OnceLock::new() }
    }
}

/// Neither a machine's identity nor a developer's login.
#[derive(Debug, thiserror::Error)]
#[error("no managed identity ({machine}) and no login of the Azure CLI ({developer})")]
struct NoCredential {
    machine: object_store::Error,
    developer: object_store::Error,
}

#[async_trait]
impl CredentialProvider for Either {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        if let Some(chosen) = self.chosen.get() {
            return chosen.get_credential().await;
        }
        let machine = match self.machine.get_credential().await {
            Ok(credential) => {
                self.chosen.get_or_init(|| self.machine.clone());
                return Ok(credential);
            }
            Err(error) => error,
        };
        match self.developer.get_credential().await {
            Ok(credential) => {
                self.chosen.get_or_init(|| self.developer.clone());
                Ok(credential)
            }
            Err(developer) => Err(object_store::Error::Generic {
                store: "MicrosoftAzure",
                source: Box::new(NoCredential { machine, developer }),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn from(variables: &[(&str, &str)]) -> AdlsCredential {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        AdlsCredential::from_environment(&|name| variables.get(name).map(ToString::to_string))
    }

    #[test]
    fn the_environment_decides() {
        let workload = [
            ("AZURE_CLIENT_ID", "app"),
            ("AZURE_TENANT_ID", "directory"),
            ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
        ];
        let found = from(&workload);
        assert!(matches!(found, AdlsCredential::WorkloadIdentity { .. }), "{found:?}");
        let found = from(&[workload[0], workload[1], ("AZURE_CLIENT_SECRET", "x")]);
        assert!(matches!(found, AdlsCredential::ClientSecret { .. }), "{found:?}");
        let found = from(&[workload[0], ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token")]);
        assert!(matches!(found, AdlsCredential::ManagedIdentity { .. }), "{found:?}");
        let found = from(&[workload[0], ("AZURE_STORAGE_KEY", "x")]);
        assert!(matches!(found, AdlsCredential::AccountKey(_)), "{found:?}");
        let found = from(&[("AZURE_STORAGE_KEY", ""), ("AZURE_STORAGE_SAS_TOKEN", "sig=x")]);
        assert!(matches!(found, AdlsCredential::SharedAccessSignature(_)), "{found:?}");
        let found = from(&[]);
        let expected = AdlsCredential::ManagedIdentityOrCli { client_id: None, endpoint: None };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let found = from(&[("AZURE_STORAGE_KEY", "topsecret")]);
        assert!(!format!("{found:?}").contains("topsecret"));
    }

    /// Gives a credential from the `from`-th question on.
    #[derive(Debug)]
    struct Giver {
        from: usize,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl CredentialProvider for Giver {
        type Credential = AzureCredential;

        async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
            if self.asked.fetch_add(1, Ordering::Relaxed) < self.from {
                return Err(object_store::Error::NotImplemented {
                    operation: String::new(),
                    implementer: String::new(),
                });
            }
            Ok(Arc::new(AzureCredential::BearerToken(String::new())))
        }
    }

    #[tokio::test]
    async fn whoever_gave_a_credential_first_is_asked_again() {
        let giver = |from| Arc::new(Giver { from, asked: AtomicUsize::new(0) });
        let (machine, developer) = (giver(1), giver(1));
        let either = Either::new(machine.clone(), developer.clone());
        let error = either.get_credential().await.unwrap_err().to_string();
        assert!(error.contains("managed identity") && error.contains("Azure CLI"), "{error}");
        for _ in 0..3 {
            either.get_credential().await.unwrap();
        }
        let asked = |giver: &Giver| giver.asked.load(Ordering::Relaxed);
        assert_eq!((asked(&machine), asked(&developer)), (4, 1));

        let (machine, developer) = (giver(9), giver(0));
        let either = Either::new(machine.clone(), developer.clone());
        for _ in 0..3 {
            either.get_credential().await.unwrap();
        }
        assert_eq!((asked(&machine), asked(&developer)), (1, 3));
    }
}
