//! Lines of text: events, settings, training data.

use super::Seed;

const EVENTS: [(&str, &str); 10] = [
    (
        "bare",
        r#"{"card":"c-17","time":"2026-01-31T12:00:00Z","amount":12.5,"id":7,"country":"DE"}"#,
    ),
    (
        "other-order",
        r#"{ "country" : "AT" , "amount" : -0.1e-3 , "card" : 4711 , "time" : 1769860800 }"#,
    ),
    (
        "escapes",
        r#"{"card":"gr\u00fc\u00dfe \ud83d\ude00","time":"2026-01-31","amount":null,"x":"\\\"\n"}"#,
    ),
    ("nested", r#"{"card":"c","time":"2026-01-31 12:00","x":{"y":[1,{"z":[]}]},"amount":1}"#),
    ("numbers", r#"{"card":"c","time":0,"amount":9007199254740993,"id":0.1234567890123456789}"#),
    (
        "structured",
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"c","time":"2026-01-31T12:00:00Z","data":{"card":"c","time":"2026-01-31T12:00:00Z","amount":1}}"#,
    ),
    (
        "base64",
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"eyJjYXJkIjoiYyIsInRpbWUiOiIyMDI2LTAxLTMxIiwiYW1vdW50IjoxfQ=="}"#,
    ),
    ("specversion-as-field", r#"{"specversion":null,"card":"c","time":"2026-01-31","amount":1}"#),
    ("no-entity", r#"{"time":"2026-01-31T12:00:00Z","amount":1}"#),
    ("wrong", r#"{"card":["c"],"time":"soon","amount":"12"}"#),
];

const HEADS: [(&str, &str, &str); 3] = [
    (
        "all",
        r#"{"id":"1","source":"/s","subject":"c-17","time":"2026-01-31T12:00:00Z"}"#,
        r#"{"amount":1,"country":"DE"}"#,
    ),
    ("none", "", r#"{"card":"c","time":"2026-01-31T12:00:00Z","amount":1}"#),
    (
        "subject",
        r#"{"id":null,"source":null,"subject":"c","time":null}"#,
        r#"{"time":1769860800.5,"amount":-1e300}"#,
    ),
];

const CONFIGS: [(&str, &str); 3] = [
    ("least", "name = \"cards\"\nversion = \"1\"\n[schema]\nnumeric = [\"amount\"]\n"),
    (
        "full",
        r#"name = "cards"
version = "2026-01-31"
[schema]
entity = "card"
time = "time"
time_format = "epoch-s"
numeric = ["amount", "balance"]
categorical = ["country"]
label = "fraud"
[detector]
kind = ["isolation-forest", "tails"]
trees = 100
sample_rows = 256
[threshold]
false_alarm_rate = 0.001
held_back = 0.2
contamination = 0.01
[stream]
lateness_s = 60.0
skew_max_s = 3600.0
warm_up_events = 20
entities_max = 1000
"#,
    ),
    ("wrong", "name = \"Cards!\"\n[schema]\nnumeric = []\n[threshold]\nfalse_alarm_rate = 7\n"),
];

const CSV: [(&str, &str); 4] = [
    (
        "labelled",
        "card,time,amount,country,label\na,2026-01-31T00:00:00Z,1.5,DE,0\nb,2026-01-31T00:01:00Z,,AT,1\na,2026-01-31T00:02:00Z,NaN,\"D,E\",normal\n",
    ),
    (
        "semicolons",
        "card;time;amount;country;label\r\na;2026-01-31;-1e-3;;\r\nb;2026-02-01;7;\"x\"\"y\";true\r\n",
    ),
    ("tabs", "\u{feff}card\ttime\tamount\tcountry\tlabel\na\t2026-01-31 00:00\t1\tDE\tfalse\n"),
    ("numbers-only", "timestamp,v1,v2\n1769860800,1,2\n1769860801,3,4\n1769860802,5,6\n"),
];

const NDJSON: [(&str, &str); 2] = [
    (
        "plain",
        "{\"card\":\"a\",\"time\":\"2026-01-31T00:00:00Z\",\"amount\":1.5,\"country\":\"DE\",\"label\":0}\n{\"card\":\"b\",\"time\":\"2026-01-31T00:01:00Z\",\"amount\":null,\"country\":null,\"label\":true}\n",
    ),
    (
        "nested",
        "{\"card\":\"a\",\"time\":\"2026-01-31\",\"amount\":2,\"x\":{\"y\":[1]}}\n\n{\"card\":1,\"time\":\"2026-02-01\",\"amount\":3}",
    ),
];

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let texts = [("event", &EVENTS[..]), ("config", &CONFIGS), ("csv", &CSV), ("ndjson", &NDJSON)];
    for (target, entries) in texts {
        seeds.extend(
            entries
                .iter()
                .map(|(name, text)| (target, (*name).to_owned(), text.as_bytes().to_vec())),
        );
    }
    let head = |(name, head, body): &(&str, &str, &str)| {
        ("cloud-event", (*name).to_owned(), format!("{head}\n{body}").into_bytes())
    };
    seeds.extend(HEADS.iter().map(head));
    seeds
}
