//! `host functions`: a custom handler of Azure Functions, behind an Event Hubs trigger.
//!
//! Each invocation brings a batch of one partition. It is scored, its verdicts are answered as outputs
//! of the function, and it goes into the lake. Nothing is kept between two invocations but what the
//! lake has staged, so detectors that remember entities are refused. An invocation that fails is
//! answered with 500, and its trigger brings it again.

mod payload;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use payload::{Invocation, PayloadError};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_platform::{Clock, Disk, RealDisk, SystemClock};
use twinge_runner::{Directive, Place, Record, Runner};
use twinge_stream::assembly::{Extension, Input, Plan, chain};
use twinge_stream::detectors::Detectors;
use twinge_stream::inference::Models;
use twinge_stream::outlet::{Finding, Outlet};
use twinge_stream::program::{Extend, fail};
use twinge_stream::pump::Reports;
use twinge_stream::settings::{Defaults, Flags, Settings};
use twinge_stream::{logging, shutdown};

/// The variable in which Functions says where it expects the handler.
const PORT: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
/// Largest body: a full batch of the trigger, whose events may be a mebibyte each.
const BODY_BYTES_MAX: usize = 256 << 20;
/// Between two looks whether staged events have waited for long enough.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What an invocation is answered with.
///
/// Records are text, to the letter as a host writes them: one id has one record.
type Outputs = BTreeMap<&'static str, Vec<Box<RawValue>>>;

/// The answer, in the words of Functions.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    outputs: Outputs,
    logs: Vec<String>,
    return_value: Option<()>,
}

/// The handler.
struct Handler {
    detectors: Detectors,
    models: Models,
    /// Lake and alerts, by detector: one invocation at a time writes.
    outlets: Mutex<BTreeMap<String, Outlets>>,
    clock: Arc<dyn Clock>,
}

struct Outlets {
    all: Vec<Box<dyn Outlet>>,
    /// Digests of the modules whose schemas they know.
    known: HashSet<String>,
}

