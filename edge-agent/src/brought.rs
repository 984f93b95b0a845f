//! The agent as an extension of a program, and its figures among the program's.

use crate::agent::Agent;
use crate::metrics;
use crate::settings::AgentPlan;
use std::sync::{Arc, OnceLock};
use twinge_stream::assembly::{Extension, ExtensionError, Surroundings};
use twinge_stream::outlet::Outlet;
use twinge_stream::sink::SinkError;

/// The agent as an extension of a program.
#[derive(Debug)]
pub(crate) struct Brought {
    plan: AgentPlan,
    /// There is one once the state directory is ours.
    agent: OnceLock<Arc<Agent>>,
}

impl Brought {
    /// What `plan` describes.
    pub(crate) fn new(plan: AgentPlan) -> Self {
        Self { plan, agent: OnceLock::new() }
    }
}

#[async_trait::async_trait]
impl Extension for Brought {
    fn prepare(&self) -> Result<(), ExtensionError> {
        let agent = Arc::new(Agent::new(self.plan.clone())?);
        self.agent.set(agent).map_err(|_twice| "prepared twice".into())
    }

    fn outlets(&self, _detector: &str) -> Result<Vec<Box<dyn Outlet>>, SinkError> {
        Ok(self.agent.get().map(|agent| agent.outlets()).unwrap_or_default())
    }

    fn start(&self, around: Surroundings) {
        let Some(agent) = self.agent.get() else { return };
        agent.start(&around);
        metrics::register(&around.metrics, Arc::clone(agent));
    }
}
