//! Which tensor of a file is which parameter of a network. Pure: names and shapes, no files.
//!
//! Where file and network have the same names, apart from some that one of them lacks, names decide. Else *modules* do.
//! A module is what a name says before its last dot; within it the names of parameters count (`weight`, `bias`,
//! `running_mean`). Each module of the file goes to a module of the network with the same parameters, of the same
//! shapes. Where that leaves a choice, the order that the job names decides. Without one, what names tell decides
//! ([`names`](super::names)). Else nothing does, as a file does not keep the order in which a program declared its
//! modules.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use super::error::{Mismatch, NamedShape};
use super::modules::{Module, ModuleTensor, PASSED_OVER, grouped, is_below, modules, split, whole};
use super::names::{Families, natural};
use super::orders::{Orders, orders};

/// How the tensors of a file were found to be parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Tensors and parameters have the same names.
    Names,
    /// Modules were taken in the order that the job names (`init.order`).
    Order,
    /// Modules were paired by their shapes and, where these leave a choice, by the numbers in their names.
    Shapes,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::Names => "by name",
            How::Order => "in the order of init.order",
            How::Shapes => "by the shapes of modules and the numbers in their names",
        })
    }
}

/// What tensors of a file become which parameters of a network, and what does not fit.
pub(in crate::run) struct Matched {
    /// For each parameter that has a tensor, the tensor's index in the file's list, in the order of the parameters. A
    /// parameter without one is left out, and is a mismatch.
    pub(in crate::run) pairs: Vec<usize>,
    /// How the pairs were found.
    pub(in crate::run) how: How,
    /// All that does not fit. Empty where the file can be used.
    pub(in crate::run) mismatches: Vec<Mismatch>,
    /// In which order modules were compared and what else could be tried, in words for a person.
    pub(in crate::run) hint: String,
}

/// Two orders of a file's modules that both fit, so that nobody can tell the right one.
#[derive(Debug)]
pub(in crate::run) struct Undecided {
    /// The names of the modules, in each of the two orders.
    pub(in crate::run) orders: [Vec<String>; 2],
    /// For each of the two orders, the index of each parameter's tensor.
    pub(in crate::run) pairs: [Vec<usize>; 2],
    /// Whether the first of the two is the natural order of the names.
    pub(in crate::run) natural: bool,
}

/// Finds the tensor of `theirs`, the file's, for each parameter of `ours`, the network's. `order` names modules of the
/// file in the order of the network's. It is empty where the order need not be told.
///
/// # Errors
/// [`Undecided`] where modules fit in several orders.
pub(in crate::run) fn matched(
    ours: &[NamedShape],
    theirs: &[NamedShape],
    order: &[String],
) -> Result<Matched, Undecided> {
    // Counters of batch norms are no parameters.
    let own: Vec<(usize, &NamedShape)> = ours.iter().enumerate().collect();
    let theirs: Vec<(usize, &NamedShape)> =
        theirs.iter().enumerate().filter(|(_, tensor)| split(&tensor.name).1 != PASSED_OVER).collect();
    let mut found = Comparison::of(ours.len());
    // Names decide where they agree.
    if order.is_empty() && same_names(&own, &theirs) {
        found.members(&whole(&own), &whole(&theirs), None);
        return Ok(found.matched(How::Names, "\nnames were taken as they are".to_owned()));
    }
    // Else modules do. They stand in their natural order, within the groups that the job's order names.
    let (own, mut modules) = (modules(&own), modules(&theirs));
    modules.sort_by(|a, b| natural(a.name, b.name));
    let groups = grouped(&mut modules, order);
    let how = if order.is_empty() { How::Shapes } else { How::Order };
    let listed = |order: &[usize]| order.iter().map(|at| modules[*at].name.to_owned()).collect::<Vec<String>>();
    let in_order: Vec<usize> = (0..modules.len()).collect();
    // A name in the job's order that no module of the file has is a mismatch, and no order is tried then.
    let absent = order.iter().filter(|name| !theirs.iter().any(|(_, tensor)| is_below(split(&tensor.name).0, name)));
    found.mismatches.extend(absent.map(|name| Mismatch::NoModule(name.clone())));
    let fitting_order = match found.mismatches.is_empty() {
        true => fitting(&own, &modules, &groups),
        false => Orders::None,
    };
    match fitting_order {
        Orders::One(order) => {
            found.modules(&own, order.iter().map(|at| &modules[*at]));
            Ok(found.matched(how, order_in_words(&listed(&order))))
        }
        Orders::Several(two) => {
            let pairs = two.each_ref().map(|order| {
                let mut found = Comparison::of(ours.len());
                found.modules(&own, order.iter().map(|at| &modules[*at]));
                found.pairs.into_iter().flatten().collect()
            });
            let natural = order.is_empty() && two[0] == in_order;
            Err(Undecided { orders: two.each_ref().map(|order| listed(order)), pairs, natural })
        }
        Orders::None => {
            found.modules(&own, modules.iter());
            let other = match fitting(&own, &modules, &[modules.len()]) {
                Orders::One(order) | Orders::Several([order, _]) => {
                    format!("in another order they fit: order = {:?}", listed(&order))
                }
                Orders::None => "they fit in no order; init.order = [...] names another to compare by".to_owned(),
            };
            Ok(found.matched(how, format!("{}; {other}", order_in_words(&listed(&in_order)))))
        }
    }
}

