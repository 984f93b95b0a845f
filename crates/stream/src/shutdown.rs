//! Stopping on Ctrl-C and on the signal that service managers send.

use tokio_util::sync::CancellationToken;

/// A token that is cancelled by SIGINT or SIGTERM. A second signal ends the program at once.
pub fn on_signals(tracker: &tokio_util::task::TaskTracker) -> std::io::Result<CancellationToken> {
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
                () = stop.cancelled(), if round == 0 => return,
            }
            if round > 0 {
                std::process::exit(130);
            }
            tracing::info!("stopping: what was accepted is finished and checkpointed; a second signal ends at once");
            stop.cancel();
        }
    });
    Ok(token)
}
