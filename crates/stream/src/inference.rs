//! The model endpoint: detectors that need no memory, asked over HTTP in the Open Inference Protocol
//! (<https://github.com/kserve/open-inference-protocol>), version 2, JSON.
//!
//! A row is scored as an event of an entity that was never seen before. For a detector whose verdict
//! depends on what came before, that would be another verdict than the stream's, so such a detector
//! is refused. It knows nothing of HTTP.

use crate::report::{Reports, Wanted};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::watch;
use twinge_contract::category;
use twinge_contract::event::Event;
use twinge_contract::manifest::Manifest;
use twinge_contract::schema::Schema;
use twinge_contract::time::TimeFormat;
use twinge_contract::verdict::Severity;
use twinge_engine::Module;
use twinge_runner::{Judgement, Slot};

/// Rows of one request at most.
pub const ROWS_MAX: usize = 4096;

/// State that says only how many events there were and when the last one was: on a row's score it
/// has no influence.
const STATE_BYTES_COMMON: u32 = 16;

/// The detectors that can be asked; cheap to clone.
#[derive(Clone, Debug)]
pub struct Models {
    wanted: watch::Receiver<Wanted>,
    reports: Reports,
}

/// A request.
#[derive(Debug, Deserialize)]
pub struct Request {
    /// Comes back with the answer.
    #[serde(default)]
    id: Option<String>,
    inputs: Vec<Tensor>,
    /// The outputs that are wanted; without any, all.
    #[serde(default)]
    outputs: Vec<Wish>,
}

#[derive(Debug, Deserialize)]
struct Wish {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    data: Vec<Value>,
}

/// Why a request is not answered with scores.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is said by its message")]
pub enum InferenceError {
    #[error("no detector here is called `{0}`: GET /v1/status tells which are")]
    Unknown(String),
    #[error(
        "detector `{name}` remembers what came before ({what}), so one row alone has no verdict: send its events to POST /v1/events, where they are scored in order"
    )]
    Stateful { name: String, what: String },
    #[error("the request is not readable: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("input `{name}` {problem}")]
    Input { name: String, problem: String },
    #[error("there is no output `{0}`: take score, verdict, severity or attribution")]
    Output(String),
    #[error("the detector failed on row {row}: {message}")]
    Failed { row: usize, message: String },
}

const OUTPUTS: [&str; 4] = ["score", "verdict", "severity", "attribution"];

impl Models {
    /// The detectors that a program runs.
    pub fn new(wanted: watch::Receiver<Wanted>, reports: Reports) -> Self {
        Self { wanted, reports }
    }

    /// What is told of a detector.
    pub fn metadata(&self, name: &str) -> Result<Value, InferenceError> {
        let (module, _) = self.module(name)?;
        let manifest = module.manifest();
        let schema = &manifest.schema;
        let kind = |index| if schema.is_categorical(index) { "BYTES" } else { "FP64" };
        let field = |(index, name)| json!({ "name": name, "datatype": kind(index), "shape": [-1] });
        let mut inputs: Vec<Value> = schema.fields().enumerate().map(field).collect();
        inputs.extend(schema.time.as_ref().map(|name| {
            let kind = if schema.time_format == TimeFormat::Rfc3339 { "BYTES" } else { "FP64" };
            json!({ "name": name, "datatype": kind, "shape": [-1] })
        }));
        Ok(json!({
            "name": name,
            "versions": [manifest.version],
            "platform": "twinge-wasm",
            "inputs": inputs,
            "outputs": [
                { "name": "score", "datatype": "FP64", "shape": [-1] },
                { "name": "verdict", "datatype": "BYTES", "shape": [-1] },
                { "name": "severity", "datatype": "BYTES", "shape": [-1] },
                { "name": "attribution", "datatype": "FP32", "shape": [-1, schema.width()] },
            ],
            "parameters": { "module": module.digest().to_string() },
        }))
    }

    /// Whether a detector can be asked.
    pub fn check(&self, name: &str) -> Result<(), InferenceError> {
        self.module(name).and_then(|(module, _)| stateless(name, module.manifest()))
    }

