//! Stopping on Ctrl-C and on the signal that service managers send.

use tokio_util::sync::CancellationToken;

/// A token that is cancelled by SIGINT or SIGTERM. A second signal ends the program at once, until
/// `finished` is cancelled.
pub fn on_signals(
    tracker: &tokio_util::task::TaskTracker,
    finished: CancellationToken,
) -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = token.clone();
    tracker.spawn(async move {
        for round in 0.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = finished.cancelled() => return,
            }
            if round > 0 {
                std::process::exit(130);
            }
            tracing::info!("stopping: a checkpoint is taken, and what was not scored yet waits in the journal or at its source; a second signal ends at once");
            stop.cancel();
        }
    });
    Ok(token)
}
