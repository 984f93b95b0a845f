//! `detector.toml`: a configuration that was read is written and read as the same again.

use twinge_fit::Config;

pub(super) const WORDS: &[&[u8]] = &[
    b"[schema]",
    b"[detector]",
    b"[threshold]",
    b"[stream]",
    b"[[features]]",
    b"kind = ",
    b"numeric = [",
    b"categorical = [",
    b"entity = \"card\"",
    b"label = ",
    b"false_alarm_rate = ",
    b"entities_max = ",
    b"trees = ",
    b"sample_rows = ",
    b"nan",
    b"inf",
    b"-inf",
    b"0x",
    b"\"\"\"",
    b"[[",
    b"{a={a={a=",
    b"1979-05-27T07:32:00Z",
    b"\"auto\"",
    b"\"isolation-forest\"",
];

pub(super) fn config(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(config) = Config::parse(text) else { return };
    let written = config.to_toml();
    let again = Config::parse(&written).expect("what was written can be read");
    // As texts: a number that is none differs from itself.
    assert_eq!(again.to_toml(), written, "what was written is read as it was");
    if let Ok(valid) = config.check() {
        let rules = valid.written.stream_rules(u32::MAX).expect("what was checked holds");
        assert!(rules.entities_max > 0, "somebody is remembered");
    }
}
