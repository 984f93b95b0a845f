//! The device's side: holds the latest rights, over restarts too, and sees that they are fresh.
//!
//! Rights are asked for when a third of their life is left, and when the store says that they do
//! not do. A clock without a battery may call good rights old, which costs a question, or old ones
//! good, which the store finds out; nothing depends on it. A host that is away, refuses or answers
//! with garbage is told once, and what is held is used as long as the store takes it.

use super::client::{Client, RightsError};
use super::{Asking, Rights};
use crate::chain::chain;
use crate::device::DeviceIdentity;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;
use twinge_platform::{Clock, Disk};
use twinge_registry::{Adls, AdlsCredential, AdlsSettings, Name, Secret, StorePath, report_path};
use twinge_trust::RightsRequest;

/// The pause after a question that failed; it doubles up to the longest.
const PAUSE_FIRST_MS: u64 = 5_000;
const PAUSE_MAX_MS: u64 = 600_000;
/// The pause after one that did not, for stores that refuse even fresh rights.
const PAUSE_GIVEN_MS: u64 = 30_000;

/// Holds a device's rights on one registry.
#[derive(Debug)]
pub struct Holder {
    client: Client,
    location: String,
    address: String,
    identity: DeviceIdentity,
    detectors: Vec<Name>,
    file: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// By the monotonic clock.
    ask_from_ms: u64,
    pause_ms: u64,
    /// What was told last of why there is nothing fresh.
    trouble: Option<String>,
}

#[derive(Debug)]
struct Held {
    stores: Arc<Stores>,
    issued_ms: i64,
    lifetime_ms: i64,
    /// By the monotonic clock; none for those of an earlier start.
    received_ms: Option<u64>,
}

/// A container as the rights of one moment open it.
#[derive(Debug)]
pub(super) struct Stores {
    /// For all that is read.
    pub(super) read: Adls,
    /// For each report of the device.
    pub(super) reports: BTreeMap<StorePath, Adls>,
}

impl Holder {
    /// Begins with the rights that were kept for the registry at `location`, if there are any.
    pub fn open(location: &str, asking: Asking<'_>) -> Result<Self, RightsError> {
        let client = Client::open(asking.plan)?;
        // No rights are needed to know what an address means.
        let nothing = AdlsCredential::SharedAccessSignature(Secret::new(""));
        let address = AdlsSettings::new(location, nothing)?.address();
        let Asking { identity, detectors, file, disk, clock, .. } = asking;
        let location = location.to_owned();
        let state = Mutex::default();
        let mut this =
            Self { client, location, address, identity, detectors, file, disk, clock, state };
        this.state.get_mut().held = this.read_kept()?;
        Ok(this)
    }

    /// What the container is to be opened with now. Fresh rights are asked for where it is time to;
    /// where there are none, those held still do.
    pub(super) async fn stores(&self) -> Result<Arc<Stores>, RightsError> {
        let mut state = self.state.lock().await;
        let is_due = state.held.as_ref().is_none_or(|held| self.is_due(held));
        if is_due {
            self.ask_if_allowed(&mut state).await;
        }
        match &state.held {
            Some(held) => Ok(Arc::clone(&held.stores)),
            None => Err(RightsError::NotYet(state.trouble.clone().unwrap_or_default())),
        }
    }

