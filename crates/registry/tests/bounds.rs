//! Objects that are larger than their kind, in remote storage that is somebody else's: nothing of
//! them is waited for, and no more is held than the reader said.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use twinge_registry::{
    Adls, AdlsSettings, DOCUMENT_BYTES_MAX, RetrySettings, Store, StoreError, StorePath,
};

const PATIENCE: Duration = Duration::from_secs(30);
const HEAD: &str = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\n\
    Last-Modified: Sat, 31 Jan 2026 12:00:00 GMT\r\n";

/// A service that answers everything with `head` and then does `body` to the line.
fn storage(head: &'static str, body: fn(&mut TcpStream)) -> Adls {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    // Ends with the process; nobody can ask a listener to stop.
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || serve(client, head, body));
        }
    });
    let text = format!(
        "DefaultEndpointsProtocol=http;AccountName=acme1;AccountKey=a2V5;\
         BlobEndpoint=http://{address}/acme1"
    );
    let mut settings =
        AdlsSettings::from_connection_string(&text, "models").expect("a connection string");
    settings.retries = RetrySettings { attempts_max: 1, ..RetrySettings::default() };
    Adls::open(&settings).expect("a client")
}

fn serve(mut client: TcpStream, head: &str, body: fn(&mut TcpStream)) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let Ok(count @ 1..) = client.read(&mut buffer) else { return };
        request.extend_from_slice(&buffer[..count]);
    }
    if client.write_all(format!("{HEAD}{head}\r\n").as_bytes()).is_ok() {
        body(&mut client);
    }
}

async fn read(store: &Adls) -> StoreError {
    let path = StorePath::new("channels/pump/stable.json").expect("a path");
    let reading = store.get_within(&path, DOCUMENT_BYTES_MAX);
    let outcome = tokio::time::timeout(PATIENCE, reading).await.expect("an answer in time");
    outcome.expect_err("it is too large")
}

#[tokio::test]
async fn what_announces_itself_as_too_large_is_not_read_at_all() {
    // Waits until the client goes: whoever asks for the body hangs.
    let store = storage("Content-Length: 268435456\r\n", |client| {
        drop(client.read_to_end(&mut Vec::new()));
    });
    let error = read(&store).await;
    let StoreError::TooLarge { path, bytes, bytes_max, .. } = &error else { panic!("{error:?}") };
    let told = (path.as_str(), *bytes, *bytes_max);
    assert_eq!(told, ("channels/pump/stable.json", 268_435_456, DOCUMENT_BYTES_MAX));
    for part in ["channels/pump/stable.json", "268435456", "1048576"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn what_goes_on_beyond_its_announced_length_is_not_read_to_its_end() {
    // There is no end.
    let store = storage("Content-Length: 10\r\nTransfer-Encoding: chunked\r\n", |client| {
        let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 0x10000], b"\r\n".to_vec()].concat();
        while client.write_all(&chunk).is_ok() {}
    });
    let error = read(&store).await;
    let StoreError::TooLarge { bytes, bytes_max, .. } = &error else { panic!("{error:?}") };
    assert!(*bytes > *bytes_max && *bytes < 4 * *bytes_max, "{error}");
}
