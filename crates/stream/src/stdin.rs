//! Standard input as events that are pushed.

use crate::intake::{Incoming, Intake};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Lines of standard input into the journal, as many at once as have come.
pub(crate) async fn read(intake: Intake, stop: CancellationToken) {
    let mut lines = BufReader::with_capacity(1 << 20, tokio::io::stdin()).split(b'\n');
    let (lines_in, mut lines_out) = mpsc::channel::<Vec<u8>>(4096);
    let read = async {
        while let Ok(Some(line)) = lines.next_segment().await {
            if lines_in.send(line).await.is_err() {
                break;
            }
        }
        drop(lines_in);
    };
    let write = async {
        let mut group = Vec::new();
        while lines_out.recv_many(&mut group, 1024).await > 0 {
            let events: Vec<Incoming> = group
                .drain(..)
                .filter(|line| !line.trim_ascii().is_empty())
                .map(|bytes| Incoming { attributes: None, bytes })
                .collect();
            if intake.accept_patiently(events, "standard input").await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        ((), ()) = async { tokio::join!(read, write) } => {}
    }
}
