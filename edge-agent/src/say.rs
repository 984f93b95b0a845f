//! What was asked for, on standard output.

use std::io::{self, Write as _};

/// Writes a line. Whoever reads may have seen enough and be gone, as `head` is: that is no error.
pub(crate) fn say(line: &str) {
    writeln!(io::stdout(), "{line}").ok();
}
