//! What an agent knows and nobody may read: not in its log at its most talkative, not in what it
//! prints, not in its state.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod device;

use device::{Device, wait_for};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

const PASSWORD: &str = "nobody-may-read-this-password";
const TOKEN: &str = "nobody-may-read-this-token";

/// Takes everything down that comes, whoever sends it, and says `answer` to each piece.
struct Listener {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Listener {
    fn start(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let noted = Arc::clone(&heard);
        // Ends with the process; nobody can ask a listener to stop.
        std::thread::spawn(move || {
            for line in listener.incoming().flatten() {
                let noted = Arc::clone(&noted);
                std::thread::spawn(move || listen(line, &noted, answer));
            }
        });
        Self { address, heard }
    }

    fn has_heard(&self, text: &str) -> bool {
        holds(&self.heard.lock().unwrap(), text)
    }
}

fn listen(mut line: TcpStream, heard: &Mutex<Vec<u8>>, answer: &[u8]) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = line.read(&mut piece) {
        heard.lock().unwrap().extend_from_slice(&piece[..count]);
        if answer.is_empty() || line.write_all(answer).is_err() {
            return;
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// An agent whose words go to files, whole.
struct Agent(Child);

impl Agent {
    fn start(device: &Device) -> Self {
        let file = |name: &str| File::create(device.path(name)).unwrap();
        let mut command = device.command("run --config agent.toml");
        command.env_remove("TWINGE_STATE").env("RUST_LOG", "trace").stdin(Stdio::null());
        Self(command.stdout(file("out")).stderr(file("log")).spawn().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn address(log: &str) -> Option<String> {
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut found =
        entries.filter_map(|entry| entry["fields"]["address"].as_str().map(str::to_owned));
    found.next()
}

fn post(address: &str, body: &str) -> u16 {
    let post = ureq::post(format!("http://{address}/v1/events"));
    let post = post.config().http_status_as_error(false).build();
    post.content_type("application/x-ndjson").send(body).unwrap().status().as_u16()
}

fn get(address: &str, path: &str) -> String {
    let mut answer = ureq::get(format!("http://{address}{path}")).call().unwrap();
    answer.body_mut().read_to_string().unwrap()
}

/// Every file below a folder, and what it holds.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
}

#[test]
fn secrets_are_in_no_log_no_output_and_no_state() {
    let device = Device::new();
    // Whoever breaks off makes an agent tell of its connection.
    let broker = Listener::start(b"");
    let cloud = Listener::start(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
    fs::write(device.path("password"), PASSWORD).unwrap();
    fs::write(device.path("token"), TOKEN).unwrap();
    let path = |name: &str| device.path(name).display().to_string();
    device.configure(&format!(
        "[mqtt]\nbroker = \"mqtt://{}\"\nusername = \"press\"\npassword_file = \"{}\"\n\
         [[mqtt.topic]]\npattern = \"in/{{entity}}\"\n\
         [uplink]\nkind = \"http\"\nurl = \"http://{}/\"\ntoken_file = \"{}\"\n",
        broker.address,
        path("password"),
        cloud.address,
        path("token"),
    ));
    let agent = Agent::start(&device);
    let log = || fs::read_to_string(device.path("log")).unwrap_or_default();
    wait_for(|| address(&log()).is_some(), log);
    let address = address(&log()).unwrap();
    assert_eq!(post(&address, "{\"entity\":\"a\",\"x\":2.0}\n"), 202);
    // Both were used; nothing is found where nothing was.
    wait_for(|| broker.has_heard(PASSWORD) && cloud.has_heard(TOKEN), log);
    let status = device.output("status --state state").1;
    wait_for(|| log().contains("401") || get(&address, "/v1/status").contains("401"), log);
    let pages = [get(&address, "/v1/status"), get(&address, "/metrics")].concat();
    drop(agent);
    assert!(log().contains("\"TRACE\""), "the log is not at its most talkative");

    let (_, checked) = device.output("check --config agent.toml");
    let mut found = vec![("status".to_owned(), (status + &pages + &checked).into_bytes())];
    files(&device.path("state"), &mut found);
    for name in ["out", "log"] {
        found.push((name.to_owned(), fs::read(device.path(name)).unwrap()));
    }
    for secret in [PASSWORD, TOKEN] {
        // As a list of numbers too, as bytes are shown.
        let numbers = format!("{:?}", secret.as_bytes());
        for text in [secret, numbers.trim_matches(['[', ']'])] {
            let told = found.iter().find(|(_, bytes)| holds(bytes, text));
            assert!(told.is_none(), "{:?} holds {text}", told.map(|(name, _)| name));
        }
    }
}

/// What others could read, they could sign with.
#[cfg(unix)]
#[test]
fn the_devices_key_is_readable_to_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let device = Device::new();
    device.configure("");
    let mut agent = device.start();
    let key = device.path("state/device.key");
    wait_for(|| key.exists(), || agent.log());
    let mode = || fs::metadata(&key).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    let before = fs::read(&key).unwrap();
    agent.kill();
    drop(device.start());
    assert_eq!((mode(), fs::read(&key).unwrap()), (0o600, before), "after a restart");
}
