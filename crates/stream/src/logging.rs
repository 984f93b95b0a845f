//! Logs: for people on a terminal, JSON otherwise; always on standard error.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Azure's SDK tells every connection and every failure that is tried again; what matters of it, the
/// programs tell themselves.
const DEFAULT: &str =
    "info,azure_core=error,azure_core_amqp=error,azure_messaging_eventhubs=off,fe2o3_amqp=error";

/// Starts logging at the level of `RUST_LOG`, or `info`.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = if std::io::stderr().is_terminal() {
        builder.compact().try_init()
    } else {
        builder.json().try_init()
    };
    // A second start in one process, as in tests, keeps the first.
    drop(result);
}
