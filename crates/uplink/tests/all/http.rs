//! The HTTP uplink against a server that fails in every way, over real connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_uplink::{
    Backlog, Drain, DrainSettings, Format, Kind, Outgoing, Settings, Uplink, UplinkError,
};

use crate::common::{MemoryBacklog, Random, Refused, assert_all_in_order, event, shared, until};
use crate::server::{Act, Server};

fn settings(server: &Server) -> Settings {
    let (url, timeout_seconds) = (Some(server.url()), Some(1));
    Settings { url, timeout_seconds, ..Settings::new(Kind::Http) }
}

fn open(settings: &Settings) -> Box<dyn Uplink> {
    settings.check().unwrap();
    settings.open("gateway-1").unwrap()
}

async fn send(uplink: &mut dyn Uplink, numbers: &[u64]) -> Result<(), UplinkError> {
    let events: Vec<_> = numbers.iter().map(|number| event(*number, "p")).collect();
    let batch: Vec<_> = events.iter().map(|bytes| Outgoing { key: Some("p"), bytes }).collect();
    uplink.send(&batch).await
}

fn away(result: Result<(), UplinkError>) -> (String, Option<Duration>) {
    match result {
        Err(UplinkError::Away { reason, retry_after }) => (reason, retry_after),
        other => panic!("{other:?} is not away"),
    }
}

#[tokio::test]
async fn both_formats_arrive_in_order() {
    for (format, content_type) in [
        (None, "application/cloudevents-batch+json"),
        (Some(Format::Ndjson), "application/x-ndjson"),
    ] {
        let server = Server::start().await;
        let mut uplink = open(&Settings { format, ..settings(&server) });
        send(&mut *uplink, &[1, 2, 3]).await.unwrap();
        send(&mut *uplink, &[4]).await.unwrap();
        assert_eq!(server.arrived(), [1, 2, 3, 4]);
        let heads = server.heads();
        assert!(heads[0].contains(&format!("content-type: {content_type}\r\n")), "{}", heads[0]);
        assert!(!heads[0].contains("authorization"));
    }
}

#[tokio::test]
async fn each_answer_means_what_it_says() {
    let server = Server::start().await;
    let mut uplink = open(&settings(&server));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let date =
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:51:37 GMT\r\n";
    for (status, headers, retry_after, told) in [
        (429, "Retry-After: 7\r\n", seconds(7), "429"),
        (503, date, seconds(120), "503"),
        (500, "", None, "500"),
        (502, "Retry-After: soon\r\n", None, "502"),
        (408, "", None, "408"),
        (401, "", None, "token_file"),
        (403, date, seconds(120), "the clocks differ"),
        (404, "", None, "correct the address"),
        (301, "Location: http://127.0.0.1:9/elsewhere\r\n", None, "check the address"),
        (405, "", None, "check the address"),
    ] {
        server.act([Act::Answer(status, headers)]);
        let (reason, asked) = away(send(&mut *uplink, &[1]).await);
        assert_eq!(asked, retry_after, "{status}");
        assert!(reason.contains(told) && reason.contains(&server.url()), "{status}: {reason}");
    }
    for status in [400, 413, 422] {
        server.act([Act::Answer(status, "")]);
        let refused = send(&mut *uplink, &[1]).await;
        assert!(matches!(refused, Err(UplinkError::Refused { index: None, .. })), "{refused:?}");
    }
    assert!(server.arrived().is_empty());
    send(&mut *uplink, &[1]).await.unwrap();
    assert_eq!(server.arrived(), [1]);
}

