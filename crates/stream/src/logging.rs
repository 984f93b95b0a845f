//! Logs: for people on a terminal, JSON otherwise; always on standard error.

use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Azure's SDK tells every connection and every failure that is tried again; what matters of it, the
/// programs tell themselves.
const DEFAULT: &str =
    "info,azure_core=error,azure_core_amqp=error,azure_messaging_eventhubs=off,fe2o3_amqp=error";

/// Starts logging at the levels of `RUST_LOG`, such as `debug` or `info,twinge_mqtt=debug`, or `info`.
pub fn start() {
    let asked = std::env::var("RUST_LOG").ok().and_then(|levels| levels.parse::<Targets>().ok());
    let levels = asked.unwrap_or_else(|| DEFAULT.parse().expect("the default is well-formed"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(levels);
    let result = if std::io::stderr().is_terminal() {
        registry.with(lines.compact()).try_init()
    } else {
        registry.with(lines.json()).try_init()
    };
    // A second start in one process, as in tests, keeps the first.
    drop(result);
}

/// Tells why a program ends before its time.
pub fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    tracing::error!("{error:#}");
    ExitCode::from(code)
}
