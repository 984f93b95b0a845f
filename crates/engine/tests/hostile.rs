//! Modules that are broken or mean harm: each is refused or stopped in time, with an error that
//! tells why, without a panic and without a trace in the caller's states.
#![cfg(any(feature = "compiler", feature = "interpreter"))]
#![expect(
    clippy::unwrap_used,
    reason = "these are tests, made by a macro of functions that are none"
)]

mod common;

use std::time::{Duration, Instant};

use common::{
    PATIENCE, WORLDS, counter, counter_manifest, engine, load, test_each_strategy, with_manifest,
};
use twinge_contract::abi::{ERROR_ENTITY, Outcome, ROWS_MAX};
use twinge_contract::manifest::{ENTITIES_MAX_LIMIT, Manifest};
use twinge_engine::{
    Batch, Budget, CallError, Engine, Limits, LoadError, Module, Scorer, Strategy,
};

/// Far more than any refusal takes, far less than an endless loop.
const SOON: Duration = Duration::from_secs(2);

const SHORT: Duration = Duration::from_millis(20);

const MEMORY: &str = "(memory (export \"memory\") 2)";
const ABI: &str = "(func (export \"twinge_abi\") (result i32) (i32.const 1))";
const PREPARE: &str = "(func (export \"twinge_prepare\") (param $rows i32) (param $states i32) (result i32)\n    (i32.const 64))";
const MISCHIEF: &str = "(unreachable)";

/// Endless recursion; also the place where further definitions are added.
const DEEPER: &str = "(func $deeper (call $deeper))";

fn honest(module: Vec<u8>) -> Vec<u8> {
    with_manifest(module, &counter_manifest().to_json())
}

fn check_refused(engine: &Engine, what: &str, module: Vec<u8>, expected: &str) {
    let start = Instant::now();
    let error = load(engine, module).expect_err(what);
    let elapsed = start.elapsed();
    assert!(elapsed < SOON, "{what}: refused after {elapsed:?} only");
    let told = format!("{error:?}");
    assert!(told.starts_with(expected), "{what}: {told} is not {expected}");
}

test_each_strategy! {
    the_guest_that_the_others_are_made_from_is_accepted
    modules_that_could_reach_outside_are_refused
    modules_with_another_interface_are_refused
    modules_without_one_usable_manifest_are_refused
    bytes_that_are_no_module_are_refused
    truncated_modules_are_refused
    modules_that_use_what_is_switched_off_are_refused
    a_start_function_runs_before_all_else
    modules_that_do_not_start_within_their_limits_are_refused
    a_call_that_fails_leaves_no_trace
    a_module_that_cannot_prepare_a_larger_batch_still_scores_a_small_one
    instructions_in_great_number_need_no_stack
    a_deadline_is_kept_and_a_retry_has_ten_times_as_long
    batches_at_the_bounds
    a_detector_without_state_has_entities_too
    a_row_of_an_entity_that_is_not_there_is_refused_by_a_trained_module
}

fn the_guest_that_the_others_are_made_from_is_accepted(strategy: Strategy) {
    let module = load(&engine(strategy, SHORT), honest(counter(&[]))).unwrap();
    assert_eq!(module.manifest().name, "counter");
}

fn modules_that_could_reach_outside_are_refused(strategy: Strategy) {
    let cases = [
        ("(import \"wasi_snapshot_preview1\" \"fd_write\" (func))", "Import(\"wasi_snap"),
        ("(import \"env\" \"memory\" (global i32))", "Import(\"env.memory\")"),
        ("(import \"env\" \"table\" (table 1 funcref))", "Import("),
        ("(import \"\" \"\" (func (param i32)))", "Import(\".\")"),
    ];
    for (import, expected) in cases {
        // Imports come before all definitions.
        let text = counter(&[(MEMORY, &format!("{import} {MEMORY}"))]);
        check_refused(&engine(strategy, SHORT), import, honest(text), expected);
    }
}

