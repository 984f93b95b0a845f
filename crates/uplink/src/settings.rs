//! The `[uplink]` table of a program's settings. Holds no secrets: keys name where they are. Does
//! not know where the table comes from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use twinge_mqtt::{Version, iothub};
use twinge_platform::{Clock, SystemClock};
use url::Url;

use crate::drain::DrainSettings;
use crate::eventhubs::{Access, EventHubs, PartitionKey, read_connection_string};
use crate::http::{Format, Http};
use crate::mqtt::{Addressing, Mqtt};
use crate::request::{Poster, parse_url};
use crate::sas::percent_encode;
use crate::secret::SecretSource;
use crate::topic::TopicPattern;
use crate::uplink::{Limits, Uplink};

/// Which way to a cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Event Hubs over HTTPS.
    EventHubs,
    /// `IoT Hub` over MQTT.
    IotHub,
    /// A broker of MQTT.
    Mqtt,
    /// A server of HTTP.
    Http,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::EventHubs => "eventhubs",
            Self::IotHub => "iothub",
            Self::Mqtt => "mqtt",
            Self::Http => "http",
        }
    }
}

/// The way to a cloud. Only `kind` and what names the cloud are required; each kind has keys of its
/// own, and those of another are an error.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Which cloud, and how it is spoken with.
    pub kind: Kind,
    /// All kinds: records that may go in a second while a backlog is sent; it rises by itself to
    /// twice the rate of new ones [default: 500].
    pub entries_per_second: Option<f64>,
    /// All kinds: how long a batch that is not full waits for more, in milliseconds
    /// [default: 50].
    pub linger_ms: Option<u64>,
    /// All kinds: records in one batch at most [default: 1000].
    pub batch_entries: Option<usize>,
    /// All kinds: bytes of one batch at most; Event Hubs takes 1 MiB, in its basic tier 256 KiB
    /// [default: 900000].
    pub batch_bytes: Option<usize>,
    /// All kinds: how long an answer may take, in seconds [default: 30].
    pub timeout_seconds: Option<u64>,
    /// All kinds: the certificates (PEM) that may sign the cloud's [default: the system's].
    pub ca_file: Option<PathBuf>,

    /// Event Hubs, `IoT Hub`: the file of a connection string.
    pub connection_string_file: Option<PathBuf>,
    /// Event Hubs, `IoT Hub`: the environment variable of a connection string.
    pub connection_string_env: Option<String>,
    /// Event Hubs: the namespace, without `.servicebus.windows.net`; taken from the connection
    /// string if there is one.
    pub namespace: Option<String>,
    /// Event Hubs: another address than the namespace's, such as <http://127.0.0.1:8080>.
    pub endpoint: Option<String>,
    /// Event Hubs: the hub; taken from the connection string's `EntityPath` if that has one.
    pub hub: Option<String>,
    /// Event Hubs: the publisher of the hub whose events these are; it is then the partition key.
    pub publisher: Option<String>,
    /// Event Hubs: what chooses the partition of a record [default: `"device"`].
    pub partition_key: Option<PartitionKey>,
    /// Event Hubs: the file of a token that others renew, `SharedAccessSignature sr=...`.
    /// HTTP: the file of a bearer token.
    pub token_file: Option<PathBuf>,

    /// HTTP: the address to post to.
    pub url: Option<String>,
    /// HTTP: how a batch is written [default: `"cloudevents-batch"`].
    pub format: Option<Format>,

    /// MQTT: `mqtt://host:port` or `mqtts://host:port`.
    /// `IoT Hub`: another address than the one in the connection string.
    pub broker: Option<String>,
    /// MQTT: the topic, with the placeholders `{device}`, `{detector}`, `{entity}` and `{kind}`
    /// [default: `"twinge/{device}/verdicts/{entity}"`].
    pub topic: Option<String>,
    /// MQTT: the protocol version. A broker of 3.1.1 cannot tell that it refuses a record
    /// [default: `"5"`].
    pub version: Option<Version>,
    /// MQTT: the name of the session [default: `twinge-uplink-` and the device's name].
    pub client_id: Option<String>,
    /// MQTT: the user name, where the broker asks for one.
    pub username: Option<String>,
    /// MQTT: the file of the password.
    pub password_file: Option<PathBuf>,
    /// MQTT: the environment variable of the password.
    pub password_env: Option<String>,
    /// MQTT: whether the password may go to another machine as plain text, by `mqtt://`
    /// [default: `false`].
    pub allow_plain_password: Option<bool>,
    /// MQTT: this client's own certificates (PEM), where the broker asks for them.
    pub client_certificate_file: Option<PathBuf>,
    /// MQTT: the key (PEM) of those certificates.
    pub client_key_file: Option<PathBuf>,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`uplink.{key}` {problem}")]
