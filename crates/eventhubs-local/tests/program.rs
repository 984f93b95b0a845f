//! The program: what it prints, how it ends, and what it refuses.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::tempdir;

fn program(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eventhubs-local"));
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(directory).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    program(directory, arguments).output().unwrap()
}

fn start(directory: &Path, arguments: &[&str]) -> (Child, String) {
    let mut child = program(directory, arguments).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().to_owned())
}

/// Sends the signal and returns the exit code and the log.
fn stop(mut child: Child, signal: &str) -> (Option<i32>, String) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    (child.wait().unwrap().code(), log)
}

#[test]
fn it_prints_the_connection_string_and_stops_on_signals() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("connection");
    let mut strings = Vec::new();
    for signal in ["-TERM", "-INT"] {
        let path = file.to_str().unwrap();
        let (child, line) =
            start(directory.path(), &["--hub", "events=2", "--connection-string-file", path]);
        assert!(line.starts_with("Endpoint=sb://127.0.0.1:"), "{line}");
        assert!(line.ends_with(";UseDevelopmentEmulator=true;"), "{line}");
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), line);
        let (code, log) = stop(child, signal);
        assert_eq!(code, Some(0), "{log}");
        let key = line.split("SharedAccessKey=").nth(1).unwrap().split(';').next().unwrap();
        assert!(!log.contains(key), "the key is not told in the log");
        strings.push(key.to_owned());
    }
    assert_eq!(strings[0], strings[1], "the key is kept");
}

#[test]
fn wrong_usage_is_told_with_the_way_out() {
    let directory = tempdir().unwrap();
    for (arguments, code, told) in [
        (&["--hub", "events"][..], 2, "is not like events=4"),
        (&["--nonsense"], 2, "--nonsense"),
        (&["--hub", "../up=1"], 1, "a name begins with"),
        (&["--hub", "events=0"], 1, "1 to 1024 are allowed"),
        (&["--hub", "events=1", "--retention-bytes", "5"], 1, "at least"),
    ] {
        let output = run(directory.path(), arguments);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{log}");
        assert!(log.contains(told), "{log}");
        assert!(output.stdout.is_empty());
    }
    let mut public = Command::new(env!("CARGO_BIN_EXE_eventhubs-local"));
    public.args(["--listen", "0.0.0.0:0", "--data"]).arg(directory.path());
    let output = public.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no TLS"));
}

#[test]
fn a_directory_has_one_broker_and_hubs_keep_their_partitions() {
    let directory = tempdir().unwrap();
    let (child, _) = start(directory.path(), &["--hub", "events=2"]);
    let second = run(directory.path(), &["--hub", "events=2"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another broker"));
    assert_eq!(stop(child, "-TERM").0, Some(0));
    let changed = run(directory.path(), &["--hub", "events=3"]);
    assert_eq!(changed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&changed.stderr).contains("ask for 2"));
}
