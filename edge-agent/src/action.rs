//! Actions on the spot: a program that is run, or a command over MQTT, on findings that are bad
//! enough. They need no network beyond the device's own, and they are rare: each has a limit a minute
//! and a pause for each entity.
//!
//! An action may happen again after a crash, for the same finding: its id tells.

use crate::command::CommandLine;
use crate::topics::{Template, TopicError};
use async_trait::async_trait;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use twinge_contract::verdict::Severity;
use twinge_mqtt::{Options, Publisher};
use twinge_stream::outlet::{Finding, Outlet};
use twinge_stream::sink::SinkError;

/// Findings that may wait for an action that is under way.
const QUEUE: usize = 64;

/// Entities whose last action is remembered.
const ENTITIES_MAX: usize = 10_000;

/// Names that a command, topic or payload may hold in braces.
const NAMES: [&str; 6] = ["entity", "detector", "severity", "score", "id", "device"];

/// What is done on the spot when a finding is bad enough: a program that is run, or a message to the
/// broker.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActionSettings {
    /// The least severity of a finding.
    #[serde(default = "high")]
    severity: Severity,
    /// Whether an entity that stops sending counts.
    #[serde(default)]
    silence: bool,
    /// A program and its arguments; it gets the finding on standard input.
    #[serde(default)]
    command: Vec<String>,
    /// Variables that the program gets beside `TWINGE_...` and those that every program does.
    #[serde(default)]
    environment: Vec<String>,
    /// A topic of the broker under `[mqtt]`.
    topic: Option<String>,
    /// What is published there [default: the finding].
    payload: Option<String>,
    /// Seconds after which the program is killed.
    #[serde(default = "ten")]
    timeout_seconds: f64,
    /// At most so many a minute.
    #[serde(default = "ten")]
    per_minute: f64,
    /// Seconds before the same entity causes another.
    #[serde(default = "sixty")]
    entity_pause_seconds: f64,
}

fn high() -> Severity {
    Severity::High
}

fn ten() -> f64 {
    10.0
}

fn sixty() -> f64 {
    60.0
}

/// An action that was found to be possible.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    settings: ActionSettings,
    deed: Deed,
    counts: Arc<Counts>,
}

#[derive(Clone, Debug)]
enum Deed {
    Run(CommandLine),
    Publish { topic: Template, payload: Option<Template> },
}

/// What became of findings that were bad enough.
#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    failed: AtomicU64,
    held_back: AtomicU64,
}

/// The same, to be told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct ActionStatus {
    what: String,
    done: u64,
    failed: u64,
    held_back: u64,
}

/// Passes on what is bad enough.
#[derive(Debug)]
pub(crate) struct Trigger {
    action: Action,
    device: String,
    pending: Vec<Cause>,
    queue: mpsc::Sender<Cause>,
    limit: Limit,
}

/// A finding that an action follows from.
#[derive(Clone, Debug)]
struct Cause {
    names: HashMap<&'static str, String>,
    json: Vec<u8>,
}

/// How often is enough.
#[derive(Debug)]
struct Limit {
    per_minute: f64,
    tokens: f64,
    filled: Instant,
    pause: Duration,
    last: HashMap<String, Instant>,
}

impl Action {
    /// Checks settings; `has_broker` says whether there is one to publish to.
    pub(crate) fn new(settings: &ActionSettings, has_broker: bool) -> anyhow::Result<Self> {
        let template = |text: &String| -> Result<Template, TopicError> {
            let template = Template::parse(text)?;
            let unknown = template.names().find(|name| !NAMES.contains(name)).map(str::to_owned);
            match unknown {
                None => Ok(template),
                Some(name) => Err(TopicError::NoName { name, known: NAMES.join("}, {") }),
            }
        };
        for (key, value) in [
            ("timeout_seconds", settings.timeout_seconds),
            ("per_minute", settings.per_minute),
            ("entity_pause_seconds", settings.entity_pause_seconds),
        ] {
            anyhow::ensure!(
                (0.0..=86_400.0).contains(&value),
                "{key} must lie between 0 and 86400"
            );
        }
        let deed = match (&settings.command[..], &settings.topic) {
            ([], Some(topic)) => {
                anyhow::ensure!(has_broker, "topic needs a broker: add [mqtt]");
                anyhow::ensure!(
                    settings.environment.is_empty(),
                    "environment goes with command; nothing else has variables"
                );
                let payload = settings.payload.as_ref().map(template).transpose()?;
                Deed::Publish { topic: template(topic)?, payload }
            }
            ([_, ..], None) => {
                anyhow::ensure!(
                    settings.payload.is_none(),
                    "payload goes with topic; a command gets the finding on standard input"
                );
                Deed::Run(CommandLine::new(&settings.command, &settings.environment, template)?)
            }
            _ => anyhow::bail!("each has either `command` or `topic`: give one of them"),
        };
        Ok(Self { settings: settings.clone(), deed, counts: Arc::default() })
    }

