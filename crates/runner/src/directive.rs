//! What a runner is told to run, and what it makes of it.

use serde::{Deserialize, Serialize};
use twinge_engine::Module;
use twinge_rollout::{Condemned, Gate, Part};
use twinge_trust::Digest;

/// Modules that a runner left by itself and remembers.
const CONDEMNED_MAX: usize = 8;

/// What a runner is told to run: by a channel, or by whoever named a module file.
#[derive(Clone, Debug)]
pub struct Directive {
    /// The serial of the channel document, if there is one.
    pub serial: Option<u64>,
    /// The module whose verdicts should count, as soon as it is warm.
    pub act: Assigned,
    /// The module to run beside it: the challenger as [`Part::Shadow`], or the champion as
    /// [`Part::Fallback`].
    pub beside: Option<(Assigned, Part)>,
    /// When to return to the module beside.
    pub gate: Gate,
    /// The factor on scores before they are compared with 1.
    pub sensitivity: f64,
}

/// A module and the serial with which it was put on its way.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// The module.
    pub module: Module,
    /// The serial.
    pub since: u64,
}

/// The part of a directive that decides, as it stands in a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) serial: Option<u64>,
    /// Since when the acting module is on its way, and the one beside it.
    pub(crate) acting_since: u64,
    pub(crate) beside_since: u64,
    pub(crate) gate: Gate,
    pub(crate) sensitivity: f64,
    pub(crate) condemned: Vec<Condemned>,
    /// The module that goes on in place of one that was given up.
    pub(crate) refuge: Option<Digest>,
}

impl Directive {
    /// One module, and nothing beside it for long.
    pub fn only(module: &Module) -> Self {
        Self {
            serial: None,
            act: Assigned { module: module.clone(), since: 0 },
            beside: None,
            gate: Gate::default(),
            sensitivity: 1.0,
        }
    }
}

impl Directive {
    /// Whether another directive says the same.
    pub fn is_same(&self, other: &Self) -> bool {
        let modules = |directive: &Self| {
            let name = |assigned: &Assigned| (assigned.digest(), assigned.since);
            let beside = directive.beside.as_ref().map(|(module, part)| (name(module), *part));
            (name(&directive.act), beside)
        };
        (self.serial, modules(self), &self.gate, self.sensitivity)
            == (other.serial, modules(other), &other.gate, other.sensitivity)
    }
}

impl Assigned {
    pub(crate) fn digest(&self) -> Digest {
        self.module.digest()
    }
}

impl Orders {
    pub(crate) fn new(directive: &Directive) -> Self {
        Self {
            serial: directive.serial,
            acting_since: directive.act.since,
            beside_since: 0,
            gate: directive.gate.clone(),
            sensitivity: directive.sensitivity,
            condemned: Vec::new(),
            refuge: None,
        }
    }

    /// Notes a module that was given up for `refuge`, so that the same attempt is not begun again.
    pub(crate) fn condemn(&mut self, digest: Digest, since: u64, reason: String, refuge: Digest) {
        self.refuge = Some(refuge);
        self.condemned.retain(|known| known.digest != digest);
        if self.condemned.len() == CONDEMNED_MAX {
            self.condemned.remove(0);
        }
        self.condemned.push(Condemned { digest, since, reason });
    }

    /// Whether this attempt with a module was given up already.
    pub(crate) fn has_condemned(&self, assigned: &Assigned) -> bool {
        let same = |known: &&Condemned| known.digest == assigned.digest();
        self.condemned.iter().find(same).is_some_and(|known| assigned.since <= known.since)
    }

    /// What a directive comes to while `acting` acts: what should act, if that is to change, and
    /// what should run beside it.
    pub(crate) fn aim<'a>(
        &self,
        directive: &'a Directive,
        acting: Digest,
    ) -> (Option<&'a Assigned>, Option<(&'a Assigned, Part)>) {
        let beside = directive.beside.as_ref();
        let beside = beside.filter(|(module, _)| !self.has_condemned(module));
        if self.has_condemned(&directive.act) {
            // Where the champion stands by, it is what acts now; else the module goes on to which
            // the runner returned. Anything else was withdrawn since, and makes room all the same.
            let goes_on = self.refuge == Some(acting);
            if beside.is_some() || goes_on {
                return (beside.map(|(module, _)| module), None);
            }
        }
        (Some(&directive.act), beside.map(|(module, part)| (module, *part)))
    }
}
