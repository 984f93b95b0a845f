//! Feeds a target: the corpus first, then what a seed makes of it. Catches panics, bounds memory and
//! time, and writes down the input that broke the target.

use crate::alloc::{self, peak_of};
use crate::{Corpus, Mutator, Target};
use anyhow::{Context as _, Result};
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Longest that a target may take for one input.
pub const RUN_MAX: Duration = Duration::from_secs(10);
/// What a target may hold at once whatever its input, in bytes.
pub const HELD_BYTES_MAX: usize = 64 << 20;
/// What it may hold in addition for each byte of its input.
pub const HELD_BYTES_PER_BYTE: usize = 64;

/// How much of a target is run.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Makes the inputs.
    pub seed: u64,
    /// Inputs at most, those of the corpus left out.
    pub iterations: u64,
    /// Time at most.
    pub time: Duration,
}

/// What came of running a target without a find.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Inputs that were made and run.
    pub iterations: u64,
    /// The most bytes held at once.
    pub held_bytes: usize,
    /// The longest run.
    pub slowest: Duration,
}

/// An input that broke a target.
#[derive(Debug)]
pub struct Find {
    target: &'static str,
    origin: String,
    problem: String,
    /// Where the input was written, or why it could not be.
    kept: Result<PathBuf>,
}

impl fmt::Display for Find {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, origin, problem, kept } = self;
        write!(out, "fuzz target `{target}` broke on {origin}: {problem}; ")?;
        match kept {
            Ok(path) => write!(
                out,
                "replay it with `cargo run -p twinge-fuzz -- replay {target} {}`",
                path.display()
            ),
            Err(error) => write!(out, "the input could not be kept ({error:#})"),
        }
    }
}

impl std::error::Error for Find {}

/// Runs a target over its corpus and then over what the seed makes of it.
///
/// # Errors
/// The first input that panics or holds too much. One that hangs, or asks for a gigabyte at once, ends
/// the program after it was written down.
pub fn run(target: &Target, corpus: &Corpus, amount: Amount) -> Result<Outcome, Find> {
    let watch = Watch::new(target.name);
    let mut outcome = Outcome::default();
    for (name, input) in &corpus.entries {
        check(target, &watch, input, &mut outcome, || format!("corpus entry {name}"))?;
    }
    let entries = corpus.entries.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let mut mutator = Mutator::new(amount.seed, entries, target.words);
    let began = Instant::now();
    while outcome.iterations < amount.iterations && began.elapsed() < amount.time {
        let input = mutator.next_input();
        let iteration = outcome.iterations;
        check(target, &watch, &input, &mut outcome, || {
            format!("iteration {iteration} of seed {:#x}", amount.seed)
        })?;
        outcome.iterations += 1;
    }
    Ok(outcome)
}

/// Runs a target on one input.
///
/// # Errors
/// What the input broke.
pub fn replay(target: &Target, input: &[u8]) -> Result<Outcome, Find> {
    let mut outcome = Outcome::default();
    check(target, &Watch::new(target.name), input, &mut outcome, || "the given input".to_owned())?;
    Ok(outcome)
}

fn check(
    target: &Target,
    watch: &Watch,
    input: &[u8],
    outcome: &mut Outcome,
    origin: impl Fn() -> String,
) -> Result<(), Find> {
    watch.begin(input, &origin);
    let began = Instant::now();
    note_panics();
    let mut caught = Ok(());
    let held = peak_of(|| caught = catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    watch.end();
    let panicked = last_panic();
    outcome.slowest = outcome.slowest.max(began.elapsed());
    outcome.held_bytes = outcome.held_bytes.max(held);
    let held_max = HELD_BYTES_MAX + HELD_BYTES_PER_BYTE * input.len();
    let problem = match caught {
        Err(payload) => format!("it panicked{panicked}: {}", words_of(&*payload)),
        Ok(()) if held > held_max => {
            format!("it held {held} bytes for {}: at most {held_max} are allowed", input.len())
        }
        Ok(()) => return Ok(()),
    };
    Err(Find { target: target.name, origin: origin(), problem, kept: keep(target.name, input) })
}

thread_local! {
    static LAST_PANIC: Cell<Option<String>> = const { Cell::new(None) };
}

/// Notes where a panic came from in place of telling it: a backtrace would count as the target's
/// memory, and what a reader catches itself is no find.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_run = LAST_PANIC.try_with(|last| {
                let mut noted = last.take();
                let is_run = noted.is_some();
                if let (Some(noted), Some(place)) = (&mut noted, info.location()) {
                    *noted = format!(" at {place}");
                }
                last.set(noted);
                is_run
            });
            if !is_run.unwrap_or(false) {
                tell(info);
            }
        }));
    });
    LAST_PANIC.set(Some(String::new()));
}

