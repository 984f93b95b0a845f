//! What holds where nothing is said.

use crate::settings;
use std::time::Duration;
use twinge_stream::assembly::Input;
use twinge_stream::settings::Defaults;

/// Directory of state where nothing is said.
pub(crate) const STATE: &str = "edge-state";

/// What this program does where nothing is said.
pub(crate) const DEFAULTS: Defaults = Defaults {
    state: STATE,
    verdicts: "-",
    input: Some(Input::Stdin),
    tables: settings::TABLES,
    // A device's disk that is full or away may come back; nobody is there to start the agent again.
    sink_retry: Duration::MAX,
    silence: true,
    journal_mib: 256,
    compile_verb: if cfg!(feature = "compiler") { Some("compile") } else { None },
};
