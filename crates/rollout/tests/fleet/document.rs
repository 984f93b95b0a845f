//! Channel documents as devices meet them. Signatures are checked once for the same bytes; what a
//! device makes of a document is decided on each anew.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use twinge_registry::{Accepted, Channel, ChannelView, Opened, Refusal};
use twinge_trust::{Envelope, Keyring};

/// Bytes that are served as a channel.
#[derive(Debug)]
pub(crate) struct Document {
    opened: Option<Result<Opened, Refusal>>,
    after: OnceLock<After>,
}

/// What holds once it was accepted.
#[derive(Debug)]
pub(crate) struct After {
    pub(crate) view: ChannelView,
    pub(crate) channel: Channel,
}

impl Document {
    fn new(bytes: &[u8], keyring: &Keyring) -> Self {
        let envelope = Envelope::from_json(bytes).ok();
        let opened = envelope.map(|envelope| blank_view().open(&envelope, keyring));
        Self { opened, after: OnceLock::new() }
    }

    /// What the signature check says; nothing for what is no envelope.
    pub(crate) fn opened(&self) -> Option<&Result<Opened, Refusal>> {
        self.opened.as_ref()
    }

    /// What holds for those who accepted it.
    pub(crate) fn held(&self) -> Option<&After> {
        self.after.get()
    }

    /// The same for all who accepted it.
    pub(crate) fn after(&self, accepted: &Accepted) -> &After {
        self.after.get_or_init(|| After {
            view: blank_view().after(accepted),
            channel: accepted.channel.clone(),
        })
    }
}

/// All documents that ever were served.
#[derive(Debug, Default)]
pub(crate) struct Documents(HashMap<Vec<u8>, Arc<Document>>);

impl Documents {
    pub(crate) fn of(&mut self, bytes: &[u8], keyring: &Keyring) -> Arc<Document> {
        if let Some(document) = self.0.get(bytes) {
            return document.clone();
        }
        let document = Arc::new(Document::new(bytes, keyring));
        self.0.insert(bytes.to_vec(), document.clone());
        document
    }
}

pub(crate) fn blank_view() -> ChannelView {
    ChannelView::new(super::name(super::DETECTOR), super::name(super::CHANNEL))
}
