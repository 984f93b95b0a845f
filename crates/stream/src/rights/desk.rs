//! The host's side: trades proof of a device's key for rights on a registry.
//!
//! Whether a device is fresh is told by a nonce and not by its clock, which may have no battery.
//! Who is enrolled is told by the same root of trust that the host runs modules by. What is
//! refused is counted and told, and nothing that is told holds a secret.

use super::limits::{Bucket, Buckets};
use super::nonces::{LIFETIME_MS, NonceError, Nonces};
use super::{CHALLENGE_PATH, Challenge, DETECTORS_MAX, RIGHTS_PATH, Rights};
use crate::chain::chain;
use crate::metrics::Metrics;
use crate::module_error::ModuleError;
use crate::trust::Trust;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;
use twinge_platform::Clock;
use twinge_registry::{
    Adls, AdlsError, AdlsSettings, Name, Registry, SasError, SasGrant, SasIssuer, report_path,
};
use twinge_trust::{DeviceEnvelope, RightsRequest, TrustError};

/// Largest request, in bytes; a real one has less than 3 KiB.
const BODY_BYTES_MAX: usize = 32 * 1024;
/// How long a request may take to come in.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// How often the registry is looked at for a newer root.
const ROOT_LOOK_MS: u64 = 60_000;
/// Challenges and requests of all devices: ten thousand that were away come back within a quarter
/// of an hour.
const TOGETHER: (u32, f64) = (200, 25.0);
/// Requests of one device.
const ALONE: (u32, f64) = (5, 1.0 / 60.0);

/// What rights a host gives, and where.
#[derive(Clone, Debug)]
pub struct DeskPlan {
    /// The registry that they are for, and what they are made by.
    pub settings: AdlsSettings,
    /// Whether the account has a hierarchical namespace, and so rights on folders.
    pub hierarchical: bool,
    /// For how long they are given.
    pub lifetime: Duration,
    /// Where devices ask for them; nothing else is served there but whether the host is well.
    pub listen: SocketAddr,
}

/// Gives rights to enrolled devices; cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuer: SasIssuer,
    registry: Registry,
    trust: Trust,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    lifetime_ms: i64,
    book: Mutex<Book>,
}

/// What changes with each request.
#[derive(Debug)]
struct Book {
    nonces: Nonces,
    together: Bucket,
    alone: Buckets,
    root_looked_ms: Option<u64>,
}

