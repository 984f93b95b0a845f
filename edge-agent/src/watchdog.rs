//! What systemd is told: that the agent is ready, how it is, and that it still lives.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use twinge_stream::pump::Reports;

/// A pump that has shown nothing for so long hangs: it shows itself every second, also where it waits
/// or tries again.
const HANGS: Duration = Duration::from_secs(30);

/// Tells systemd until `stop` is cancelled; `line` is what a person reads in `systemctl status`.
pub(crate) async fn run(
    reports: Reports,
    line: impl Fn() -> String + Send,
    stop: CancellationToken,
) {
    let watched = sd_notify::watchdog_enabled();
    // Twice as often as it asks, as its manual says.
    let pause = watched.map_or(Duration::from_secs(10), |limit| limit / 2);
    let mut is_ready = false;
    loop {
        let mut states = Vec::new();
        if !is_ready && !reports.all().is_empty() {
            is_ready = true;
            states.push(NotifyState::Ready);
        }
        let status = line();
        states.push(NotifyState::Status(&status));
        let silent = reports.oldest_beat();
        if silent < HANGS {
            states.push(NotifyState::Watchdog);
        } else {
            tracing::error!(
                ?silent,
                "no sign of life from the pump: systemd is left to restart it"
            );
        }
        if let Err(error) = sd_notify::notify(&states) {
            tracing::debug!(%error, "systemd cannot be told");
        }
        let pause = if is_ready { pause } else { Duration::from_millis(100) };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    drop(sd_notify::notify(&[NotifyState::Stopping]));
}
