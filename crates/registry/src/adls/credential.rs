//! By what right a container is used.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
}
