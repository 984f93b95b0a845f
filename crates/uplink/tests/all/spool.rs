//! The spool on disk, drained: what the agent does.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_platform::{ManualClock, SimulatedDisk};
use twinge_spool::{Entry, Importance, Settings as SpoolSettings, Spool};
use twinge_uplink::{Drain, DrainSettings, Kind, Settings};

use crate::common::{Refused, event, shared, until};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_is_drained_and_what_arrived_is_gone_after_a_crash() {
    let server = Server::start().await;
    let (disk, clock) = (SimulatedDisk::new(3), Arc::new(ManualClock::new(0)));
    let open = || {
        let settings = SpoolSettings::default();
        Spool::open(Arc::new(disk.clone()), clock.clone(), Path::new("/spool"), settings).unwrap()
    };
    let spool = Arc::new(Mutex::new(open()));
    for number in 0..500 {
        let importance = if number % 100 == 0 { Importance::Anomalous } else { Importance::Normal };
        let (key, bytes) = (Some("p".to_owned()), event(number, "p"));
        spool.lock().unwrap().append(Entry { importance, key, bytes }).unwrap();
    }
    spool.lock().unwrap().sync().unwrap();
    let settings = Settings { url: Some(server.url()), ..Settings::new(Kind::Http) };
    let refused = shared::<Refused>();
    server.state.lock().unwrap().bad.push(250);
    let drain = Drain::new(
        settings.open("gateway").unwrap(),
        spool.clone(),
        refused.clone(),
        DrainSettings { entries_per_second: 1e6, ..DrainSettings::default() },
    );
    let (bell, stop, tracker) = (drain.bell(), CancellationToken::new(), TaskTracker::new());
    tracker.spawn(drain.run(stop.clone()));
    until("the spool is empty", || spool.lock().unwrap().figures().entries() == 0).await;
    // Live: the bell brings it out.
    let entry = Entry { importance: Importance::Anomalous, key: None, bytes: event(500, "-") };
    spool.lock().unwrap().append(entry).unwrap();
    bell.ring(true);
    until("it is sent", || server.arrived().last() == Some(&500)).await;
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    let wanted: Vec<_> = (0..=500).filter(|number| *number != 250).collect();
    assert_eq!(server.arrived(), wanted);
    assert_eq!(refused.sequences().len(), 1);
    spool.lock().unwrap().sync().unwrap();
    drop(spool);
    disk.crash();
    assert_eq!(open().figures().entries(), 0);
}
