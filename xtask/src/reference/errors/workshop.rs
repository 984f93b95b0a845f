//! The folder that mistakes are made in, and a host and an agent that run there.

use super::placeholders::Addresses;
use crate::monitoring::{Child, address};
use crate::test::{bin, workshop};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use twinge_trust::{Envelope, SigningKey};

/// Longest that a mistake may go unnoticed, and that a program may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

const HOST: &str = "host --module signed.wasm --trust keys/trust.json --state host-a --listen 127.0.0.1:0 \
                    --verdicts host-a.ndjson --dead-letters letters.ndjson";
const AGENT: &str = "edge-agent run --config agent-a.toml --module signed.wasm --trust keys/trust.json \
                     --state agent-a --listen 127.0.0.1:0";
/// Something waits in the spool of this agent, whose cloud is away for good.
const AGENT_CONFIG: &str = "[uplink]\nkind = \"http\"\nurl = \"http://127.0.0.1:1/\"\n";

/// How long ago a document ended that is to be one that did.
const ENDED: Duration = Duration::from_hours(36);

/// What a file holds.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    /// A line many times, with one before.
    Lines {
        before: Option<String>,
        line: String,
        times: usize,
    },
    /// Another file, cut off, or with a bit that is another.
    Copy {
        of: String,
        bytes: Option<usize>,
        flip: Option<usize>,
    },
    /// A signed document as if it had ended long ago, signed anew.
    Expired {
        expired: String,
        key: String,
    },
}

/// A host's answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// The folder, with what runs in it.
pub(super) struct Workshop {
    folder: PathBuf,
    addresses: Option<Addresses>,
    programs: Vec<Child>,
}

impl Workshop {
    /// A folder in which some commands have succeeded.
    pub(super) fn open(setup: &[String]) -> Result<Self> {
        let mut this = Self { folder: workshop("errors")?, addresses: None, programs: Vec::new() };
        setup.iter().try_for_each(|command| this.succeed(command))?;
        fs::write(this.folder.join("agent-a.toml"), AGENT_CONFIG)?;
        let (host, agent) = (this.start(HOST)?, this.start(AGENT)?);
        this.addresses = Some(Addresses { host, agent });
        Ok(this)
    }

    /// Where host and agent listen.
    pub(super) fn addresses(&self) -> &Addresses {
        self.addresses.as_ref().expect("a workshop that is open has both")
    }

    /// A program with its arguments, where no variable of this machine is set.
    fn command(&self, text: &str) -> Result<Command> {
        let mut words = text.split_whitespace();
        let mut command = Command::new(bin().join(words.next().context("an empty command")?));
        command.args(words).current_dir(&self.folder).stdin(Stdio::null());
        command.env_clear().env("HOME", &self.folder).env("COLUMNS", "100");
        Ok(command)
    }

    fn start(&mut self, text: &str) -> Result<String> {
        let mut command = self.command(text)?;
        let child = command.env("RUST_LOG", "info").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Child(child.spawn().with_context(|| format!("`{text}` does not start"))?);
        let address = address(&mut child.0).with_context(|| format!("`{text}` ended"))?;
        self.programs.push(child);
        Ok(address)
    }

    /// Runs a command that has to succeed.
    pub(super) fn succeed(&self, text: &str) -> Result<()> {
        let output = self.run(text, &BTreeMap::new())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{text}` ended with {}: {said}", output.status);
        Ok(())
    }

    /// Runs a command to its end.
    pub(super) fn run(&self, text: &str, variables: &BTreeMap<String, String>) -> Result<Output> {
        let mut command = self.command(text)?;
        let mut child =
            command.envs(variables).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let began = Instant::now();
        while child.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                child.kill()?;
                let said = child.wait_with_output()?;
                bail!("`{text}` goes on for ever: {}", String::from_utf8_lossy(&said.stderr));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(child.wait_with_output()?)
    }

    /// Writes a file.
    pub(super) fn write(&self, name: &str, content: &Content) -> Result<()> {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().context("a file without a folder")?)?;
        fs::write(&path, self.bytes(content)?).with_context(|| format!("cannot write {name}"))
    }

    /// The bytes of a file.
    pub(super) fn bytes(&self, content: &Content) -> Result<Vec<u8>> {
        Ok(match content {
            Content::Text(text) => text.clone().into_bytes(),
            Content::Lines { before, line, times } => {
                let first = before.as_ref().map(|line| format!("{line}\n")).unwrap_or_default();
                (first + &format!("{line}\n").repeat(*times)).into_bytes()
            }
            Content::Copy { of, bytes, flip } => {
                let mut copy = fs::read(self.folder.join(of))?;
                copy.truncate(bytes.unwrap_or(usize::MAX));
                if let Some(place) = flip {
                    *copy.get_mut(*place).context("the file is too short")? ^= 1;
                }
                copy
            }
            Content::Expired { expired, key } => self.expired(expired, key)?,
        })
    }

    fn expired(&self, document: &str, key: &str) -> Result<Vec<u8>> {
        let envelope = fs::read(self.folder.join(document))?;
        let kind: Value = serde_json::from_slice(&envelope)?;
        let kind = kind["payloadType"].as_str().context("a document without a type")?;
        let mut payload: Value =
            serde_json::from_slice(Envelope::from_json(&envelope)?.payload_unverified())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        payload["expires_ms"] = i64::try_from(now.saturating_sub(ENDED).as_millis())?.into();
        let key = SigningKey::from_text(&fs::read_to_string(self.folder.join(key))?)?;
        Ok(Envelope::sign(kind, payload.to_string().into_bytes(), &key).to_json())
    }

    /// Sends a request to the host.
    pub(super) fn send(
        &self,
        send: &str,
        body: Option<Vec<u8>>,
        header: Option<(&str, &str)>,
    ) -> Result<Answer> {
        let (method, path) = send.split_once(' ').context("write it as METHOD /path")?;
        let url = format!("http://{}{path}", self.addresses().host);
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let agent = ureq::Agent::new_with_config(config);
        let mut answer = match (method, body) {
            ("GET", None) => agent.get(&url).call()?,
            ("POST", body) => {
                let post = agent.post(&url);
                let post = match header {
                    Some((name, value)) => post.header(name, value),
                    None => post,
                };
                post.send(&body.unwrap_or_default()[..])?
            }
            _ => bail!("{send} cannot be sent"),
        };
        Ok(Answer { status: answer.status().as_u16(), body: answer.body_mut().read_to_string()? })
    }

    /// The dead letter that the host makes of an event.
    pub(super) fn dead_letter(&self, event: &str) -> Result<Value> {
        let letters = || fs::read_to_string(self.folder.join("letters.ndjson")).unwrap_or_default();
        let before = letters().matches('\n').count();
        let kind = ("content-type", "application/x-ndjson");
        let answer = self.send("POST /v1/events", Some(event.into()), Some(kind))?;
        if answer.status >= 400 {
            bail!("{}", answer.body);
        }
        let began = Instant::now();
        loop {
            let text = letters();
            if text.matches('\n').count() > before {
                let line = text.lines().nth(before).context("no line")?;
                return Ok(serde_json::from_str(line)?);
            }
            ensure!(began.elapsed() < PATIENCE, "there is no dead letter");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
