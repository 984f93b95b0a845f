//! A detector in WebAssembly's text form: its score is its first input, and its state counts the
//! events of an entity. On a negative input a bad one goes wrong.

/// What a module does with a negative input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Scores it like any other.
    Good,
    /// Calls it an anomaly.
    Alarms,
    /// Traps.
    Traps,
    /// Goes round in circles until it is stopped.
    NeverEnds,
}

/// A module to be made.
#[derive(Clone, Debug)]
pub struct MadeModule {
    /// The detector's name.
    pub detector: String,
    /// The version, which also tells equal modules apart.
    pub version: String,
    /// What it does with a negative input.
    pub kind: Kind,
    /// The field that it reads.
    pub field: String,
    /// Whether the events that an entity had before show in its scores, a [`TELL`] each; then it
    /// reads a time, too.
    pub counts: bool,
}

/// What one event before adds to a score of a module that counts: so little that both can be read
/// off the score.
pub const TELL: f64 = 1.0 / (1_u64 << 32) as f64;

const TEXT: &str = r#"(module
  (memory (export "memory") 1)
  (data (i32.const 8) "\01\00\00\00\08\00\00\00\00\10\00\00\00\20\00\00\00\30\00\00\00\40\00\00\00\50\00\00\00\60\00\00\00\70\00\00\00\00\00\00")
  (func (export "twinge_abi") (result i32) i32.const 1)
  (func (export "twinge_prepare") (param i32 i32) (result i32)
    (if (result i32) (i32.gt_u (local.get 0) (i32.const 256)) (then (i32.const 0)) (else (i32.const 8))))
  (func $judge (param $x f64) (result f64)
    (if (f64.lt (local.get $x) (f64.const 0)) (then BADNESS))
    (local.get $x))
  (func (export "twinge_score") (param $rows i32) (param i32 i32) (result i32)
    (local $row i32) (local $state i32) (local $score f64)
    (loop $next
      (if (i32.ge_u (local.get $row) (local.get $rows)) (then (return (i32.const 0))))
      (local.set $score (call $judge (f64.load (i32.add (i32.const 0x3000) (i32.mul (local.get $row) (i32.const 8))))))
      (local.set $state (i32.add (i32.const 0x4000) (i32.mul (i32.const 8) (i32.load (i32.add (i32.const 0x2000) (i32.mul (local.get $row) (i32.const 4)))))))
      COUNT
      (f64.store (local.get $state) (f64.add (f64.load (local.get $state)) (f64.const 1)))
      (f64.store (i32.add (i32.const 0x5000) (i32.mul (local.get $row) (i32.const 8))) (local.get $score))
      (i32.store (i32.add (i32.const 0x6000) (i32.mul (local.get $row) (i32.const 4))) (f64.ge (local.get $score) (f64.const 1)))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br $next))
    (i32.const 0)))"#;

impl MadeModule {
    /// A module of the detector `test` that reads the field `x`.
    pub fn new(kind: Kind, version: &str) -> Self {
        let (detector, field) = ("test".to_owned(), "x".to_owned());
        Self { detector, version: version.to_owned(), kind, field, counts: false }
    }

    /// The same, as a module whose scores tell its state.
    #[must_use]
    pub fn counting(self) -> Self {
        Self { counts: true, ..self }
    }

    /// The module's bytes, with its manifest.
    pub fn bytes(&self) -> Vec<u8> {
        let badness = match self.kind {
            Kind::Good => "nop",
            Kind::Alarms => "(return (f64.const 3))",
            Kind::Traps => "unreachable",
            Kind::NeverEnds => "(loop $for_ever (br $for_ever))",
        };
        let count = format!(
            "(local.set $score (f64.add (local.get $score) (f64.mul (f64.load (local.get $state)) (f64.const {TELL}))))"
        );
        let count = if self.counts { count.as_str() } else { "" };
        let text = TEXT.replace("BADNESS", badness).replace("COUNT", count);
        let mut bytes = wat::parse_str(text).expect("a valid module");
        append_section(&mut bytes, "twinge.manifest", self.manifest().to_string().as_bytes());
        bytes
    }

    /// The manifest as JSON.
    pub fn manifest(&self) -> serde_json::Value {
        let mut schema = serde_json::json!({"entity": "entity", "numeric": [self.field]});
        if self.counts {
            schema["time"] = "time".into();
        }
        serde_json::json!({
            "abi": 1,
            "name": self.detector,
            "version": self.version,
            "schema": schema,
            "state_bytes": 8,
            "stream": {},
            "detector": {"kind": "made-by-hand", "settings": {}, "features": []},
            "threshold": {"false_alarm_rate": 0.01, "calibration_rows": 1, "raw_score": 1.0},
            "lineage": {
                "data_digest": "", "rows": 0, "config_digest": "", "seed": 0, "runtime_digest": ""
            },
        })
    }
}

/// A custom section: zero, the length, the name with its length, the content.
fn append_section(module: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut section = Vec::new();
    push_leb128(&mut section, name.len());
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(content);
    module.push(0);
    push_leb128(module, section.len());
    module.extend(section);
}

fn push_leb128(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push((number & 0x7f | 0x80) as u8);
        number >>= 7;
    }
    bytes.push(number as u8);
}