/// Says in which order modules were compared, in words for a person.
fn order_in_words(modules: &[String]) -> String {
    let names = if modules.is_empty() { "of their names".to_owned() } else { modules.join(", ") };
    format!("\nmodules were taken in the order {names}")
}

/// Whether all names of one side are names of the other side, too.
fn same_names(ours: &[(usize, &NamedShape)], theirs: &[(usize, &NamedShape)]) -> bool {
    let names =
        |tensors: &[(usize, &NamedShape)]| tensors.iter().map(|one| one.1.name.clone()).collect::<BTreeSet<_>>();
    let [ours, theirs] = [ours, theirs].map(names);
    ours.is_subset(&theirs) || theirs.is_subset(&ours)
}

/// Finds the orders of `modules` that fit the network's modules `own`. Each entry of `groups` is a number of modules
/// that fill the next places among themselves.
fn fitting<'a>(own: &[Module<'a>], modules: &[Module<'a>], groups: &[usize]) -> Orders {
    if own.len() != modules.len() {
        return Orders::None;
    }
    // Modules with the same parameters of the same shapes are of one kind. Each kind gets a number.
    let mut kinds = HashMap::new();
    let mut kind = |module: &Module<'a>| {
        let next = kinds.len();
        *kinds.entry(module.kind()).or_insert(next)
    };
    let places: Vec<usize> = own.iter().map(&mut kind).collect();
    let found: Vec<usize> = modules.iter().map(&mut kind).collect();
    let mut all = [Vec::new(), Vec::new()];
    let mut start = 0;
    for group in groups {
        let range = start..start + group;
        start = range.end;
        let names: Vec<&str> = modules[range.clone()].iter().map(|module| module.name).collect();
        let two = match orders(&places[range.clone()], &found[range.clone()], &Families::of(&names)) {
            Orders::None => return Orders::None,
            Orders::One(order) => [order.clone(), order],
            Orders::Several(two) => two,
        };
        all.iter_mut().zip(two).for_each(|(all, order)| all.extend(order.iter().map(|at| range.start + at)));
    }
    let [first, second] = all;
    if first == second { Orders::One(first) } else { Orders::Several([first, second]) }
}

/// What comparing has come to so far.
struct Comparison {
    /// For each parameter, the index of its tensor, once it has one.
    pairs: Vec<Option<usize>>,
    /// What has not fitted so far.
    mismatches: Vec<Mismatch>,
}

impl Comparison {
    /// Nothing has been found yet for so many parameters.
    fn of(parameters: usize) -> Self {
        Self { pairs: vec![None; parameters], mismatches: Vec::new() }
    }

    /// The result of comparing as `how` says.
    fn matched(self, how: How, hint: String) -> Matched {
        Matched { pairs: self.pairs.into_iter().flatten().collect(), how, mismatches: self.mismatches, hint }
    }

