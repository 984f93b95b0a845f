//! What peers send: AMQP 1.0 and MQTT, by hand, as other programs write it.

use super::Seed;
use twinge_eventhubs_local::fuzzing::{HUB, KEY, KEY_NAME};

const SASL: &[u8] = b"AMQP\x03\x01\x00\x00";
const AMQP: &[u8] = b"AMQP\x00\x01\x00\x00";
const NULL: &[u8] = &[0x40];
const TRUE: &[u8] = &[0x41];
const FALSE: &[u8] = &[0x42];

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut put = |target, name: &str, bytes: Vec<u8>| seeds.push((target, name.to_owned(), bytes));
    let frames = [open(), begin(), attach(0, false), transfer(0, &message(b"{}"), false), flow(1)];
    put("amqp-frame", "frames", frames.concat());
    put("amqp-frame", "end", [detach(0), frame(0, &composite(0x17, &[])), close()].concat());
    put("amqp-frame", "sasl", log_in());
    put("amqp-message", "event", message(br#"{"card":"c","amount":1}"#));
    put("amqp-message", "batch", batch());
    put("amqp-message", "request", request());
    put("amqp-connection", "sender", sender());
    put("amqp-connection", "receiver", receiver());
    put("amqp-connection", "management", manager());
    let (old, new) = mqtt();
    put("mqtt", "3.1.1", old);
    put("mqtt", "5", new);
    seeds
}

fn uint(number: u32) -> Vec<u8> {
    [&[0x70], &number.to_be_bytes()[..]].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&[0xa1, text.len() as u8], text.as_bytes()].concat()
}

fn symbol(text: &str) -> Vec<u8> {
    [&[0xa3, text.len() as u8], text.as_bytes()].concat()
}

/// A described value.
fn described(code: u8, value: &[u8]) -> Vec<u8> {
    [&[0x00, 0x53, code], value].concat()
}

/// A list, a map or the like: constructor, size, count, content.
fn compound(constructor: u8, values: &[&[u8]]) -> Vec<u8> {
    let inside = values.concat();
    let size = (inside.len() as u32 + 4).to_be_bytes();
    [&[constructor], &size[..], &(values.len() as u32).to_be_bytes(), &inside].concat()
}

/// A described list.
fn composite(code: u8, fields: &[&[u8]]) -> Vec<u8> {
    described(code, &compound(0xd0, fields))
}

fn typed_frame(kind: u8, channel: u16, body: &[u8]) -> Vec<u8> {
    let size = (body.len() as u32 + 8).to_be_bytes();
    [&size[..], &[2, kind], &channel.to_be_bytes(), body].concat()
}

fn frame(channel: u16, body: &[u8]) -> Vec<u8> {
    typed_frame(0, channel, body)
}

fn log_in() -> Vec<u8> {
    let response = format!("\0{KEY_NAME}\0{KEY}");
    let response = [&[0xa0, response.len() as u8], response.as_bytes()].concat();
    typed_frame(1, 0, &composite(0x41, &[&symbol("PLAIN"), &response]))
}

fn open() -> Vec<u8> {
    let fields: [&[u8]; 5] =
        [&text("peer"), &text("localhost"), &uint(65_536), &[0x60, 0, 255], &uint(60_000)];
    frame(0, &composite(0x10, &fields))
}

fn begin() -> Vec<u8> {
    frame(0, &composite(0x11, &[NULL, &uint(0), &uint(1_000), &uint(1_000)]))
}

fn attach(handle: u32, is_receiver: bool) -> Vec<u8> {
    let role = if is_receiver { TRUE } else { FALSE };
    let partition = format!("{HUB}/ConsumerGroups/$Default/Partitions/0");
    let (source, target) = if is_receiver { (&*partition, "me") } else { ("me", HUB) };
    link(handle, role, source, target)
}

fn link(handle: u32, role: &[u8], source: &str, target: &str) -> Vec<u8> {
    let selector = "amqp.annotation.x-opt-offset > '-1'";
    let filter = [
        &symbol("apache.org:selector-filter:string")[..],
        &[0x00],
        &symbol("apache.org:selector-filter:string"),
        &text(selector),
    ]
    .concat();
    let filters =
        [&[0xd1][..], &(filter.len() as u32 + 4).to_be_bytes(), &2_u32.to_be_bytes(), &filter]
            .concat();
    let source = composite(0x28, &[&text(source), NULL, NULL, NULL, NULL, NULL, NULL, &filters]);
    let target = composite(0x29, &[&text(target)]);
    let name = text(&format!("link {handle}"));
    let fields: [&[u8]; 10] =
        [&name, &uint(handle), role, NULL, NULL, &source, &target, NULL, NULL, &uint(0)];
    frame(0, &composite(0x12, &fields))
}