pub struct SettingsError {
    /// The key at fault.
    pub key: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl SettingsError {
    fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self { key, problem: problem.into() }
    }

    fn missing(key: &'static str, what: &str) -> Self {
        Self::new(key, format!("is missing: {what}"))
    }
}

const ENTRIES_MAX: usize = 100_000;
const BATCH_BYTES_DEFAULT: usize = 900_000;
/// Event Hubs' own limit; other servers may be set up for as little.
const BATCH_BYTES_MAX: usize = 1 << 20;
const TOPIC: &str = "twinge/{device}/verdicts/{entity}";
const NAMESPACE_SUFFIX: &str = ".servicebus.windows.net";

impl Settings {
    /// Settings of a kind with nothing else said.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            entries_per_second: None,
            linger_ms: None,
            batch_entries: None,
            batch_bytes: None,
            timeout_seconds: None,
            ca_file: None,
            connection_string_file: None,
            connection_string_env: None,
            namespace: None,
            endpoint: None,
            hub: None,
            publisher: None,
            partition_key: None,
            token_file: None,
            url: None,
            format: None,
            broker: None,
            topic: None,
            version: None,
            client_id: None,
            username: None,
            password_file: None,
            password_env: None,
            allow_plain_password: None,
            client_certificate_file: None,
            client_key_file: None,
        }
    }

    /// Checks every key, and that the files it names can be read. Connects nowhere.
    ///
    /// # Errors
    /// The first key at fault.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.drain()?;
        self.open("device").map(drop)
    }

    /// How the backlog is sent.
    ///
    /// # Errors
    /// A key at fault.
    pub fn drain(&self) -> Result<DrainSettings, SettingsError> {
        let default = DrainSettings::default();
        let entries_per_second = self.entries_per_second.unwrap_or(default.entries_per_second);
        if !(0.1..=1e6).contains(&entries_per_second) {
            return Err(SettingsError::new("entries_per_second", "must be from 0.1 to 1000000"));
        }
        let linger = self.linger_ms.map_or(default.linger, Duration::from_millis);
        if linger > Duration::from_mins(1) {
            return Err(SettingsError::new("linger_ms", "must be at most 60000"));
        }
        Ok(DrainSettings { entries_per_second, linger })
    }

    /// The way to the cloud for a device of this name. Connects nowhere yet.
    ///
    /// # Errors
    /// A key at fault.
    pub fn open(&self, device: &str) -> Result<Box<dyn Uplink>, SettingsError> {
        self.open_with(device, Arc::new(SystemClock::new()))
    }

    /// As [`open`](Self::open), with another clock for the expiry of tokens.
    ///
    /// # Errors
    /// A key at fault.
    pub fn open_with(
        &self,
        device: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Box<dyn Uplink>, SettingsError> {
        self.check_kind()?;
        match self.kind {
            Kind::EventHubs => Ok(Box::new(self.event_hubs(device, clock)?)),
            Kind::Http => Ok(Box::new(self.http()?)),
            Kind::IotHub => Ok(Box::new(self.iot_hub()?)),
            Kind::Mqtt => Ok(Box::new(self.mqtt(device)?)),
        }
    }

    /// Keys of another kind are mistakes that would pass in silence.
    fn check_kind(&self) -> Result<(), SettingsError> {
        use Kind::{EventHubs, Http, IotHub, Mqtt};
        let keys: [(&'static str, bool, &[Kind]); 20] = [
            ("connection_string_file", self.connection_string_file.is_some(), &[EventHubs, IotHub]),
            ("connection_string_env", self.connection_string_env.is_some(), &[EventHubs, IotHub]),
            ("namespace", self.namespace.is_some(), &[EventHubs]),
            ("endpoint", self.endpoint.is_some(), &[EventHubs]),
            ("hub", self.hub.is_some(), &[EventHubs]),
            ("publisher", self.publisher.is_some(), &[EventHubs]),
            ("partition_key", self.partition_key.is_some(), &[EventHubs]),
            ("token_file", self.token_file.is_some(), &[EventHubs, Http]),
            ("url", self.url.is_some(), &[Http]),
            ("format", self.format.is_some(), &[Http]),
            ("broker", self.broker.is_some(), &[Mqtt, IotHub]),
            ("topic", self.topic.is_some(), &[Mqtt]),
            ("version", self.version.is_some(), &[Mqtt]),
            ("client_id", self.client_id.is_some(), &[Mqtt]),
            ("username", self.username.is_some(), &[Mqtt]),
            ("password_file", self.password_file.is_some(), &[Mqtt]),
            ("password_env", self.password_env.is_some(), &[Mqtt]),
            ("allow_plain_password", self.allow_plain_password.is_some(), &[Mqtt]),
            ("client_certificate_file", self.client_certificate_file.is_some(), &[Mqtt]),
            ("client_key_file", self.client_key_file.is_some(), &[Mqtt]),
        ];
        for (key, is_set, kinds) in keys {
            if is_set && !kinds.contains(&self.kind) {
                let kinds: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
                let problem = format!(
                    "is for the kind {}, and this uplink is of the kind {}: remove it",
                    kinds.join(" or "),
                    self.kind.name()
                );
                return Err(SettingsError::new(key, problem));
            }
        }
        Ok(())
    }

    fn limits(&self) -> Result<Limits, SettingsError> {
        let entries_max = self.batch_entries.unwrap_or(1_000);
        if !(1..=ENTRIES_MAX).contains(&entries_max) {
            let problem = format!("must be from 1 to {ENTRIES_MAX}");
            return Err(SettingsError::new("batch_entries", problem));
        }
        let bytes_max = self.batch_bytes.unwrap_or(BATCH_BYTES_DEFAULT);
        if !(1_024..=BATCH_BYTES_MAX).contains(&bytes_max) {
            let problem = format!("must be from 1024 to {BATCH_BYTES_MAX}");
            return Err(SettingsError::new("batch_bytes", problem));
        }
        Ok(Limits { entries_max, bytes_max })
    }

    fn timeout(&self) -> Result<Duration, SettingsError> {
        match self.timeout_seconds.unwrap_or(30) {
            seconds @ 1..=600 => Ok(Duration::from_secs(seconds)),
            _ => Err(SettingsError::new("timeout_seconds", "must be from 1 to 600")),
        }
    }

    fn poster(&self, url: Url) -> Result<Poster, SettingsError> {
        Poster::new(url, self.timeout()?, self.ca_file.as_deref())
            .map_err(|problem| SettingsError::new("ca_file", format!("cannot be used: {problem}")))
    }

    fn http(&self) -> Result<Http, SettingsError> {
        let url = self.url.as_deref();
        let url =
            url.ok_or_else(|| SettingsError::missing("url", "give the address to post to"))?;
        let url = parse_url(url).map_err(|problem| SettingsError::new("url", problem))?;
        let token = self.token_file.clone().map(SecretSource::File);
        if let Some(token) = &token {
            token.read().map_err(|problem| SettingsError::new("token_file", problem))?;
        }
        let (poster, limits) = (self.poster(url)?, self.limits()?);
        Ok(Http { poster, token, format: self.format.unwrap_or_default(), limits })
    }

    fn mqtt(&self, device: &str) -> Result<Mqtt, SettingsError> {
        let what = "mqtt://host:port or mqtts://host:port";
        let broker = self.broker.clone().ok_or_else(|| SettingsError::missing("broker", what))?;
        let client_id = self.client_id.clone().unwrap_or_else(|| format!("twinge-uplink-{device}"));
        let connection = twinge_mqtt::Settings {
            version: self.version.unwrap_or_default(),
            username: self.username.clone(),
            password_file: self.password_file.clone(),
            password_env: self.password_env.clone(),
            allow_plain_password: self.allow_plain_password.unwrap_or_default(),
            client_certificate_file: self.client_certificate_file.clone(),
            client_key_file: self.client_key_file.clone(),
            ..self.connection(twinge_mqtt::Settings::new(broker, client_id))?
        };
        let pattern = TopicPattern::parse(self.topic.as_deref().unwrap_or(TOPIC))
            .map_err(|problem| SettingsError::new("topic", problem))?;
        let addressing = Addressing::Topic { pattern, device: device.to_owned() };
        Ok(Mqtt::new(twinge_mqtt::connect(&connection, Vec::new())?, addressing, self.limits()?))
    }

    fn iot_hub(&self) -> Result<Mqtt, SettingsError> {
        let access = iothub::Access {
            connection_string_file: self.connection_string_file.clone(),
            connection_string_env: self.connection_string_env.clone(),
            ..iothub::Access::default()
        };
        let device = access.device()?;
        let mut connection = self.connection(device.settings())?;
        if let Some(broker) = &self.broker {
            check_private(broker)?;
            connection.broker.clone_from(broker);
        }
        let passwords = Arc::new(access.passwords(device.clone()));
        let connected = twinge_mqtt::connect_with(&connection, Vec::new(), passwords)?;
        Ok(Mqtt::new(connected, Addressing::IotHub(device), self.limits()?))
    }

    /// What both kinds of MQTT have in common.
    fn connection(
        &self,
        connection: twinge_mqtt::Settings,
    ) -> Result<twinge_mqtt::Settings, SettingsError> {
        let answer_seconds = self.timeout()?.as_secs();
        let away_seconds = connection.away_seconds.min(answer_seconds);
        let ca_file = self.ca_file.clone();
        // Nothing is subscribed to, so the broker need not remember this client for long.
        let session_expiry_seconds = 60;
        Ok(twinge_mqtt::Settings {
            answer_seconds,
            away_seconds,
            ca_file,
            session_expiry_seconds,
            ..connection
        })
    }

    fn event_hubs(&self, device: &str, clock: Arc<dyn Clock>) -> Result<EventHubs, SettingsError> {
        let secret = self.event_hubs_secret()?;
        let key = match &secret {
            EventHubsSecret::Token(_) => None,
            EventHubsSecret::ConnectionString(key, source) => Some(
                read_connection_string(source)
                    .map_err(|problem| SettingsError::new(key, problem))?,
            ),
        };
        let base = self.event_hubs_base(key.as_ref().map(|key| key.host.as_str()))?;
        let hub = self.hub.as_deref().or(key.as_ref().and_then(|key| key.hub.as_deref()));
        let hub = hub.filter(|hub| !hub.is_empty()).ok_or_else(|| {
            SettingsError::missing(
                "hub",
                "the hub to send to; the connection string has no EntityPath",
            )
        })?;
        let resource = base_with(&base, &[hub]);
        let mut path = vec![hub];
        path.extend(self.publisher.iter().flat_map(|publisher| ["publishers", publisher]));
        path.push("messages");
        let mut url = Url::parse(&base_with(&base, &path))
            .map_err(|error| SettingsError::new("hub", format!("makes no address: {error}")))?;
        url.set_query(Some("timeout=60&api-version=2014-01"));
        let access = match secret {
            EventHubsSecret::Token(source) => Access::Token { source, read: None },
            EventHubsSecret::ConnectionString(_, source) => {
                Access::Key { source, resource, clock, made: None }
            }
        };
        Ok(EventHubs {
            poster: self.poster(url)?,
            access,
            keying: self.partition_key.unwrap_or_default(),
            device: device.to_owned(),
            is_publisher: self.publisher.is_some(),
            limits: self.limits()?,
        })
    }

    fn event_hubs_secret(&self) -> Result<EventHubsSecret, SettingsError> {
        use EventHubsSecret::{ConnectionString, Token};
        let file = self
            .connection_string_file
            .as_deref()
            .map(Path::to_owned)
            .map(|path| ConnectionString("connection_string_file", SecretSource::File(path)));
        let variable = self
            .connection_string_env
            .clone()
            .map(|name| ConnectionString("connection_string_env", SecretSource::Variable(name)));
        let token = self.token_file.clone().map(|path| Token(SecretSource::File(path)));
        let mut given = [file, variable, token].into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(secret), None) => {
                if let Token(source) = &secret {
                    source.read().map_err(|problem| SettingsError::new("token_file", problem))?;
                }
                Ok(secret)
            }
            (Some(_), Some(_)) => {
                let problem = "is one of several that are given: connection_string_file, \
                               connection_string_env and token_file; keep one";
                Err(SettingsError::new("connection_string_file", problem))
            }
            (None, _) => {
                let what = "name the file of a connection string here, or its variable as \
                            connection_string_env, or the file of a token as token_file";
                Err(SettingsError::missing("connection_string_file", what))
            }
        }
    }

    /// Scheme and host, without a slash at its end.
    fn event_hubs_base(&self, host: Option<&str>) -> Result<String, SettingsError> {
        let (key, base) = match (&self.endpoint, &self.namespace, host) {
            (Some(endpoint), _, _) => ("endpoint", endpoint.trim_end_matches('/').to_owned()),
            (None, Some(namespace), _) => {
                let name = namespace.strip_suffix(NAMESPACE_SUFFIX).unwrap_or(namespace);
                ("namespace", format!("https://{name}{NAMESPACE_SUFFIX}"))
            }
            (None, None, Some(host)) => ("connection_string_file", format!("https://{host}")),
            (None, None, None) => {
                let what = "a token does not say where to send; name the namespace here";
                return Err(SettingsError::missing("namespace", what));
            }
        };
        let url = parse_url(&base).map_err(|problem| SettingsError::new(key, problem))?;
        if url.path() != "/" || url.query().is_some() {
            return Err(SettingsError::new(key, "has more than a host: name the hub as `hub`"));
        }
        Ok(base)
    }
}

impl From<twinge_mqtt::SettingsError> for SettingsError {
    fn from(error: twinge_mqtt::SettingsError) -> Self {
        // Only `answer_seconds` has another name here.
        let key = if error.key == "answer_seconds" { "timeout_seconds" } else { error.key };
        Self { key, problem: error.problem }
    }
}

/// A token that could be read on the way would let others be this device.
fn check_private(broker: &str) -> Result<(), SettingsError> {
    let is_loopback = ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| {
        let rest = broker.strip_prefix("mqtt://").and_then(|rest| rest.strip_prefix(host));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    });
    if is_loopback || broker.starts_with("mqtts://") {
        return Ok(());
    }
    Err(SettingsError::new("broker", "is not encrypted, and a token must be: use mqtts://"))
}

enum EventHubsSecret {
    /// With the key that names it.
    ConnectionString(&'static str, SecretSource),
    Token(SecretSource),
}

fn base_with(base: &str, path: &[&str]) -> String {
    let mut url = base.to_owned();
    for part in path {
        url.push('/');
        url.push_str(&percent_encode(part));
    }
    url
}