fn modules_with_another_interface_are_refused(strategy: Strategy) {
    let renamed = |name: &str| (format!("(export \"{name}\")"), format!("(export \"{name}2\")"));
    for name in ["memory", "twinge_abi", "twinge_prepare", "twinge_score"] {
        let (from, to) = renamed(name);
        let module = honest(counter(&[(&from, &to)]));
        check_refused(&engine(strategy, SHORT), name, module, &format!("Export(\"{name}\")"));
    }
    let cases = [
        (MEMORY, "(memory 2) (global (export \"memory\") i32 (i32.const 0))", "memory"),
        (MEMORY, "(memory 2) (table (export \"memory\") 1 funcref)", "memory"),
        (ABI, "(func (export \"twinge_abi\") (result i64) (i64.const 1))", "twinge_abi"),
        (
            ABI,
            "(func (export \"twinge_abi\") (result i32 i32) i32.const 1 i32.const 1)",
            "twinge_abi",
        ),
        (ABI, "(func (export \"twinge_abi\"))", "twinge_abi"),
        (ABI, "(global (export \"twinge_abi\") i32 (i32.const 1))", "twinge_abi"),
        (
            "(param $rows i32) (param $states i32) (result i32)\n    (i32.const 64)",
            "(param i32) (result i32) (i32.const 64)",
            "twinge_prepare",
        ),
        (
            "(param $rows i32) (param $states i32) (result i32)\n    (i32.const 64)",
            "(param i32 f32) (result i32) (i32.const 64)",
            "twinge_prepare",
        ),
        ("(param $flags i32) (result i32)", "(param $flags i64) (result i32)", "twinge_score"),
        (
            "(param $flags i32) (result i32)",
            "(param $flags i32) (param i32) (result i32)",
            "twinge_score",
        ),
    ];
    for (from, to, export) in cases {
        let module = honest(counter(&[(from, to)]));
        check_refused(&engine(strategy, SHORT), to, module, &format!("Export(\"{export}\")"));
    }
    let other = honest(counter(&[("(result i32) (i32.const 1))", "(result i32) (i32.const 2))")]));
    check_refused(&engine(strategy, SHORT), "interface version 2", other, "Abi(2)");
}

fn modules_without_one_usable_manifest_are_refused(strategy: Strategy) {
    let json = counter_manifest().to_json();
    let changed = |change: fn(&mut Manifest)| {
        let mut manifest = counter_manifest();
        change(&mut manifest);
        with_manifest(counter(&[]), &manifest.to_json())
    };
    let padded = [&json[..], &vec![b' '; 1 << 20]].concat();
    let cases = [
        ("none", counter(&[]), "Inspect(NoManifest)"),
        ("two", with_manifest(honest(counter(&[])), &json), "Inspect(SeveralManifests)"),
        ("empty", with_manifest(counter(&[]), b""), "Inspect(Manifest(Json("),
        ("half", with_manifest(counter(&[]), &json[..json.len() / 2]), "Inspect(Manifest(Json("),
        ("no JSON", with_manifest(counter(&[]), b"\xff\xfe{}"), "Inspect(Manifest(Json("),
        ("deep", with_manifest(counter(&[]), &vec![b'['; 1 << 19]), "Inspect(Manifest(Json("),
        ("huge", with_manifest(counter(&[]), &padded), "Inspect(ManifestTooLarge("),
        ("abi", changed(|manifest| manifest.abi = 2), "Inspect(Manifest(Abi(2))"),
        ("name", changed(|manifest| manifest.name = "../x".into()), "Inspect(Manifest(Name("),
        (
            "no entity",
            changed(|manifest| manifest.stream.entities_max = 0),
            "Inspect(Manifest(Stream",
        ),
        (
            "very many entities",
            changed(|manifest| manifest.stream.entities_max = ENTITIES_MAX_LIMIT + 1),
            "Inspect(Manifest(Stream",
        ),
        (
            "odd state",
            changed(|manifest| manifest.state_bytes = 12),
            "Inspect(Manifest(StateBytes(",
        ),
        (
            "large state",
            changed(|manifest| manifest.state_bytes = 1 << 20),
            "Inspect(Manifest(StateB",
        ),
        (
            "no fields",
            changed(|manifest| manifest.schema.numeric.clear()),
            "Inspect(Manifest(Schema(",
        ),
        (
            "other fields",
            changed(|manifest| manifest.schema.numeric.push("y".into())),
            "Start(Layout(\"its fields",
        ),
        ("other state", changed(|manifest| manifest.state_bytes = 16), "Start(Layout(\"its fields"),
    ];
    for (what, module, expected) in cases {
        check_refused(&engine(strategy, SHORT), what, module, expected);
    }
}