    /// Pairs the modules of both sides, the first with the first, and so on.
    fn modules<'a>(&mut self, own: &[Module<'_>], mut theirs: impl Iterator<Item = &'a Module<'a>>) {
        for own in own {
            match theirs.next() {
                Some(module) => self.members(&own.members, &module.members, Some(module.name)),
                None => self.members(&own.members, &[], None),
            }
        }
        theirs.for_each(|module| self.members(&[], &module.members, None));
    }

    /// Pairs the parameters `ours` of one module with the tensors `theirs` by their names within it. `module` is the
    /// file's name for it.
    fn members(&mut self, ours: &[ModuleTensor<'_>], theirs: &[ModuleTensor<'_>], module: Option<&str>) {
        // Each tensor is looked at once: a foreign file may have as many as its length allows.
        let found: HashMap<&str, &ModuleTensor<'_>> = theirs.iter().map(|member| (member.name, member)).collect();
        for own in ours {
            match found.get(own.name) {
                Some(member) => {
                    self.pairs[own.index] = Some(member.index);
                    if member.tensor.shape != own.tensor.shape {
                        let (theirs, ours) = (member.tensor.clone(), own.tensor.clone());
                        self.mismatches.push(Mismatch::Shape { theirs, ours });
                    }
                }
                None => {
                    let (ours, module) = (own.tensor.clone(), module.map(str::to_owned));
                    self.mismatches.push(Mismatch::Missing { ours, module });
                }
            }
        }
        let wanted: HashSet<&str> = ours.iter().map(|own| own.name).collect();
        let left = theirs.iter().filter(|member| !wanted.contains(member.name));
        self.mismatches.extend(left.map(|member| Mismatch::LeftOver(member.tensor.clone())));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn tensors(names: &[&str]) -> Vec<NamedShape> {
        // A tensor is written `name` or `name:rows`.
        let one = |name: &&str| {
            let (name, rows) = name.split_once(':').unwrap_or((name, "1"));
            NamedShape { name: name.to_owned(), shape: vec![rows.parse().unwrap()] }
        };
        names.iter().map(one).collect()
    }

    fn order(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The names of the tensors of `theirs` for each of `ours`, or else the mismatches in words.
    fn found(ours: &[&str], theirs: &[&str], by: &[&str]) -> Result<Vec<String>, Vec<String>> {
        let (ours, theirs) = (tensors(ours), tensors(theirs));
        let Matched { pairs, mismatches, .. } = matched(&ours, &theirs, &order(by)).unwrap();
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
        // One tensor too many, or one that is missing, is the only one that is told.
        assert_eq!(found(&OURS, &[&OURS[..], &["x"]].concat(), &[]).unwrap_err(), ["left over: x (1)"]);
        assert_eq!(found(&OURS, &OURS[..3], &[]).unwrap_err(), ["missing: 2.bias (1)"]);
        // But the job's order comes first.
        assert_eq!(found(&OURS, &theirs, &["2", "0"]).unwrap(), ["2.weight", "2.bias", "0.weight", "0.bias"]);
    }

    #[test]
    fn other_names_are_taken_in_natural_order() {
        let theirs = ["layer10.bias", "layer10.weight", "layer2.bias", "layer2.weight", "layer2.num_batches_tracked"];
        let due = ["layer2.weight", "layer2.bias", "layer10.weight", "layer10.bias"];
        assert_eq!(found(&OURS, &theirs, &[]).unwrap(), due);
        let due = ["layer10.weight", "layer10.bias", "layer2.weight", "layer2.bias"];
        assert_eq!(found(&OURS, &theirs, &["layer10", "layer2"]).unwrap(), due);
    }

    /// The two orders that are shown where nothing decides, and whether the first is the natural order of the names.
    fn undecided(ours: &[&str], theirs: &[&str], by: &[&str]) -> (Vec<String>, bool) {
        let Undecided { orders, pairs, natural } =
            matched(&tensors(ours), &tensors(theirs), &order(by)).err().expect("more than one order fits");
        for (order, pairs) in orders.iter().zip(&pairs) {
            // The pairs of tensors are those to which the order of modules comes.
            let tensors: Vec<&str> = pairs.iter().map(|index| theirs[*index].split(':').next().unwrap()).collect();
            let by: Vec<&str> = order.iter().map(String::as_str).collect();
            assert_eq!(found(ours, theirs, &by).unwrap(), tensors);
        }
        (orders.map(|order| order.join(" ")).to_vec(), natural)
    }

    #[test]
    fn an_order_that_nothing_tells_is_asked_for() {
        let ours = ["0.weight:8", "0.bias:8", "2.weight:8", "2.bias:8", "4.weight:3", "4.bias:3"];
        let theirs =
            ["stem.weight:8", "stem.bias:8", "body.weight:8", "body.bias:8", "zhead.weight:3", "zhead.bias:3"];
        let both = ["body stem zhead".to_owned(), "stem body zhead".to_owned()];
        assert_eq!(undecided(&ours, &theirs, &[]), (both.to_vec(), true));
        // An order that the job names decides as far as it goes.
        let due = ["stem.weight", "stem.bias", "body.weight", "body.bias", "zhead.weight", "zhead.bias"];
        assert_eq!(found(&ours, &theirs, &["stem", "body", "zhead"]).unwrap(), due);
        assert_eq!(found(&ours, &theirs, &["stem"]).unwrap(), due);
        // A name that stands for two modules of one shape decides nothing between these two.
        let below = theirs.map(|name| if name.starts_with('z') { name.to_owned() } else { format!("net.{name}") });
        let below = below.each_ref().map(String::as_str);
        assert_eq!(
            undecided(&ours, &below, &["net", "zhead"]).0,
            ["net.body net.stem zhead", "net.stem net.body zhead"]
        );
        // Different shapes decide, and so do different parameters: `0` has no `bias` here.
        let shapes = ["stem.weight:8", "body.weight:8", "body.bias:8", "zhead.weight:3", "zhead.bias:3"];
        let ours = ["0.weight:8", "2.weight:8", "2.bias:8", "4.weight:3", "4.bias:3"];
        assert_eq!(found(&ours, &shapes, &[]).unwrap(), shapes.map(|name| name.split(':').next().unwrap()));
    }

    /// Where the natural order does not fit, two others that do are shown.
    #[test]
    fn two_orders_that_fit_are_shown() {
        let ours = ["0.weight:3", "1.weight:8", "2.weight:8"];
        let (orders, natural) = undecided(&ours, &["a.weight:8", "b.weight:3", "c.weight:8"], &[]);
        assert_eq!((orders, natural), (vec!["b a c".to_owned(), "b c a".to_owned()], false));
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
        // The `out_proj` of an attention is a part of it, not a module of the shape of `b.a`.
        assert_eq!(found(&ours, &theirs, &[]).unwrap(), due);
        // A name stands for all that is below it. A module that is named itself goes to its own place.
        let two = ["0.weight", "1.weight", "2.weight"];
        let named = ["a.x.weight", "a.y.weight", "b.weight"];
        assert_eq!(found(&two, &named, &["b", "a.y", "a"]).unwrap(), ["b.weight", "a.y.weight", "a.x.weight"]);
        assert_eq!(found(&two, &named, &["a", "b", "a.x"]).unwrap(), ["a.y.weight", "b.weight", "a.x.weight"]);
        // Who names the part of an attention, too, names something that is there.
        let [attention, rest] = [&ours[..3], &theirs[..3]];
        assert_eq!(found(attention, rest, &["a.attn", "a.attn.out_proj"]).unwrap(), due[..3]);
    }

    /// The comparison takes each tensor once. To take each against each other would take minutes.
    #[test]
    fn a_file_of_many_tensors_is_compared_in_time() {
        let start = Instant::now();
        let names = |of: &dyn Fn(usize) -> String| (0..100_000).map(of).collect::<Vec<String>>();
        let compared = |ours: &[String], theirs: &[String]| {
            let slices = |names: &[String]| tensors(&names.iter().map(String::as_str).collect::<Vec<&str>>());
            matched(&slices(ours), &slices(theirs), &[]).unwrap().mismatches.len()
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
        // Modules that `order` leaves out come last, and are left over.
        let left = found(&OURS[..2], &["a.weight", "a.bias", "b.weight"], &["b"]).unwrap_err();
        assert_eq!(
            left,
            ["missing: 0.bias (1), looked for in b", "left over: a.weight (1)", "left over: a.bias (1)"]
        );
    }
}