    /// What to try instead of `used`, which the store refused, if there is anything else.
    pub(super) async fn instead_of(&self, used: &Arc<Stores>) -> Option<Arc<Stores>> {
        let mut state = self.state.lock().await;
        let is_used =
            |state: &State| state.held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.stores, used));
        if is_used(&state) {
            self.ask_if_allowed(&mut state).await;
        }
        let is_same = is_used(&state);
        state.held.as_ref().filter(|_| !is_same).map(|held| Arc::clone(&held.stores))
    }

    /// While this process runs the monotonic clock tells, which nobody sets.
    fn is_due(&self, held: &Held) -> bool {
        let fresh_ms = held.lifetime_ms / 3 * 2;
        match held.received_ms {
            Some(received_ms) => {
                let age_ms = self.clock.monotonic_ms().saturating_sub(received_ms);
                i64::try_from(age_ms).unwrap_or(i64::MAX) >= fresh_ms
            }
            None => !(0..fresh_ms).contains(&self.clock.now_ms().saturating_sub(held.issued_ms)),
        }
    }

    async fn ask_if_allowed(&self, state: &mut State) {
        if self.clock.monotonic_ms() < state.ask_from_ms {
            return;
        }
        let asked = self.ask().await;
        let now_ms = self.clock.monotonic_ms();
        match asked {
            Ok(held) => {
                if state.trouble.take().is_some() {
                    tracing::info!("fresh rights on the registry came");
                }
                state.held = Some(held);
                state.pause_ms = 0;
                state.ask_from_ms = now_ms.saturating_add(PAUSE_GIVEN_MS);
            }
            Err(error) => {
                let trouble = chain(&error);
                // Told once, not with every question, for as long as it stays the same.
                if state.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(error = trouble, "no fresh rights on the registry");
                }
                state.trouble = Some(trouble);
                state.pause_ms = (state.pause_ms * 2).clamp(PAUSE_FIRST_MS, PAUSE_MAX_MS);
                state.ask_from_ms = now_ms.saturating_add(jittered(state.pause_ms));
            }
        }
    }

    async fn ask(&self) -> Result<Held, RightsError> {
        let rights = self.client.trade(|nonce| self.signed(nonce)).await?;
        let held = self.open_rights(&rights, Some(self.clock.monotonic_ms()))?;
        if let Err(source) = self.keep(&rights) {
            // They do for now, and are asked for again after a restart.
            tracing::warn!(path = %self.file.display(), error = %source, "rights cannot be kept");
        }
        Ok(held)
    }

    fn signed(&self, nonce: String) -> Vec<u8> {
        let request = RightsRequest {
            device: self.identity.device().name.clone(),
            audience: self.address.clone(),
            nonce,
            detectors: self.detectors.iter().map(ToString::to_string).collect(),
            time_ms: self.clock.now_ms(),
        };
        self.identity.sign(RightsRequest::PAYLOAD_TYPE, request.to_json())
    }

    fn open_rights(&self, rights: &Rights, received_ms: Option<u64>) -> Result<Held, RightsError> {
        if rights.address != self.address {
            let (found, wanted) =
                (rights.address.chars().take(300).collect(), self.address.clone());
            return Err(RightsError::OtherRegistry { found, wanted });
        }
        let lifetime_ms = rights.expires_ms.saturating_sub(rights.issued_ms);
        if lifetime_ms <= 0 {
            return Err(RightsError::Garbage("they end before they begin".into()));
        }
        let mut reports = BTreeMap::new();
        for detector in &self.detectors {
            let signature = rights.reports.get(detector).ok_or_else(|| {
                RightsError::Garbage(format!("none to report on detector {detector}"))
            })?;
            let path = report_path(detector, &self.identity.device().name);
            let path = path.map_err(|error| RightsError::Garbage(error.to_string()))?;
            reports.insert(path, self.open_container(signature)?);
        }
        let read = self.open_container(&rights.read)?;
        let stores = Arc::new(Stores { read, reports });
        Ok(Held { stores, issued_ms: rights.issued_ms, lifetime_ms, received_ms })
    }

    fn open_container(&self, signature: &str) -> Result<Adls, RightsError> {
        let credential = AdlsCredential::SharedAccessSignature(Secret::new(signature));
        Ok(Adls::open(&AdlsSettings::new(&self.location, credential)?)?)
    }

    /// In place of the latest, whole or not at all, for its owner's eyes only.
    fn keep(&self, rights: &Rights) -> io::Result<()> {
        let json = serde_json::to_vec(rights).expect("texts and numbers can always be written");
        let unfinished = self.file.with_extension("new");
        self.disk.remove(&unfinished)?;
        self.disk.create_private(&unfinished, &json)?;
        self.disk.rename(&unfinished, &self.file)
    }

    /// What was kept. What cannot be used is told and left: fresh rights come in its place.
    fn read_kept(&self) -> Result<Option<Held>, RightsError> {
        let file = self.file.as_path();
        let unusable = |error: String| {
            tracing::warn!(path = %Path::display(file), error, "kept rights are not usable");
            None
        };
        let bytes = match self.disk.read(file) {
            Ok(bytes) => bytes,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RightsError::File { path: file.to_owned(), source }),
        };
        // The parser's own message may quote a signature.
        let Ok(rights) = serde_json::from_slice::<Rights>(&bytes) else {
            return Ok(unusable("they are damaged".to_owned()));
        };
        Ok(self.open_rights(&rights, None).map_or_else(|error| unusable(chain(&error)), Some))
    }
}

