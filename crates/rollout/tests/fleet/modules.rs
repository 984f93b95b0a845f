//! All modules of one simulation, and which of them a device can get hold of.

use twinge_registry::Registry;
use twinge_trust::{Digest, Keyring};

use super::release::Release;
use super::wire::run;

#[derive(Debug)]
pub(crate) struct Modules {
    releases: Vec<Release>,
    runnable: Vec<bool>,
}

impl Modules {
    pub(crate) fn new(releases: Vec<Release>) -> Self {
        Self { runnable: vec![false; releases.len()], releases }
    }

    pub(crate) fn get(&self, number: usize) -> &Release {
        &self.releases[number]
    }

    pub(crate) fn number(&self, digest: &Digest) -> Option<usize> {
        self.releases.iter().position(|release| release.digest == *digest)
    }

    /// The module, if what lies in the registry under its digest is what a trusted key signed.
    pub(crate) fn runnable(&self, digest: &Digest) -> Option<usize> {
        self.number(digest).filter(|number| self.runnable[*number])
    }

    /// Looks again which modules can be fetched; verification is the same for all devices.
    pub(crate) fn fetch(&mut self, registry: &Registry, keyring: &Keyring) {
        for (release, runnable) in self.releases.iter().zip(&mut self.runnable) {
            *runnable = *runnable || run(registry.fetch(&release.digest, keyring)).is_ok();
        }
    }
}