/// Why a host cannot give rights at all.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is said by its message")]
pub enum DeskError {
    #[error("rights for devices cannot be made")]
    Issuer(#[from] AdlsError),
    #[error("no randomness for nonces: {0}")]
    Random(getrandom::Error),
}

/// Why a device gets no rights now.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is said by its message")]
pub enum Refusal {
    #[error("too many ask; ask again in a minute")]
    Busy,
    #[error("this device asks too often; ask again in a minute")]
    TooOften,
    #[error("the request cannot be read")]
    Malformed(#[source] TrustError),
    #[error("{1}")]
    Body(StatusCode, String),
    #[error("the request names {0}: ask for 1 to 32 detectors by their names")]
    Detectors(String),
    #[error("the device's name cannot be that of a report")]
    DeviceName,
    #[error("the request is for another registry than {0}: let the device follow that one")]
    Audience(String),
    #[error("{0}")]
    Nonce(String),
    #[error("the device is not believed")]
    Untrusted(#[source] TrustError),
    #[error("nobody can be believed at present")]
    Root(#[source] ModuleError),
    #[error("rights cannot be made at present; ask again later")]
    Issue(#[source] SasError),
    #[error("no randomness for a nonce; ask again later")]
    Random,
}

impl Desk {
    /// Gives rights by what `plan` says, to devices that `trust` tells of. Nothing is sent yet.
    pub fn open(
        plan: &DeskPlan,
        trust: Trust,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, DeskError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(DeskError::Random)?;
        let book = Book {
            nonces: Nonces::new(key),
            together: Bucket::new(TOGETHER.0, TOGETHER.1),
            alone: Buckets::new(Bucket::new(ALONE.0, ALONE.1)),
            root_looked_ms: None,
        };
        Ok(Self(Arc::new(Inner {
            issuer: SasIssuer::open(&plan.settings, plan.hierarchical)?,
            registry: Registry::new(Arc::new(Adls::open(&plan.settings)?)),
            trust,
            clock,
            metrics,
            lifetime_ms: i64::try_from(plan.lifetime.as_millis()).unwrap_or(i64::MAX),
            book: Mutex::new(book),
        })))
    }

    /// The address of the registry that rights are for.
    pub fn address(&self) -> &str {
        self.0.issuer.address()
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route(CHALLENGE_PATH, get(challenge))
            .route(RIGHTS_PATH, post(rights))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self)
    }

    /// A nonce to sign.
    pub fn challenge(&self) -> Result<Challenge, Refusal> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_why| Refusal::Random)?;
        let now_ms = self.0.clock.monotonic_ms();
        let mut book = self.0.lock();
        if !book.together.take(now_ms) {
            return Err(Refusal::Busy);
        }
        Ok(Challenge { nonce: book.nonces.give(now_ms, random), lifetime_ms: LIFETIME_MS })
    }

    /// Rights for the device that signed `body`.
    pub async fn trade(&self, body: &[u8]) -> Result<Rights, Refusal> {
        let inner = &*self.0;
        if !inner.lock().together.take(inner.clock.monotonic_ms()) {
            return Err(Refusal::Busy);
        }
        let envelope = DeviceEnvelope::from_json(body).map_err(Refusal::Malformed)?;
        let request = RightsRequest::read_unverified(&envelope).map_err(Refusal::Malformed)?;
        // What costs least is looked at first, on nobody's word.
        if request.audience != inner.issuer.address() {
            return Err(Refusal::Audience(inner.issuer.address().to_owned()));
        }
        let detectors = detectors(&request)?;
        let nonce = inner.lock().nonces.check(&request.nonce, inner.clock.monotonic_ms());
        let nonce = nonce.map_err(refused_nonce)?;
        inner.look_for_root().await;
        inner.trust.check_current(inner.clock.now_ms()).map_err(Refusal::Root)?;
        let request = RightsRequest::verify(&envelope, &inner.trust.keyring());
        let request = request.map_err(Refusal::Untrusted)?;
        let now_ms = inner.clock.monotonic_ms();
        inner.lock().nonces.take(nonce, now_ms).map_err(refused_nonce)?;
        if !inner.lock().alone.take(&request.device, now_ms) {
            return Err(Refusal::TooOften);
        }
        let rights = inner.issue(&request.device, detectors).await?;
        tracing::info!(device = request.device, "a device was given rights on the registry");
        Ok(rights)
    }
}

impl Inner {
    async fn issue(&self, device: &str, detectors: Vec<Name>) -> Result<Rights, Refusal> {
        let issued_ms = self.clock.now_ms();
        let period = self.issuer.period(issued_ms, self.lifetime_ms).await;
        let period = period.map_err(Refusal::Issue)?;
        let mut reports = BTreeMap::new();
        for detector in detectors {
            let path = report_path(&detector, device).map_err(|_why| Refusal::DeviceName)?;
            let signature = period.sign(SasGrant::Write(&path)).reveal().to_owned();
            reports.insert(detector, signature);
        }
        Ok(Rights {
            address: self.issuer.address().to_owned(),
            issued_ms,
            expires_ms: period.expires_ms(),
            read: period.sign(SasGrant::Read).reveal().to_owned(),
            reports,
        })
    }