    /// What became of findings so far.
    pub(crate) fn status(&self) -> ActionStatus {
        let what = match &self.deed {
            Deed::Run(_) => self.settings.command.join(" "),
            Deed::Publish { .. } => self.settings.topic.clone().unwrap_or_default(),
        };
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { done, failed, held_back } = self.counts.as_ref();
        ActionStatus { what, done: count(done), failed: count(failed), held_back: count(held_back) }
    }

    /// The way in for findings, and the one who acts on them.
    pub(crate) fn start(
        &self,
        device: &str,
        publisher: Option<Publisher>,
        stop: CancellationToken,
    ) -> (Triggers, impl Future<Output = ()> + Send + use<>) {
        let (queue, causes) = mpsc::channel(QUEUE);
        let triggers = Triggers { action: self.clone(), device: device.to_owned(), queue };
        (triggers, act(self.clone(), causes, publisher, stop))
    }
}

/// Makes triggers, one for each detector and partition.
#[derive(Clone, Debug)]
pub(crate) struct Triggers {
    action: Action,
    device: String,
    queue: mpsc::Sender<Cause>,
}

impl Triggers {
    /// A trigger.
    pub(crate) fn trigger(&self) -> Trigger {
        let settings = &self.action.settings;
        Trigger {
            limit: Limit::new(settings.per_minute, settings.entity_pause_seconds),
            action: self.action.clone(),
            device: self.device.clone(),
            pending: Vec::new(),
            queue: self.queue.clone(),
        }
    }
}

impl Trigger {
    fn cause(&self, finding: &Finding<'_>, json: &[u8]) -> Option<Cause> {
        let (entity, source, severity, score, id) = match finding {
            Finding::Verdict(verdict, _) => (
                &verdict.subject,
                &*verdict.source,
                verdict.data.severity,
                verdict.data.score.to_string(),
                &verdict.id,
            ),
            Finding::Silence(silence) if self.action.settings.silence => {
                (&silence.subject, &*silence.source, Severity::High, String::new(), &silence.id)
            }
            // A machine is not stopped because its sensors have drifted.
            Finding::Silence(_) | Finding::Drift(_) | Finding::DeadLetter(..) => return None,
        };
        if severity < self.action.settings.severity || severity == Severity::None {
            return None;
        }
        let detector = source.rsplit('/').next().unwrap_or_default().to_owned();
        let names = HashMap::from([
            ("entity", entity.clone()),
            ("detector", detector),
            ("severity", format!("{severity:?}").to_lowercase()),
            ("score", score),
            ("id", id.clone()),
            ("device", self.device.clone()),
        ]);
        Some(Cause { names, json: json.to_vec() })
    }
}

#[async_trait]
impl Outlet for Trigger {
    fn take(&mut self, finding: &Finding<'_>, json: &[u8]) {
        if let Some(cause) = self.cause(finding, json) {
            self.pending.push(cause);
        }
    }