fn bytes_that_are_no_module_are_refused(strategy: Strategy) {
    let component = with_manifest(b"\0asm\x0d\0\x01\0".to_vec(), &counter_manifest().to_json());
    let cases = [
        ("nothing", vec![], "Inspect("),
        ("text", b"(module)".to_vec(), "Inspect(NotWasm"),
        ("a component", component, "Compile("),
        ("garbage behind", [honest(counter(&[])), vec![0xff; 9]].concat(), "Inspect(Parse("),
        (
            "a body that does not check",
            honest(vec![0, b'a', b's', b'm', 1, 0, 0, 0, 10, 1, 5]),
            "Inspect(Parse(",
        ),
    ];
    for (what, bytes, expected) in cases {
        check_refused(&engine(strategy, SHORT), what, bytes, expected);
    }
    // A function of two constants, the first of which is before its end.
    let mut beyond = b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0".to_vec();
    beyond.extend_from_slice(b"\x0a\x09\x01\x07\0\x41\x01\x0b\x41\x02\x0b");
    let what = "code behind the end of a function";
    check_refused(&engine(strategy, SHORT), what, honest(beyond), "Compile(");
    let limits = Limits { module_bytes_max: 64, ..Limits::default() };
    let engine = Engine::with_strategy(limits, strategy).unwrap();
    check_refused(&engine, "too large", honest(counter(&[])), "TooLarge {");
}

fn truncated_modules_are_refused(strategy: Strategy) {
    let whole = &WORLDS[0].trained.module;
    let engine = engine(strategy, SHORT);
    for length in (0..whole.len()).step_by(97) {
        let error = load(&engine, whole[..length].to_vec()).expect_err("a part is no module");
        assert!(matches!(error, LoadError::Inspect(_)), "{length} bytes: {error:?}");
    }
}

fn modules_that_use_what_is_switched_off_are_refused(strategy: Strategy) {
    let cases = [
        (MEMORY, "(memory (export \"memory\") 2 4 shared)"),
        (MEMORY, "(memory (export \"memory\") i64 2)"),
        (MEMORY, "(memory (export \"memory\") 2) (memory 1)"),
        (
            DEEPER,
            "(func $deeper) (func (param v128 v128) (result v128) (f32x4.relaxed_min (local.get 0) (local.get 1)))",
        ),
        (DEEPER, "(func $deeper) (func (result i32) (i32.atomic.load (i32.const 0)))"),
    ];
    for (from, to) in cases {
        check_refused(&engine(strategy, SHORT), to, honest(counter(&[(from, to)])), "Compile(");
    }
}

fn a_start_function_runs_before_all_else(strategy: Strategy) {
    let begins = |code: &str| format!("{DEEPER} (func $begin {code}) (start $begin)");
    // The interface version that the guest answers with is what its start function counted up to.
    let counts = begins(
        "(loop $next (global.set $begun (i32.add (global.get $begun) (i32.const 1)))
            (br_if $next (i32.lt_u (global.get $begun) (i32.const 100000))))",
    ) + "(global $begun (mut i32) (i32.const 0))";
    let answer = ABI.replace("(i32.const 1)", "(i32.div_u (global.get $begun) (i32.const 100000))");
    let guest = counter(&[(DEEPER, &counts), (ABI, &answer)]);
    assert!(load(&engine(strategy, PATIENCE), honest(guest)).is_ok());
    // An export of the name by which the interpreter calls it.
    let twice = counter(&[
        (DEEPER, &begins("")),
        ("(start $begin)", "(start $begin) (export \"\\00start\" (func $begin))"),
    ]);
    let loaded = load(&engine(strategy, PATIENCE), honest(twice));
    match strategy {
        Strategy::Compile => assert!(loaded.is_ok(), "{loaded:?}"),
        Strategy::Interpret => {
            assert!(matches!(loaded, Err(LoadError::Compile(_))), "{loaded:?}");
        }
    }
}

