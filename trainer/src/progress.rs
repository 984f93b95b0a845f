//! The bar that long work shows on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts events.
pub(crate) fn progress_bar(events: u64) -> ProgressBar {
    let bar = ProgressBar::new(events);
    bar.set_style(
        ProgressStyle::with_template("{wide_bar} {pos}/{len} events  {per_sec}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}