/// Between one and one and a half times as long, so that a fleet that was cut off does not come back
/// all at once.
fn jittered(pause_ms: u64) -> u64 {
    let mut random = [0];
    // Without randomness all come back together, which is no reason to stop.
    getrandom::fill(&mut random).ok();
    pause_ms + pause_ms / 2 * u64::from(random[0]) / 255
}

#[cfg(test)]
mod tests {
    use super::super::{CHALLENGE_PATH, Challenge, RIGHTS_PATH, RightsPlan};
    use super::*;
    use crate::device::DevicePlan;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio_util::sync::CancellationToken;
    use twinge_platform::{ManualClock, RealDisk};

    const ADDRESS: &str = "https://acme1.blob.core.windows.net/lake";

    /// A device in a folder of its own, and a host that answers as told.
    struct World {
        state: tempfile::TempDir,
        clock: ManualClock,
        url: String,
        asked: Arc<AtomicUsize>,
        stop: CancellationToken,
    }

    impl World {
        /// A host that gives `answer` for whatever is signed.
        async fn new(status: StatusCode, answer: Vec<u8>) -> Self {
            let asked = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&asked);
            let challenge = move || {
                counted.fetch_add(1, Ordering::Relaxed);
                let challenge = Challenge { nonce: "n".into(), lifetime_ms: 1 };
                async move { serde_json::to_vec(&challenge).unwrap() }
            };
            let router = Router::new()
                .route(CHALLENGE_PATH, get(challenge))
                .route(RIGHTS_PATH, post(move || async move { (status, answer) }));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let stop = CancellationToken::new();
            let serving =
                crate::door::serve(listener, router, crate::door::Limits::default(), stop.clone());
            drop(tokio_util::task::TaskTracker::new().spawn(serving));
            let state = tempfile::tempdir().unwrap();
            Self { state, clock: ManualClock::new(1_000_000), url, asked, stop }
        }

