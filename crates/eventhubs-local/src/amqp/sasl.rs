//! What SASL has to say. Does not know who may log in.

use super::code;
use super::fields::Fields;
use super::frame::{SASL_FRAME, encode_frame};
use super::value::{DecodeError, Reader, Value};

/// What SASL has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SaslInit {
    pub(crate) mechanism: String,
    pub(crate) response: Vec<u8>,
}

impl SaslInit {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let (descriptor, mut fields) = Fields::parse(Reader::new(body).value()?)?;
        if descriptor != code::SASL_INIT {
            return Err(DecodeError::Field("sasl-init"));
        }
        let mechanism = fields.text("mechanism")?.ok_or(DecodeError::Field("mechanism"))?;
        let response = match fields.next() {
            Value::Binary(bytes) => bytes,
            _ => Vec::new(),
        };
        Ok(Self { mechanism, response })
    }
}

pub(crate) fn encode_sasl_mechanisms(mechanisms: &[&str], out: &mut Vec<u8>) {
    let mechanisms = mechanisms.iter().map(|name| Value::symbol(name)).collect();
    encode_frame(SASL_FRAME, 0, code::SASL_MECHANISMS, vec![Value::Array(mechanisms)], out);
}

pub(crate) fn encode_sasl_outcome(accepted: bool, out: &mut Vec<u8>) {
    let fields = vec![Value::Ubyte(u8::from(!accepted)), Value::Null];
    encode_frame(SASL_FRAME, 0, code::SASL_OUTCOME, fields, out);
}
