//! Copies the journal of labels into the lake while the host runs, and once more at its end.

use super::Opened;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use twinge_lake::labels::LabelJournal;
use twinge_stream::assembly::chain;
use twinge_stream::labels::Labels;

/// Looks for new labels after every pause, until `stop`.
pub(super) async fn copy(
    opened: Arc<Opened>,
    labels: Labels,
    pause: Duration,
    stop: CancellationToken,
) {
    let mut journal = None;
    loop {
        let is_last = stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none();
        if let Err(error) = copy_new(&opened, &labels, &mut journal).await {
            tracing::warn!(
                lake = opened.place,
                error = chain(error.as_ref()),
                "labels are not in the lake yet; they are kept, and tried again"
            );
        }
        if is_last {
            return;
        }
    }
}

async fn copy_new(
    opened: &Opened,
    labels: &Labels,
    journal: &mut Option<LabelJournal>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (path, committed) = labels.committed();
    if journal.as_ref().map_or(0, LabelJournal::kept) >= committed {
        return Ok(());
    }
    let mut bytes = tokio::fs::read(path).await?;
    bytes.truncate(usize::try_from(committed)?);
    let journal = if let Some(journal) = journal {
        journal
    } else {
        let end = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        let lake = opened.lake().await?.clone();
        journal.insert(LabelJournal::open(lake, &bytes[..end]).await?)
    };
    let new = bytes.get(usize::try_from(journal.kept())?..);
    let shorter = || io::Error::other("the lake has more of the journal than there is of it");
    Ok(journal.keep(new.ok_or_else(shorter)?).await?)
}