    /// Acting waits for nobody, and nobody waits for it: what finds no room is held back.
    async fn commit(&mut self) -> Result<(), SinkError> {
        for cause in self.pending.drain(..) {
            let allowed = self.limit.allows(&cause.names["entity"], Instant::now());
            if !allowed || self.queue.try_send(cause).is_err() {
                self.action.counts.held_back.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

impl Limit {
    fn new(per_minute: f64, pause_seconds: f64) -> Self {
        Self {
            per_minute,
            tokens: per_minute.max(1.0),
            filled: Instant::now(),
            pause: Duration::from_secs_f64(pause_seconds),
            last: HashMap::new(),
        }
    }

    fn allows(&mut self, entity: &str, now: Instant) -> bool {
        let passed = now.duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + passed * self.per_minute / 60.0).min(self.per_minute.max(1.0));
        let rests = |last: &Instant| now.duration_since(*last) < self.pause;
        if self.tokens < 1.0 || self.last.get(entity).is_some_and(rests) {
            return false;
        }
        if self.last.len() >= ENTITIES_MAX {
            let pause = self.pause;
            self.last.retain(|_, last| now.duration_since(*last) < pause);
        }
        if self.last.len() < ENTITIES_MAX {
            self.last.insert(entity.to_owned(), now);
        }
        self.tokens -= 1.0;
        true
    }
}

/// Acts on one cause after the other.
async fn act(
    action: Action,
    mut causes: mpsc::Receiver<Cause>,
    publisher: Option<Publisher>,
    stop: CancellationToken,
) {
    loop {
        let cause = tokio::select! {
            () = stop.cancelled() => return,
            cause = causes.recv() => match cause {
                Some(cause) => cause,
                None => return,
            },
        };
        let value = |name: &str| cause.names.get(name).map(String::as_str);
        let timeout = Duration::from_secs_f64(action.settings.timeout_seconds);
        let result = match (&action.deed, &publisher) {
            (Deed::Run(command), _) => command.run(&cause.names, &cause.json, timeout).await,
            (Deed::Publish { topic, payload }, Some(publisher)) => {
                let filled = payload.as_ref().map(|payload| payload.fill(value).into_bytes());
                let payload = filled.unwrap_or_else(|| cause.json.clone());
                let topic = topic_of(topic, &cause.names);
                let publish = publisher.publish(topic, payload, Options::default());
                match tokio::time::timeout(timeout, publish).await {
                    Ok(published) => published.map_err(|error| error.to_string()),
                    Err(_elapsed) => Err("the broker did not answer in time".to_owned()),
                }
            }
            (Deed::Publish { .. }, None) => Err("there is no broker".to_owned()),
        };
        let (entity, id) = (value("entity"), value("id"));
        match result {
            Ok(()) => {
                action.counts.done.fetch_add(1, Ordering::Relaxed);
                tracing::info!(entity, id, what = action.status().what, "acted on a finding");
            }
            Err(error) => {
                action.counts.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(entity, id, what = action.status().what, error, "an action failed");
            }
        }
    }
}

/// The topic of a cause, of which each value is at most a part of one level.
fn topic_of(topic: &Template, names: &HashMap<&'static str, String>) -> String {
    topic.fill(|name| names.get(name).map(|value| level(value)))
}

/// What a topic level cannot hold stays out: an entity must not choose another topic.
fn level(text: &str) -> &str {
    if text.contains(['/', '+', '#', '\0']) { "_" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn often_enough_is_enough() {
        let mut limit = Limit::new(2.0, 10.0);
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(limit.allows("a", at(0)));
        assert!(!limit.allows("a", at(5)), "the entity rests");
        assert!(limit.allows("b", at(5)));
        assert!(!limit.allows("c", at(6)), "two a minute");
        assert!(limit.allows("a", at(36)));
    }

    #[test]
    fn an_entity_chooses_no_other_topic() {
        let topic = Template::parse("plant/{entity}/{severity}").unwrap();
        let of = |entity: &str| {
            let values = [("entity", entity.to_owned()), ("severity", "high".to_owned())];
            topic_of(&topic, &HashMap::from(values))
        };
        for entity in ["a/stop/b", "/", "+", "a+", "#", "a/#", "\0"] {
            assert_eq!(of(entity), "plant/_/high", "{entity:?}");
        }
        for entity in ["pump-7", "-", "..", "$SYS", "ä b"] {
            assert_eq!(of(entity), format!("plant/{entity}/high"));
        }
    }
}
