//! Where an MLflow server is and who we are to it, from the variables that MLflow's own clients read.

use std::fmt;
use std::path::PathBuf;

use url::{Host, Url};

/// An MLflow server.
#[derive(Clone, Debug)]
pub struct MlflowSettings {
    pub(super) base: Url,
    pub(super) credentials: Credentials,
    pub(super) ca_file: Option<PathBuf>,
}

/// Who asks. `Debug` shows no secret.
#[derive(Clone)]
pub(super) enum Credentials {
    Nobody,
    Token(String),
    User { name: String, password: String },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nobody => "nobody",
            Self::Token(_) => "token (secret)",
            Self::User { .. } => "user (secret)",
        })
    }
}

/// Why the variables name no server that can be used. Never shows a value that may be secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The address.
    #[error("MLFLOW_TRACKING_URI is not usable: {0}")]
    Address(&'static str),
    /// One of user and password.
    #[error("MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD go together: {0} is missing")]
    HalfUser(&'static str),
    /// Secrets would be readable on the way.
    #[error(
        "MLFLOW_TRACKING_URI is plain http to another machine, where a password or token could be \
         read on the way: use https, or no credentials"
    )]
    Plain,
    /// A secret that no header can carry.
    #[error("{0} holds what no HTTP header can carry: set it without line breaks")]
    Secret(&'static str),
}

impl MlflowSettings {
    /// The server that `MLFLOW_TRACKING_URI` names, or nothing where it is not set. `variable` reads
    /// the environment.
    ///
    /// `MLFLOW_TRACKING_TOKEN` is sent as a bearer token, else `MLFLOW_TRACKING_USERNAME` and
    /// `MLFLOW_TRACKING_PASSWORD` as basic authentication; `MLFLOW_TRACKING_SERVER_CERT_PATH` names
    /// certificates to trust. An address that begins with `azureml://`, as Azure ML gives it, is
    /// taken as `https://`.
    pub fn from_environment(
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, SettingsError> {
        let variable = |name: &str| {
            variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let Some(address) = variable("MLFLOW_TRACKING_URI") else { return Ok(None) };
        let base = address_of(&address)?;
        let token = variable("MLFLOW_TRACKING_TOKEN");
        let user = variable("MLFLOW_TRACKING_USERNAME");
        let password = variable("MLFLOW_TRACKING_PASSWORD");
        let credentials = match (token, user, password) {
            (Some(token), ..) => Credentials::Token(sendable("MLFLOW_TRACKING_TOKEN", token)?),
            (None, Some(name), Some(password)) => Credentials::User { name, password },
            (None, Some(_), None) => {
                return Err(SettingsError::HalfUser("MLFLOW_TRACKING_PASSWORD"));
            }
            (None, None, Some(_)) => {
                return Err(SettingsError::HalfUser("MLFLOW_TRACKING_USERNAME"));
            }
            (None, None, None) => Credentials::Nobody,
        };
        let is_readable = base.scheme() == "http" && !is_loopback(&base);
        if is_readable && !matches!(credentials, Credentials::Nobody) {
            return Err(SettingsError::Plain);
        }
        let ca_file = variable("MLFLOW_TRACKING_SERVER_CERT_PATH").map(PathBuf::from);
        Ok(Some(Self { base, credentials, ca_file }))
    }
}

fn sendable(name: &'static str, secret: String) -> Result<String, SettingsError> {
    if secret.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) {
        return Ok(secret);
    }
    Err(SettingsError::Secret(name))
}

fn address_of(text: &str) -> Result<Url, SettingsError> {
    let text = match text.strip_prefix("azureml://") {
        Some(rest) => format!("https://{rest}"),
        None => text.to_owned(),
    };
    let url = Url::parse(&text).map_err(|_it_may_hold_a_password| {
        SettingsError::Address("it is no address; write http://127.0.0.1:5000 or https://...")
    })?;
    let problem = match () {
        () if !matches!(url.scheme(), "http" | "https") => Some(
            "it is neither http nor https, and files of MLflow are written by its server alone: \
             start `mlflow server` and give its address, or unset the variable to use the \
             registry's folder experiments/",
        ),
        () if url.host().is_none() => Some("it has no host"),
        () if !url.username().is_empty() || url.password().is_some() => Some(
            "it holds a user or password: set MLFLOW_TRACKING_USERNAME and \
             MLFLOW_TRACKING_PASSWORD",
        ),
        () if url.query().is_some() || url.fragment().is_some() => {
            Some("it has a query or a fragment")
        }
        () => None,
    };
    problem.map_or(Ok(url), |problem| Err(SettingsError::Address(problem)))
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Option<MlflowSettings>, SettingsError> {
        MlflowSettings::from_environment(&|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_variables_of_mlflow_are_read() {
        assert!(settings(&[]).unwrap().is_none());
        assert!(settings(&[("MLFLOW_TRACKING_URI", " ")]).unwrap().is_none());
        let azure = settings(&[
            ("MLFLOW_TRACKING_URI", "azureml://eu.api.azureml.ms/mlflow/v1.0/subscriptions/1"),
            ("MLFLOW_TRACKING_TOKEN", "hush"),
        ])
        .unwrap()
        .unwrap();
        assert_eq!(azure.base.scheme(), "https");
        assert!(matches!(&azure.credentials, Credentials::Token(token) if token == "hush"));
        assert!(!format!("{azure:?}").contains("hush"));
        let user = [
            ("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000"),
            ("MLFLOW_TRACKING_USERNAME", "me"),
            ("MLFLOW_TRACKING_PASSWORD", "hush"),
        ];
        let user = settings(&user).unwrap().unwrap();
        assert!(matches!(user.credentials, Credentials::User { .. }));
        assert!(settings(&[("MLFLOW_TRACKING_URI", "http://mlflow.internal:5000")]).is_ok());
    }

    #[test]
    fn what_cannot_be_meant_is_told_without_secrets() {
        let cases: [(&[(&str, &str)], &str); 8] = [
            (&[("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")], "mlflow server"),
            (&[("MLFLOW_TRACKING_URI", "./mlruns")], "no address"),
            (&[("MLFLOW_TRACKING_URI", "https://me:hush@mlflow")], "user or password"),
            (&[("MLFLOW_TRACKING_URI", "https://mlflow?key=hush")], "query"),
            (
                &[("MLFLOW_TRACKING_URI", "http://mlflow"), ("MLFLOW_TRACKING_TOKEN", "hush")],
                "plain http",
            ),
            (
                &[("MLFLOW_TRACKING_URI", "https://mlflow"), ("MLFLOW_TRACKING_USERNAME", "me")],
                "MLFLOW_TRACKING_PASSWORD is missing",
            ),
            (
                &[("MLFLOW_TRACKING_URI", "https://mlflow"), ("MLFLOW_TRACKING_PASSWORD", "hush")],
                "MLFLOW_TRACKING_USERNAME is missing",
            ),
            (
                &[("MLFLOW_TRACKING_URI", "https://mlflow"), ("MLFLOW_TRACKING_TOKEN", "hu\nsh")],
                "MLFLOW_TRACKING_TOKEN",
            ),
        ];
        for (pairs, told) in cases {
            let error = settings(pairs).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("hush"), "{error}");
        }
    }
}
