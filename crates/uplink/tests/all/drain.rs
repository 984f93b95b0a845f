//! What the drain does with each kind of trouble, against a cloud that is a script. Time is
//! simulated: minutes pass at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{
    MemoryBacklog, Random, Refused, assert_all_in_order, number_of, shared, until, until_within,
};
use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_uplink::{
    Backlog, Bell, Drain, DrainSettings, Figures, Limits, Outgoing, Uplink, UplinkError,
};

/// A cloud as a test sees it.
#[derive(Debug, Default)]
struct Cloud {
    script: VecDeque<Act>,
    /// Records that it refuses, whatever the script says.
    bad: Vec<u64>,
    tells_index: bool,
    arrived: Vec<u64>,
    /// When each try came, and with how many records.
    tries: Vec<(Duration, usize)>,
    is_closed: bool,
}

#[derive(Debug, Clone)]
enum Act {
    Take,
    TakeAfter(Duration),
    /// Takes so many and fails.
    Break(usize),
    Away(Option<Duration>),
    RefuseAll,
}

#[derive(Debug)]
struct Scripted {
    cloud: Arc<Mutex<Cloud>>,
    began: Instant,
    limits: Limits,
}

#[async_trait]
impl Uplink for Scripted {
    fn limits(&self) -> Limits {
        self.limits
    }

    async fn send(&mut self, batch: &[Outgoing<'_>]) -> Result<(), UplinkError> {
        assert!(!batch.is_empty() && batch.len() <= self.limits.entries_max);
        let numbers: Vec<_> = batch.iter().map(|record| number_of(record.bytes)).collect();
        let act = {
            let mut cloud = self.cloud.lock().unwrap();
            cloud.tries.push((self.began.elapsed(), batch.len()));
            cloud.script.pop_front().unwrap_or(Act::Take)
        };
        let pause = if let Act::TakeAfter(pause) = act { pause } else { Duration::from_millis(1) };
        tokio::time::sleep(pause).await;
        let mut cloud = self.cloud.lock().unwrap();
        if let Some(index) = numbers.iter().position(|number| cloud.bad.contains(number)) {
            let index = (cloud.tells_index || batch.len() == 1).then_some(index);
            return Err(UplinkError::Refused { index, reason: "bad".to_owned() });
        }
        match act {
            Act::Take | Act::TakeAfter(_) => cloud.arrived.extend(numbers),
            Act::Break(taken) => {
                cloud.arrived.extend(numbers.into_iter().take(taken));
                return Err(UplinkError::Away { reason: "broke".to_owned(), retry_after: None });
            }
            Act::Away(retry_after) => {
                return Err(UplinkError::Away { reason: "away".to_owned(), retry_after });
            }
            Act::RefuseAll => {
                return Err(UplinkError::Refused {
                    index: None,
                    reason: "set up wrongly".to_owned(),
                });
            }
        }
        Ok(())
    }

    async fn close(&mut self) {
        self.cloud.lock().unwrap().is_closed = true;
    }
}

struct Running {
    cloud: Arc<Mutex<Cloud>>,
    backlog: Arc<MemoryBacklog>,
    refused: Arc<Refused>,
    bell: Bell,
    figures: Figures,
    stop: CancellationToken,
    tracker: TaskTracker,
    began: Instant,
}

impl Running {
    /// A drain with a backlog of so many records, not yet running.
    fn prepared(waiting: usize, settings: DrainSettings, cloud: Cloud) -> (Self, Drain) {
        let cloud = Arc::new(Mutex::new(cloud));
        let (backlog, refused) = (shared::<MemoryBacklog>(), shared::<Refused>());
        let began = Instant::now();
        let limits = Limits { entries_max: 100, bytes_max: 1 << 20 };
        let uplink = Box::new(Scripted { cloud: Arc::clone(&cloud), began, limits });
        let drain = Drain::new(uplink, backlog.clone(), refused.clone(), settings);
        for _ in 0..waiting {
            // What waits from before is not new: no bell of the drain rings.
            backlog.add(&Bell::default(), Some("p"), false);
        }
        let (bell, figures, stop) = (drain.bell(), drain.figures(), CancellationToken::new());
        let tracker = TaskTracker::new();
        (Self { cloud, backlog, refused, bell, figures, stop, tracker, began }, drain)
    }

    fn start(waiting: usize, cloud: Cloud) -> Self {
        let (running, drain) = Self::prepared(waiting, fast(), cloud);
        running.tracker.spawn(drain.run(running.stop.clone()));
        running
    }

    fn sequences(&self) -> Vec<u64> {
        self.backlog.peek(usize::MAX, usize::MAX).unwrap().iter().map(|r| r.sequence).collect()
    }

