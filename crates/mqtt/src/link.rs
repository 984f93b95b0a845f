//! Making a connection: socket, TLS, and the broker's consent. Does not know what the
//! connection is for, and does not try twice.

use std::error::Error;
use std::io;
use std::time::SystemTime;

use rumqttc::tokio_rustls::TlsConnector;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::bytes::BytesMut;

use crate::settings::{Endpoint, PasswordError, Passwords, Settings, SettingsError};
use crate::wire::{self, ConnAck, Decoder, Packet, WireError};

/// A stream of bytes to the broker, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that the broker has accepted.
pub(crate) struct Link {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) decoder: Decoder,
    /// What was read after the broker's consent.
    pub(crate) input: BytesMut,
    pub(crate) connack: ConnAck,
    /// When the password wants to be renewed.
    pub(crate) renew_at: Option<SystemTime>,
}

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("no password: {0}")]
    Password(#[from] PasswordError),
    #[error("cannot reach {host}:{port}")]
    Reach { host: String, port: u16, source: io::Error },
    #[error("no TLS connection to {host}:{port}; check `ca_file` and the broker's certificate")]
    Tls { host: String, port: u16, source: io::Error },
    #[error("the broker {host}:{port} did not answer within {seconds} s")]
    Silent { host: String, port: u16, seconds: u64 },
    #[error("the connection broke before the broker accepted it")]
    Broken(#[source] io::Error),
    #[error("the broker refused the connection: {0}; check user name, password and client id")]
    Refused(String),
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// An error and what caused it, as one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Wrappers such as `io::Error` repeat what they wrap.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

/// Connects, within the time that the settings allow.
pub(crate) async fn open(
    settings: &Settings,
    passwords: &dyn Passwords,
) -> Result<Link, LinkError> {
    let endpoint = Endpoint::parse(&settings.broker)?;
    let attempt = Box::pin(open_unbounded(settings, passwords, &endpoint));
    match tokio::time::timeout(settings.connect_timeout(), attempt).await {
        Ok(result) => result,
        Err(_elapsed) => {
            let Endpoint { host, port, .. } = endpoint;
            Err(LinkError::Silent { host, port, seconds: settings.connect_seconds })
        }
    }
}

async fn open_unbounded(
    settings: &Settings,
    passwords: &dyn Passwords,
    endpoint: &Endpoint,
) -> Result<Link, LinkError> {
    let mut stream = reach(settings, endpoint).await?;
    let password = passwords.password(SystemTime::now())?;
    let mut out = BytesMut::new();
    let secret = password.as_ref().map(|password| &password.secret);
    wire::write_connect(settings, secret, &mut out)?;
    stream.write_all(&out).await.map_err(LinkError::Broken)?;
    stream.flush().await.map_err(LinkError::Broken)?;
    let mut decoder = Decoder::new(settings.version, settings.packet_bytes_max);
    let mut input = BytesMut::new();
    let connack = loop {
        match decoder.next(&mut input)? {
            Some(Packet::ConnAck(connack)) => break connack,
            Some(Packet::Disconnect { reason }) => return Err(LinkError::Refused(reason)),
            Some(_) => {
                let why = "the first packet is no answer to the connection".to_owned();
                return Err(WireError::Malformed(why).into());
            }
            None => {}
        }
        if stream.read_buf(&mut input).await.map_err(LinkError::Broken)? == 0 {
            return Err(LinkError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
    };
    if let Some(reason) = connack.refusal {
        return Err(LinkError::Refused(reason));
    }
    let renew_at = password.and_then(|password| password.renew_at);
    Ok(Link { stream, decoder, input, connack, renew_at })
}

async fn reach(settings: &Settings, endpoint: &Endpoint) -> Result<Box<dyn Stream>, LinkError> {
    let Endpoint { host, port, .. } = endpoint;
    let tls = crate::tls::config(settings)?;
    let unreachable = |source| LinkError::Reach { host: host.clone(), port: *port, source };
    let socket = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
    // Acknowledgements are small and must not wait for more to come.
    socket.set_nodelay(true).map_err(unreachable)?;
    let Some(tls) = tls else { return Ok(Box::new(socket)) };
    let insecure = |source| LinkError::Tls { host: host.clone(), port: *port, source };
    let name = ServerName::try_from(host.clone())
        .map_err(|error| insecure(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let stream = TlsConnector::from(tls).connect(name, socket).await.map_err(insecure)?;
    Ok(Box::new(stream))
}