        fn holder(&self) -> Holder {
            let disk: Arc<dyn Disk> = Arc::new(RealDisk);
            let plan = DevicePlan { name: Some("pump-7".into()), ..DevicePlan::default() };
            let asking = Asking {
                plan: &RightsPlan { url: self.url.clone(), ca: None },
                identity: DeviceIdentity::open(&plan, self.state.path(), &disk).unwrap(),
                detectors: vec!["pump".parse().unwrap()],
                file: self.state.path().join("rights.json"),
                disk,
                clock: Arc::new(self.clock.clone()),
            };
            Holder::open(ADDRESS, asking).unwrap()
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            self.stop.cancel();
        }
    }

    fn rights() -> Rights {
        Rights {
            address: ADDRESS.into(),
            issued_ms: 1_000_000,
            expires_ms: 1_300_000,
            read: "sig=topsecret".into(),
            reports: [("pump".parse().unwrap(), "sig=topsecret".into())].into(),
        }
    }

    fn json(rights: &Rights) -> Vec<u8> {
        serde_json::to_vec(rights).unwrap()
    }

    #[tokio::test]
    async fn what_is_no_right_is_told_survived_and_asked_for_again_after_a_pause() {
        let cases = [
            (
                StatusCode::FORBIDDEN,
                br#"{"error":"nobody enrolled it"}"#.to_vec(),
                "nobody enrolled",
            ),
            (StatusCode::BAD_GATEWAY, b"<html>".to_vec(), "502"),
            (StatusCode::OK, b"sig=topsecret".to_vec(), "no rights"),
            (StatusCode::OK, vec![b' '; 300_000], "more than"),
            (StatusCode::OK, json(&Rights { address: format!("{ADDRESS}2"), ..rights() }), "lake2"),
            (
                StatusCode::OK,
                json(&Rights { reports: BTreeMap::new(), ..rights() }),
                "detector pump",
            ),
            (StatusCode::OK, json(&Rights { expires_ms: 0, ..rights() }), "before they begin"),
            (StatusCode::MOVED_PERMANENTLY, Vec::new(), "301"),
        ];
        for (status, answer, expected) in cases {
            let world = World::new(status, answer).await;
            let holder = world.holder();
            for _ in 0..3 {
                let told = chain(&holder.stores().await.unwrap_err());
                assert!(told.contains(expected), "{told}");
                assert!(!told.contains("topsecret"), "{told}");
            }
            assert_eq!(world.asked(), 1, "{expected}");
            world.clock.advance(PAUSE_FIRST_MS * 3 / 2);
            holder.stores().await.unwrap_err();
            assert_eq!(world.asked(), 2, "{expected}");
            world.clock.advance(PAUSE_FIRST_MS * 3 / 2);
            holder.stores().await.unwrap_err();
            assert_eq!(world.asked(), 2, "{expected}: the pause grows");
        }
    }

    #[tokio::test]
    async fn a_host_that_is_away_does_not_take_rights_that_are_held() {
        let mut world = World::new(StatusCode::OK, json(&rights())).await;
        let holder = world.holder();
        let first = holder.stores().await.unwrap();
        assert!(!format!("{holder:?}").contains("topsecret"));
        drop(holder);
        // After a restart by a clock without a battery, with the host away.
        world.clock.set(0);
        world.url = "http://127.0.0.1:9".into();
        let holder = world.holder();
        let second = holder.stores().await.unwrap();
        assert!(first.reports.keys().eq(second.reports.keys()));
        assert!(holder.instead_of(&second).await.is_none(), "there is nothing else");
    }

    #[tokio::test]
    async fn a_store_that_refuses_is_asked_about_once_in_a_while() {
        let world = World::new(StatusCode::OK, json(&rights())).await;
        let holder = world.holder();
        let first = holder.stores().await.unwrap();
        assert!(holder.instead_of(&first).await.is_none(), "they have just come");
        world.clock.advance(PAUSE_GIVEN_MS);
        let second = holder.instead_of(&first).await.unwrap();
        assert!(Arc::ptr_eq(&holder.instead_of(&first).await.unwrap(), &second), "the newest");
        assert_eq!(world.asked(), 2);
    }

    #[tokio::test]
    async fn damaged_rights_are_replaced() {
        let world = World::new(StatusCode::OK, json(&rights())).await;
        let file = world.state.path().join("rights.json");
        for damaged in [&b""[..], b"{", b"\xff\xfe", b"{\"read\":\"sig=topsecret\"}"] {
            std::fs::write(&file, damaged).unwrap();
            world.holder().stores().await.unwrap();
            assert_eq!(std::fs::read(&file).unwrap(), json(&rights()));
        }
        // What a crash while keeping left over is in nobody's way.
        std::fs::remove_file(&file).unwrap();
        std::fs::write(file.with_extension("new"), b"{").unwrap();
        world.holder().stores().await.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), json(&rights()));
    }
}