    /// Scores the rows of a request. It computes: call it where that is allowed.
    pub fn infer(&self, name: &str, body: &[u8]) -> Result<Value, InferenceError> {
        let (module, sensitivity) = self.module(name)?;
        let manifest = Arc::clone(module.manifest());
        stateless(name, &manifest)?;
        let request: Request = serde_json::from_slice(body)?;
        for wish in &request.outputs {
            if !OUTPUTS.contains(&wish.name.as_str()) {
                return Err(InferenceError::Output(wish.name.clone()));
            }
        }
        let events = rows(&manifest.schema, &request.inputs)?;
        let count = events.len();
        let mut slot = Slot::new(&module, Some(ROWS_MAX as u32));
        slot.set_sensitivity(sensitivity);
        let judgements = slot.score(events.into_iter().map(Ok).collect());
        let outputs = outputs(&slot, &judgements, &manifest.schema, count)?;
        let is_wanted = |output: &Value| {
            request.outputs.is_empty()
                || request.outputs.iter().any(|wish| output["name"] == wish.name)
        };
        let mut answer = json!({
            "model_name": name,
            "model_version": manifest.version,
            "parameters": { "module": module.digest().to_string() },
            "outputs": outputs.into_iter().filter(is_wanted).collect::<Vec<_>>(),
        });
        if let Some(id) = request.id {
            answer["id"] = id.into();
        }
        Ok(answer)
    }

    /// The acting module, and the factor on its scores.
    fn module(&self, name: &str) -> Result<(Module, f64), InferenceError> {
        let wanted = self.wanted.borrow();
        let directive = wanted
            .get(name)
            .ok_or_else(|| InferenceError::Unknown(name.chars().take(64).collect()))?;
        // A module that is still warming up, or was left, does not act yet or any more.
        let reports = self.reports.all();
        let acting: Vec<_> = reports
            .iter()
            .flat_map(|report| &report.runners)
            .filter(|runner| runner.place.detector == name)
            .map(|runner| runner.champion)
            .collect();
        let beside = directive.beside.as_ref().map(|(assigned, _)| &assigned.module);
        let acts = |module: &&Module| acting.contains(&module.digest());
        let module = match beside.filter(acts) {
            Some(beside) if !acts(&&directive.act.module) => beside,
            _ => &directive.act.module,
        };
        Ok((module.clone(), directive.sensitivity))
    }
}

fn stateless(name: &str, manifest: &Manifest) -> Result<(), InferenceError> {
    let refuse = |what: String| Err(InferenceError::Stateful { name: name.to_owned(), what });
    if manifest.state_bytes > STATE_BYTES_COMMON {
        return refuse(format!("{} bytes for each entity", manifest.state_bytes));
    }
    if manifest.stream.warm_up_events > 0 {
        return refuse(format!("it warms up for {} events", manifest.stream.warm_up_events));
    }
    Ok(())
}

/// The rows that the tensors hold.
fn rows(schema: &Schema, tensors: &[Tensor]) -> Result<Vec<Event>, InferenceError> {
    let mut columns = Vec::with_capacity(schema.width());
    for (index, field) in schema.fields().enumerate() {
        columns.push(column(tensor(tensors, field)?, schema.is_categorical(index))?);
    }
    let times =
        schema.time.as_ref().map(|field| times(tensor(tensors, field)?, schema.time_format));
    let times = times.transpose()?;
    let known = |name: &str| {
        schema.fields().any(|field| field == name)
            || [&schema.time, &schema.entity].into_iter().flatten().any(|field| field == name)
    };
    if let Some(other) = tensors.iter().find(|tensor| !known(&tensor.name)) {
        return Err(problem(other, "is no field of this detector: leave it out"));
    }
    let count = columns.first().map_or(0, Vec::len);
    if let Some(other) = tensors.iter().find(|tensor| tensor.shape[0] != count) {
        return Err(problem(other, &format!("has another number of rows than {count}")));
    }
    let event = |row: usize| Event {
        // Each row is an entity of its own: none remembers another.
        entity: row.to_string(),
        time_ms: times.as_ref().map(|times| times[row]),
        inputs: columns.iter().map(|column| column[row]).collect(),
        identity: None,
    };
    Ok((0..count).map(event).collect())
}