#[tokio::test]
async fn a_connection_that_breaks_is_away_and_the_next_works() {
    let server = Server::start().await;
    let mut uplink = open(&settings(&server));
    for (act, told) in [
        (Act::CutBody, "the connection broke"),
        (Act::CutAnswer, "the connection broke"),
        (Act::Slow(Duration::from_secs(30)), "did not answer in time"),
    ] {
        server.act([act]);
        let began = Instant::now();
        let numbers: Vec<_> = (0..2_000).collect();
        let (reason, _) = away(send(&mut *uplink, &numbers).await);
        assert!(reason.contains(told), "{reason}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    // The status came, so the records are there, whatever becomes of the rest.
    server.act([Act::HalfAnswer]);
    send(&mut *uplink, &[7]).await.unwrap();
    send(&mut *uplink, &[8]).await.unwrap();
    assert_eq!(server.arrived()[4_000..], [7, 8]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_away() {
    let server = Server::start().await;
    let settings = settings(&server);
    let (address, state) = (server.address, server.state.clone());
    drop(server);
    let mut uplink = open(&settings);
    // The listener ends with its task.
    let mut refused = None;
    for _ in 0..500 {
        match send(&mut *uplink, &[1]).await {
            Err(UplinkError::Away { reason, .. }) if reason.contains("cannot be reached") => {
                refused = Some(reason);
                break;
            }
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    assert!(refused.unwrap().contains(&address.to_string()));
    let server = Server::at(address, state).await;
    send(&mut *uplink, &[2]).await.unwrap();
    assert_eq!(server.arrived().last(), Some(&2));
}

#[tokio::test]
async fn a_token_is_read_at_each_use_and_never_told() {
    let server = Server::start().await;
    server.state.lock().unwrap().token = Some("second".to_owned());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "first-hush\n").unwrap();
    let mut uplink = open(&Settings { token_file: Some(path.clone()), ..settings(&server) });
    let (reason, _) = away(send(&mut *uplink, &[1]).await);
    assert!(reason.contains("fresh token") && reason.contains("token"), "{reason}");
    assert!(!reason.contains("first-hush"), "{reason}");
    std::fs::write(&path, "two\nlines-hush\n").unwrap();
    let (reason, _) = away(send(&mut *uplink, &[1]).await);
    assert!(reason.contains("more than one line") && !reason.contains("hush"), "{reason}");
    std::fs::write(&path, "second\n").unwrap();
    send(&mut *uplink, &[1]).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let (reason, _) = away(send(&mut *uplink, &[2]).await);
    assert!(reason.contains("cannot read"), "{reason}");
    assert!(!format!("{uplink:?}").contains("second"));
}

/// Random faults over real connections; the server is a model of what must arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_faults_lose_nothing_and_keep_order() {
    for seed in 0..6 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let server = Server::start().await;
        let (backlog, refused) = (shared::<MemoryBacklog>(), shared::<Refused>());
        let quick = DrainSettings { entries_per_second: 1e6, ..DrainSettings::default() };
        let drain = Drain::new(open(&settings(&server)), backlog.clone(), refused.clone(), quick);
        let (bell, stop, tracker) = (drain.bell(), CancellationToken::new(), TaskTracker::new());
        tracker.spawn(drain.run(stop.clone()));
        server.act((0..4).map(|_| fault(&mut random)));
        let mut wanted = Vec::new();
        let mut bad = Vec::new();
        for _ in 0..300 {
            if random.below(100) == 0 {
                bad.push(backlog.add_bytes(&bell, b"no event"));
                continue;
            }
            let mut state = server.state.lock().unwrap();
            let number = backlog.add(&bell, Some("p"), random.below(10) == 0);
            if random.below(100) == 0 {
                state.bad.push(number);
                bad.push(number);
            } else {
                wanted.push(number);
            }
        }
        let sent = until("all is sent", || backlog.len() == 0);
        tokio::time::timeout(Duration::from_mins(1), sent).await.unwrap();
        stop.cancel();
        tracker.close();
        tracker.wait().await;
        assert_all_in_order(&server.arrived(), &wanted);
        assert_eq!(refused.sequences(), bad);
        assert_eq!(backlog.peek(1, 1).unwrap(), []);
    }
}

/// One of the faults that a pause of a second or two heals.
fn fault(random: &mut Random) -> Act {
    match random.below(7) {
        0 => Act::Answer(500, ""),
        1 => Act::Answer(429, "Retry-After: 1\r\n"),
        2 => Act::CutBody,
        3 => Act::CutAnswer,
        4 => Act::HalfAnswer,
        5 => Act::Slow(Duration::from_millis(1_500)),
        _ => Act::Slow(Duration::from_millis(50)),
    }
}

#[tokio::test]
async fn a_stop_in_the_middle_of_an_answer_loses_nothing() {
    let server = Server::start().await;
    server.act([Act::Slow(Duration::from_millis(500))]);
    let (backlog, refused) = (shared::<MemoryBacklog>(), shared::<Refused>());
    let drain =
        Drain::new(open(&settings(&server)), backlog.clone(), refused, DrainSettings::default());
    let (bell, stop, tracker) = (drain.bell(), CancellationToken::new(), TaskTracker::new());
    backlog.add(&bell, None, true);
    tracker.spawn(drain.run(stop.clone()));
    until("it is on its way", || server.heads().len() == 1).await;
    stop.cancel();
    tracker.close();
    tokio::time::timeout(Duration::from_secs(5), tracker.wait()).await.unwrap();
    assert_eq!((backlog.len(), server.arrived()), (0, vec![0]), "it arrived and was released");
}

#[test]
fn an_uplink_needs_a_loopback_address_or_tls() {
    let address = SocketAddr::from(([192, 0, 2, 1], 80));
    let url = Some(format!("http://{address}/"));
    let error = Settings { url, ..Settings::new(Kind::Http) }.check().unwrap_err();
    assert_eq!(error.key, "url");
    assert!(error.to_string().contains("use https"), "{error}");
}
