//! An MLflow server as a tracker: a real one, and one that fails on purpose.
//!
//! `TWINGE_TEST_MLFLOW` holds the address of the real one; without it, that test does nothing and
//! says so. To start one:
//!
//! ```sh
//! mlflow server --backend-store-uri sqlite:///mlflow.db --artifacts-destination artifacts \
//!     --host 127.0.0.1 --port 5000 --workers 1
//! ```

mod common;

use std::hash::{BuildHasher, RandomState};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use twinge_experiments::{Mlflow, MlflowSettings, RetrySettings, TrackError, Tracker};
use twinge_registry::Name;

const QUICK: RetrySettings = RetrySettings {
    attempts_max: 4,
    pause_first: Duration::from_millis(1),
    pause_max: Duration::from_millis(2),
};

fn open(address: &str, more: &[(&str, &str)]) -> Mlflow {
    let settings = MlflowSettings::from_environment(&|name| {
        let more = more.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        if name == "MLFLOW_TRACKING_URI" { Some(address.to_owned()) } else { more }
    });
    let settings = settings.expect("variables that can be used").expect("an address");
    Mlflow::open(&settings, QUICK).expect("a client")
}

#[tokio::test]
async fn a_real_server_keeps_the_contract() {
    let Some(address) = std::env::var("TWINGE_TEST_MLFLOW").ok().filter(|text| !text.is_empty())
    else {
        // Not by a macro, whose output is kept from whoever sees the test succeed.
        let line = "skipped: TWINGE_TEST_MLFLOW holds no address of an MLflow server\n";
        drop(std::io::stderr().write_all(line.as_bytes()));
        return;
    };
    let number = RandomState::new().hash_one(0) % 1_000_000_000;
    let names: [Name; 2] =
        ["pump", "fan"].map(|kind| format!("{kind}-{number}").parse().expect("a name"));
    common::check(&open(&address, &[]), &names[0], &names[1]).await;
}

/// What was asked, in order, and what to answer first.
#[derive(Debug, Default)]
struct Script {
    asked: Vec<(String, Option<String>)>,
    answers: Vec<(u16, &'static str, &'static str)>,
}

type Shared = Arc<Mutex<Script>>;

async fn answer(
    State(script): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    _: Request,
) -> Response {
    let header = headers.get("authorization").and_then(|value| value.to_str().ok());
    let mut script = script.lock().expect("nobody panics with it");
    script.asked.push((uri.path().to_owned(), header.map(str::to_owned)));
    let (status, retry_after, body) =
        if script.answers.is_empty() { (200, "", "{}") } else { script.answers.remove(0) };
    let status = StatusCode::from_u16(status).expect("a status");
    let mut response = (status, body).into_response();
    if !retry_after.is_empty() {
        response.headers_mut().insert("retry-after", retry_after.parse().expect("a header"));
    }
    response
}

/// A server that answers by a script; it ends with the test's runtime.
async fn scripted(answers: &[(u16, &'static str, &'static str)]) -> (String, Shared) {
    let script = Shared::new(Mutex::new(Script { answers: answers.to_vec(), ..Script::default() }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let app = Router::new().fallback(answer).with_state(Arc::clone(&script));
    let mut set = tokio::task::JoinSet::new();
    set.spawn(async move { axum::serve(listener, app).await });
    set.detach_all();
    (address, script)
}

const ABSENT: &str = r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"none"}"#;

#[tokio::test]
async fn a_busy_server_is_asked_again_and_not_for_ever() {
    let detector: Name = "pump".parse().unwrap();
    let busy = [(429, "", "slow down"), (503, "", ""), (500, "", "oops"), (404, "", ABSENT)];
    let (address, script) = scripted(&busy).await;
    assert_eq!(open(&address, &[]).runs(&detector, 1).await.unwrap(), []);
    assert_eq!(script.lock().unwrap().asked.len(), 4);
    let (address, script) = scripted(&[(503, "", "down"); 9]).await;
    let error = open(&address, &[]).runs(&detector, 1).await.unwrap_err();
    assert!(matches!(error, TrackError::Refused { status: 503, .. }), "{error}");
    assert_eq!(script.lock().unwrap().asked.len(), 4);
    let (address, _) = scripted(&[(429, "1", ""), (404, "", ABSENT)]).await;
    let began = Instant::now();
    assert_eq!(open(&address, &[]).runs(&detector, 1).await.unwrap(), []);
    assert!(began.elapsed() >= Duration::from_secs(1), "it asked for a second");
}

#[tokio::test]
async fn a_refusal_is_told_once_and_without_secrets() {
    let detector: Name = "pump".parse().unwrap();
    let (address, script) = scripted(&[(401, "", "who\nare you")]).await;
    let tracker = open(&address, &[("MLFLOW_TRACKING_TOKEN", "hush-hush")]);
    let error = tracker.runs(&detector, 1).await.unwrap_err();
    let told = format!("{error} {error:?} {tracker:?}");
    assert!(told.contains("who are you") && told.contains("MLFLOW_TRACKING_TOKEN"), "{told}");
    assert!(!told.contains("hush-hush"), "{told}");
    let asked = std::mem::take(&mut script.lock().unwrap().asked);
    assert_eq!(asked.len(), 1, "a refusal is not asked again");
    assert_eq!(asked[0].1.as_deref(), Some("Bearer hush-hush"));
    let user = [("MLFLOW_TRACKING_USERNAME", "me"), ("MLFLOW_TRACKING_PASSWORD", "hush-hush")];
    let base = format!("{address}/mlflow/v1.0/workspaces/w");
    drop(open(&base, &user).runs(&detector, 1).await);
    let asked = std::mem::take(&mut script.lock().unwrap().asked);
    assert_eq!(asked[0].1.as_deref(), Some("Basic bWU6aHVzaC1odXNo"));
    assert!(asked[0].0.starts_with("/mlflow/v1.0/workspaces/w/api/2.0/mlflow/"), "{asked:?}");
}

#[tokio::test]
async fn what_is_no_mlflow_is_told() {
    let detector: Name = "pump".parse().unwrap();
    let (address, _) = scripted(&[(200, "", "<html>hello</html>")]).await;
    let error = open(&address, &[]).runs(&detector, 1).await.unwrap_err();
    assert!(matches!(error, TrackError::Garbage { .. }), "{error}");
    let (address, _) = scripted(&[(302, "", "")]).await;
    let error = open(&address, &[]).runs(&detector, 1).await.unwrap_err();
    assert!(error.to_string().contains("points elsewhere"), "{error}");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = open(&format!("http://{nobody}"), &[]).runs(&detector, 1).await.unwrap_err();
    assert!(matches!(error, TrackError::Away { attempts: 4, .. }), "{error}");
}

/// A server that keeps files where only its own client can write still keeps the run.
#[tokio::test]
async fn files_that_cannot_be_kept_are_told() {
    let experiment = r#"{"experiment":{"experiment_id":"1"}}"#;
    let run = r#"{"run":{"info":{"run_id":"r","artifact_uri":"s3://bucket/r"}}}"#;
    let answers = [(200, "", experiment), (200, "", "{}"), (200, "", run)];
    let (address, script) = scripted(&answers).await;
    let (run, files) = common::run(&"pump".parse().unwrap(), 1);
    let notes = open(&address, &[]).record(&run, &files).await.unwrap();
    assert!(notes.len() == 1 && notes[0].contains("s3") && notes[0].contains('3'), "{notes:?}");
    let asked = std::mem::take(&mut script.lock().unwrap().asked);
    assert_eq!(asked.last().unwrap().0, "/api/2.0/mlflow/runs/update");
}