fn tensor<'a>(tensors: &'a [Tensor], field: &str) -> Result<&'a Tensor, InferenceError> {
    let mut same = tensors.iter().filter(|tensor| tensor.name == field);
    let missing =
        |problem: &str| InferenceError::Input { name: field.into(), problem: problem.into() };
    let tensor =
        same.next().ok_or_else(|| missing("is missing: give one tensor for each field"))?;
    if same.next().is_some() {
        return Err(missing("is there twice: give one tensor for each field"));
    }
    let ([rows] | [rows, 1]) = tensor.shape[..] else {
        return Err(problem(tensor, "must have the shape [n] or [n, 1]"));
    };
    if !(1..=ROWS_MAX).contains(&rows) {
        return Err(problem(tensor, &format!("has {rows} rows: send 1 to {ROWS_MAX}")));
    }
    if tensor.data.len() != rows {
        let message = format!("has {} values, and its shape says {rows}", tensor.data.len());
        return Err(problem(tensor, &message));
    }
    Ok(tensor)
}

/// The inputs of one field; what is missing is not a number.
fn column(tensor: &Tensor, is_category: bool) -> Result<Vec<f64>, InferenceError> {
    let values = tensor.data.iter().map(flat).enumerate();
    let read = values.map(|(row, value)| {
        let wrong = |wanted: &str| {
            problem(tensor, &format!("has {value} in row {row}, which is no {wanted}"))
        };
        match (value, tensor.datatype.as_str()) {
            (Value::Null, _) => Ok(f64::NAN),
            (Value::String(text), "BYTES") if is_category => Ok(category::code(text)),
            (_, "BYTES") if is_category => Err(wrong("text")),
            _ if is_category => Err(problem(tensor, "is a category: its datatype must be BYTES")),
            (
                _,
                "FP64" | "INT8" | "INT16" | "INT32" | "INT64" | "UINT8" | "UINT16" | "UINT32"
                | "UINT64",
            ) => value.as_f64().ok_or_else(|| wrong("number")),
            (_, "FP32") => {
                value.as_f64().map(|number| f64::from(number as f32)).ok_or_else(|| wrong("number"))
            }
            _ => Err(problem(
                tensor,
                "is a number: its datatype must be FP64, FP32 or one of the INTs",
            )),
        }
    });
    read.collect()
}

fn times(tensor: &Tensor, format: TimeFormat) -> Result<Vec<i64>, InferenceError> {
    let read = tensor.data.iter().map(flat).map(|value| {
        let time = match value {
            Value::String(text) => format.read_text(text),
            value => value.as_f64().and_then(|number| format.read_number(number)),
        };
        let message = format!("has {value}, which is no time in the format {}", format.as_str());
        time.ok_or_else(|| problem(tensor, &message))
    });
    read.collect()
}

/// A value of a tensor of shape [n, 1] may stand in brackets.
fn flat(value: &Value) -> &Value {
    match value {
        Value::Array(one) if one.len() == 1 => &one[0],
        value => value,
    }
}

fn problem(tensor: &Tensor, problem: &str) -> InferenceError {
    InferenceError::Input { name: tensor.name.chars().take(64).collect(), problem: problem.into() }
}

fn outputs(
    slot: &Slot,
    judgements: &[Judgement],
    schema: &Schema,
    count: usize,
) -> Result<Vec<Value>, InferenceError> {
    let (mut scores, mut verdicts, mut severities) = (Vec::new(), Vec::new(), Vec::new());
    let mut shares = Vec::with_capacity(count * schema.width());
    for (number, judgement) in judgements.iter().enumerate() {
        let row = match judgement {
            Judgement::Scored { row, .. } => *row,
            Judgement::Failed { message, .. } | Judgement::Dead { message, .. } => {
                return Err(InferenceError::Failed { row: number, message: message.clone() });
            }
        };
        let (outcome, score) = (slot.outcome(row), slot.score_of(row));
        scores.push(score);
        verdicts.push(outcome.as_str());
        severities.push(json!(Severity::of(outcome, score)));
        shares.extend(slot.shares(row).iter().take(schema.width()).copied());
    }
    let fields: Vec<&str> = schema.fields().collect();
    Ok(vec![
        json!({ "name": "score", "datatype": "FP64", "shape": [count], "data": scores }),
        json!({ "name": "verdict", "datatype": "BYTES", "shape": [count], "data": verdicts }),
        json!({ "name": "severity", "datatype": "BYTES", "shape": [count], "data": severities }),
        json!({
            "name": "attribution", "datatype": "FP32", "shape": [count, schema.width()],
            "data": shares, "parameters": { "fields": fields },
        }),
    ])
}
