//! Pollers against devices that answer, refuse, lie, fall silent and come back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use serde_json::{Value, json};
use server::{Device, RawDevice, RawScript, Script, framed, right_answer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_modbus::{ExceptionCode, Request, Response};
use tokio_util::sync::CancellationToken;
use twinge_modbus::{Poller, Reading, Settings, Status, Watch};

/// Nothing here takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

const NOW_MS: i64 = 1_767_225_600_000;

/// A poller at work, stopped when it is dropped.
struct Running {
    watch: Watch,
    readings: mpsc::Receiver<Reading>,
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Running {
    /// Polls `address` by a map; `changes` are further keys of the device.
    fn new(address: SocketAddr, registers: &Value, changes: &Value) -> Self {
        Self::with_room(address, registers, changes, 16)
    }

    fn with_room(address: SocketAddr, registers: &Value, changes: &Value, places: usize) -> Self {
        let mut said = json!({
            "address": address.to_string(),
            "every_ms": 20,
            "timeout_ms": 200,
            "entity": "press-{unit}",
            "register": registers,
        });
        for (key, value) in changes.as_object().unwrap() {
            said[key] = value.clone();
        }
        let settings: Settings = serde_json::from_value(said).unwrap();
        let poller = Poller::new(&settings, Arc::new(|| NOW_MS)).unwrap();
        let (sender, readings) = mpsc::channel(places);
        let (watch, stop) = (poller.watch(), CancellationToken::new());
        let mut task = JoinSet::new();
        task.spawn(poller.run(stop.clone(), sender));
        Self { watch, readings, stop, task }
    }

    async fn next(&mut self) -> Value {
        let reading = timeout(PATIENCE, self.readings.recv()).await.expect("a reading comes");
        let reading = reading.expect("the poller runs");
        assert_eq!(reading.time_ms, NOW_MS);
        serde_json::from_slice(&reading.json).unwrap()
    }

    /// Waits until the status is as wanted.
    async fn until(&mut self, what: &str, mut is_so: impl FnMut(&Status) -> bool) -> Status {
        let began = Instant::now();
        loop {
            let status = self.watch.status();
            if is_so(&status) {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "{what} never came: {status:?}");
            assert!(self.task.try_join_next().is_none(), "the poller ended: {status:?}");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Stops it; it must have neither ended before nor panicked.
    async fn stop(mut self) -> Status {
        self.stop.cancel();
        let ended = timeout(PATIENCE, self.task.join_next()).await.expect("it stops");
        ended.expect("it ran").expect("it did not panic");
        self.watch.status()
    }
}

fn holding(name: &str, address: u16) -> Value {
    json!({"name": name, "kind": "holding", "address": address})
}

/// Words hold their own address, and of bits every third is set.
fn respond(request: &Request<'static>) -> Response {
    let words = |start: &u16, count: &u16| (*start..*start + *count).collect();
    let bits = |start: &u16, count: &u16| (*start..*start + *count).map(|n| n % 3 == 0).collect();
    match request {
        Request::ReadHoldingRegisters(start, count) => {
            Response::ReadHoldingRegisters(words(start, count))
        }
        Request::ReadInputRegisters(start, count) => {
            Response::ReadInputRegisters(words(start, count))
        }
        Request::ReadCoils(start, count) => Response::ReadCoils(bits(start, count)),
        Request::ReadDiscreteInputs(start, count) => {
            Response::ReadDiscreteInputs(bits(start, count))
        }
        other => panic!("a poller only reads: {other:?}"),
    }
}

fn covers(request: &Request<'static>, address: u16) -> bool {
    match request {
        Request::ReadHoldingRegisters(start, count) => (*start..*start + *count).contains(&address),
        _ => false,
    }
}

async fn obedient() -> Device {
    Device::new(Arc::new(|request| Ok(Some(respond(request))))).await
}

fn script(
    script: impl Fn(&Request<'static>) -> Result<Option<Response>, ExceptionCode>
    + Send
    + Sync
    + 'static,
) -> Script {
    Arc::new(script)
}

#[tokio::test]
async fn every_type_arrives_in_every_order() {
    // What each register holds, big-endian, and what its field should be.
    let cases: [(&str, Vec<u16>, Value); 9] = [
        ("u16", vec![65_000], json!(65_000)),
        ("i16", vec![0xFFFE], json!(-2)),
        ("u32", vec![0xFEDC, 0xBA98], json!(0xFEDC_BA98_u32)),
        ("i32", vec![0xFFFF, 0xFFFE], json!(-2)),
        ("f32", vec![0x42F6, 0xE979], json!(f64::from(123.456_f32))),
        ("u64", vec![0xFFFF; 4], json!(u64::MAX)),
        ("i64", vec![0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE], json!(-2)),
        ("f64", vec![0x3FF3, 0xC0CA, 0x4283, 0xDE1B], json!(1.234_567_89)),
        ("bool", vec![1], json!(true)),
    ];
    for (byte_order, word_order) in
        [("big", "big"), ("big", "little"), ("little", "big"), ("little", "little")]
    {
        let (mut memory, mut registers) = (Vec::new(), Vec::new());
        for (name, words, _) in &cases {
            registers.push(json!({
                "name": name, "type": name, "kind": "input", "address": memory.len(),
            }));
            let mut words = words.clone();
            if word_order == "little" {
                words.reverse();
            }
            let swap = |word: u16| if byte_order == "little" { word.swap_bytes() } else { word };
            memory.extend(words.into_iter().map(swap));
        }
        let device = Device::new(script(move |request| match request {
            Request::ReadInputRegisters(start, count) => {
                let range = usize::from(*start)..usize::from(start + count);
                Ok(Some(Response::ReadInputRegisters(memory[range].to_vec())))
            }
            other => panic!("{other:?}"),
        }))
        .await;
        let orders = json!({"byte_order": byte_order, "word_order": word_order});
        let mut running = Running::new(device.address, &json!(registers), &orders);
        let row = running.next().await;
        for (name, _, expected) in &cases {
            assert_eq!(&row[name], expected, "{name} {byte_order} {word_order}");
        }
        running.stop().await;
    }
}

#[tokio::test]
async fn a_row_has_time_entity_and_registers_in_their_order() {
    let device = obedient().await;
    let registers = json!([
        {"name": "z", "reference": 40_101, "scale": 0.1, "offset": -40},
        {"name": "bit", "kind": "holding", "address": 4, "bit": 2},
        {"name": "gone", "reference": 30_008, "missing": 7},
        {"name": "on", "reference": 4},
        {"name": "a", "reference": 10_002},
    ]);
    let changes = json!({"unit": 9, "time_field": "at", "entity_field": "press"});
    let mut running = Running::new(device.address, &registers, &changes);
    let reading = timeout(PATIENCE, running.readings.recv()).await.unwrap().unwrap();
    assert_eq!(reading.entity, "press-9");
    assert_eq!(
        String::from_utf8(reading.json).unwrap(),
        r#"{"at":"2026-01-01T00:00:00.000Z","press":"press-9","z":-30.0,"bit":true,"gone":null,"on":true,"a":false}"#
    );
    assert!(device.take_requests().iter().all(|(unit, _)| *unit == 9));
    running.stop().await;
}

#[tokio::test]
async fn a_round_takes_as_few_requests_as_can_be_on_one_connection() {
    let device = obedient().await;
    let mut registers: Vec<Value> = (0..200).map(|n| holding(&format!("h{n}"), n * 2)).collect();
    registers.push(json!({"name": "c", "kind": "coil", "address": 7}));
    registers.push(json!({"name": "d", "kind": "coil", "address": 9}));
    let mut running = Running::new(device.address, &json!(registers), &json!({"gap": 1}));
    for _ in 0..3 {
        let row = running.next().await;
        assert_eq!(
            (&row["h199"], &row["c"], &row["d"]),
            (&json!(398), &json!(false), &json!(true))
        );
    }
    assert_eq!(running.stop().await.figures.connections, 1);
    let round = [
        Request::ReadCoils(7, 3),
        Request::ReadHoldingRegisters(0, 125),
        Request::ReadHoldingRegisters(126, 125),
        Request::ReadHoldingRegisters(252, 125),
        Request::ReadHoldingRegisters(378, 21),
    ];
    let requests = device.take_requests();
    assert!(requests.len() >= 15);
    for ((_, request), expected) in requests.iter().zip(round.iter().cycle()) {
        assert_eq!(request, expected);
    }
}

#[tokio::test]
async fn a_device_that_refuses_gaps_is_read_without_and_that_is_remembered() {
    let refuses_3 = script(|request| {
        if covers(request, 3) {
            Err(ExceptionCode::IllegalDataAddress)
        } else {
            Ok(Some(respond(request)))
        }
    });
    let device = Device::new(refuses_3).await;
    let registers = json!([holding("a", 1), holding("b", 2), holding("c", 5)]);
    let mut running = Running::new(device.address, &registers, &json!({}));
    for _ in 0..2 {
        let row = running.next().await;
        assert_eq!([&row["a"], &row["b"], &row["c"]], [&json!(1), &json!(2), &json!(5)]);
    }
    let status = running.stop().await;
    assert_eq!((status.figures.exceptions, status.figures.connections), (1, 1));
    let requests: Vec<_> = device.take_requests().into_iter().map(|(_, r)| r).take(5).collect();
    let read = Request::ReadHoldingRegisters;
    assert_eq!(requests, [read(1, 5), read(1, 2), read(5, 1), read(1, 2), read(5, 1)]);
}

#[tokio::test]
async fn a_register_that_is_not_there_is_null_beside_its_neighbours() {
    let device = Device::new(script(|request| {
        if covers(request, 2) {
            Err(ExceptionCode::IllegalDataAddress)
        } else {
            Ok(Some(respond(request)))
        }
    }))
    .await;
    let registers = json!([holding("a", 1), holding("b", 2), holding("c", 3)]);
    let mut running = Running::new(device.address, &registers, &json!({}));
    for _ in 0..2 {
        let row = running.next().await;
        assert_eq!([&row["a"], &row["b"], &row["c"]], [&json!(1), &Value::Null, &json!(3)]);
    }
    let status = running.stop().await;
    assert!(status.figures.exceptions >= 3, "the whole, then the one, each round");
    let error = status.last_error.unwrap();
    assert!(error.contains("holding register 2 with exception 2: IllegalDataAddress"), "{error}");
    assert_eq!(status.last_error_ms, Some(NOW_MS));
}

#[tokio::test]
async fn a_register_that_times_out_is_null_and_counted() {
    let device = Device::new(script(|request| {
        if covers(request, 100) { Ok(None) } else { Ok(Some(respond(request))) }
    }))
    .await;
    let registers = json!([holding("a", 1), holding("slow", 100), holding("c", 200)]);
    let mut running = Running::new(device.address, &registers, &json!({"timeout_ms": 250}));
    for _ in 0..2 {
        let row = running.next().await;
        assert_eq!([&row["a"], &row["slow"], &row["c"]], [&json!(1), &Value::Null, &json!(200)]);
    }
    let status = running.stop().await;
    assert!(status.figures.timeouts >= 2 && status.figures.ticks_skipped >= 2, "{status:?}");
    assert!(
        status.last_error.unwrap().contains("within 250ms when asked for holding register 100")
    );
}

#[tokio::test]
async fn exceptions_are_named_and_when_all_fails_there_is_no_row() {
    let device = Device::new(script(|_| Err(ExceptionCode::ServerDeviceBusy))).await;
    let mut running =
        Running::new(device.address, &json!([holding("a", 1), holding("b", 100)]), &json!({}));
    let status = running.until("exceptions", |status| status.figures.exceptions >= 6).await;
    assert!(status.connected, "an exception is an answer");
    assert!(status.last_error.unwrap().ends_with("exception 6: ServerDeviceBusy"));
    assert!(running.readings.try_recv().is_err());
    let figures = running.stop().await.figures;
    assert_eq!((figures.readings, figures.connections, figures.faults), (0, 1, 0));
}

/// A device whose first `bad` answers are wrong: nothing of them may be in a row, and the device is
/// read again after them.
async fn check_bad_answers(
    bad: u64,
    error: &str,
    mut wrong: impl FnMut(&server::Frame) -> (Vec<u8>, bool) + Send + 'static,
) -> Status {
    let mut answers = 0;
    let raw: RawScript = Box::new(move |frame| {
        answers += 1;
        if answers <= bad { wrong(frame) } else { (right_answer(frame), false) }
    });
    let device = RawDevice::new(raw).await;
    let changes = json!({"timeout_ms": 250});
    let mut running = Running::new(device.address, &json!([holding("a", 42)]), &changes);
    assert_eq!(running.next().await["a"], 42);
    let status = running.stop().await;
    assert!(!status.connected, "it is stopped");
    let told = status.last_error.clone().unwrap();
    assert!(told.contains(error), "{told}");
    status
}

#[tokio::test]
async fn answers_that_are_none_are_never_taken_for_one() {
    type Wrong = fn(&server::Frame) -> (Vec<u8>, bool);
    let with = |error: &'static str, wrong: Wrong| (error, wrong);
    for (error, wrong) in [
        with("transaction or unit are of another request", |frame| {
            let mut answer = right_answer(frame);
            answer[1] ^= 1;
            (answer, false)
        }),
        with("transaction or unit are of another request", |frame| {
            let mut answer = right_answer(frame);
            answer[6] ^= 1;
            (answer, false)
        }),
        with("nvalid protocol identifier", |frame| {
            let mut answer = right_answer(frame);
            answer[2] = 7;
            (answer, false)
        }),
        with("2 items where 1 were expected", |frame| {
            (framed(frame, &[frame[7], 4, 1, 2, 3, 4]), false)
        }),
        with("0 items where 1 were expected", |frame| (framed(frame, &[frame[7], 0]), false)),
        with("it is of function 4 and not 3", |frame| (framed(frame, &[4, 2, 0, 1]), false)),
        with("nvalid data length", |_| (vec![0; 12], false)),
        // Its bytes for the length say that much more is to come.
        with("did not answer within 250ms", |_| {
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), false)
        }),
        with("did not answer within 250ms", |frame| (right_answer(frame)[..9].to_vec(), false)),
    ] {
        let figures = check_bad_answers(2, error, wrong).await.figures;
        assert_eq!(figures.timeouts + figures.faults, 2, "{error}: {figures:?}");
        assert_eq!(figures.connections, 3, "a connection that lied is not trusted again");
    }
}

#[tokio::test]
async fn a_device_that_closes_in_an_answer_is_connected_to_again() {
    let half = |frame: &server::Frame| (right_answer(frame)[..9].to_vec(), true);
    let status = check_bad_answers(2, "broke while it was asked", half).await;
    assert_eq!(status.figures.faults, 2);
    assert!(status.last_error.unwrap().ends_with("the device closed it"));
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_no_row() {
    // Each connection serves one request.
    let device = RawDevice::new(Box::new(|frame| (right_answer(frame), true))).await;
    let mut running = Running::new(device.address, &json!([holding("a", 42)]), &json!({}));
    for _ in 0..5 {
        assert_eq!(running.next().await["a"], 42);
    }
    let figures = running.stop().await.figures;
    assert_eq!((figures.faults, figures.timeouts, figures.polls), (0, 0, figures.readings));
    assert!(figures.connections >= 5);
}

#[tokio::test]
async fn a_late_answer_does_not_spoil_the_next_one() {
    // The answer for register 1 comes with the next one on its connection, were that kept.
    let mut late: Option<Vec<u8>> = None;
    let raw: RawScript = Box::new(move |frame| match (frame[9], frame[1]) {
        (1, _) => {
            late = Some(right_answer(frame));
            (Vec::new(), false)
        }
        (_, 0) => (right_answer(frame), false),
        _ => ([late.take().unwrap_or_default(), right_answer(frame)].concat(), false),
    });
    let device = RawDevice::new(raw).await;
    let registers = json!([holding("a", 1), holding("b", 1000)]);
    let mut running = Running::new(device.address, &registers, &json!({"timeout_ms": 250}));
    for _ in 0..3 {
        let row = running.next().await;
        assert_eq!([&row["a"], &row["b"]], [&Value::Null, &json!(1000)]);
    }
    let figures = running.stop().await.figures;
    assert!(figures.timeouts >= 3 && figures.faults == 0, "{figures:?}");
}

#[tokio::test]
async fn any_bytes_are_survived() {
    let mut random = Random::new();
    let answers = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&answers);
    let raw: RawScript = Box::new(move |frame| {
        if counter.fetch_add(1, Ordering::Relaxed) >= 300 {
            return (right_answer(frame), false);
        }
        let mut bytes: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
        if random.below(2) == 0 {
            // A right header and function, so that the garbage gets further in.
            if random.below(2) == 0 && !bytes.is_empty() {
                bytes[0] = frame[7] | ((random.next() as u8) & 0x80);
            }
            bytes = framed(frame, &bytes);
        }
        (bytes, random.below(3) == 0)
    });
    let device = RawDevice::new(raw).await;
    let mut registers: Vec<Value> = (0..50).map(|n| holding(&format!("h{n}"), n * 1000)).collect();
    registers.extend(
        (0..50).map(|n| json!({"name": format!("i{n}"), "kind": "input", "address": n * 1000})),
    );
    let changes = json!({"timeout_ms": 20});
    let mut running = Running::new(device.address, &json!(registers), &changes);
    running.until("300 answers", |_| answers.load(Ordering::Relaxed) > 300).await;
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "the device is right now, and its rows are not");
        let row = running.next().await;
        if (0..50).all(|n| row[format!("h{n}")] == n * 1000 && row[format!("i{n}")] == n * 1000) {
            break;
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_device_that_is_away_comes_back() {
    let is_there = Arc::new(AtomicBool::new(true));
    let gate = Arc::clone(&is_there);
    let raw: RawScript = Box::new(move |frame| {
        if gate.load(Ordering::Relaxed) { (right_answer(frame), false) } else { (Vec::new(), true) }
    });
    let device = RawDevice::new(raw).await;
    let mut running = Running::new(device.address, &json!([holding("a", 42)]), &json!({}));
    assert_eq!(running.next().await["a"], 42);
    is_there.store(false, Ordering::Relaxed);
    let status = running.until("faults", |status| status.figures.faults >= 3).await;
    assert!(!status.connected && status.figures.ticks_skipped > 0, "{status:?}");
    is_there.store(true, Ordering::Relaxed);
    running.until("it is back", |status| status.connected).await;
    while running.readings.try_recv().is_ok() {}
    assert_eq!(running.next().await["a"], 42);
    running.stop().await;
}

#[tokio::test]
async fn a_device_that_is_not_there_is_left_alone_longer_and_longer() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let registers = json!([holding("a", 1), holding("b", 1000)]);
    let mut running = Running::new(nobody, &registers, &json!({}));
    let status = running.until("faults", |status| status.figures.polls >= 3).await;
    // After 0, 100 and 300 ms, and one attempt each round although there are two requests.
    assert_eq!(status.figures.faults, status.figures.polls, "{status:?}");
    assert!(status.figures.ticks_skipped >= 12, "{status:?}");
    assert!(!status.connected && status.last_reading_ms.is_none());
    let error = status.last_error.unwrap();
    assert!(error.starts_with(&format!("cannot connect to {nobody} unit 1")), "{error}");
    running.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_device() {
    let device = Device::new(script(|_| Ok(None))).await;
    let changes = json!({"timeout_ms": 3_600_000});
    let running = Running::new(device.address, &json!([holding("a", 1)]), &changes);
    let began = Instant::now();
    while device.take_requests().is_empty() {
        assert!(began.elapsed() < PATIENCE);
        sleep(Duration::from_millis(1)).await;
    }
    let stopping = Instant::now();
    running.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn rounds_wait_for_room_and_no_stale_row_is_kept() {
    let device = obedient().await;
    let registers = json!([holding("a", 1)]);
    let mut running = Running::with_room(device.address, &registers, &json!({"every_ms": 5}), 2);
    let full = running.until("ticks", |status| status.figures.ticks_without_room >= 10).await;
    assert_eq!((full.figures.polls, full.figures.readings), (2, 2), "no request for nobody");
    assert_eq!(device.take_requests().len(), 2);
    for _ in 0..5 {
        running.next().await;
    }
    drop(running.readings);
    let ended = timeout(PATIENCE, running.task.join_next()).await;
    ended.expect("nobody takes rows any more").unwrap().unwrap();
}

/// xorshift64*, with a seed that is printed, or that of a run before in `TWINGE_TEST_SEED`.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let said = std::env::var("TWINGE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = said.unwrap_or_else(|| u64::from(std::process::id()) * 2 + 1);
        #[expect(clippy::print_stderr, reason = "who sees it fail needs the seed")]
        {
            eprintln!("TWINGE_TEST_SEED={seed}");
        }
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
