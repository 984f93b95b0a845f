//! The TLS configuration of a connection, from the files that the settings name. It is made anew
//! for each connection, so that renewed certificates are picked up. Knows no socket. Settings are
//! checked here as a whole, since this is what they come to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::settings::{Endpoint, Settings, SettingsError};

/// Where Linux distributions keep the certificates that the system trusts. The variable
/// `SSL_CERT_FILE` goes before them, as it does for OpenSSL.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl Settings {
    /// Checks each setting, and that the files named are there and can be used.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.check_values()?;
        self.check_secrets()?;
        config(self).map(drop)
    }
}

/// The configuration for a broker with TLS, or none for one without.
pub(crate) fn config(settings: &Settings) -> Result<Option<Arc<ClientConfig>>, SettingsError> {
    if !Endpoint::parse(&settings.broker)?.tls {
        return reject_files(settings).map(|()| None);
    }
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| SettingsError::new("broker", error.to_string()))?
            .with_root_certificates(roots(settings)?);
    let config = match client_files(settings)? {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
            SettingsError::new("client_key_file", format!("does not fit its certificate: {error}"))
        })?,
    };
    Ok(Some(Arc::new(config)))
}

/// Certificates without TLS would be ignored in silence.
fn reject_files(settings: &Settings) -> Result<(), SettingsError> {
    let files = [
        ("ca_file", &settings.ca_file),
        ("client_certificate_file", &settings.client_certificate_file),
        ("client_key_file", &settings.client_key_file),
    ];
    match files.into_iter().find(|(_, file)| file.is_some()) {
        Some((key, _)) => {
            Err(SettingsError::new(key, "has no use without TLS; write the broker as mqtts://"))
        }
        None => Ok(()),
    }
}

fn roots(settings: &Settings) -> Result<RootCertStore, SettingsError> {
    let path = match &settings.ca_file {
        Some(path) => path.clone(),
        None => system_roots()?,
    };
    let mut roots = RootCertStore::empty();
    // A system's store may hold a certificate that this library cannot read; others still count.
    let (good, _bad) = roots.add_parsable_certificates(certificates("ca_file", &path)?);
    if good == 0 {
        let problem = format!("{} holds no certificate (PEM) that can be used", path.display());
        return Err(SettingsError::new("ca_file", problem));
    }
    Ok(roots)
}

fn system_roots() -> Result<PathBuf, SettingsError> {
    if let Some(path) = std::env::var_os("SSL_CERT_FILE") {
        return Ok(path.into());
    }
    SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
        let problem = "is not given, and the system has no certificates; install ca-certificates";
        SettingsError::new("ca_file", problem)
    })
}

type ClientFiles = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_files(settings: &Settings) -> Result<Option<ClientFiles>, SettingsError> {
    let (certificate, key) = match (&settings.client_certificate_file, &settings.client_key_file) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => {
            let problem = "is missing; `client_certificate_file` needs its key";
            return Err(SettingsError::new("client_key_file", problem));
        }
        (None, Some(_)) => {
            let problem = "is missing; `client_key_file` needs its certificate";
            return Err(SettingsError::new("client_certificate_file", problem));
        }
    };
    let chain = certificates("client_certificate_file", certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        let problem = format!("cannot read a key (PEM) from {}: {error}", key.display());
        SettingsError::new("client_key_file", problem)
    })?;
    Ok(Some((chain, key)))
}

fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let wrong = |error: rustls::pki_types::pem::Error| {
        SettingsError::new(key, format!("cannot read {}: {error}", path.display()))
    };
    CertificateDer::pem_file_iter(path).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)
}
