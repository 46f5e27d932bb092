//! Which tensor of a file is which parameter of a network. Pure: names and shapes, no files.
//!
//! Where the names are the same, but for some that are missing or left over, by name. Else in order: a *module* is what a name says before its last dot, the n-th module
//! of the file is the n-th of the network, and within it names count (`weight`, `bias`, `running_mean`). A file does not
//! keep the order in which a program declared its modules: it is the natural one of their names (`layer2` before
//! `layer10`), or the one that the job names.

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::error::{Mismatch, Tensor};

/// What PyTorch's batch norm counts and nothing depends on.
const PASSED_OVER: &str = "num_batches_tracked";

/// For each parameter of `ours` the tensor of `theirs`, by index; and how they were compared, for a person.
pub(super) struct Matched {
    pub(super) pairs: Vec<usize>,
    pub(super) mismatches: Vec<Mismatch>,
    pub(super) hint: String,
}

/// Compares. `order`: the modules of `theirs`, empty for the natural order.
pub(super) fn matched(ours: &[Tensor], theirs: &[Tensor], order: &[String]) -> Matched {
    let theirs: Vec<(usize, &Tensor)> =
        theirs.iter().enumerate().filter(|(_, tensor)| split(&tensor.name).1 != PASSED_OVER).collect();
    let names =
        |tensors: &mut dyn Iterator<Item = &Tensor>| tensors.map(|one| one.name.clone()).collect::<BTreeSet<_>>();
    let (own_names, names) = (names(&mut ours.iter()), names(&mut theirs.iter().map(|(_, tensor)| *tensor)));
    let same = own_names.is_subset(&names) || names.is_subset(&own_names);
    let mut found = Found { pairs: vec![None; ours.len()], mismatches: Vec::new() };
    let own = modules(ours.iter().enumerate());
    let hint = if same && order.is_empty() {
        found.members(&(0..ours.len()).map(|i| (i, &ours[i])).collect::<Vec<_>>(), &theirs, None, |name| name);
        "\nnames were taken as they are".to_owned()
    } else {
        let modules = ordered(modules(theirs.into_iter()), order, &mut found.mismatches);
        for at in 0..own.len().max(modules.len()) {
            let name = modules.get(at).map(|module| module.name.to_owned());
            found.members(members(&own, at), members(&modules, at), name, |name| split(name).1);
        }
        let names: Vec<&str> = modules.iter().map(|module| module.name).collect();
        format!(
            "\nmodules were taken in the order {}; init.order = [...] names another",
            if names.is_empty() { "of their names".to_owned() } else { names.join(", ") }
        )
    };
    Matched { pairs: found.pairs.into_iter().flatten().collect(), mismatches: found.mismatches, hint }
}

/// What the comparison has come to.
struct Found {
    pairs: Vec<Option<usize>>,
    mismatches: Vec<Mismatch>,
}

impl Found {
    /// Pairs the parameters of one module by what `key` makes of their names.
    fn members(
        &mut self,
        ours: &[(usize, &Tensor)],
        theirs: &[(usize, &Tensor)],
        module: Option<String>,
        key: impl Fn(&str) -> &str,
    ) {
        // A foreign file may have as many tensors as its length allows: each is looked at once.
        let found: HashMap<&str, (usize, &Tensor)> =
            theirs.iter().map(|(index, tensor)| (key(&tensor.name), (*index, *tensor))).collect();
        for (at, own) in ours {
            match found.get(key(&own.name)) {
                Some((index, tensor)) => {
                    self.pairs[*at] = Some(*index);
                    if tensor.shape != own.shape {
                        let (theirs, ours) = ((*tensor).clone(), (*own).clone());
                        self.mismatches.push(Mismatch::Shape { theirs, ours });
                    }
                }
                None => {
                    self.mismatches.push(Mismatch::Missing { ours: (*own).clone(), module: module.clone() });
                }
            }
        }
        let wanted: HashSet<&str> = ours.iter().map(|(_, own)| key(&own.name)).collect();
        for (_, tensor) in theirs {
            if !wanted.contains(key(&tensor.name)) {
                self.mismatches.push(Mismatch::LeftOver((*tensor).clone()));
            }
        }
    }
}

/// The tensors whose names agree up to the last dot, with their indices.
struct Module<'a> {
    name: &'a str,
    tensors: Vec<(usize, &'a Tensor)>,
}

/// Module and parameter of a name; the module is empty where there is no dot.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