fn flow(handle: u32) -> Vec<u8> {
    let fields: [&[u8]; 7] =
        [&uint(0), &uint(1_000), &uint(0), &uint(1_000), &uint(handle), &uint(0), &uint(100)];
    frame(0, &composite(0x13, &fields))
}

fn transfer(id: u32, payload: &[u8], is_batch: bool) -> Vec<u8> {
    let format = uint(if is_batch { 0x8001_3700 } else { 0 });
    let tag = [0xa0, 1, id as u8];
    let fields: [&[u8]; 6] = [&uint(0), &uint(id), &tag, &format, FALSE, FALSE];
    frame(0, &[composite(0x14, &fields), payload.to_vec()].concat())
}

fn detach(handle: u32) -> Vec<u8> {
    frame(0, &composite(0x16, &[&uint(handle), TRUE]))
}

fn close() -> Vec<u8> {
    frame(0, &composite(0x18, &[]))
}

fn message(body: &[u8]) -> Vec<u8> {
    let key = [symbol("x-opt-partition-key"), text("c-17")];
    let properties = compound(0xd0, &[&text("id-1"), NULL, NULL, NULL]);
    let own = [text("content"), vec![0x80, 0, 0, 0, 0, 0, 0, 0, 7]];
    [
        described(0x72, &compound(0xd1, &[&key[0], &key[1]])),
        described(0x73, &properties),
        described(0x74, &compound(0xd1, &[&own[0], &own[1]])),
        described(0x75, &[&[0xb0], &(body.len() as u32).to_be_bytes()[..], body].concat()),
    ]
    .concat()
}

fn batch() -> Vec<u8> {
    let data = |inner: Vec<u8>| {
        described(0x75, &[&[0xb0], &(inner.len() as u32).to_be_bytes()[..], &inner].concat())
    };
    let key = [symbol("x-opt-partition-key"), text("c-17")];
    let annotations = described(0x72, &compound(0xd1, &[&key[0], &key[1]]));
    [annotations, data(message(b"{\"n\":1}")), data(message(b"{\"n\":2}"))].concat()
}

fn request() -> Vec<u8> {
    let fields: [&[u8]; 5] = [&text("request-1"), NULL, NULL, NULL, &text("me")];
    let words =
        ["operation", "READ", "name", HUB, "type", "com.microsoft:partition", "partition", "0"];
    let words: Vec<Vec<u8>> = words.iter().map(|word| text(word)).collect();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    [
        described(0x73, &compound(0xd0, &fields)),
        described(0x74, &compound(0xd1, &words)),
        described(0x77, &text("")),
    ]
    .concat()
}

fn start() -> Vec<u8> {
    [SASL, &log_in(), AMQP, &open(), &begin()].concat()
}

fn sender() -> Vec<u8> {
    let sends = [transfer(0, &message(b"{\"n\":1}"), false), transfer(1, &batch(), true)].concat();
    [start(), attach(0, false), sends, detach(0), close()].concat()
}

fn receiver() -> Vec<u8> {
    let sends = transfer(0, &batch(), true);
    let settled =
        frame(0, &composite(0x15, &[TRUE, &uint(0), &uint(1), TRUE, &composite(0x24, &[])]));
    [start(), attach(0, false), sends, attach(1, true), flow(1), settled, detach(1)].concat()
}

fn manager() -> Vec<u8> {
    let to = link(0, FALSE, "me", "$management");
    let from = link(1, TRUE, "$management", "me");
    [start(), to, from, flow(1), transfer(0, &request(), false), close()].concat()
}

/// One stream in each version, behind the byte that says which.
fn mqtt() -> (Vec<u8>, Vec<u8>) {
    let old = [
        &[0][..],
        b"\x20\x02\x01\x00",
        b"\x90\x04\x00\x01\x01\x80",
        b"\x30\x07\x00\x03a/b{}",
        b"\x32\x09\x00\x03a/b\x00\x07{}",
        b"\x3d\x09\x00\x03a/b\x00\x08{}",
        b"\x62\x02\x00\x08",
        b"\x40\x02\x00\x09",
        b"\x50\x02\x00\x0a",
        b"\xd0\x00",
    ];
    let new = [
        &[1][..],
        b"\x20\x0b\x00\x00\x08\x21\x00\x14\x24\x01\x13\x00\x3c",
        b"\x90\x05\x00\x01\x00\x01\x87",
        b"\x32\x17\x00\x03a/b\x00\x07\x0d\x03\x00\x03t/j\x26\x00\x01a\x00\x01b{}",
        b"\x40\x04\x00\x09\x97\x00",
        b"\x62\x02\x00\x08",
        b"\xd0\x00",
        b"\xe0\x02\x8b\x00",
    ];
    (old.concat(), new.concat())
}
