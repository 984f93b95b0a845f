//! A Mosquitto broker and certificates for tests: started in a directory of the test's own, on a
//! free port of the loopback, stopped when dropped. Knows nothing of this crate's client.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a broker may take to start or to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// What came of starting a Debian program, or none, told loudly, where it is not installed.
///
/// # Panics
/// If it is not installed and the variable `CI` is `true`, or if it cannot be started.
#[expect(clippy::print_stderr, reason = "a test that is skipped must say so")]
pub fn program<T>(name: &str, started: io::Result<T>) -> Option<T> {
    match started {
        Ok(started) => Some(started),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!in_ci, "{name} is not installed; in CI no test may be skipped");
            eprintln!("\n*** SKIPPED: {name} is not installed (apt-get install {name}) ***\n");
            None
        }
        Err(error) => panic!("cannot start {name}: {error}"),
    }
}

/// A port of the loopback that was free a moment ago.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// A Mosquitto broker. It keeps its port over restarts.
#[derive(Debug)]
pub struct Mosquitto {
    directory: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts a broker that keeps its files in `directory`. `extra` is added to its
    /// configuration; without a word on passwords there, anyone may connect.
    ///
    /// Returns none, told loudly, where Mosquitto is not installed.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(directory: &Path, extra: &str) -> Option<Self> {
        let port = free_port();
        let open = if extra.contains("allow_anonymous") { "" } else { "allow_anonymous true\n" };
        let user = "user root\n"; // Only obeyed for root, whose directories others cannot read.
        let config = format!(
            "{user}persistence true\npersistence_location {}/\nautosave_interval 1\n\
             autosave_on_changes false\nmax_inflight_messages 20000\nmax_queued_messages 0\n\
             listener {port} 127.0.0.1\n{open}{extra}\n",
            directory.display(),
        );
        std::fs::write(directory.join("mosquitto.conf"), config)
            .expect("the directory can be written");
        let mut broker = Self { directory: directory.to_owned(), port, child: None };
        broker.restart().then_some(broker)
    }

    /// Starts the broker again after [`Self::stop`] or [`Self::kill`]. Whether it could.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) -> bool {
        assert!(self.child.is_none(), "the broker still runs");
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.directory.join("mosquitto.log"))
            .expect("the directory can be written");
        let started = Command::new("mosquitto")
            .env("PATH", search_path())
            .arg("-c")
            .arg(self.directory.join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let Some(child) = program("mosquitto", started) else { return false };
        self.child = Some(child);
        self.wait_until_it_answers();
        true
    }

    fn wait_until_it_answers(&mut self) {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended =
                self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            assert!(!ended && Instant::now() < until, "mosquitto does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks the broker to end, which saves its sessions, and waits until it has.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(asked.is_ok_and(|status| status.success()), "cannot ask mosquitto to end");
        let until = Instant::now() + PATIENCE;
        while matches!(child.try_wait(), Ok(None)) {
            assert!(Instant::now() < until, "mosquitto does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the broker as a power failure would: what it has not saved is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// The port of the listener that every broker has.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address to connect to, without TLS.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// What the broker has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("mosquitto.log")).unwrap_or_default()
    }

    /// The broker's saved sessions, as the bytes of its file.
    pub fn saved(&self) -> Vec<u8> {
        std::fs::read(self.directory.join("mosquitto.db")).unwrap_or_default()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian keeps daemons where an ordinary user's search path does not look.
fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/usr/local/sbin")
}

/// Adds a user to a password file for the broker, making the file if needed. Returns none,
/// told loudly, where Mosquitto is not installed.
///
/// # Panics
/// If the program fails.
pub fn add_password(file: &Path, user: &str, password: &str) -> Option<()> {
    let mut command = Command::new("mosquitto_passwd");
    command.env("PATH", search_path());
    if !file.exists() {
        command.arg("-c");
    }
    let output = command.arg("-b").arg(file).args([user, password]).output();
    succeed(&program("mosquitto", output)?);
    Some(())
}

/// The plugin of Mosquitto that can deny subscriptions, if the package has it. Returns none,
/// told loudly, where it is missing.
///
/// # Panics
/// If it is missing and the variable `CI` is `true`.
pub fn dynamic_security() -> Option<PathBuf> {
    let name = "mosquitto_dynamic_security.so";
    let multiarch = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found = multiarch.map(|entry| entry.path().join(name)).find(|path| path.exists());
    program("mosquitto", found.ok_or_else(|| io::ErrorKind::NotFound.into()))
}

/// A certification authority and a broker certificate for 127.0.0.1, made with `openssl`.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate (PEM).
    pub ca: PathBuf,
    /// The broker's certificate (PEM).
    pub certificate: PathBuf,
    /// The broker's key (PEM).
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in `directory`, good for `days` from now; a negative number makes a
    /// certificate that has expired. Returns none, told loudly, where `openssl` is not installed.
    ///
    /// # Panics
    /// If the program fails.
    pub fn make(directory: &Path, days: i32) -> Option<Self> {
        let path = |name: &str| directory.join(name);
        let made =
            Self { ca: path("ca.pem"), certificate: path("broker.pem"), key: path("key.pem") };
        let text = |path: &Path| path.display().to_string();
        let (ca_key, request, names) = (path("ca-key.pem"), path("request.pem"), path("names"));
        std::fs::write(&names, "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
            .expect("the directory can be written");
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        // Named after the directory, so that no two authorities share a name.
        let authority = directory.file_name().unwrap_or_default().to_string_lossy();
        let authority = format!("/CN=authority {authority}");
        openssl(
            &[&["req", "-x509", "-subj", &authority, "-days", "2"][..], &curve].concat(),
            &["-keyout", &text(&ca_key), "-out", &text(&made.ca)],
        )?;
        openssl(
            &[&["req", "-new", "-subj", "/CN=test broker"][..], &curve].concat(),
            &["-keyout", &text(&made.key), "-out", &text(&request)],
        )?;
        openssl(
            &["x509", "-req", "-CAcreateserial", "-days", &days.to_string()],
            &[
                "-in",
                &text(&request),
                "-CA",
                &text(&made.ca),
                "-CAkey",
                &text(&ca_key),
                "-extfile",
                &text(&names),
                "-out",
                &text(&made.certificate),
            ],
        )?;
        Some(made)
    }

    /// The lines that make a broker listen on `port` with these certificates.
    pub fn listener(&self, port: u16) -> String {
        format!(
            "listener {port} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
            self.certificate.display(),
            self.key.display(),
        )
    }
}

fn openssl(what: &[&str], files: &[&str]) -> Option<()> {
    let output = Command::new("openssl").args(what).args(files).output();
    succeed(&program("openssl", output)?);
    Some(())
}

fn succeed(output: &Output) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "a program failed: {told}");
}