fn last_panic() -> String {
    LAST_PANIC.take().unwrap_or_default()
}

fn words_of(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without words")
}

/// Writes an input that broke a target beside the build, and answers with where it is.
fn keep(target: &str, input: &[u8]) -> Result<PathBuf> {
    let folder = std::env::var_os("TWINGE_FUZZ_FINDS");
    let folder = folder.map_or_else(|| std::env::temp_dir().join("twinge-fuzz"), PathBuf::from);
    let name = format!("{target}-{:08x}", crc32fast::hash(input));
    write(&folder.join(name), input)
}

fn write(path: &Path, input: &[u8]) -> Result<PathBuf> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(path, input).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_owned())
}

/// Ends the program, with the input written down, when one run takes too long.
struct Watch {
    shared: Arc<Shared>,
}

struct Shared {
    target: &'static str,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    began: Option<Instant>,
    input: Vec<u8>,
    origin: String,
    is_over: bool,
}

/// What runs now, for the last words when one allocation is too large.
static RUNNING: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());

impl Watch {
    fn new(target: &'static str) -> Self {
        let shared = Arc::new(Shared { target, state: Mutex::default(), changed: Condvar::new() });
        alloc::on_excess(tell_excess);
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&shared));
        let watched = Arc::clone(&shared);
        std::thread::spawn(move || watched.watch());
        Self { shared }
    }

    fn begin(&self, input: &[u8], origin: &impl Fn() -> String) {
        let mut state = self.shared.lock();
        state.input.clear();
        state.input.extend_from_slice(input);
        state.origin = origin();
        state.began = Some(Instant::now());
        if let Some(path) = trace_path() {
            // Kept in vain is kept: a stack that overflows leaves nobody to write it.
            write(path, input).ok();
        }
    }

    fn end(&self) {
        self.shared.lock().began = None;
    }
}

/// Where each input is written before it is run, if anywhere.
fn trace_path() -> Option<&'static Path> {
    static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();
    PATH.get_or_init(|| std::env::var_os("TWINGE_FUZZ_TRACE").map(PathBuf::from)).as_deref()
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|shared| !Arc::ptr_eq(shared, &self.shared));
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        let mut state = self.lock();
        while !state.is_over {
            if state.began.is_some_and(|began| began.elapsed() > RUN_MAX) {
                let problem = format!("it took longer than {} s", RUN_MAX.as_secs());
                self.tell(&state, problem);
                std::process::exit(1);
            }
            let waited = self.changed.wait_timeout(state, Duration::from_millis(500));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    #[expect(clippy::print_stderr, reason = "the program ends, and these are its last words")]
    fn tell(&self, state: &State, problem: String) {
        let kept = keep(self.target, &state.input);
        eprintln!("{}", Find { target: self.target, origin: state.origin.clone(), problem, kept });
    }
}

/// Tells which inputs run while one allocation asks for too much.
fn tell_excess(bytes: usize) {
    let running = RUNNING.try_lock().map(|running| running.clone()).unwrap_or_default();
    for shared in running {
        if let Ok(state) = shared.state.try_lock() {
            shared.tell(&state, format!("somebody asked for {bytes} bytes at once"));
        }
    }
}
