//! What all pumps of a program share.

use crate::bounds::Settings;
use crate::detectors::Detectors;
use crate::extension::Extension;
use crate::metrics::Metrics;
use crate::outputs::Files;
use crate::report::Reports;
use crate::sightings::Sightings;
use std::sync::Arc;
use twinge_platform::Clock;

/// What all pumps of a program share.
#[derive(Debug)]
pub struct Works {
    /// The detectors.
    pub detectors: Detectors,
    /// Where records go.
    pub outputs: Files,
    /// Bounds of each pump.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Metrics,
    /// What the pumps are doing.
    pub reports: Reports,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Which partition each entity was seen in.
    pub sightings: Sightings,
    /// What the program adds.
    pub extension: Option<Arc<dyn Extension>>,
}
