//! The start function as an export, so that it can be called in slices as any other.
//!
//! wasmi runs a start function in one go while it makes an instance, and then only fuel can end it.

use wasmparser::{Parser, Payload};

/// Name of the export. No compiler gives a function such a name, and a module that has it all the
/// same is refused for having it twice.
pub(crate) const NAME: &str = "\0start";

/// The kind of an export that is a function.
const FUNCTION: u8 = 0;
/// Magic number and version.
const HEADER_BYTES: usize = 8;

/// A valid module with its start function exported as [`NAME`] instead of started; none if it has
/// no start function, or if the module cannot be read.
pub(crate) fn as_export(module: &[u8]) -> Option<Vec<u8>> {
    let start = start_function(module)?;
    let mut rewritten = module.get(..HEADER_BYTES)?.to_vec();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.ok()?;
        let Some((id, range)) = payload.as_section() else {
            continue;
        };
        let contents = match payload {
            Payload::StartSection { .. } | Payload::CustomSection(_) => continue,
            // The reader has read the count, which need not be written in its shortest form.
            Payload::ExportSection(exports) => {
                let entries = module.get(exports.original_position()..range.end)?;
                with_export(exports.count(), entries, start)
            }
            _ => module.get(range)?.to_vec(),
        };
        rewritten.push(id);
        rewritten.extend(leb128(contents.len() as u32));
        rewritten.extend(contents);
    }
    Some(rewritten)
}

fn start_function(module: &[u8]) -> Option<u32> {
    Parser::new(0).parse_all(module).find_map(|payload| match payload {
        Ok(Payload::StartSection { func, .. }) => Some(func),
        _ => None,
    })
}

/// The contents of an export section with one more entry.
fn with_export(count: u32, entries: &[u8], function: u32) -> Vec<u8> {
    let mut contents = leb128(count + 1);
    contents.extend(entries);
    contents.extend(leb128(NAME.len() as u32));
    contents.extend(NAME.as_bytes());
    contents.push(FUNCTION);
    contents.extend(leb128(function));
    contents
}

fn leb128(mut value: u32) -> Vec<u8> {
    let mut bytes = vec![];
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
