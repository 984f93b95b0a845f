//! How the agent is: gathered here, asked for over a socket in the state directory, told so that a
//! person reads it at a glance over ssh.

use crate::action::ActionStatus;
use crate::say::say;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// Why writing to a string has no error to handle.
/// The bound of a spool whose settings nobody asked for.
pub(crate) const BYTES_UNBOUNDED: u64 = u64::MAX >> 1;
const INFALLIBLE: &str = "a string takes all that is written to it";

/// The socket's name in the state directory.
const SOCKET: &str = "status.sock";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// How the agent is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AgentStatus {
    /// The program's version.
    pub(crate) version: String,
    /// Name of the device.
    pub(crate) device: String,
    /// Seconds since it started.
    pub(crate) up_s: u64,
    /// What is wrong; nothing where all is well.
    pub(crate) troubles: Vec<String>,
    /// The detectors.
    pub(crate) detectors: Vec<DetectorStatus>,
    /// Where events come from.
    pub(crate) sources: Vec<Part>,
    /// Where findings go.
    pub(crate) uplink: Option<Part>,
    /// What waits to go.
    pub(crate) spool: Option<SpoolStatus>,
    /// Actions on the spot.
    pub(crate) actions: Vec<serde_json::Value>,
}

/// A detector in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DetectorStatus {
    /// Its name.
    pub(crate) name: String,
    /// The acting version and the start of its digest.
    pub(crate) acting: String,
    /// What runs beside it, and as what.
    pub(crate) beside: Option<String>,
    /// The channel document that is followed.
    pub(crate) serial: Option<u64>,
    /// Events taken in this run.
    pub(crate) events: u64,
    /// Anomalies among them.
    pub(crate) anomalies: u64,
    /// Events without a verdict.
    pub(crate) dead_letters: u64,
    /// Entities remembered.
    pub(crate) entities: usize,
}

/// A source or an uplink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// What it is, such as an address.
    pub(crate) what: String,
    /// Whether it works.
    pub(crate) is_well: bool,
    /// How it is, in words.
    pub(crate) state: String,
}

/// The spool in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SpoolStatus {
    /// Entries that wait.
    pub(crate) entries: u64,
    /// Anomalous ones among them.
    pub(crate) anomalous: u64,
    /// Bytes on disk.
    pub(crate) bytes: u64,
    /// The bound on them.
    pub(crate) bytes_max: u64,
    /// Operating seconds since the oldest came.
    pub(crate) oldest_s: u64,
    /// Normal and anomalous entries that were dropped, ever.
    pub(crate) dropped: (u64, u64),
    /// Why nothing can be written, if so.
    pub(crate) trouble: Option<String>,
}

impl AgentStatus {
    /// One line.
    pub(crate) fn line(&self) -> String {
        let sum = |of: fn(&DetectorStatus) -> u64| self.detectors.iter().map(of).sum::<u64>();
        let mut line = match self.troubles.first() {
            None => "well".to_owned(),
            Some(trouble) if self.troubles.len() == 1 => trouble.clone(),
            Some(trouble) => format!("{trouble}, and {} more", self.troubles.len() - 1),
        };
        let (events, anomalies) = (sum(|one| one.events), sum(|one| one.anomalies));
        write!(line, "; {events} events, {anomalies} anomalous").expect(INFALLIBLE);
        if let Some(spool) = &self.spool {
            write!(line, ", {} in the spool", spool.entries).expect(INFALLIBLE);
        }
        line
    }

    /// All of it, for a terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            writeln!(text, "{name:<10} {value}").expect(INFALLIBLE);
        };
        let is_well = self.troubles.is_empty();
        row(if is_well { "WELL" } else { "TROUBLE" }, self.line());
        row("agent", format!("{} {}, up {}", self.device, self.version, duration(self.up_s)));
        for trouble in &self.troubles {
            row("trouble", trouble.clone());
        }
        for source in &self.sources {
            row("source", format!("{}: {}", source.what, source.state));
        }
        for one in &self.detectors {
            let serial = one.serial.map(|serial| format!(", serial {serial}")).unwrap_or_default();
            let beside = one.beside.as_deref().map(|beside| format!("; {beside}"));
            let beside = beside.unwrap_or_default();
            row("detector", format!("{} {}{serial}{beside}", one.name, one.acting));
            row(
                "",
                format!(
                    "{} events, {} anomalous, {} dead letters, {} entities",
                    one.events, one.anomalies, one.dead_letters, one.entities
                ),
            );
        }
        if let Some(uplink) = &self.uplink {
            row("uplink", format!("{}: {}", uplink.what, uplink.state));
        }
        if let Some(spool) = &self.spool {
            row("spool", spool.text());
        }
        for action in &self.actions {
            let count = |name: &str| action[name].as_u64().unwrap_or_default();
            let what = action["what"].as_str().unwrap_or_default();
            let (done, failed, held) = (count("done"), count("failed"), count("held_back"));
            row("action", format!("{what}: {done} done, {failed} failed, {held} held back"));
        }
        text
    }

    /// Adds an action.
    pub(crate) fn add_action(&mut self, action: &ActionStatus) {
        self.actions.extend(serde_json::to_value(action));
    }
}