fn modules_that_do_not_start_within_their_limits_are_refused(strategy: Strategy) {
    let layout = "(i32 1 8 4096 16384 32768 49152 65536 81920 98304 0)";
    let start = |body: &str| format!("{DEEPER} (func $begin {body}) (start $begin)");
    let prepare = |body: &str| PREPARE.replace("(i32.const 64)", body);
    let forever = "(loop $forever (br $forever))";
    let cases = [
        (DEEPER, start(forever), "Start(Deadline)"),
        (DEEPER, start("(return_call $begin)"), "Start(Deadline)"),
        (DEEPER, start("(call $deeper)"), "Start(Trap("),
        (DEEPER, start("(unreachable)"), "Start(Trap("),
        (ABI, ABI.replace("(i32.const 1)", &format!("{forever} (i32.const 1)")), "Start(Deadline)"),
        (PREPARE, prepare(&format!("{forever} (i32.const 64)")), "Start(Deadline)"),
        (PREPARE, prepare("(call $deeper) (i32.const 64)"), "Start(Trap("),
        (PREPARE, prepare("(unreachable)"), "Start(Trap("),
        (PREPARE, prepare("(i32.const 0)"), "Start(Room {"),
        (PREPARE, prepare("(i32.const 131040)"), "Start(Layout(\"layout lies"),
        (PREPARE, prepare("(i32.const -8)"), "Start(Layout(\"layout lies"),
        (PREPARE, prepare("(i32.const 2048)"), "Start(Layout(\"its fields"),
        // The memory limit is 64 MiB: 1024 pages.
        (
            PREPARE,
            prepare(
                "(i32.and (i32.const 64) (i32.ne (memory.grow (i32.const 1023)) (i32.const -1)))",
            ),
            "Start(Room {",
        ),
        (MEMORY, MEMORY.replace("2)", "1025)"), "Start(Trap("),
        (DEEPER, format!("{DEEPER} (table 10001 funcref)"), "Start(Trap("),
        (DEEPER, format!("{DEEPER} (data (i32.const 131072) \"x\")"), "Start(Trap("),
        (layout, layout.replace("(i32 1 8 ", "(i32 2 8 "), "Start(Layout(\"its fields"),
        (layout, layout.replace("(i32 1 8 ", "(i32 1 16 "), "Start(Layout(\"its fields"),
    ];
    for (from, to, expected) in &cases {
        check_refused(&engine(strategy, SHORT), to, honest(counter(&[(from, to)])), expected);
    }
    for address in ["4096", "16384", "32768", "49152", "65536", "81920", "98304"] {
        for (wrong, expected) in [
            ("4100", "Start(Layout(\"an address is not"),
            ("131072", "Start(Layout(\"an array reaches"),
            ("0xfffffff8", "Start(Layout(\"an array reaches"),
        ] {
            let to = layout.replace(&format!(" {address} "), &format!(" {wrong} "));
            let what = format!("{address} moved to {wrong}");
            check_refused(
                &engine(strategy, SHORT),
                &what,
                honest(counter(&[(layout, &to)])),
                expected,
            );
        }
    }
}

/// Rows of two entities that have been seen 5 and 7 times.
fn batch_of(scorer: &Scorer, inputs: &[f64]) -> Batch {
    let mut batch = scorer.batch();
    let places = [5.0f64, 7.0].map(|count| batch.push_state(Some(&count.to_le_bytes())));
    for (row, input) in inputs.iter().enumerate() {
        batch.push(0.0, places[row % 2], &[*input]);
    }
    batch
}

