//! What a caller may rely on: equal bytes, order in time, shares, and anomalies that stand out.

use std::collections::{BTreeMap, BTreeSet};

use twinge_generator::{
    AnomalyKind, Event, FieldKind, InjectError, MAX_INJECTIONS, Params, ParamsError, Shift, Stream,
    Value, World, csv_header,
};

const SEED: u64 = 42;

fn stream(params: Params) -> Stream {
    params.check().expect("the params are good").stream()
}

/// FNV-1a of the first 1000 labelled NDJSON lines, each with its newline.
fn digest(params: Params) -> u64 {
    let world = params.world;
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for event in stream(params).take(1000) {
        for byte in (event.to_json(world, true) + "\n").bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
    hash
}

#[test]
fn the_bytes_of_each_world_are_pinned() {
    let digests =
        World::ALL.map(|world| digest(Params { missing_share: 0.02, ..Params::new(world, SEED) }));
    assert_eq!(
        digests,
        [0x1dc1_df95_98be_eabe, 0xf48e_ab5f_ed29_aa31, 0x900b_e271_7269_ebe0],
        "now {digests:#018x?}"
    );
}

#[test]
fn a_seed_is_a_stream() {
    for world in World::ALL {
        assert_eq!(digest(Params::new(world, 1)), digest(Params::new(world, 1)));
        assert_ne!(digest(Params::new(world, 1)), digest(Params::new(world, 2)));
    }
}

#[test]
fn time_and_ids_only_go_forward() {
    for world in World::ALL {
        let params = Params { anomaly_share: 0.1, ..Params::new(world, SEED) };
        let start_ms = params.start_ms;
        let mut last_ms = start_ms;
        for (id, event) in (0..).zip(stream(params).take(50_000)) {
            if id == 0 {
                assert_eq!(event.time_ms, start_ms);
            }
            assert_eq!(event.id, id);
            assert!(event.time_ms >= last_ms, "{world} event {id} goes back in time");
            last_ms = event.time_ms;
        }
    }
}

#[test]
fn the_share_of_labels_is_about_what_was_asked() {
    let check = |params: Params| {
        let labelled = stream(params.clone()).take(100_000).filter(|e| e.label.is_some()).count();
        let share = labelled as f64 / 100_000.0;
        let (low, high) = (params.anomaly_share / 2.0, params.anomaly_share * 2.0);
        assert!((low..=high).contains(&share), "{share} labelled for {params:?}");
    };
    for world in World::ALL {
        for anomaly_share in [0.0, 0.002, 0.01, 0.1, 0.3] {
            check(Params { anomaly_share, ..Params::new(world, SEED) });
        }
        check(Params { entities: 5, ..Params::new(world, SEED) });
        check(Params { entities: 1_000_000, ..Params::new(world, SEED) });
    }
}

#[test]
fn missing_values_are_about_as_many_as_asked() {
    for world in World::ALL {
        let params = Params { missing_share: 0.05, ..Params::new(world, SEED) };
        let events: Vec<Event> = stream(params).take(20_000).collect();
        let values = events.iter().flat_map(|event| &event.values);
        let missing = values.clone().filter(|value| **value == Value::Missing).count();
        let share = missing as f64 / values.count() as f64;
        assert!((0.045..0.055).contains(&share), "{world}: {share} missing");
        for event in events {
            let Some(label) = event.label else { continue };
            assert_ne!(value_of(world, &event, label.field), Value::Missing);
        }
    }
}

#[test]
fn every_kind_appears_and_only_in_its_world() {
    for world in World::ALL {
        let labels = stream(Params::new(world, SEED)).take(50_000).filter_map(|event| event.label);
        let seen: BTreeSet<&str> = labels.map(|anomaly| anomaly.kind.name()).collect();
        let expected: BTreeSet<&str> = world.anomaly_kinds().map(AnomalyKind::name).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn values_fit_their_fields() {
    for world in World::ALL {
        let columns = csv_header(world, true).split(',').count();
        for event in stream(Params::new(world, SEED)).take(5000) {
            assert_eq!(event.values.len(), world.fields().len());
            assert_eq!(event.to_csv(true).split(',').count(), columns);
            for (field, value) in world.fields().iter().zip(&event.values) {
                let fits = match value {
                    Value::Number(number) => {
                        field.kind == FieldKind::Numeric && number.is_finite() && *number >= 0.0
                    }
                    Value::Text(_) => field.kind == FieldKind::Categorical,
                    Value::Missing => false,
                };
                assert!(fits, "{world} {} = {value:?}", field.name);
            }
        }
    }
}

/// A plain detector, which looks at one number and the entity's own median, must find what is
/// planted while it raises an alarm for one normal event in 200.
#[test]
fn planted_values_stand_out() {
    for world in World::ALL {
        let events: Vec<Event> = stream(Params::new(world, SEED)).take(100_000).collect();
        for kind in world.anomaly_kinds().filter(|kind| *kind != AnomalyKind::Stuck) {
            let deviations = deviations(kind, &events);
            let mut normal: Vec<f64> =
                deviations.iter().filter(|(label, _)| label.is_none()).map(|(_, d)| *d).collect();
            normal.sort_by(f64::total_cmp);
            let threshold = normal[normal.len() * 995 / 1000];
            let planted: Vec<f64> =
                deviations.iter().filter(|(l, _)| *l == Some(kind)).map(|(_, d)| *d).collect();
            let found = planted.iter().filter(|d| **d > threshold).count();
            // The first third of a drift cannot be told from a warm day, nor the first payments of
            // a burst from dear purchases.
            let wanted = match kind {
                AnomalyKind::Drift | AnomalyKind::CardBurst => 0.55,
                _ => 0.95,
            };
            let share = found as f64 / planted.len() as f64;
            assert!(share >= wanted, "{kind}: {found} of {} found", planted.len());
        }
    }
}

/// The label and the deviation from the entity's own median of each event.
fn deviations(kind: AnomalyKind, events: &[Event]) -> Vec<(Option<AnomalyKind>, f64)> {
    let mut by_entity: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for event in events {
        by_entity.entry(&event.entity).or_default().push(evidence(kind, event));
    }
    let medians: BTreeMap<&str, f64> = by_entity
        .into_iter()
        .map(|(entity, mut numbers)| {
            numbers.sort_by(f64::total_cmp);
            (entity, numbers[numbers.len() / 2])
        })
        .collect();
    let deviation = |event: &Event| evidence(kind, event) - medians[event.entity.as_str()];
    events.iter().map(|event| (event.label.map(|label| label.kind), deviation(event))).collect()
}

/// What a detector would look at: the planted field, as a logarithm if it holds amounts; two
/// fields that go together where this is what breaks.
fn evidence(kind: AnomalyKind, event: &Event) -> f64 {
    let planted = number_of(kind.world(), event, kind.field());
    match kind {
        AnomalyKind::Spike | AnomalyKind::Drift => planted,
        AnomalyKind::BrokenCorrelation => {
            libm::log(planted / number_of(kind.world(), event, "current_a"))
        }
        _ => libm::log(1.0 + planted),
    }
}

#[test]
fn a_stuck_sensor_repeats_itself_and_others_do_not() {
    let mut last: BTreeMap<String, f64> = BTreeMap::new();
    let (mut normal, mut normal_repeats, mut stuck) = (0, 0, 0);
    for event in stream(Params::new(World::Sensors, SEED)).take(100_000) {
        let pressure = number_of(World::Sensors, &event, "pressure_kpa");
        let repeats = last.insert(event.entity, pressure) == Some(pressure);
        if event.label.is_some_and(|label| label.kind == AnomalyKind::Stuck) {
            assert!(repeats, "a stuck sensor moved");
            stuck += 1;
        } else {
            normal += 1;
            normal_repeats += u32::from(repeats);
        }
    }
    assert!(stuck > 50);
    assert!(f64::from(normal_repeats) < 0.02 * f64::from(normal), "{normal_repeats}");
}

#[test]
fn an_injected_anomaly_begins_soon() {
    for kind in AnomalyKind::ALL {
        let quiet = Params { anomaly_share: 0.0, ..Params::new(kind.world(), SEED) };
        let mut stream = stream(quiet);
        assert!(stream.by_ref().take(2000).all(|event| event.label.is_none()));
        stream.inject(kind).unwrap();
        let label = stream.by_ref().take(250).find_map(|event| event.label);
        assert_eq!(label.map(|label| label.kind), Some(kind));
    }
}

#[test]
fn injections_are_checked_and_bounded() {
    let mut stream = stream(Params::new(World::Sensors, SEED));
    let (kind, world) = (AnomalyKind::Flood, World::Sensors);
    let refused = stream.inject(kind).unwrap_err();
    assert_eq!(refused, InjectError::OtherWorld { kind, world });
    assert_eq!(
        refused.to_string(),
        "inject flood into the world sensors: it belongs to the world flows"
    );
    for _ in 0..MAX_INJECTIONS {
        stream.inject(AnomalyKind::Spike).unwrap();
    }
    let refused = stream.inject(AnomalyKind::Spike).unwrap_err();
    assert_eq!(refused, InjectError::Full(AnomalyKind::Spike));
}

#[test]
fn params_that_cannot_be_used_are_refused() {
    let good = || Params::new(World::Cards, SEED);
    let check = |params: Params, expected: ParamsError| {
        let error = params.check().unwrap_err();
        assert_eq!(error, expected);
        assert!(error.to_string().contains("choose"), "{error}");
    };
    check(Params { entities: 0, ..good() }, ParamsError::Entities(0));
    check(Params { entities: 20_000_000, ..good() }, ParamsError::Entities(20_000_000));
    check(Params { events_per_second: 0.0, ..good() }, ParamsError::EventsPerSecond(0.0));
    check(Params { anomaly_share: 0.6, ..good() }, ParamsError::AnomalyShare(0.6));
    check(Params { missing_share: -0.1, ..good() }, ParamsError::MissingShare(-0.1));
    check(Params { start_ms: -1, ..good() }, ParamsError::StartMs(-1));
    let shift = Some(Shift { after: 0, size: 0.0 });
    check(Params { shift, ..good() }, ParamsError::Shift(0.0));
    assert!(Params { anomaly_share: f64::NAN, ..good() }.check().is_err());
}

#[test]
fn a_shift_moves_what_it_says_and_nothing_else() {
    const AFTER: u64 = 500;
    for (world, moved) in
        [(World::Cards, "amount"), (World::Sensors, "vibration_mm_s"), (World::Flows, "duration_s")]
    {
        let shift = Some(Shift { after: AFTER, size: 2.0 });
        let usual = stream(Params::new(world, SEED)).take(2 * AFTER as usize);
        let shifted = stream(Params { shift, ..Params::new(world, SEED) });
        for (before, after) in usual.zip(shifted) {
            assert_eq!((before.time_ms, &before.entity), (after.time_ms, &after.entity));
            assert_eq!(before.label, after.label);
            if before.id < AFTER {
                assert_eq!(before.values, after.values);
            } else {
                let number = number_of(world, &before, moved);
                assert!((number_of(world, &after, moved) - 2.0 * number).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn names_can_be_read_back() {
    for world in World::ALL {
        assert_eq!(world.to_string().parse(), Ok(world));
    }
    for kind in AnomalyKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert!(kind.world().fields().iter().any(|field| field.name == kind.field()));
    }
    let error = "card".parse::<World>().unwrap_err();
    assert_eq!(error.to_string(), "there is no world \"card\": say cards, sensors or flows");
    assert!("card".parse::<AnomalyKind>().is_err());
}

#[test]
fn a_million_entities_are_no_burden() {
    for world in World::ALL {
        let params = Params { entities: 1_000_000, ..Params::new(world, SEED) };
        let entities: BTreeSet<String> =
            stream(params).take(1000).map(|event| event.entity).collect();
        assert!(entities.len() > 900, "{} entities in 1000 events", entities.len());
    }
}

fn value_of(world: World, event: &Event, field: &str) -> Value {
    let index = world.fields().iter().position(|candidate| candidate.name == field);
    let index = index.expect("the world has the field");
    event.values[index]
}

fn number_of(world: World, event: &Event, field: &str) -> f64 {
    match value_of(world, event, field) {
        Value::Number(number) => number,
        other => panic!("{field} is {other:?}"),
    }
}
