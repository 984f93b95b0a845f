//! Checkpoints: any pointer and any states are restored or refused, and what was restored goes on
//! after another restart as it would have without one.

use super::files::split;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use twinge_engine::{Engine, Limits, Module};
use twinge_registry::{MemoryStore, Store as _, StorePath};
use twinge_runner::checkpoint::{DetectorPointer, StateObject};
use twinge_runner::{Arrival, Checkpoints, Layout, Place, Pointer, Progress, Runner};
use twinge_testkit::{Kind, MadeModule};
use twinge_trust::{Digest, VerifiedModule};

pub(super) const WORDS: &[&[u8]] = &[
    b"\"format\":3",
    b"\"format\":4",
    b"\"1-",
    b"\"epoch\":18446744073709551615",
    b"\"next_offset\":18446744073709551615",
    b"\"detectors\":[]",
    b"\"objects\":[]",
    b"\"beside\":null",
    b"\"name\":\"test\"",
    b"null",
    b"-1",
    b"[[[[[[",
];

/// The module whose verdicts count, and the one beside it.
pub(crate) fn modules() -> &'static [Module; 2] {
    static MODULES: OnceLock<[Module; 2]> = OnceLock::new();
    MODULES.get_or_init(|| {
        let engine = Engine::new(Limits::default()).expect("the engine starts here");
        ["1", "2"].map(|version| {
            let bytes = MadeModule::new(Kind::Good, version).bytes();
            engine.load(&VerifiedModule::allow_unsigned(bytes)).expect("a good module loads")
        })
    })
}

pub(crate) fn place() -> Place {
    Place { detector: "test".into(), source: "s".into(), partition: "0".into(), redelivers: true }
}

/// Events from an offset on, some of which are none.
pub(crate) fn arrivals(from: u64, count: u64) -> Vec<Arrival> {
    let arrival = |step: u64| Arrival {
        offset: from.saturating_add(step),
        ingested_ms: 0,
        key: None,
        attributes: None,
        bytes: if step % 5 == 4 {
            b"{".to_vec()
        } else {
            let signed = step.cast_signed() - 2;
            format!(r#"{{"entity":"e{}","x":{signed},"n":{from}}}"#, step % 3).into_bytes()
        },
    };
    (0..count).map(arrival).collect()
}

/// A pointer alone. Its states are there where it names those of the corpus.
pub(super) fn pointer(bytes: &[u8]) {
    let store = Arc::new(MemoryStore::default());
    put(&store, "checkpoints/s/0/pointer.json", bytes);
    let layout = || Layout::of("s", "0");
    let Ok(checkpoints) = now(Checkpoints::open(store.clone(), layout())) else { return };
    let [acting, beside] = modules();
    now(checkpoints.restore(&place(), acting, Some(beside), Some(8))).ok();
    assert!(checkpoints.latest().is_some(), "the pointer is there");
    let again = now(Checkpoints::open(store, layout())).expect("what was claimed is claimed again");
    assert!(again.epoch() > checkpoints.epoch(), "each owner has a number of its own");
}

/// State objects: the first byte says whether a module runs beside.
pub(super) fn snapshot(bytes: &[u8]) {
    let Some((flags, rest)) = bytes.split_first() else { return };
    let objects = split(rest);
    let [acting, other] = modules();
    let beside = (flags & 1 == 1).then_some(other);
    let store = Arc::new(MemoryStore::default());
    let mut states = Vec::new();
    for object in objects {
        let state = StateObject { epoch: 1, digest: Digest::of(object) };
        if !states.contains(&state) {
            put(&store, &format!("checkpoints/s/0/state-{state}.bin"), object);
            states.push(state);
        }
    }
    let detector = DetectorPointer {
        name: "test".to_owned(),
        acting: acting.digest(),
        beside: beside.map(Module::digest),
        objects: states,
    };
    let pointer = Pointer {
        format: 4,
        epoch: 1,
        source: "s".to_owned(),
        partition: "0".to_owned(),
        next_offset: 0,
        source_position: 0,
        started_ms: 0,
        detectors: vec![detector],
    };
    let json = serde_json::to_vec(&pointer).expect("a pointer is JSON");
    put(&store, "checkpoints/s/0/pointer.json", &json);
    let Ok(mut checkpoints) = now(Checkpoints::open(store.clone(), Layout::of("s", "0"))) else {
        return;
    };
    let restored = now(checkpoints.restore(&place(), acting, beside, Some(8)));
    let Ok(Some(mut runner)) = restored else { return };
    assert!(runner.status().entities <= 8, "no more entities than are remembered");
    let next = runner.next_offset();
    runner.process(&arrivals(next, 7));
    let progress = Progress::default();
    now(checkpoints.save(&mut [&mut runner], &progress)).expect("what was restored is saved");
    let (_, with) = runner.digests();
    let with = with.and_then(|digest| modules().iter().find(|module| module.digest() == digest));
    let (now_acting, _) = runner.digests();
    let now_acting = modules().iter().find(|module| module.digest() == now_acting);
    let now_acting = now_acting.expect("one of the two acts");
    let again = now(checkpoints.restore(&place(), now_acting, with, Some(8)));
    let mut again: Runner = again.expect("what was saved is restored").expect("it is there");
    let later = arrivals(runner.next_offset(), 23);
    assert!(runner.process(&later) == again.process(&later), "a restart changes no record");
}

fn put(store: &Arc<MemoryStore>, path: &str, bytes: &[u8]) {
    let path = StorePath::new(path).expect("a path without anything odd");
    now(store.create(&path, bytes)).expect("a store in memory takes it");
}

/// A store in memory never waits.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a store in memory does not wait"),
    }
}