fn counts(batch: &Batch) -> [f64; 2] {
    [0, 1].map(|place| f64::from_le_bytes(batch.state(place).try_into().expect("eight bytes")))
}

/// A call that fails leaves no trace, and the next one finds an instance as new.
fn check_stopped(module: &Module, what: &str, inputs: &[f64], innocent: &[f64], expected: &str) {
    let mut scorer = Scorer::new(module);
    for _ in 0..2 {
        let mut batch = batch_of(&scorer, inputs);
        let start = Instant::now();
        let error = scorer.score(&mut batch, true, Budget::Usual).expect_err(what);
        assert!(start.elapsed() < SOON, "{what}: stopped after {:?} only", start.elapsed());
        let told = format!("{error:?}");
        assert!(told.starts_with(expected), "{what}: {told} is not {expected}");
        assert_eq!(counts(&batch), [5.0, 7.0], "{what}: states after the failed call");
        // Parts of the batch may be scored next, and must not find what this call said.
        let is_told = (0..inputs.len()).any(|row| batch.attribution(row) != [0.0; 2]);
        assert!(!is_told, "{what}: contributions after the failed call");
        check_innocent(&mut scorer, what, innocent);
    }
}

fn check_innocent(scorer: &mut Scorer, what: &str, inputs: &[f64]) {
    let mut batch = batch_of(scorer, inputs);
    let result = scorer.score(&mut batch, false, Budget::Retry);
    assert_eq!(result, Ok(()), "{what}: the innocent batch");
    let rows = [inputs.len().div_ceil(2) as f64, (inputs.len() / 2) as f64];
    assert_eq!(counts(&batch), [5.0 + rows[0], 7.0 + rows[1]], "{what}");
    for row in 0..inputs.len() {
        let expected = [5.0, 7.0][row % 2] + (row / 2 + 1) as f64;
        assert_eq!((batch.score(row), batch.outcome(row)), (expected, Outcome::Normal), "{what}");
    }
}

fn a_call_that_fails_leaves_no_trace(strategy: Strategy) {
    let score = |value: &str| format!("(local.set $score (f64.const {value}))");
    let verdict = |word: &str| format!("(local.set $verdict (i32.const {word}))");
    let cases = [
        (MISCHIEF.to_owned(), "Trap("),
        ("(call $deeper)".into(), "Trap("),
        ("(drop (i32.load (i32.const -1)))".into(), "Trap("),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))".into(), "Trap("),
        ("(loop $forever (br $forever))".into(), "Deadline"),
        ("(return (i32.const 7))".into(), "Code(7)"),
        ("(return (i32.const -1))".into(), "Code(-1)"),
        ("(return (i32.eq (memory.grow (i32.const 65535)) (i32.const -1)))".into(), "Code(1)"),
        ("(memory.fill (i32.const 0) (i32.const 255) (i32.const 131072))".into(), "Verdict(0)"),
        (verdict("77"), "Verdict(2)"),
        (verdict("4"), "Verdict(2)"),
        (verdict("0x401"), "Verdict(2)"),
        (verdict("-1"), "Verdict(2)"),
        (score("nan"), "Verdict(2)"),
        (score("nan:0x4000000000000"), "Verdict(2)"),
        (score("inf"), "Verdict(2)"),
        (score("-inf"), "Verdict(2)"),
        // The second of the two contributions to the third row.
        ("(f32.store (i32.const 98324) (f32.const nan))".into(), "Verdict(2)"),
        ("(f32.store (i32.const 98324) (f32.const inf))".into(), "Verdict(2)"),
    ];
    let engine = engine(strategy, SHORT);
    for (mischief, expected) in &cases {
        let module = load(&engine, honest(counter(&[(MISCHIEF, mischief)]))).unwrap();
        check_stopped(&module, mischief, &[1.0, 2.0, 13.0], &[1.0, 2.0, 3.0], expected);
    }
}

