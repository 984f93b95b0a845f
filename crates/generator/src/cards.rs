//! Card payments. Each card has a home country, a usual amount and favourite categories, all of
//! them drawn from the seed and the card's index, so that nothing is kept between payments.

use crate::anomaly::Step;
use crate::arrivals::Arrival;
use crate::random::{Purpose, Random, round};
use crate::{AnomalyKind, Value};

#[derive(Clone, Copy, Debug)]
struct Category {
    name: &'static str,
    /// How much larger than the card's usual amount payments in it are.
    amount_factor: f64,
    risk: f64,
}

const fn category(name: &'static str, amount_factor: f64, risk: f64) -> Category {
    Category { name, amount_factor, risk }
}

const ELECTRONICS: Category = category("electronics", 2.0, 25.0);
const CASH: Category = category("cash", 1.5, 15.0);
const RESTAURANT: Category = category("restaurant", 0.8, 10.0);

/// The categories, with how often they are paid for.
const CATEGORIES: [(Category, f64); 12] = [
    (category("grocery", 1.0, 5.0), 26.0),
    (category("fuel", 1.2, 8.0), 11.0),
    (RESTAURANT, 15.0),
    (category("travel", 2.2, 20.0), 3.0),
    (ELECTRONICS, 4.0),
    (category("clothing", 1.3, 12.0), 8.0),
    (category("health", 1.0, 6.0), 7.0),
    (category("household", 1.2, 8.0), 8.0),
    (category("entertainment", 0.8, 14.0), 6.0),
    (category("transport", 0.5, 6.0), 6.0),
    (category("utilities", 1.5, 4.0), 3.0),
    (CASH, 3.0),
];

const COUNTRIES: [(&str, f64); 15] = [
    ("DE", 18.0),
    ("FR", 14.0),
    ("GB", 14.0),
    ("IT", 10.0),
    ("ES", 9.0),
    ("NL", 6.0),
    ("PL", 6.0),
    ("US", 6.0),
    ("BE", 4.0),
    ("SE", 3.0),
    ("AT", 3.0),
    ("CH", 3.0),
    ("PT", 2.0),
    ("JP", 1.0),
    ("BR", 1.0),
];

const TRIP_SHARE: f64 = 0.015;

/// The behaviour of all cards.
#[derive(Clone, Debug)]
pub(crate) struct Cards {
    seed: u64,
}

/// The lasting traits of one card.
struct Profile {
    amount_median: f64,
    amount_sigma: f64,
    home: &'static str,
    favourites: [Category; 3],
    online_share: f64,
    distance_km_median: f64,
}

struct Payment {
    amount: f64,
    distance_km: f64,
    risk: f64,
    category: Category,
    country: &'static str,
    channel: &'static str,
}

impl Cards {
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
        let mut payment = profile.payment(random);
        if let Some(step) = step {
            payment.distort(&profile, step, random);
        }
        payment.values()
    }
}

impl Profile {
    fn of(seed: u64, entity: u32) -> Self {
        let mut random = Random::new(seed, Purpose::Profile(entity));
        Self {
            amount_median: 30.0 * libm::exp(0.5 * random.normal()),
            amount_sigma: random.between(0.35, 0.5),
            home: random.pick_weighted(&COUNTRIES),
            favourites: [0; 3].map(|_| random.pick_weighted(&CATEGORIES)),
            online_share: random.between(0.15, 0.45),
            distance_km_median: random.between(2.0, 8.0),
        }
    }

    fn payment(&self, random: &mut Random) -> Payment {
        let category = if random.chance(0.7) {
            random.pick(&self.favourites)
        } else {
            random.pick_weighted(&CATEGORIES)
        };
        let channel = self.channel(category, random);
        let (distance_km, country) = self.place(channel, random);
        let amount_median = self.amount_median * category.amount_factor;
        Payment {
            amount: random.log_normal(amount_median, self.amount_sigma),
            distance_km,
            risk: category.risk + 4.0 * random.heavy_normal(),
            category,
            country,
            channel,
        }
    }

    fn channel(&self, category: Category, random: &mut Random) -> &'static str {
        if category.name == CASH.name {
            "atm"
        } else if random.chance(self.online_share) {
            "online"
        } else {
            random.pick_weighted(&[("contactless", 0.6), ("chip", 0.4)])
        }
    }

    /// The distance from home and the country: mostly near and at home, now and then on a trip.
    fn place(&self, channel: &str, random: &mut Random) -> (f64, &'static str) {
        if channel == "online" {
            let abroad = random.chance(0.06);
            return (0.0, if abroad { random.pick_weighted(&COUNTRIES) } else { self.home });
        }
        if random.chance(TRIP_SHARE) {
            let abroad = random.chance(0.3);
            let country = if abroad { random.pick_weighted(&COUNTRIES) } else { self.home };
            return (random.between(50.0, 800.0), country);
        }
        (random.log_normal(self.distance_km_median, 0.8), self.home)
    }

    fn foreign_country(&self, random: &mut Random) -> &'static str {
        let foreign = COUNTRIES.map(|(name, weight)| {
            let weight = if name == self.home { 0.0 } else { weight };
            (name, weight)
        });
        random.pick_weighted(&foreign)
    }
}

impl Payment {
    fn distort(&mut self, profile: &Profile, step: Step, random: &mut Random) {
        match step.kind {
            AnomalyKind::AmountSpike => self.amount = profile.amount_median * step.size(15.0, 40.0),
            AnomalyKind::CardBurst => {
                let growth = libm::pow(1.45, f64::from(step.index));
                let jitter = random.between(0.95, 1.05);
                self.amount = profile.amount_median * step.size(3.0, 4.0) * growth * jitter;
                self.distance_km = 0.0;
                self.risk = random.between(60.0, 90.0);
                self.category = ELECTRONICS;
                self.channel = "online";
            }
            AnomalyKind::FarAway => {
                self.distance_km = step.size(4000.0, 12_000.0);
                self.country = profile.foreign_country(random);
                self.channel = random.pick(&["chip", "contactless"]);
                if self.category.name == CASH.name {
                    self.category = RESTAURANT;
                }
            }
            other => unreachable!("{other} is not planted among cards"),
        }
    }

    fn values(&self) -> Vec<Value> {
        vec![
            Value::Number(round(self.amount, 2).max(0.01)),
            Value::Number(round(self.distance_km, 1)),
            Value::Number(round(self.risk.clamp(0.0, 100.0), 0)),
            Value::Text(self.category.name),
            Value::Text(self.country),
            Value::Text(self.channel),
        ]
    }
}
