//! Where findings go beside files and hubs: towards a cloud, or to actions on the spot.

use crate::sink::SinkError;
use async_trait::async_trait;
use std::fmt::Debug;
use twinge_contract::drift::Drift;
use twinge_contract::schema::Schema;
use twinge_contract::silence::Silence;
use twinge_contract::verdict::{DeadLetter, Verdict};
use twinge_runner::Arrival;

/// What was found.
#[derive(Clone, Copy, Debug)]
pub enum Finding<'a> {
    /// A verdict on an event.
    Verdict(&'a Verdict, &'a Arrival),
    /// An event that got none.
    DeadLetter(&'a DeadLetter, &'a Arrival),
    /// An entity that stopped sending.
    Silence(&'a Silence),
    /// Something that no longer looks as it did in training.
    Drift(&'a Drift),
}

/// Takes findings, in order and along with the events behind them. Like a sink, it is told when all
/// of a delivery were given, and must hold what it was given when `sync` returns.
#[async_trait]
pub trait Outlet: Send + Debug {
    /// Says what a module reads from events, before the first finding that is its own; `module` is
    /// its digest, as verdicts name it.
    fn learn(&mut self, _module: &str, _schema: &Schema) {}
    /// Adds a finding; `json` is what sinks get of it.
    fn take(&mut self, finding: &Finding<'_>, json: &[u8]);
    /// Hands over everything added; on an error all of it stays.
    async fn commit(&mut self) -> Result<(), SinkError>;
    /// Whether something that was synced waits for another `sync`, though no event may come for long.
    fn is_due(&self) -> bool {
        false
    }
    /// Returns when everything committed is durable.
    async fn sync(&mut self) -> Result<(), SinkError>;
    /// The last checkpoint of this run was taken: nothing more will come. What fails here can be
    /// done by the next run.
    async fn close(&mut self) {}
}
