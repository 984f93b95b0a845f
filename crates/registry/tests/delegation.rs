//! User delegation keys, asked for from a service that answers as Microsoft's documents say
//! (<https://learn.microsoft.com/rest/api/storageservices/get-user-delegation-key>): emulators lend
//! keys over https alone, with certificates that nobody has.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use twinge_registry::{AdlsCredential, AdlsSettings, SasError, SasGrant, SasIssuer};

const NOW_MS: i64 = 1_769_860_800_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const KEY: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><UserDelegationKey>\
    <SignedOid>11111111-2222-3333-4444-555555555555</SignedOid>\
    <SignedTid>66666666-7777-8888-9999-000000000000</SignedTid>\
    <SignedStart>2026-01-31T11:45:00Z</SignedStart><SignedExpiry>EXPIRY</SignedExpiry>\
    <SignedService>b</SignedService><SignedVersion>2022-11-02</SignedVersion>\
    <Value>YSBrZXkgZm9yIHRlc3RzIG9ubHksIDMyIGJ5dGVzISE=</Value></UserDelegationKey>";

/// The machine's identity and the blob service in one.
struct Service {
    address: String,
    /// Status and document for the next questions for a key.
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("its address"));
        let answer = Arc::new(Mutex::new((200, String::new())));
        let asked = Arc::new(AtomicUsize::new(0));
        let (answers, counted) = (answer.clone(), asked.clone());
        // Ends with the process; nobody can ask a listener to stop.
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                serve(client, &answers, &counted);
            }
        });
        Self { address, answer, asked }
    }

    fn answers(&self, status: u16, document: &str) {
        *self.answer.lock().expect("nobody died") = (status, document.to_owned());
    }

    fn issuer(&self) -> SasIssuer {
        let endpoint = Some(format!("{}/token", self.address));
        let identity = AdlsCredential::ManagedIdentity { client_id: None, endpoint };
        let address = format!("{}/acme1/lake", self.address);
        let settings = AdlsSettings::new(&address, identity).expect("a location");
        SasIssuer::open(&settings, false).expect("an issuer")
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// One request, one answer, and the line is closed.
fn serve(mut client: TcpStream, answer: &Mutex<(u16, String)>, asked: &AtomicUsize) {
    client.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
    let request = read_request(&mut client);
    let (status, document) = if request.starts_with("GET /token?") {
        let token = r#"{"access_token":"a-token","expires_in":"86400","expires_on":"4102444800",
            "resource":"https://storage.azure.com","token_type":"Bearer"}"#;
        (200, token.to_owned())
    } else {
        asked.fetch_add(1, Ordering::Relaxed);
        let is_as_documented = request
            .starts_with("POST /acme1/?restype=service&comp=userdelegationkey HTTP/1.1\r\n")
            && request.to_lowercase().contains("\r\nauthorization: bearer a-token\r\n")
            && request.contains("<KeyInfo><Start>2026-")
            && request.contains("Z</Start><Expiry>2026-02-");
        let refused = (400, format!("<Error><Message>{}</Message></Error>", request.len()));
        if is_as_documented { answer.lock().expect("nobody died").clone() } else { refused }
    };
    let head = format!("HTTP/1.1 {status} -\r\nContent-Length: {}\r\n", document.len());
    drop(client.write_all(format!("{head}Connection: close\r\n\r\n{document}").as_bytes()));
}

fn read_request(client: &mut TcpStream) -> String {
    let (mut request, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let Ok(count @ 1..) = client.read(&mut buffer) else { return request };
        request.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        let length = head.to_lowercase().split_once("content-length: ").map_or(0, |(_, rest)| {
            rest.lines().next().and_then(|length| length.trim().parse().ok()).unwrap_or(0)
        });
        if body.len() >= length {
            return request;
        }
    }
}

#[tokio::test]
async fn a_key_is_lent_to_an_identity_and_kept_for_its_life() {
    let service = Service::start();
    service.answers(200, &KEY.replace("EXPIRY", "2026-02-07T11:45:00Z"));
    let issuer = service.issuer();
    let period = issuer.period(NOW_MS, 7 * DAY_MS).await.expect("a period");
    assert_eq!(period.expires_ms(), NOW_MS + 7 * DAY_MS - HOUR_MS / 4);
    let read = period.sign(SasGrant::Read).reveal().to_owned();
    assert!(read.contains("&skoid=11111111-2222-3333-4444-555555555555&"), "{read}");
    for (hours, asked) in [(0, 1), (1, 1), (2, 2), (3, 3)] {
        issuer.period(NOW_MS + hours * HOUR_MS, 7 * DAY_MS).await.expect("a period");
        assert_eq!(service.asked(), asked, "after {hours} hours");
    }
    // Short ones share a key for days.
    issuer.period(NOW_MS + 4 * DAY_MS, DAY_MS).await.expect("a period");
    assert_eq!(service.asked(), 3);
}

#[tokio::test]
async fn a_service_that_lends_nothing_is_told_and_the_latest_key_is_used_on() {
    let service = Service::start();
    let issuer = service.issuer();
    let forbidden =
        "<Error><Code>AuthorizationPermissionMismatch</Code><Message>no role</Message></Error>";
    service.answers(403, forbidden);
    let error = issuer.period(NOW_MS, DAY_MS).await.expect_err("no key");
    assert!(error.to_string().contains("Storage Blob Delegator"), "{error}");
    for garbage in ["", "<html>", &KEY.replace("EXPIRY", "soon"), &KEY.replace("-2222-", "&amp;")] {
        service.answers(200, garbage);
        let error = issuer.period(NOW_MS, DAY_MS).await.expect_err("no key");
        assert!(matches!(error, SasError::MalformedKey { .. }), "{garbage}: {error}");
        assert!(!error.to_string().contains("YSBr"), "{error}");
    }
    service.answers(200, &KEY.replace("EXPIRY", "2026-02-01T12:00:00Z"));
    issuer.period(NOW_MS, DAY_MS).await.expect("a period");
    service.answers(403, forbidden);
    let period = issuer.period(NOW_MS + 20 * HOUR_MS, DAY_MS).await.expect("the latest");
    assert_eq!(period.expires_ms(), NOW_MS + DAY_MS);
    issuer.period(NOW_MS + 23 * HOUR_MS, DAY_MS).await.expect_err("no life left");
}
