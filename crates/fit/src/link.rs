//! Links a model and a manifest into the runtime: from parameters to a module, without a compiler.
//!
//! The runtime exports the address of a header of two words. The model goes behind the memory that
//! the runtime asks for, as one more data segment; another segment overwrites the header with the
//! model's address and length; and a custom section holds the manifest. All else is copied byte by
//! byte, but for the runtime's own custom sections.

use thiserror::Error;
use twinge_contract::abi::{MANIFEST_SECTION, MODEL_HEADER};
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    ConstExpr, CustomSection, DataCountSection, DataSection, MemorySection, Module, RawSection,
};
use wasmparser::{ExternalKind, Operator, Parser, Payload};

/// The runtime that models are linked into, compiled from detector-wasm when this crate was built.
pub const RUNTIME: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/runtime.wasm"));

const PAGE_BYTES: u64 = 65_536;

/// Why linking failed; with the embedded runtime this is a fault of Twinge itself.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The runtime cannot be read.
    #[error("runtime is not a readable WebAssembly module: rebuild the program")]
    Parse(#[from] wasmparser::BinaryReaderError),
    /// A part cannot be written again.
    #[error("runtime has a part that cannot be written again: {0}")]
    Reencode(String),
    /// The header is not where it should be.
    #[error("runtime does not export the model header `{MODEL_HEADER}`: rebuild the program")]
    NoHeader,
    /// Model and runtime together exceed what a module can address.
    #[error("model of {0} bytes does not fit into a module: train a smaller one")]
    TooLarge(usize),
}

/// The module made of `runtime`, `model` and `manifest`.
pub fn link(runtime: &[u8], model: &[u8], manifest: &[u8]) -> Result<Vec<u8>, LinkError> {
    let place = Place::find(runtime, model.len())?;
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(runtime) {
        match payload? {
            Payload::MemorySection(_) => {
                let mut memories = MemorySection::new();
                memories.memory(wasm_encoder::MemoryType { minimum: place.pages, ..place.memory });
                module.section(&memories);
            }
            Payload::DataCountSection { count, .. } => {
                module.section(&DataCountSection { count: count + 2 });
            }
            Payload::DataSection(reader) => {
                let mut data = DataSection::new();
                for segment in reader {
                    RoundtripReencoder
                        .parse_data(&mut data, segment?)
                        .map_err(|error| LinkError::Reencode(error.to_string()))?;
                }
                place.add_segments(&mut data, model);
                module.section(&data);
            }
            Payload::CustomSection(_) => {}
            other => {
                if let Some((id, range)) = other.as_section() {
                    module.section(&RawSection { id, data: &runtime[range] });
                }
            }
        }
    }
    module.section(&CustomSection { name: MANIFEST_SECTION.into(), data: manifest.into() });
    Ok(module.finish())
}

/// The model inside a module that [`link`] made, as the words it was encoded to: for running it
/// natively beside the module. `None` for any other module.
pub fn model_of(module: &[u8]) -> Option<Vec<u64>> {
    let mut segments = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::DataSection(reader) = payload.ok()? {
            for segment in reader {
                segments.push(segment.ok()?.data);
            }
        }
    }
    let [.., model, header] = segments.as_slice() else { return None };
    let length = u32::from_le_bytes(header.get(4..8)?.try_into().ok()?);
    if length as usize != model.len() || model.len() % 8 != 0 {
        return None;
    }
    let words = model.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    Some(words.collect())
}

/// Where the model goes.
struct Place {
    header_address: i32,
    model_address: u64,
    pages: u64,
    memory: wasm_encoder::MemoryType,
}

impl Place {
    fn find(runtime: &[u8], model_bytes: usize) -> Result<Self, LinkError> {
        let mut memory = None;
        let mut globals = Vec::new();
        let mut header = None;
        for payload in Parser::new(0).parse_all(runtime) {
            match payload? {
                Payload::MemorySection(reader) => memory = reader.into_iter().next().transpose()?,
                Payload::GlobalSection(reader) => {
                    for global in reader {
                        let first = global?.init_expr.get_operators_reader().read()?;
                        globals.push(if let Operator::I32Const { value } = first {
                            Some(value)
                        } else {
                            None
                        });
                    }
                }
                Payload::ExportSection(reader) => {
                    for export in reader {
                        let export = export?;
                        if export.name == MODEL_HEADER && export.kind == ExternalKind::Global {
                            header = Some(export.index as usize);
                        }
                    }
                }
                _ => {}
            }
        }
        let memory = memory.ok_or(LinkError::NoHeader)?;
        let header_address = header
            .and_then(|index| globals.get(index).copied().flatten())
            .ok_or(LinkError::NoHeader)?;
        let pages = memory.initial + (model_bytes as u64).div_ceil(PAGE_BYTES);
        // Half of what 32 bits address is left for batches.
        if pages > 32_768 {
            return Err(LinkError::TooLarge(model_bytes));
        }
        Ok(Self {
            header_address,
            model_address: memory.initial * PAGE_BYTES,
            pages,
            memory: wasm_encoder::MemoryType {
                minimum: memory.initial,
                maximum: memory.maximum,
                memory64: memory.memory64,
                shared: memory.shared,
                page_size_log2: memory.page_size_log2,
            },
        })
    }

    fn add_segments(&self, data: &mut DataSection, model: &[u8]) {
        let address = self.model_address as u32;
        data.active(0, &ConstExpr::i32_const(address.cast_signed()), model.iter().copied());
        let header = [address.to_le_bytes(), (model.len() as u32).to_le_bytes()].concat();
        data.active(0, &ConstExpr::i32_const(self.header_address), header);
    }
}