/// The modules in the order in which their first tensors come.
fn modules<'a>(tensors: impl Iterator<Item = (usize, &'a Tensor)>) -> Vec<Module<'a>> {
    let mut modules: Vec<Module<'a>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (index, tensor) in tensors {
        let name = split(&tensor.name).0;
        match places.entry(name) {
            Entry::Occupied(place) => modules[*place.get()].tensors.push((index, tensor)),
            Entry::Vacant(place) => {
                place.insert(modules.len());
                modules.push(Module { name, tensors: vec![(index, tensor)] });
            }
        }
    }
    modules
}

/// The tensors of the module `at`; none where there is none.
fn members<'a, 'b>(modules: &'b [Module<'a>], at: usize) -> &'b [(usize, &'a Tensor)] {
    modules.get(at).map_or(&[], |module| &module.tensors)
}

/// `modules` in the natural order of their names, or in that of `order`, where a name stands for all modules below it that
/// have no name of their own there. What `order` leaves out comes last.
fn ordered<'a>(mut modules: Vec<Module<'a>>, order: &[String], mismatches: &mut Vec<Mismatch>) -> Vec<Module<'a>> {
    modules.sort_by(|a, b| natural(a.name, b.name));
    let place = |module: &Module<'_>| {
        let named = order.iter().enumerate().filter(|(_, name)| is_below(module.name, name));
        named.max_by_key(|(_, name)| name.len()).map_or(order.len(), |(place, _)| place)
    };
    let places: BTreeSet<usize> = modules.iter().map(place).collect();
    let unused = order.iter().enumerate().filter(|(at, _)| !places.contains(at));
    mismatches.extend(unused.map(|(_, name)| Mismatch::NoModule(name.clone())));
    modules.sort_by_cached_key(place);
    modules
}

/// Whether `module` is `name`, or one of its parts.
fn is_below(module: &str, name: &str) -> bool {
    module.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// By the parts between dots, numbers in them as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let key = |name: &str| name.split('.').map(chunks).collect::<Vec<_>>();
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

/// A run of digits, or of anything else.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Chunk {
    /// How many digits without leading zeros, and these.
    Number(usize, String),
    Text(String),
}