    /// A host that follows no channel would otherwise never hear of a revoked enroller.
    async fn look_for_root(&self) {
        let now_ms = self.clock.monotonic_ms();
        {
            let mut book = self.lock();
            let is_recent = |looked_ms| now_ms.saturating_sub(looked_ms) < ROOT_LOOK_MS;
            if book.root_looked_ms.is_some_and(is_recent) {
                return;
            }
            book.root_looked_ms = Some(now_ms);
        }
        if let Err(error) = self.trust.update(&self.registry).await {
            tracing::warn!(
                error = chain(&error),
                "no newer root of trust; the latest still counts"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // Each change is one call that leaves nothing half done.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refusal {
    /// How HTTP says it, and the label that it is counted under.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Self::TooOften => (StatusCode::TOO_MANY_REQUESTS, "too-often"),
            Self::Body(status, _) => (*status, "malformed"),
            Self::Malformed(_) | Self::Detectors(_) | Self::DeviceName => {
                (StatusCode::BAD_REQUEST, "malformed")
            }
            Self::Audience(_) => (StatusCode::FORBIDDEN, "other-registry"),
            Self::Nonce(_) => (StatusCode::UNAUTHORIZED, "nonce"),
            Self::Untrusted(_) => (StatusCode::FORBIDDEN, "untrusted"),
            Self::Root(_) => (StatusCode::SERVICE_UNAVAILABLE, "no-root"),
            Self::Issue(_) | Self::Random => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
        }
    }

    /// What the device is told. Why rights cannot be made is the host's own business.
    fn told(&self) -> String {
        match self {
            Self::Issue(_) => self.to_string(),
            _ => chain(self),
        }
    }
}

fn refused_nonce(error: NonceError) -> Refusal {
    match error {
        NonceError::Full => Refusal::Busy,
        error => Refusal::Nonce(error.to_string()),
    }
}

fn detectors(request: &RightsRequest) -> Result<Vec<Name>, Refusal> {
    if !(1..=DETECTORS_MAX).contains(&request.detectors.len()) {
        return Err(Refusal::Detectors(format!("{} detectors", request.detectors.len())));
    }
    let names = request.detectors.iter().map(|name| name.parse::<Name>());
    names.collect::<Result<_, _>>().map_err(|_why| Refusal::Detectors("what is no name".into()))
}

async fn challenge(State(desk): State<Desk>) -> Response {
    let challenge = desk.challenge();
    desk.answer(challenge.as_ref(), None)
}

async fn rights(State(desk): State<Desk>, request: Request) -> Response {
    let body = tokio::time::timeout(BODY_PATIENCE, Bytes::from_request(request, &())).await;
    let rights = match body {
        Ok(Ok(body)) => desk.trade(&body).await,
        Ok(Err(rejection)) => Err(Refusal::Body(rejection.status(), rejection.body_text())),
        Err(_elapsed) => {
            let reason = "the request took too long to come in".to_owned();
            Err(Refusal::Body(StatusCode::REQUEST_TIMEOUT, reason))
        }
    };
    desk.answer(rights.as_ref(), Some("given"))
}

impl Desk {
    /// The answer to a request, counted and, where it is a refusal, told.
    fn answer<T: Serialize>(&self, done: Result<&T, &Refusal>, label: Option<&str>) -> Response {
        let (status, label, body) = match done {
            Ok(value) => (StatusCode::OK, label, serde_json::to_string(value)),
            Err(refusal) => {
                let (status, label) = refusal.kind();
                tracing::warn!(result = label, reason = chain(refusal), "a device got no rights");
                let body = serde_json::json!({ "error": refusal.told() });
                (status, Some(label), serde_json::to_string(&body))
            }
        };
        if let Some(label) = label {
            self.0.metrics.device_rights(label);
        }
        let body = body.expect("texts and numbers can always be written");
        let headers =
            [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        (status, headers, Body::from(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::Limits;
    use twinge_platform::{ManualClock, RealDisk};
    use twinge_registry::{AdlsCredential, Secret};
    use twinge_testkit::Keys;
    use twinge_trust::{Anchor, Enrolment, Envelope, SigningKey};

    const ADDRESS: &str = "https://acme1.blob.core.windows.net/lake";
    const KEY: &str = "YSBrZXkgZm9yIHRlc3RzIG9ubHksIDMyIGJ5dGVzISE=";

    struct World {
        desk: Desk,
        clock: ManualClock,
        keys: Keys,
        metrics: Metrics,
        _state: tempfile::TempDir,
    }

    /// With plain keys, which need no registry.
    fn world() -> World {
        let (keys, state) = (Keys::default(), tempfile::tempdir().unwrap());
        let anchor = Anchor::Keys(keys.keyring());
        let trust = Trust::open(anchor, state.path(), Arc::new(RealDisk)).unwrap();
        let credential = AdlsCredential::AccountKey(Secret::new(KEY));
        let plan = DeskPlan {
            settings: AdlsSettings::new(ADDRESS, credential).unwrap(),
            hierarchical: false,
            lifetime: Duration::from_hours(24),
            listen: "127.0.0.1:0".parse().unwrap(),
        };
        let (clock, metrics) = (ManualClock::default(), Metrics::default());
        let desk = Desk::open(&plan, trust, Arc::new(clock.clone()), metrics.clone()).unwrap();
        World { desk, clock, keys, metrics, _state: state }
    }

    impl World {
        fn enrolment(&self, device: &str, own: &SigningKey) -> Envelope {
            let enrolment = Enrolment { device: device.into(), public_key: own.public() };
            enrolment.sign(&self.keys.enroller)
        }

        fn request(&self) -> RightsRequest {
            RightsRequest {
                device: "pump-7".into(),
                audience: ADDRESS.into(),
                nonce: self.desk.challenge().unwrap().nonce,
                detectors: vec!["pump".into()],
                // From a clock without a battery.
                time_ms: 0,
            }
        }

        fn signed(&self, request: &RightsRequest) -> Vec<u8> {
            let own = SigningKey::from_seed([9; 32]);
            request.sign(&own, Some(self.enrolment("pump-7", &own))).to_json()
        }

        async fn refused(&self, body: &[u8]) -> &'static str {
            self.desk.trade(body).await.unwrap_err().kind().1
        }
    }

    #[tokio::test]
    async fn an_enrolled_device_gets_what_is_its_own() {
        let world = world();
        let rights = world.desk.trade(&world.signed(&world.request())).await.unwrap();
        assert_eq!(rights.address, ADDRESS);
        assert_eq!(rights.expires_ms - rights.issued_ms, 24 * 3_600_000);
        assert!(rights.read.contains("sp=rl&") && rights.read.contains("sr=c&"));
        let reports: Vec<_> = rights.reports.iter().collect();
        let [(detector, report)] = reports[..] else { panic!("{rights:?}") };
        assert_eq!(detector.as_str(), "pump");
        assert!(report.contains("sp=cw&") && report.contains("sr=b&"));
        assert!(!format!("{rights:?}").contains("sig="));
    }

    #[tokio::test]
    async fn whoever_is_not_believed_gets_nothing() {
        let world = world();
        let good = world.request();
        let body = world.signed(&good);
        let own = SigningKey::from_seed([9; 32]);
        let unknown = good.sign(&own, None).to_json();
        assert_eq!(world.refused(&unknown).await, "untrusted");
        let other = SigningKey::from_seed([8; 32]);
        let stolen_word = good.sign(&other, Some(world.enrolment("pump-7", &own))).to_json();
        assert_eq!(world.refused(&stolen_word).await, "untrusted");
        let as_another = RightsRequest { device: "pump-8".into(), ..good.clone() };
        assert_eq!(world.refused(&world.signed(&as_another)).await, "untrusted");
        for malformed in [&b""[..], b"{}", b"[1", &body[..body.len() / 2], &[0xff; 100]] {
            assert_eq!(world.refused(malformed).await, "malformed");
        }
        let elsewhere = RightsRequest { audience: format!("{ADDRESS}2"), ..good.clone() };
        assert_eq!(world.refused(&world.signed(&elsewhere)).await, "other-registry");
        for detectors in [vec![], vec!["../pump".into()], vec!["pump".into(); DETECTORS_MAX + 1]] {
            let request = RightsRequest { detectors, ..good.clone() };
            assert_eq!(world.refused(&world.signed(&request)).await, "malformed");
        }
        // None of this has used the nonce up.
        assert!(world.desk.trade(&body).await.is_ok());
        assert_eq!(world.refused(&body).await, "nonce");
    }

    #[tokio::test]
    async fn a_nonce_counts_soon_and_a_clock_does_not() {
        let world = world();
        let body = world.signed(&world.request());
        world.clock.advance(LIFETIME_MS);
        assert_eq!(world.refused(&body).await, "nonce");
        let guessed = RightsRequest { nonce: "00".repeat(56), ..world.request() };
        assert_eq!(world.refused(&world.signed(&guessed)).await, "nonce");
        let future = RightsRequest { time_ms: i64::MAX, ..world.request() };
        assert!(world.desk.trade(&world.signed(&future)).await.is_ok());
    }

    #[tokio::test]
    async fn those_who_ask_too_often_wait() {
        let world = world();
        for _ in 0..ALONE.0 {
            world.desk.trade(&world.signed(&world.request())).await.unwrap();
        }
        assert_eq!(world.refused(&world.signed(&world.request())).await, "too-often");
        world.clock.advance(60_000);
        assert!(world.desk.trade(&world.signed(&world.request())).await.is_ok());
        while world.desk.challenge().is_ok() {}
        assert_eq!(world.refused(b"{}").await, "busy");
    }

    #[tokio::test]
    async fn http_counts_and_bounds_what_comes_in() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let world = world();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{RIGHTS_PATH}", listener.local_addr().unwrap());
        let stop = tokio_util::sync::CancellationToken::new();
        let router = world.desk.clone().router();
        let serving = crate::door::serve(listener, router, Limits::default(), stop.clone());
        let server = tokio_util::task::TaskTracker::new().spawn(serving);
        let client =
            reqwest::Client::builder().tls_certs_only([]).no_proxy().build().expect("a client");
        let ask = |body: Vec<u8>| client.post(&url).body(body).send();
        let given = ask(world.signed(&world.request())).await.unwrap();
        assert_eq!(
            (given.status(), &given.headers()["cache-control"]),
            (StatusCode::OK, &"no-store".parse().unwrap())
        );
        assert_eq!(ask(b"{}".to_vec()).await.unwrap().status(), StatusCode::BAD_REQUEST);
        let large = ask(vec![b' '; BODY_BYTES_MAX + 1]).await.unwrap();
        assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let told = world.metrics.render();
        assert!(told.contains("twinge_device_rights_total{result=\"given\"} 1"), "{told}");
        assert!(told.contains("twinge_device_rights_total{result=\"malformed\"} 2"), "{told}");
        stop.cancel();
        server.await.unwrap();
    }
}
