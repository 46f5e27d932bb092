//! Tensors gathered into modules by their names. Pure.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::error::NamedShape;

/// The name of a tensor with which PyTorch's batch norm counts batches. Nothing depends on it, so it is passed over.
pub(in crate::run) const PASSED_OVER: &str = "num_batches_tracked";
/// The name of a parameter that attention alone has. By it an attention is known.
const ATTENTION: &str = "in_proj_weight";
/// The part of an attention that has parameters of its own.
const PART: &str = ".out_proj";

/// A tensor, as a member of its module.
pub(in crate::run) struct ModuleTensor<'a> {
    /// The tensor's name within the module, behind the module's own name.
    pub(in crate::run) name: &'a str,
    /// The tensor's index in the list of all tensors.
    pub(in crate::run) index: usize,
    /// The tensor's whole name, and its shape.
    pub(in crate::run) tensor: &'a NamedShape,
}

/// A module: the tensors whose names agree up to the last dot. The part of an attention is not a module of its own, but
/// belongs to it.
pub(in crate::run) struct Module<'a> {
    /// What the members' names have in common.
    pub(in crate::run) name: &'a str,
    /// The tensors of the module.
    pub(in crate::run) members: Vec<ModuleTensor<'a>>,
}

impl<'a> Module<'a> {
    /// What makes modules alike: the names and shapes of their members. Only a module of the same kind can take the
    /// place of this one.
    pub(in crate::run) fn kind(&self) -> BTreeSet<(&'a str, &'a [usize])> {
        self.members.iter().map(|member| (member.name, member.tensor.shape.as_slice())).collect()
    }
}

/// Splits a name into module and parameter at the last dot. Without a dot the module is empty.
pub(in crate::run) fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

/// All tensors as members of one module, by their whole names.
pub(in crate::run) fn whole<'a>(tensors: &[(usize, &'a NamedShape)]) -> Vec<ModuleTensor<'a>> {
    tensors.iter().map(|(index, tensor)| ModuleTensor { name: &tensor.name, index: *index, tensor }).collect()
}

/// Gathers the tensors into modules. The modules come in the order of their first tensors.
pub(in crate::run) fn modules<'a>(tensors: &[(usize, &'a NamedShape)]) -> Vec<Module<'a>> {
    let attentions: HashSet<&str> = tensors
        .iter()
        .map(|(_, tensor)| split(&tensor.name))
        .filter(|name| name.1 == ATTENTION)
        .map(|name| name.0)
        .collect();
    let mut modules: Vec<Module<'a>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (index, tensor) in tensors {
        let (mut module, mut name) = split(&tensor.name);
        if let Some(whole) = module.strip_suffix(PART).filter(|whole| attentions.contains(whole)) {
            (module, name) = (whole, &tensor.name[whole.len() + 1..]);
        }
        let member = ModuleTensor { name, index: *index, tensor };
        match places.entry(module) {
            Entry::Occupied(place) => modules[*place.get()].members.push(member),
            Entry::Vacant(place) => {
                place.insert(modules.len());
                modules.push(Module { name: module, members: vec![member] });
            }
        }
    }
    modules
}

/// Sorts `modules` by `order`, and returns how many stand for each name in it. A name stands for all modules below it,
/// except those below a longer name in `order`. The last number counts the modules that `order` leaves out; they come
/// last.
pub(in crate::run) fn grouped(modules: &mut [Module<'_>], order: &[String]) -> Vec<usize> {
    let place = |module: &Module<'_>| {
        let named = order.iter().enumerate().filter(|(_, name)| is_below(module.name, name));
        named.max_by_key(|(_, name)| name.len()).map_or(order.len(), |(place, _)| place)
    };
    let mut groups = vec![0; order.len() + 1];
    modules.iter().for_each(|module| groups[place(module)] += 1);
    modules.sort_by_cached_key(place);
    groups
}

/// Whether `module` is the module `name` or a part of it.
pub(in crate::run) fn is_below(module: &str, name: &str) -> bool {
    module.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