fn a_module_that_cannot_prepare_a_larger_batch_still_scores_a_small_one(strategy: Strategy) {
    let cases = [
        ("(unreachable)", "Trap("),
        ("(loop $forever (br $forever))", "Deadline"),
        ("(return (i32.const 0))", "Room { rows: 5, states: 2 }"),
        ("(return (i32.const -8))", "Layout(\"layout lies"),
        ("(i32.store (i32.const 72) (i32.const 4100))", "Layout(\"an address is not"),
        ("(i32.store (i32.const 72) (i32.const 131048))", "Layout(\"an array reaches"),
        ("(i32.store (i32.const 64) (i32.const 2))", "Layout(\"its fields"),
    ];
    let engine = engine(strategy, SHORT);
    for (mischief, expected) in cases {
        let large = format!("(if (i32.gt_u (local.get $rows) (i32.const 4)) (then {mischief}))");
        let body = PREPARE.replace("(i32.const 64)", &format!("{large} (i32.const 64)"));
        let module = load(&engine, honest(counter(&[(PREPARE, &body)]))).unwrap();
        check_stopped(&module, mischief, &[1.0; 5], &[1.0, 2.0], expected);
    }
}

/// An interpreter may run each instruction by a call from the last one, which only an optimised
/// build makes a jump. A thread of a quarter of what tokio gives its own must be enough.
fn instructions_in_great_number_need_no_stack(strategy: Strategy) {
    const STACK_BYTES: usize = 512 << 10;
    let pieces = [
        "(memory.copy (i32.const 0) (i32.const 0) (i32.const 0))",
        "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))",
        // By nothing, which the interpreter does not know: a constant it would see through.
        "(drop (memory.grow (local.get $verdict)))",
        "(drop (table.grow (ref.null func) (local.get $verdict)))",
        "(drop (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 (i32x4.splat (local.get $row)) (i32x4.splat (local.get $row))))",
        "(block (br_table 0 0 (local.get $row)))",
        "(block (result i32 i32) (br_table 0 0 (i32.const 1) (i32.const 2) (local.get $row))) drop drop",
        "(local.set $score (f64.ceil (f64.add (f64.sqrt (local.get $score)) (f64.const 1))))",
    ];
    let answer_to = move |mischief: &str| {
        let table = format!("{DEEPER} (table 1 funcref)");
        let guest = honest(counter(&[(MISCHIEF, mischief), (DEEPER, &table)]));
        let module = load(&engine(strategy, PATIENCE), guest).expect("it is valid");
        let mut scorer = Scorer::new(&module);
        let mut batch = batch_of(&scorer, &[13.0]);
        scorer.score(&mut batch, false, Budget::Retry)
    };
    let run = move || {
        for piece in pieces {
            let looped = format!(
                "(local.set $state (i32.const 0)) (loop $again {piece} (br_if $again (i32.lt_u
                    (local.tee $state (i32.add (local.get $state) (i32.const 1)))
                    (i32.const 100000))))"
            );
            for (mischief, is_long) in
                [(looped, false), (piece.repeat(200), false), (piece.repeat(8000), true)]
            {
                let result = answer_to(&format!("{mischief} (return (i32.const 7))"));
                // Code that goes on and on is more than the interpreter takes on at once.
                let too_long = is_long
                    && strategy == Strategy::Interpret
                    && matches!(&result, Err(CallError::Trap(why)) if why.contains("in a row"));
                assert!(result == Err(CallError::Code(7)) || too_long, "{piece}: {result:?}");
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run);
    thread.expect("a thread starts").join().expect("all of it ran");
}