fn chunks(part: &str) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut rest = part;
    while let Some(first) = rest.chars().next() {
        let digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(end);
        chunks.push(match digit {
            true => {
                let number = run.trim_start_matches('0');
                Chunk::Number(number.len(), number.to_owned())
            }
            false => Chunk::Text(run.to_owned()),
        });
        rest = behind;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn tensors(names: &[&str]) -> Vec<Tensor> {
        // `name` or `name:rows`.
        let one = |name: &&str| {
            let (name, rows) = name.split_once(':').unwrap_or((name, "1"));
            Tensor { name: name.to_owned(), shape: vec![rows.parse().unwrap()] }
        };
        names.iter().map(one).collect()
    }

    fn order(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The names of `theirs` for each of `ours`, or the mismatches.
    fn found(ours: &[&str], theirs: &[&str], by: &[&str]) -> Result<Vec<String>, Vec<String>> {
        let (ours, theirs) = (tensors(ours), tensors(theirs));
        let Matched { pairs, mismatches, .. } = matched(&ours, &theirs, &order(by));
        match mismatches.is_empty() {
            true => Ok(pairs.into_iter().map(|index| theirs[index].name.clone()).collect()),
            false => Err(mismatches.iter().map(ToString::to_string).collect()),
        }
    }

    const OURS: [&str; 4] = ["0.weight", "0.bias", "2.weight", "2.bias"];

    #[test]
    fn the_same_names_are_taken_by_name() {
        let theirs = ["2.bias", "0.weight", "2.weight", "0.bias"];
        assert_eq!(found(&OURS, &theirs, &[]).unwrap(), OURS);
        // One that is too many, or lacking, is the only one that is told.
        assert_eq!(found(&OURS, &[&OURS[..], &["x"]].concat(), &[]).unwrap_err(), ["left over: x (1)"]);
        assert_eq!(found(&OURS, &OURS[..3], &[]).unwrap_err(), ["missing: 2.bias (1)"]);
        // Unless the job says otherwise.
        assert_eq!(found(&OURS, &theirs, &["2", "0"]).unwrap(), ["2.weight", "2.bias", "0.weight", "0.bias"]);
    }

    #[test]
    fn other_names_are_taken_in_natural_order() {
        let theirs = ["layer10.bias", "layer10.weight", "layer2.bias", "layer2.weight", "layer2.num_batches_tracked"];
        let due = ["layer2.weight", "layer2.bias", "layer10.weight", "layer10.bias"];
        assert_eq!(found(&OURS, &theirs, &[]).unwrap(), due);
        let due = ["layer10.weight", "layer10.bias", "layer2.weight", "layer2.bias"];
        assert_eq!(found(&OURS, &theirs, &["layer10", "layer2"]).unwrap(), due);
        let mut names = ["", "b", "a10", "a9.x", "a9", "a09b", "a", "10", "9", "a9.10", "a9.9"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "9", "10", "a", "a9", "a9.9", "a9.10", "a9.x", "a09b", "a10", "b"]);
    }

    #[test]
    fn modules_within_modules_keep_their_names() {
        let ours = ["1.in_proj_weight", "1.in_proj_bias", "1.out_proj.weight", "2.0.weight", "2.1.running_mean"];
        let theirs = [
            "a.attn.in_proj_bias",
            "a.attn.in_proj_weight",
            "a.attn.out_proj.weight",
            "b.mean.running_mean",
            "b.a.weight",
        ];
        let due = [
            "a.attn.in_proj_weight",
            "a.attn.in_proj_bias",
            "a.attn.out_proj.weight",
            "b.a.weight",
            "b.mean.running_mean",
        ];
        assert_eq!(found(&ours, &theirs, &[]).unwrap(), due);
        // A name stands for what is below it; one that is named itself goes to its own place.
        let swapped = ["2.0.weight", "2.1.running_mean", "1.in_proj_weight", "1.in_proj_bias", "1.out_proj.weight"];
        let due = [
            "b.a.weight",
            "b.mean.running_mean",
            "a.attn.in_proj_weight",
            "a.attn.in_proj_bias",
            "a.attn.out_proj.weight",
        ];
        assert_eq!(found(&swapped, &theirs, &["b", "a"]).unwrap(), due);
        let late = ["2.1.running_mean", "1.in_proj_weight", "1.in_proj_bias", "1.out_proj.weight", "2.0.weight"];
        let found = found(&late, &theirs, &["b", "a", "b.a"]).unwrap();
        assert_eq!((found[0].as_str(), found[4].as_str()), ("b.mean.running_mean", "b.a.weight"));
    }

    /// Each tensor against each other would take minutes.
    #[test]
    fn a_file_of_many_tensors_is_compared_in_time() {
        let start = Instant::now();
        let names = |of: &dyn Fn(usize) -> String| (0..100_000).map(of).collect::<Vec<String>>();
        let compared = |ours: &[String], theirs: &[String]| {
            let slices = |names: &[String]| tensors(&names.iter().map(String::as_str).collect::<Vec<&str>>());
            matched(&slices(ours), &slices(theirs), &[]).mismatches.len()
        };
        assert_eq!(compared(&["0.weight".to_owned()], &names(&|at| format!("m{at}.weight"))), 99_999);
        assert_eq!(compared(&names(&|at| format!("0.a{at}")), &names(&|at| format!("m.b{at}"))), 200_000);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }

    #[test]
    fn everything_that_does_not_fit_is_told() {
        let mismatches = found(&OURS, &["a.weight:2", "a.scale", "b.weight", "b.bias", "c.weight"], &[]).unwrap_err();
        assert_eq!(
            mismatches,
            [
                "wrong shape: a.weight (2), expected 0.weight (1)",
                "missing: 0.bias (1), looked for in a",
                "left over: a.scale (1)",
                "left over: c.weight (1)",
            ]
        );
        assert_eq!(
            found(&OURS, &["a.weight", "a.bias"], &["b", "a"]).unwrap_err(),
            ["init.order: no module b in the file", "missing: 2.weight (1)", "missing: 2.bias (1)"]
        );
        assert_eq!(found(&["0.weight"], &["0.weight:3"], &[]).unwrap_err().len(), 1);
        assert_eq!(found(&["0.weight"], &[], &[]).unwrap_err(), ["missing: 0.weight (1)"]);
        // What `order` leaves out is last, and left over.
        let left = found(&OURS[..2], &["a.weight", "a.bias", "b.weight"], &["b"]).unwrap_err();
        assert_eq!(
            left,
            ["missing: 0.bias (1), looked for in b", "left over: a.weight (1)", "left over: a.bias (1)"]
        );
    }
}
