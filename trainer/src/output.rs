//! What is said to people and printed as a result. What it is about is not known here.

use std::io::Write;

/// A line for the person at the terminal; results go to standard output instead. If nobody listens,
/// the work goes on.
pub(crate) fn tell(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// A line of a result. Whoever reads results may have seen enough, as `head` does: then the program
/// ends, since what it prints is what it has done already.
pub(crate) fn print(line: &str) {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            tell(&format!("error: cannot write to standard output: {error}"));
            std::process::exit(1);
        }
    }
}
