use super::*;
use crate::inbox::QoS;
use crate::outgoing::{Options, Outgoing};

use tokio_util::bytes::Bytes;

struct Bench {
    session: Session,
    out: Outbox,
    now: Instant,
}

impl Bench {
    fn new(in_flight_max: u16, filters: &[&str]) -> Self {
        let settings = Settings { version: Version::V5, in_flight_max, ..Settings::default() };
        let filters = filters.iter().map(ToString::to_string).collect();
        let session = Session::new(&settings, filters, Arc::default());
        let mut bench = Self { session, out: Outbox::default(), now: Instant::now() };
        bench.connect(&ConnAck::default());
        bench
    }

    fn connect(&mut self, connack: &ConnAck) {
        self.out = Outbox::default();
        self.session.connected(connack, self.now);
    }

    fn publish(&mut self, qos: QoS) -> oneshot::Receiver<Answer> {
        let options = Options { qos, ..Options::default() };
        let message = Outgoing { topic: "t".into(), payload: Bytes::from("x"), options };
        let (answer, answered) = oneshot::channel();
        let packet = PublishPacket::new(Version::V5, message);
        self.session.publish(Pending { packet, answer });
        answered
    }

    /// Sends what may be sent; how many bytes that makes.
    fn send(&mut self) -> usize {
        let before = self.out.bytes.len();
        self.session.send(&mut self.out, 1 << 20, self.now).unwrap();
        self.out.bytes.len() - before
    }

    fn ack(&mut self, packet_id: u16, refusal: Option<&str>) -> Result<(), WireError> {
        self.session.acknowledged(packet_id, refusal.map(str::to_owned), self.now)
    }
}

/// The size of the publishes here: header, topic, packet identifier, no properties, payload.
const PUBLISH_BYTES: usize = 2 + 3 + 2 + 1 + 1;

fn answer(of: &mut oneshot::Receiver<Answer>) -> Option<Answer> {
    of.try_recv().ok()
}

#[test]
fn the_window_holds_publishes_back_and_a_refusal_gives_its_place_back() {
    let mut bench = Bench::new(2, &[]);
    let mut answers: Vec<_> = (0..4).map(|_| bench.publish(QoS::AtLeastOnce)).collect();
    assert_eq!(bench.send(), 2 * PUBLISH_BYTES);
    assert_eq!(bench.send(), 0);
    bench.ack(2, Some("quota exceeded")).unwrap();
    let reason = "quota exceeded".to_owned();
    assert_eq!(answer(&mut answers[1]), Some(Err(PublishError::Refused { reason })));
    assert_eq!(bench.send(), PUBLISH_BYTES);
    bench.ack(1, None).unwrap();
    assert_eq!(answer(&mut answers[0]), Some(Ok(())));
    assert_eq!(bench.send(), PUBLISH_BYTES);
    assert_eq!((answer(&mut answers[2]), answer(&mut answers[3])), (None, None));
    assert!(bench.ack(9, None).is_err() && bench.ack(0, None).is_err());
}

#[test]
fn what_was_in_flight_is_sent_again_first_and_in_its_order() {
    let mut bench = Bench::new(4, &[]);
    let mut answers: Vec<_> = (0..3).map(|_| bench.publish(QoS::AtLeastOnce)).collect();
    bench.send();
    bench.ack(1, None).unwrap();
    let mut fourth = bench.publish(QoS::AtLeastOnce);
    bench.session.lost("gone", false);
    bench.connect(&ConnAck::default());
    assert_eq!(bench.send(), 3 * PUBLISH_BYTES);
    let sent: Vec<(u8, u8)> =
        bench.out.bytes.chunks(PUBLISH_BYTES).map(|packet| (packet[0], packet[6])).collect();
    assert_eq!(sent, [(0x3a, 2), (0x3a, 3), (0x32, 4)]);
    for packet_id in [2, 3, 4] {
        bench.ack(packet_id, None).unwrap();
    }
    assert!(answers.iter_mut().all(|one| answer(one) == Some(Ok(()))));
    assert_eq!(answer(&mut fourth), Some(Ok(())));
}

