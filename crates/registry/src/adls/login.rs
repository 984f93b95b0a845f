//! The client of a container, with the right that the settings give.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use object_store::azure::{
    AzureConfigKey, AzureCredential, AzureCredentialProvider, MicrosoftAzure,
    MicrosoftAzureBuilder, split_sas,
};
use object_store::client::ClientOptions;
use object_store::{CredentialProvider, RetryConfig};

use super::answer::AnswersAreErrors;
use super::credential::AdlsCredential;
use super::error::AdlsError;
use super::settings::AdlsSettings;

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
        AdlsCredential::AccountKey(key) => builder.with_access_key(key.reveal()),
        AdlsCredential::SharedAccessSignature(signature) => {
            let pairs = split_sas(signature.reveal());
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
            let builder =
                builder.with_client_secret_authorization(client_id, secret.reveal(), tenant_id);
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

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
