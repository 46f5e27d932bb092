//! Tensors gathered into modules by their names. Pure.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::error::Tensor;

/// What PyTorch's batch norm counts and nothing depends on.
pub(in crate::run) const PASSED_OVER: &str = "num_batches_tracked";
/// A parameter that attention alone has, and the part of it that has parameters of its own.
const ATTENTION: &str = "in_proj_weight";
const PART: &str = ".out_proj";

/// A tensor of a module.
pub(in crate::run) struct Member<'a> {
    /// Its name there.
    pub(in crate::run) name: &'a str,
    /// Which it is, of all.
    pub(in crate::run) index: usize,
    pub(in crate::run) tensor: &'a Tensor,
}

/// The tensors whose names agree up to the last dot. The parts of an attention are one module.
pub(in crate::run) struct Module<'a> {
    pub(in crate::run) name: &'a str,
    pub(in crate::run) members: Vec<Member<'a>>,
}

impl<'a> Module<'a> {
    /// What another must have, too, to be taken for it.
    pub(in crate::run) fn kind(&self) -> BTreeSet<(&'a str, &'a [usize])> {
        self.members.iter().map(|member| (member.name, member.tensor.shape.as_slice())).collect()
    }
}

/// Module and parameter of a name; the module is empty where there is no dot.
pub(in crate::run) fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

/// All tensors, by their whole names.
pub(in crate::run) fn whole<'a>(tensors: &[(usize, &'a Tensor)]) -> Vec<Member<'a>> {
    tensors.iter().map(|(index, tensor)| Member { name: &tensor.name, index: *index, tensor }).collect()
}

/// The modules in the order in which their first tensors come.
pub(in crate::run) fn modules<'a>(tensors: &[(usize, &'a Tensor)]) -> Vec<Module<'a>> {
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
        let member = Member { name, index: *index, tensor };
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

/// Sorts `modules` by `order`, where a name stands for all modules below it that have no name of their own there: how many stand for
/// each name. What `order` leaves out comes last.
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

/// Whether `module` is `name`, or one of its parts.
pub(in crate::run) fn is_below(module: &str, name: &str) -> bool {
    module.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