#[test]
fn breaks_are_put_down_to_the_oldest_publish_only() {
    let mut bench = Bench::new(4, &[]);
    let (mut oldest, mut other) =
        (bench.publish(QoS::AtLeastOnce), bench.publish(QoS::AtLeastOnce));
    for _ in 0..BREAKS_MAX {
        assert_eq!(answer(&mut oldest), None);
        bench.send();
        bench.session.lost("gone", false);
        bench.connect(&ConnAck::default());
    }
    assert!(matches!(answer(&mut oldest), Some(Err(PublishError::Away { .. }))));
    assert_eq!(answer(&mut other), None);
    assert_eq!(bench.send(), PUBLISH_BYTES);
    bench.ack(2, None).unwrap();
    assert_eq!(answer(&mut other), Some(Ok(())));
}

#[test]
fn at_most_once_ends_with_being_written_or_with_the_connection() {
    let mut bench = Bench::new(4, &[]);
    let (mut first, mut second) = (bench.publish(QoS::AtMostOnce), bench.publish(QoS::AtMostOnce));
    let bytes = bench.send();
    bench.session.written((bytes / 2) as u64);
    assert_eq!((answer(&mut first), answer(&mut second)), (Some(Ok(())), None));
    bench.session.lost("gone", false);
    assert!(matches!(answer(&mut second), Some(Err(PublishError::Away { .. }))));
}

#[test]
fn a_broker_that_owes_an_answer_is_overdue_unless_nothing_is_read() {
    let mut bench = Bench::new(4, &[]);
    let (limit, later) = (Duration::from_secs(5), bench.now + Duration::from_secs(6));
    assert!(!bench.session.is_overdue(later, limit));
    drop(bench.publish(QoS::AtLeastOnce));
    bench.send();
    assert!(bench.session.is_overdue(later, limit));
    bench.session.pardon(later);
    assert!(!bench.session.is_overdue(later, limit));
    bench.now = later;
    bench.ack(1, None).unwrap();
    assert!(!bench.session.is_overdue(later + limit * 9, limit));
}

#[test]
fn a_subscription_is_asked_for_until_it_is_granted() {
    let mut bench = Bench::new(4, &["a", "b"]);
    bench.session.subscribe(&mut bench.out).unwrap();
    let reason = Some("not authorized".to_owned());
    assert!(bench.session.subscribed(SUBSCRIBE_ID_MIN, &[None, reason.clone()]));
    let refused = bench.session.refused();
    assert_eq!((refused.len(), refused[0].filter.as_str()), (1, "b"));
    // Asked for again, it stays refused until the broker answers otherwise.
    bench.session.subscribe(&mut bench.out).unwrap();
    assert_eq!(bench.session.refused(), refused);
    assert!(!bench.session.subscribed(SUBSCRIBE_ID_MIN + 1, &[reason]));
    bench.session.subscribe(&mut bench.out).unwrap();
    assert!(bench.session.subscribed(SUBSCRIBE_ID_MIN + 2, &[None]));
    let asked = |bench: &mut Bench| {
        let before = bench.out.bytes.len();
        bench.session.subscribe(&mut bench.out).unwrap();
        bench.out.bytes.len() > before
    };
    assert!(!asked(&mut bench));
    bench.connect(&ConnAck { session_present: true, ..ConnAck::default() });
    assert!(!asked(&mut bench), "the broker has kept them");
    bench.connect(&ConnAck::default());
    assert!(asked(&mut bench), "the broker has lost them");
}

#[test]
fn a_receipt_is_good_once_and_on_its_own_connection() {
    let mut bench = Bench::new(4, &[]);
    let message = Message {
        topic: "t".into(),
        payload: Bytes::new(),
        qos: QoS::AtLeastOnce,
        duplicate: false,
        retain: false,
        content_type: None,
        user_properties: Vec::new(),
        oversize_bytes: None,
        receipt: Some(Receipt { generation: 0, packet_id: 7, exactly_once: false }),
    };
    let receive = |bench: &mut Bench| {
        let mut message = message.clone();
        bench.session.received(&mut message);
        message.receipt.unwrap()
    };
    let first = receive(&mut bench);
    bench.session.ack(&[first, first], &mut bench.out);
    assert_eq!(bench.out.bytes[..], [0x40, 2, 0, 7]);
    let early = receive(&mut bench);
    bench.connect(&ConnAck { session_present: true, ..ConnAck::default() });
    let again = receive(&mut bench);
    bench.session.ack(&[early], &mut bench.out);
    assert!(bench.out.bytes.is_empty());
    bench.session.ack(&[again], &mut bench.out);
    assert_eq!(bench.out.bytes[..], [0x40, 2, 0, 7]);
}