impl From<twinge_spool::Figures> for SpoolStatus {
    fn from(figures: twinge_spool::Figures) -> Self {
        Self {
            entries: figures.entries(),
            anomalous: figures.anomalous.entries,
            bytes: figures.disk_bytes(),
            bytes_max: figures.bytes_max,
            oldest_s: figures.oldest_age_seconds.unwrap_or_default(),
            dropped: (figures.normal.dropped.total(), figures.anomalous.dropped.total()),
            trouble: figures
                .last_error
                .map(|error| format!("the spool cannot be written: {error}")),
        }
    }
}

impl SpoolStatus {
    /// A line about it.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{} entries, {} of them anomalous, {:.1}",
            self.entries,
            self.anomalous,
            self.bytes as f64 / f64::from(1 << 20)
        );
        // An agent that does not run has no bound that is known here.
        if self.bytes_max < BYTES_UNBOUNDED {
            let most = self.bytes_max as f64 / f64::from(1 << 20);
            write!(text, " of {most:.0}").expect(INFALLIBLE);
        }
        text.push_str(" MiB");
        if self.entries > 0 {
            write!(text, ", the oldest {}", duration(self.oldest_s)).expect(INFALLIBLE);
        }
        let (normal, anomalous) = self.dropped;
        if normal + anomalous > 0 {
            write!(text, "; dropped {normal} normal and {anomalous} anomalous").expect(INFALLIBLE);
        }
        text
    }
}

/// A duration as people say it.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// The whole of `edge-agent status`.
pub(crate) fn main(state: &Path, json: bool) -> ExitCode {
    match ask(state) {
        Ok(Some(status)) => {
            if json {
                say(&serde_json::json!(status).to_string());
            } else {
                say(status.text().trim_end());
            }
            ExitCode::from(u8::from(!status.troubles.is_empty()))
        }
        Ok(None) => {
            say(&format!(
                "no agent runs on {}: start one, or name its directory with --state",
                state.display()
            ));
            ExitCode::from(3)
        }
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Answers on the socket until `stop` is cancelled. Who may open the state directory may ask.
pub(crate) async fn serve(
    state: PathBuf,
    status: impl Fn() -> AgentStatus + Send,
    stop: CancellationToken,
) {
    let path = state.join(SOCKET);
    // One from a run that was killed; the lock on the state says that nobody else uses it.
    drop(std::fs::remove_file(&path));
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "status cannot be asked for");
            return;
        }
    };
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((mut stream, _)) = accepted else { continue };
        let answer = serde_json::to_vec(&status()).expect("a status holds numbers and texts only");
        // One that asks and does not listen keeps nobody.
        drop(tokio::time::timeout(PATIENCE, stream.write_all(&answer)).await);
    }
    drop(std::fs::remove_file(&path));
}

/// Asks the agent that runs on `state`; nothing where none runs.
pub(crate) fn ask(state: &Path) -> anyhow::Result<Option<AgentStatus>> {
    let path = state.join(SOCKET);
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "cannot ask at {}: are you allowed to read the state directory?",
                    path.display()
                )
            });
        }
    };
    stream.set_read_timeout(Some(PATIENCE)).context("cannot bound the time to wait")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).context("no answer in time")?;
    serde_json::from_slice(&answer).map(Some).context("the answer is of another version")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> AgentStatus {
        AgentStatus {
            version: "0.1.0".into(),
            device: "press-7".into(),
            up_s: 3700,
            troubles: vec!["uplink away for 14 min".into()],
            detectors: vec![DetectorStatus {
                events: 10,
                anomalies: 1,
                ..DetectorStatus::default()
            }],
            spool: Some(SpoolStatus { entries: 3, dropped: (5, 0), ..SpoolStatus::default() }),
            ..AgentStatus::default()
        }
    }

    #[test]
    fn a_person_reads_it_at_a_glance() {
        let text = status().text();
        let first = text.lines().next().unwrap();
        assert_eq!(
            first,
            "TROUBLE    uplink away for 14 min; 10 events, 1 anomalous, 3 in the spool"
        );
        assert!(text.contains("press-7 0.1.0, up 1 h 1 min"), "{text}");
        assert!(text.contains("dropped 5 normal and 0 anomalous"), "{text}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_is_asked_for_over_a_socket() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().to_owned();
        assert_eq!(ask(&state).unwrap(), None);
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "the test itself waits for it")]
        let served = tokio::spawn(serve(state.clone(), status, stop.clone()));
        while !state.join(SOCKET).exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let asked = tokio::task::spawn_blocking(move || ask(&state)).await.unwrap();
        assert_eq!(asked.unwrap(), Some(status()));
        stop.cancel();
        served.await.unwrap();
    }
}
