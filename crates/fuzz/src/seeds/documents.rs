//! Modules and what is signed.

use super::Seed;
use twinge_registry::{Channel, Name};
use twinge_rollout::Rollout;
use twinge_testkit::{Keys, Kind, MadeModule, statement};
use twinge_trust::{
    ArtefactIdentity, ArtefactStatement, Digest, Enrolment, RightsRequest, Root, SigningKey,
};

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = modules();
    seeds.extend(signed());
    seeds
}

fn modules() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let kinds = [
        ("good", Kind::Good),
        ("alarms", Kind::Alarms),
        ("traps", Kind::Traps),
        ("never-ends", Kind::NeverEnds),
    ];
    for (name, kind) in kinds {
        let made = MadeModule::new(kind, "1");
        for target in ["module", "interpreted"] {
            seeds.push((target, name.to_owned(), made.bytes()));
        }
    }
    let made = MadeModule::new(Kind::Good, "1").manifest();
    seeds.push(("manifest", "made".to_owned(), made.to_string().into_bytes()));
    let mut full = made;
    full["stream"] = serde_json::json!({"lateness_s": 1.5, "skew_max_s": 60.0, "warm_up_events": 5, "entities_max": 100});
    full["metrics"] = serde_json::json!({"auc": 0.9});
    full["notes"] = serde_json::json!(["a note"]);
    full["reference"] = serde_json::json!([{
        "field": "x", "bounds": [0.0, 1.0], "shares": [0.2, 0.3, 0.5], "missing": 0.01,
        "phases": "AAEC", "spread": [1.0, 2.0], "missing_spread": [1.0], "entity_spread": 0.5
    }]);
    seeds.push(("manifest", "full".to_owned(), full.to_string().into_bytes()));
    seeds
}

fn signed() -> Vec<Seed> {
    let keys = Keys::default();
    let mut seeds = Vec::new();
    let mut put = |target, name: &str, bytes: Vec<u8>| seeds.push((target, name.to_owned(), bytes));

    let root = Root { version: 1, expires_ms: i64::MAX, threshold: 1, keyring: keys.keyring() };
    let signed = root.sign(&[&keys.root]);
    put("root", "first", signed.payload_unverified().to_vec());
    put("envelope", "root", signed.to_json());
    let next = Root { version: 2, ..root };
    put("root", "second", next.sign(&[&keys.root]).payload_unverified().to_vec());
    put("envelope", "keyring", keys.keyring().to_json().into_bytes());
    put("envelope", "key", keys.promoter.to_text().into_bytes());

    for (name, channel) in channels() {
        let signed = channel.sign(&keys.promoter);
        put("channel", name, signed.payload_unverified().to_vec());
        put("envelope", &format!("channel-{name}"), signed.to_json());
    }

    let made = MadeModule::new(Kind::Good, "1");
    let signed = statement(&made.bytes(), &made.manifest()).sign(&keys.promoter);
    put("statement", "module", signed.payload_unverified().to_vec());
    put("envelope", "statement", signed.to_json());
    let device = SigningKey::from_seed([7; 32]);
    let request = RightsRequest {
        device: "pump-7".to_owned(),
        audience: "https://registry.example/models".to_owned(),
        nonce: "bm9uY2U".to_owned(),
        detectors: vec!["test".to_owned()],
        time_ms: 1_769_860_800_000,
    };
    put("statement", "rights", request.to_json());
    put("envelope", "rights", request.sign(&device, None).to_json());
    let artefact = ArtefactStatement {
        detector: "test".to_owned(),
        module_digest: Digest::of(b"module"),
        identity: ArtefactIdentity {
            target: "x86_64-unknown-linux-gnu".to_owned(),
            engine_version: "48.0.0".to_owned(),
            settings_digest: Digest::of(b"settings"),
        },
        digest: Digest::of(b"code"),
        bytes: 4,
    };
    let artefact = artefact.sign(&keys.native);
    put("statement", "artefact", artefact.payload_unverified().to_vec());
    let enrolment = Enrolment { device: "pump-7".to_owned(), public_key: device.public() };
    let enrolment = enrolment.sign(&keys.enroller);
    put("statement", "enrolment", enrolment.payload_unverified().to_vec());
    put("envelope", "enrolled", request.sign(&device, Some(enrolment)).to_json());
    seeds
}

fn channels() -> Vec<(&'static str, Channel)> {
    let name = |text: &str| text.parse::<Name>().expect("a name");
    let mut empty = Channel::new(name("test"), name("stable"));
    (empty.serial, empty.expires_ms) = (1, i64::MAX);
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    let shadow =
        empty.with_challenger(one, "1".to_owned(), Rollout::default()).expect("there is none yet");
    let champion = shadow.promote(&one).expect("it is the challenger");
    let other =
        champion.with_challenger(two, "2".to_owned(), Rollout::default()).expect("it is another");
    let held = other.with_hold(Some("look at it".to_owned())).expect("something is rolled out");
    let later = other.promote(&two).expect("it is the challenger");
    let tuned = later.with_sensitivity(Some(1.25)).expect("a good number");
    vec![
        ("empty", empty),
        ("shadow", shadow),
        ("champion", champion),
        ("held", held),
        ("history", tuned),
    ]
}
