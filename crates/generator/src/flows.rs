//! Network flows. Each source uses a few services most and has its own volume, all drawn from
//! the seed and the source's index, so that nothing is kept between flows.

use crate::anomaly::Step;
use crate::arrivals::Arrival;
use crate::random::{Purpose, Random, round};
use crate::{AnomalyKind, Value};

/// A service with the medians of its flows.
#[derive(Clone, Copy, Debug)]
struct Service {
    name: &'static str,
    protocol: &'static str,
    bytes_out: f64,
    bytes_in: f64,
    duration_s: f64,
}

const fn service(
    name: &'static str,
    protocol: &'static str,
    bytes_out: f64,
    bytes_in: f64,
    duration_s: f64,
) -> Service {
    Service { name, protocol, bytes_out, bytes_in, duration_s }
}

const HTTPS: Service = service("https", "tcp", 2000.0, 20_000.0, 2.0);
const SSH: Service = service("ssh", "tcp", 5000.0, 8000.0, 45.0);
const OTHER_TCP: Service = service("other", "tcp", 600.0, 900.0, 1.0);
const OTHER_UDP: Service = service("other", "udp", 400.0, 400.0, 0.5);
const PING: Service = service("other", "icmp", 200.0, 200.0, 1.0);

/// The services, with how often they are used.
const SERVICES: [(Service, f64); 9] = [
    (HTTPS, 45.0),
    (service("http", "tcp", 900.0, 12_000.0, 1.0), 10.0),
    (service("dns", "udp", 70.0, 180.0, 0.03), 25.0),
    (SSH, 3.0),
    (service("smtp", "tcp", 15_000.0, 1200.0, 3.0), 4.0),
    (service("ntp", "udp", 76.0, 76.0, 0.05), 5.0),
    (OTHER_TCP, 4.0),
    (OTHER_UDP, 3.0),
    (PING, 1.0),
];

/// A packet's smallest size and the largest that a common link carries, in bytes.
const SMALL_PACKET_BYTES: f64 = 60.0;
const FULL_PACKET_BYTES: f64 = 1400.0;

/// The behaviour of all sources.
#[derive(Clone, Debug)]
pub(crate) struct Flows {
    seed: u64,
}

/// The lasting traits of one source.
struct Profile {
    favourites: [Service; 3],
    volume_factor: f64,
    volume_sigma: f64,
}

struct Flow {
    duration_s: f64,
    bytes_out: f64,
    bytes_in: f64,
    packets: f64,
    distinct_ports: f64,
    service: Service,
}

impl Flows {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed }
    }

    pub(crate) fn values(
        &self,
        arrival: Arrival,
        step: Option<Step>,
        random: &mut Random,
    ) -> Vec<Value> {
        let profile = Profile::of(self.seed, arrival.entity);
        let mut flow = profile.flow(random);
        if let Some(step) = step {
            flow.distort(step, random);
        }
        flow.values()
    }
}

impl Profile {
    fn of(seed: u64, entity: u32) -> Self {
        let mut random = Random::new(seed, Purpose::Profile(entity));
        Self {
            favourites: [0; 3].map(|_| random.pick_weighted(&SERVICES)),
            volume_factor: libm::exp(0.4 * random.normal()),
            volume_sigma: random.between(0.6, 1.0),
        }
    }

    fn flow(&self, random: &mut Random) -> Flow {
        let service = if random.chance(0.75) {
            random.pick(&self.favourites)
        } else {
            random.pick_weighted(&SERVICES)
        };
        // Name lookups and clock queries are of one size for everyone.
        let (factor, sigma) = if service.bytes_in < 200.0 {
            (1.0, 0.2)
        } else {
            (self.volume_factor, self.volume_sigma)
        };
        let bytes_out = random.log_normal(service.bytes_out * factor, sigma).max(40.0);
        let bytes_in = random.log_normal(service.bytes_in * factor, sigma);
        Flow {
            duration_s: random.log_normal(service.duration_s, 0.8),
            bytes_out,
            bytes_in,
            packets: packets(bytes_out, random) + packets(bytes_in, random),
            distinct_ports: 1.0 + libm::floor(random.exponential() * 0.6),
            service,
        }
    }
}

/// The packets that carry this many bytes, in one direction.
fn packets(bytes: f64, random: &mut Random) -> f64 {
    1.0 + libm::floor(bytes / random.between(500.0, FULL_PACKET_BYTES))
}

impl Flow {
    fn distort(&mut self, step: Step, random: &mut Random) {
        match step.kind {
            AnomalyKind::PortScan => {
                self.service = OTHER_TCP;
                self.distinct_ports = step.size(80.0, 800.0) * random.between(0.9, 1.1);
                self.packets = self.distinct_ports;
                self.bytes_out = 44.0 * self.distinct_ports;
                self.bytes_in = 4.0 * self.distinct_ports;
                self.duration_s = random.between(0.2, 2.0);
            }
            AnomalyKind::Exfiltration => {
                self.service = random.pick(&[HTTPS, SSH, OTHER_TCP]);
                self.bytes_out = step.size(50e6, 2e9) * random.between(0.8, 1.2);
                self.bytes_in = self.bytes_out * 0.01;
                self.packets = self.bytes_out / FULL_PACKET_BYTES * 1.1;
                self.duration_s = self.bytes_out / random.between(5e6, 20e6);
            }
            AnomalyKind::Flood => {
                self.service = random.pick(&[OTHER_UDP, PING]);
                self.packets = step.size(50_000.0, 500_000.0) * random.between(0.8, 1.2);
                self.bytes_out = SMALL_PACKET_BYTES * self.packets;
                self.bytes_in = 0.0;
                self.duration_s = random.between(0.05, 0.5);
            }
            other => unreachable!("{other} is not planted among flows"),
        }
    }

    fn values(&self) -> Vec<Value> {
        vec![
            Value::Number(round(self.duration_s, 3)),
            Value::Number(round(self.bytes_out, 0)),
            Value::Number(round(self.bytes_in, 0)),
            Value::Number(round(self.packets, 0)),
            Value::Number(round(self.distinct_ports, 0)),
            Value::Text(self.service.protocol),
            Value::Text(self.service.name),
        ]
    }
}