    async fn drained(&self) {
        // Of simulated time: all the pauses after many faults.
        let bound = Duration::from_hours(3);
        until_within(bound, "the backlog is sent", || self.backlog.len() == 0).await;
    }

    async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(Duration::from_secs(5), self.tracker.wait()).await.unwrap();
        assert!(self.cloud.lock().unwrap().is_closed);
    }

    fn tries(&self) -> Vec<(Duration, usize)> {
        self.cloud.lock().unwrap().tries.clone()
    }

    fn arrived(&self) -> Vec<u64> {
        self.cloud.lock().unwrap().arrived.clone()
    }
}

/// So fast that the pace plays no part.
fn fast() -> DrainSettings {
    DrainSettings { entries_per_second: 1e6, ..DrainSettings::default() }
}

#[tokio::test(start_paused = true)]
async fn a_backlog_arrives_in_order_and_is_counted() {
    let running = Running::start(950, Cloud::default());
    let wanted = running.sequences();
    running.drained().await;
    running.stop().await;
    assert_eq!(running.arrived(), wanted);
    let status = running.figures.status();
    assert_eq!((status.sent, status.batches, status.failures, status.refused), (950, 10, 0, 0));
    assert!(status.sent_bytes > 950 * 100);
    assert_eq!((status.away_seconds, status.last_error), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_bad_record_is_found_kept_and_blocks_nothing() {
    for tells_index in [false, true] {
        let running = Running::start(150, Cloud { tells_index, ..Cloud::default() });
        let wanted = running.sequences();
        let bad = vec![wanted[3], wanted[4], wanted[120]];
        running.cloud.lock().unwrap().bad.clone_from(&bad);
        running.drained().await;
        running.stop().await;
        assert_eq!(running.refused.sequences(), bad);
        assert_eq!(running.refused.reasons(), ["bad"; 3]);
        let good: Vec<_> = wanted.into_iter().filter(|number| !bad.contains(number)).collect();
        assert_eq!(running.arrived(), good, "in order, and none twice");
        let status = running.figures.status();
        assert_eq!((status.sent, status.refused, status.failures), (147, 3, 0));
        assert!(running.tries().len() < 45, "{}", running.tries().len());
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_cloud_is_away_pauses_grow_and_nothing_is_lost() {
    let script = std::iter::repeat_n(Act::Away(None), 8).collect();
    let running = Running::start(50, Cloud { script, ..Cloud::default() });
    let wanted = running.sequences();
    until("it is away", || running.figures.status().failures >= 5).await;
    let status = running.figures.status();
    assert!(status.away_seconds.unwrap() > 5.0, "{status:?}");
    assert_eq!((status.last_error.as_deref(), status.sent), (Some("away"), 0));
    assert_eq!(running.backlog.len(), 50);
    running.drained().await;
    let tries: Vec<_> = running.tries().iter().map(|(at, _)| *at).collect();
    assert_eq!(tries.len(), 9);
    for (pair, longest) in tries.windows(2).zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        let (pause, longest) = (pair[1].saturating_sub(pair[0]), Duration::from_secs(longest));
        assert!(pause >= longest / 2 && pause <= longest + Duration::from_millis(20), "{pause:?}");
    }
    assert_eq!(running.arrived(), wanted);
    assert_eq!(running.figures.status().away_seconds, None);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_asks_to_be_left_alone_is() {
    let asked = Duration::from_mins(5);
    let script = VecDeque::from([Act::Away(Some(asked))]);
    let running = Running::start(1, Cloud { script, ..Cloud::default() });
    running.drained().await;
    let pause = running.tries()[1].0.saturating_sub(running.tries()[0].0);
    assert!(pause >= asked && pause < asked + Duration::from_secs(2), "{pause:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_anomaly_goes_at_once_and_others_wait_for_company() {
    let running = Running::start(0, Cloud::default());
    // The drain waits for its bell.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let rung = running.began.elapsed();
    for _ in 0..5 {
        running.backlog.add(&running.bell, Some("p"), false);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.drained().await;
    let (at, records) = running.tries()[0];
    assert_eq!(records, 5, "one batch");
    assert!(at.saturating_sub(rung) >= Duration::from_millis(50), "{:?}", at.saturating_sub(rung));
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.backlog.add(&running.bell, Some("p"), false);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let rung = running.began.elapsed();
    running.backlog.add(&running.bell, Some("p"), true);
    running.drained().await;
    let (at, records) = running.tries()[1];
    assert_eq!(records, 2, "with what waited before it");
    assert!(at.saturating_sub(rung) <= Duration::from_millis(5), "{:?}", at.saturating_sub(rung));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_wait() {
    let (running, drain) = Running::prepared(
        0,
        DrainSettings { linger: Duration::from_secs(30), ..fast() },
        Cloud::default(),
    );
    running.tracker.spawn(drain.run(running.stop.clone()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..100 {
        running.backlog.add(&running.bell, Some("p"), false);
    }
    let rung = running.began.elapsed();
    running.drained().await;
    let (at, records) = running.tries()[0];
    assert_eq!(records, 100);
    assert!(at.saturating_sub(rung) < Duration::from_secs(1), "{:?}", at.saturating_sub(rung));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_sent_at_the_rate_that_was_set_and_evenly() {
    let settings = DrainSettings { entries_per_second: 200.0, ..DrainSettings::default() };
    let (running, drain) = Running::prepared(2_000, settings, Cloud::default());
    running.tracker.spawn(drain.run(running.stop.clone()));
    running.drained().await;
    let tries = running.tries();
    let (last, _) = *tries.last().unwrap();
    // The first second's worth goes at once.
    assert!((8.9..9.5).contains(&last.as_secs_f64()), "{last:?}");
    for second in 1..8 {
        let span = Duration::from_secs(second)..Duration::from_secs(second + 1);
        let sent: usize =
            tries.iter().filter(|(at, _)| span.contains(at)).map(|(_, records)| records).sum();
        assert!((150..=250).contains(&sent), "{sent} in second {second}");
    }
    let status = running.figures.status();
    assert_eq!((status.entries_per_second, status.incoming_per_second), (200.0, 0.0));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rate_below_what_comes_in_rises_until_it_catches_up() {
    let settings = DrainSettings { entries_per_second: 50.0, ..DrainSettings::default() };
    let (running, drain) = Running::prepared(2_000, settings, Cloud::default());
    running.tracker.spawn(drain.run(running.stop.clone()));
    // 200 a second come in, four times the rate that was set.
    for _ in 0..200 * 30 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        running.backlog.add(&running.bell, Some("p"), false);
    }
    let status = running.figures.status();
    assert!((150.0..230.0).contains(&status.incoming_per_second), "{status:?}");
    assert!((300.0..460.0).contains(&status.entries_per_second), "{status:?}");
    assert!(running.backlog.len() < 100, "{} are left", running.backlog.len());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_refuses_everything_does_not_empty_the_backlog() {
    let script = std::iter::repeat_n(Act::RefuseAll, 100_000).collect();
    let running = Running::start(500, Cloud { script, ..Cloud::default() });
    tokio::time::sleep(Duration::from_mins(10)).await;
    let refused = running.refused.sequences().len();
    assert!((17..40).contains(&refused), "{refused} of 500 are given up in ten minutes");
    assert_eq!(running.backlog.len(), 500 - refused);
    // Once it is set up rightly the rest arrives at once.
    running.cloud.lock().unwrap().script.clear();
    let wanted = running.sequences();
    running.drained().await;
    assert_eq!(running.arrived(), wanted);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_is_waited_for() {
    let running = Running::start(10, Cloud::default());
    running.backlog.fail(3);
    running.drained().await;
    // Taken by the cloud, and then not to be released: sent once all the same.
    let wanted: Vec<_> = (0..5).map(|_| running.backlog.add(&running.bell, None, false)).collect();
    until("they are sent", || running.arrived().len() > 10).await;
    running.drained().await;
    assert_eq!(running.arrived()[10..], wanted);
    let status = running.figures.status();
    assert_eq!(status.failures, 3);
    assert!(status.last_error.unwrap().contains("the disk is full"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_and_cannot_be_released_is_not_sent_again() {
    let script = VecDeque::from([Act::TakeAfter(Duration::from_secs(3))]);
    let running = Running::start(10, Cloud { script, ..Cloud::default() });
    until("it is on its way", || running.tries().len() == 1).await;
    running.backlog.fail(4);
    running.drained().await;
    assert_eq!((running.arrived().len(), running.figures.status().failures), (10, 4));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_record_stays_until_it_is_kept() {
    let running = Running::start(3, Cloud::default());
    let wanted = running.sequences();
    running.cloud.lock().unwrap().bad = vec![wanted[1]];
    running.refused.fail(2);
    until("it failed", || running.figures.status().failures == 2).await;
    assert_eq!(running.backlog.len(), 2, "the refused one and the one behind it");
    running.drained().await;
    assert_eq!(running.refused.sequences(), [wanted[1]]);
    assert_eq!(running.arrived(), [wanted[0], wanted[2]]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_a_little_for_what_is_on_its_way() {
    for (answer, left) in [(Duration::from_secs(1), 0), (Duration::from_mins(1), 10)] {
        let script = VecDeque::from([Act::TakeAfter(answer)]);
        let running = Running::start(10, Cloud { script, ..Cloud::default() });
        until("it is on its way", || running.tries().len() == 1).await;
        running.stop().await;
        assert_eq!(running.backlog.len(), left);
        assert_eq!(running.arrived().len(), 10 - left);
    }
}

/// Each part of a batch that is cut up would be another wait.
#[tokio::test(start_paused = true)]
async fn a_stop_ends_between_the_parts_of_a_batch() {
    let slow = Act::TakeAfter(Duration::from_millis(1_500));
    let script = std::iter::once(Act::RefuseAll).chain(std::iter::repeat_n(slow, 100)).collect();
    let settings = DrainSettings { entries_per_second: 10.0, ..DrainSettings::default() };
    let (running, drain) = Running::prepared(100, settings, Cloud { script, ..Cloud::default() });
    running.tracker.spawn(drain.run(running.stop.clone()));
    until("a part is on its way", || running.tries().len() == 3).await;
    running.stop().await;
    let arrived = running.arrived().len();
    assert_eq!((running.tries().len(), running.backlog.len()), (3, 100 - arrived));
    assert!(arrived > 0 && arrived < 100, "{arrived}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_every_wait() {
    for script in [vec![], vec![Act::Away(Some(Duration::from_mins(30)))], vec![Act::Away(None); 9]]
    {
        for waiting in [0, 10] {
            let script = script.clone().into();
            let running = Running::start(waiting, Cloud { script, ..Cloud::default() });
            tokio::time::sleep(Duration::from_secs(20)).await;
            running.stop().await;
        }
    }
    let settings = DrainSettings { entries_per_second: 0.1, linger: Duration::from_secs(50) };
    for waiting in [1, 500] {
        let (running, drain) = Running::prepared(waiting, settings, Cloud::default());
        running.tracker.spawn(drain.run(running.stop.clone()));
        tokio::time::sleep(Duration::from_secs(20)).await;
        running.stop().await;
    }
}

/// Records come in while the cloud breaks, is away, refuses some, and the disk fails; now and then
/// the drain is stopped and another goes on.
#[tokio::test(start_paused = true)]
async fn random_faults_lose_nothing_and_keep_order() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut running = Running::start(0, Cloud::default());
        let (mut wanted, mut bad) = (Vec::new(), Vec::new());
        for _ in 0..400 {
            let is_urgent = random.below(20) == 0;
            // The record's number is known before it is there, so that it is bad from the start.
            let added = {
                let mut cloud = running.cloud.lock().unwrap();
                let added = running.backlog.add(&running.bell, Some("p"), is_urgent);
                if random.below(40) == 0 {
                    cloud.bad.push(added);
                    bad.push(added);
                } else {
                    wanted.push(added);
                }
                let act = match random.below(30) {
                    0 => Some(Act::Break(random.below(100) as usize)),
                    1 => Some(Act::Away(None)),
                    2 => Some(Act::Away(Some(Duration::from_secs(random.below(20))))),
                    3 => Some(Act::TakeAfter(Duration::from_millis(random.below(3_000)))),
                    _ => None,
                };
                cloud.script.extend(act);
                added
            };
            assert!(wanted.contains(&added) || bad.contains(&added));
            if random.below(40) == 0 {
                running.backlog.fail(random.below(4) as u32);
            }
            if random.below(40) == 0 {
                running.refused.fail(random.below(3) as u32);
            }
            if random.below(60) == 0 {
                running = restarted(running).await;
            }
            tokio::time::sleep(Duration::from_millis(random.below(40))).await;
        }
        running.drained().await;
        running.stop().await;
        assert_all_in_order(&running.arrived(), &wanted);
        // A stop between keeping and releasing keeps it twice.
        assert_all_in_order(&running.refused.sequences(), &bad);
    }
}

async fn restarted(old: Running) -> Running {
    old.stop().await;
    let began = Instant::now();
    let limits = Limits { entries_max: 100, bytes_max: 1 << 20 };
    let uplink = Box::new(Scripted { cloud: Arc::clone(&old.cloud), began, limits });
    let drain = Drain::new(uplink, old.backlog.clone(), old.refused.clone(), fast());
    let (bell, figures, stop) = (drain.bell(), drain.figures(), CancellationToken::new());
    let tracker = TaskTracker::new();
    tracker.spawn(drain.run(stop.clone()));
    Running { bell, figures, stop, tracker, began, ..old }
}