fn a_deadline_is_kept_and_a_retry_has_ten_times_as_long(strategy: Strategy) {
    let forever = "(loop $forever (br $forever))";
    let module = load(&engine(strategy, SHORT), honest(counter(&[(MISCHIEF, forever)]))).unwrap();
    let mut scorer = Scorer::new(&module);
    let mut took = |budget| {
        let mut batch = batch_of(&scorer, &[13.0]);
        let start = Instant::now();
        assert_eq!(scorer.score(&mut batch, false, budget), Err(CallError::Deadline));
        start.elapsed()
    };
    let (usual, retry) = (took(Budget::Usual), took(Budget::Retry));
    assert!(usual >= SHORT && usual < SOON, "{usual:?}");
    assert!(retry >= SHORT * 10 && retry < SOON * 2, "{retry:?}");
}

fn batches_at_the_bounds(strategy: Strategy) {
    let module = load(&engine(strategy, Duration::from_secs(5)), honest(counter(&[]))).unwrap();
    let mut scorer = Scorer::new(&module);
    check_innocent(&mut scorer, "no rows", &[]);
    check_innocent(&mut scorer, "one row and two states", &[1.0]);
    check_innocent(&mut scorer, "all that the guest has room for", &[1.0; 1024]);
    let mut batch = batch_of(&scorer, &vec![1.0; ROWS_MAX as usize + 1]);
    let error = scorer.score(&mut batch, false, Budget::Usual).unwrap_err();
    assert!(matches!(error, CallError::Room { .. }), "{error:?}");
    assert_eq!(counts(&batch), [5.0, 7.0]);
    check_innocent(&mut scorer, "after a batch that was too large", &[1.0, 2.0]);
}

fn a_detector_without_state_has_entities_too(strategy: Strategy) {
    let mut manifest = counter_manifest();
    manifest.state_bytes = 0;
    let guest = counter(&[("(i32 1 8 4096", "(i32 1 0 4096")]);
    let module = load(&engine(strategy, SHORT), with_manifest(guest, &manifest.to_json())).unwrap();
    let mut scorer = Scorer::new(&module);
    let mut batch = scorer.batch();
    let places = [(); 3].map(|()| batch.push_state(None));
    assert_eq!((places, batch.states()), ([0, 1, 2], 3));
    for place in places {
        batch.push(0.0, place, &[1.0]);
    }
    assert_eq!(scorer.score(&mut batch, false, Budget::Retry), Ok(()));
    assert!(places.iter().all(|place| batch.state(*place).is_empty()));
}

fn a_row_of_an_entity_that_is_not_there_is_refused_by_a_trained_module(strategy: Strategy) {
    let world = &WORLDS[0];
    let mut scorer = Scorer::new(world.module(strategy));
    let mut batch = scorer.batch();
    let place = batch.push_state(None);
    batch.push(0.0, place, &[1.0; 6]);
    batch.push(0.0, place + 1, &[1.0; 6]);
    assert_eq!(scorer.score(&mut batch, false, Budget::Usual), Err(CallError::Code(ERROR_ENTITY)));
    assert!(batch.state(place).iter().all(|byte| *byte == 0));
}

/// What becomes of an event does not depend on what ran the module, and nor does what is told of it.
#[cfg(all(feature = "compiler", feature = "interpreter"))]
#[test]
fn traps_are_told_in_the_same_words() {
    let cases = [
        "(unreachable)",
        "(call $deeper)",
        "(drop (i32.load (i32.const -1)))",
        "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
        "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
        "(drop (i32.trunc_f64_s (f64.const nan)))",
        "(drop (i32.trunc_f64_s (f64.const 1e300)))",
        "(memory.fill (i32.const 131072) (i32.const 0) (i32.const 1))",
    ];
    for mischief in cases {
        let [compiled, interpreted] = [Strategy::Compile, Strategy::Interpret].map(|strategy| {
            let guest = honest(counter(&[(MISCHIEF, mischief)]));
            let module = load(&engine(strategy, PATIENCE), guest).expect("it is valid");
            let mut scorer = Scorer::new(&module);
            let mut batch = batch_of(&scorer, &[13.0]);
            scorer.score(&mut batch, false, Budget::Usual)
        });
        assert!(matches!(compiled, Err(CallError::Trap(_))), "{mischief}: {compiled:?}");
        assert_eq!(compiled, interpreted, "{mischief}");
    }
}