/// The whole of `host functions` once its flags are read.
pub(crate) fn main(flags: &Flags, defaults: &Defaults, extend: Box<Extend<'_>>) -> ExitCode {
    logging::start();
    // Events come from Functions, whatever else the settings say.
    let defaults = Defaults { input: Some(Input::Pushed), ..*defaults };
    let planned = Settings::read(flags, &defaults).and_then(|mut settings| {
        let extension = extend(&mut settings)?;
        Ok((settings.into_plan(&defaults)?, extension))
    });
    let (plan, extension) = match planned {
        Ok(planned) => planned,
        Err(error) => return fail(&error, 2),
    };
    match start(plan, extension) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn start(plan: Plan, extension: Option<Arc<dyn Extension>>) -> anyhow::Result<()> {
    let port = std::env::var(PORT).with_context(|| {
        format!("{PORT} is not set: Azure Functions sets it when it starts a custom handler (docs/functions.md)")
    })?;
    let port: u16 = port.parse().with_context(|| format!("{PORT} is `{port}`, and is a port"))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("the runtime cannot start")?.block_on(serve(plan, extension, port))
}

async fn serve(plan: Plan, extension: Option<Arc<dyn Extension>>, port: u16) -> anyhow::Result<()> {
    let (tracker, finished) = (TaskTracker::new(), CancellationToken::new());
    let stop =
        shutdown::on_signals(&tracker, finished.clone()).context("signals cannot be handled")?;
    let (disk, clock): (Arc<dyn Disk>, Arc<dyn Clock>) =
        (Arc::new(RealDisk), Arc::new(SystemClock::new()));
    let mut detectors = Detectors::open(&plan, &disk, &clock, None).await?;
    let reports = Reports::default();
    let models = Models::new(detectors.wanted(), reports.clone());
    let names: Vec<String> = detectors.wanted().borrow().keys().cloned().collect();
    let mut outlets = BTreeMap::new();
    for name in names {
        models.check(&name)?;
        let all =
            extension.as_ref().map_or(Ok(Vec::new()), |extension| extension.outlets(&name))?;
        outlets.insert(name, Outlets { all, known: HashSet::new() });
    }
    detectors.follow(&tracker, &stop, &reports);
    let handler = Arc::new(Handler { detectors, models, outlets: Mutex::new(outlets), clock });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen at {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "handling invocations of Azure Functions");
    tracker.spawn(Arc::clone(&handler).sync_what_waits(stop.clone()));
    let ended = stop.clone();
    axum::serve(listener, router(Arc::clone(&handler)))
        .with_graceful_shutdown(async move { ended.cancelled().await })
        .await
        .context("the handler cannot be served")?;
    stop.cancel();
    finished.cancel();
    tracker.close();
    tracker.wait().await;
    for outlets in handler.outlets.lock().await.values_mut() {
        for outlet in &mut outlets.all {
            outlet.close().await;
        }
    }
    Ok(())
}

fn router(handler: Arc<Handler>) -> Router {
    Router::new()
        .route("/", get(|| async { "twinge\n" }))
        .route("/{function}", post(invoke))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(handler)
}

async fn invoke(
    State(handler): State<Arc<Handler>>,
    Path(function): Path<String>,
    body: Bytes,
) -> Response {
    let (status, outputs, logs) = match handler.handle(&body).await {
        Ok(outputs) => (StatusCode::OK, outputs, Vec::new()),
        Err(error) => {
            let reason = chain(error.as_ref());
            tracing::error!(
                function,
                error = reason,
                "an invocation failed; its trigger brings it again"
            );
            let is_theirs = error.is::<PayloadError>();
            let status =
                if is_theirs { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
            (status, Outputs::new(), vec![reason])
        }
    };
    let answer = Answer { outputs, logs, return_value: None };
    let answer = serde_json::to_string(&answer).expect("an answer holds nothing that JSON lacks");
    (status, [(header::CONTENT_TYPE, "application/json")], answer).into_response()
}

impl Handler {
    /// Scores a batch with every detector; returns once the lake holds it.
    async fn handle(&self, body: &[u8]) -> anyhow::Result<Outputs> {
        let invocation = Invocation::read(body, self.clock.now_ms())?;
        let wanted = self.detectors.wanted().borrow().clone();
        let mut outputs = Outputs::from([("verdicts", Vec::new()), ("deadLetters", Vec::new())]);
        for (name, directive) in &wanted {
            // Its channel may have brought a module that remembers.
            self.models.check(name)?;
            let records = tokio::task::block_in_place(|| score(name, directive, &invocation));
            let mut outlets = self.outlets.lock().await;
            let Some(outlets) = outlets.get_mut(name) else { continue };
            outlets.learn(directive);
            outlets.take(&invocation, &records, &mut outputs);
            outlets.sync().await?;
        }
        Ok(outputs)
    }

    /// What is staged in the lake appears there, though no invocation may follow for long.
    async fn sync_what_waits(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            for outlets in self.outlets.lock().await.values_mut() {
                for outlet in outlets.all.iter_mut().filter(|outlet| outlet.is_due()) {
                    if let Err(error) = outlet.sync().await {
                        tracing::warn!(error = chain(&error), "staged events do not appear yet");
                    }
                }
            }
        }
    }
}

/// Every event gets a record: what was delivered before is answered again, as it was.
fn score(detector: &str, directive: &Directive, invocation: &Invocation) -> Vec<Record> {
    let place = Place {
        detector: detector.to_owned(),
        source: invocation.source.as_str().into(),
        partition: invocation.partition.as_str().into(),
        // Offsets are those of the hub, so a second delivery has the same.
        redelivers: false,
    };
    let acting =
        Directive { sensitivity: directive.sensitivity, ..Directive::only(&directive.act.module) };
    Runner::begin_at(place, &acting, None, 0).process(&invocation.arrivals)
}

impl Outlets {
    fn learn(&mut self, directive: &Directive) {
        let module = directive.act.module.digest().to_string();
        if self.known.insert(module.clone()) {
            let schema = &directive.act.module.manifest().schema;
            self.all.iter_mut().for_each(|outlet| outlet.learn(&module, schema));
        }
    }

    fn take(&mut self, invocation: &Invocation, records: &[Record], outputs: &mut Outputs) {
        for (arrival, record) in invocation.arrivals.iter().zip(records) {
            let (name, finding, json) = match record {
                Record::Verdict(verdict) => {
                    ("verdicts", Finding::Verdict(verdict, arrival), to_raw_value(verdict))
                }
                Record::DeadLetter(letter) => {
                    ("deadLetters", Finding::DeadLetter(letter, arrival), to_raw_value(letter))
                }
                Record::Duplicate => continue,
            };
            let json = json.expect("a record holds nothing that JSON lacks");
            for outlet in &mut self.all {
                outlet.take(&finding, json.get().as_bytes());
            }
            outputs.entry(name).or_default().push(json);
        }
    }

    async fn sync(&mut self) -> anyhow::Result<()> {
        for outlet in &mut self.all {
            outlet.commit().await?;
            outlet.sync().await?;
        }
        Ok(())
    }
}
