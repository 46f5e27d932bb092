//! What a rank is and does, from its own mouth: what the attacks must find out. Nothing here is derived from a
//! schedule.

use crate::ids::{Slot, StageId, Term};
use crate::mix::package::{OwnCircuit, Package, Route};
use crate::nn::StageSpec;
use crate::run::RunError;
use crate::run::serve::Insight;

/// What a rank was in a run, and which of its messages were real.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    /// The stage that the rank hosts. `None` on a relay.
    pub(super) stage: Option<StageId>,
    /// The keys of the rank's own circuits: by first-phase lane, the first hop's key first. With them it can look for
    /// its own cells.
    pub(super) circuits: Vec<Vec<[u8; 32]>>,
    /// For each slot: whether the rank's forward message was more than cover, and whether its backward message was.
    pub(super) real: Vec<[bool; 2]>,
}

/// The roles that the packages of a job's stages carry, by stage.
///
/// # Errors
/// [`RunError::Bug`].
pub(super) fn roles(specs: &[StageSpec]) -> Result<Vec<Vec<u8>>, RunError> {
    let role = |spec| postcard::to_allocvec(spec).map_err(|error| RunError::Bug(error.to_string()));
    specs.iter().map(role).collect()
}

/// Listens to a rank that serves.
pub(super) struct Listener<'a> {
    /// The role of each stage, by stage.
    roles: &'a [Vec<u8>],
    /// What the listener has heard so far.
    pub(super) truth: Truth,
}

impl<'a> Listener<'a> {
    /// A listener that knows stages by their `roles`, and expects about `slots` slots.
    pub(super) fn new(roles: &'a [Vec<u8>], slots: usize) -> Self {
        Self { roles, truth: Truth { real: Vec::with_capacity(slots), ..Truth::default() } }
    }
}

impl Insight for Listener<'_> {
    fn package(&mut self, _: Term, package: &mut Package) {
        let is_told = |role: &Vec<u8>| {
            package.role.strip_prefix(&role[..]).is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
        };
        let stage = self.roles.iter().position(is_told);
        self.truth.stage = stage.map(|stage| StageId(stage as u16)).or(self.truth.stage);
        if let Route::Mixed(route) = &package.route {
            let layers = |circuit: &OwnCircuit| circuit.layers.iter().map(|key| *key.bytes()).collect();
            self.truth.circuits = route.circuits.iter().map(layers).collect();
        }
    }

    fn slot(&mut self, _: Term, _: Slot, real: [bool; 2]) {
        self.truth.real.push(real);
    }
}
