//! stub
use std::net::SocketAddr;
use std::path::Path;
use twinge_eventhubs::Namespace;
use twinge_stream::assembly::ExtensionError;
#[derive(Debug)]
pub(super) struct Broker;
impl Broker {
    pub(super) fn start<'a>(
        _l: SocketAddr,
        _p: u16,
        _d: &Path,
        _h: impl Iterator<Item = &'a String>,
    ) -> Result<(Self, Namespace), ExtensionError> {
        Err("this build has no broker of its own: set EVENTHUB_CONNECTION_STRING".into())
    }
}
