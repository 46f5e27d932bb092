//! In which orders modules of certain kinds fill places of these kinds, one behind the other. Pure.

use super::names::Families;

/// How many modules are looked at before the search is given up. What then is not known to be the only order is taken for one of
/// several.
const STEPS: usize = 10_000_000;

/// The orders that fit.
#[derive(Debug, PartialEq)]
pub(in crate::run) enum Orders {
    /// For each place its module; there is no other.
    One(Vec<usize>),
    /// Two of several.
    Several([Vec<usize>; 2]),
    /// None.
    None,
}

/// Fills `places` with `modules`, each given by its kind. The modules stand in their natural order; `families` says what their names
/// tell. Kinds decide first, names where kinds leave a choice. The first of several is the natural order where that fits.
pub(in crate::run) fn orders(places: &[usize], modules: &[usize], families: &Families) -> Orders {
    let sorted = |kinds: &[usize]| {
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds
    };
    if sorted(places) != sorted(modules) {
        return Orders::None;
    }
    let by_kind = two(places, modules, &Families::none(modules.len()));
    let [first, ..] = by_kind.found.as_slice() else { return Orders::None };
    if by_kind.found.len() == 1 {
        return Orders::One(first.clone());
    }
    let named = two(places, modules, families);
    match (named.found.as_slice(), by_kind.found.as_slice()) {
        ([one], _) if named.complete => Orders::One(one.clone()),
        ([one, other], _) | (_, [one, other]) => Orders::Several([one.clone(), other.clone()]),
        _ => Orders::None,
    }
}

/// What a search has come to.
struct Search {
    /// At most two orders.
    found: Vec<Vec<usize>>,
    /// Whether it has seen all that there are, or two.
    complete: bool,
}

/// The first two orders, of those that give the first places to the first modules.
fn two(places: &[usize], modules: &[usize], families: &Families) -> Search {
    let mut filling = Filling::new(places, modules, families);
    let mut found = Vec::new();
    // The module to try at the next place, among those of its kind.
    let mut next = 0;
    for _ in 0..STEPS {
        next = match filling.candidate(next) {
            Some(module) if filling.is_ready(module) => {
                filling.take(module, next);
                0
            }
            Some(_) => next + 1,
            None => {
                found.extend(filling.order());
                // The last place that is filled gets another module.
                match filling.undo() {
                    Some(tried) if found.len() < 2 => tried + 1,
                    _ => return Search { found, complete: true },
                }
            }
        };
    }
    Search { found, complete: false }
}

/// Places that are filled one after the other.
struct Filling<'a> {
    places: &'a [usize],
    families: &'a Families,
    of_kind: Vec<Vec<usize>>,
    /// For each place that is filled, which of its kind fills it.
    chosen: Vec<usize>,
    taken: Vec<bool>,
    /// Modules of each family that have no place yet.
    left: Vec<usize>,
}

impl<'a> Filling<'a> {
    fn new(places: &'a [usize], modules: &[usize], families: &'a Families) -> Self {
        let mut of_kind = vec![Vec::new(); modules.iter().max().map_or(0, |most| most + 1)];
        for (module, kind) in modules.iter().enumerate() {
            of_kind[*kind].push(module);
        }
        let (chosen, taken) = (Vec::with_capacity(places.len()), vec![false; modules.len()]);
        Self { places, families, of_kind, chosen, taken, left: families.sizes.clone() }
    }

    /// The module `which` of the next place's kind; none where there are no more, or all places are filled.
    fn candidate(&self, which: usize) -> Option<usize> {
        let kind = self.places.get(self.chosen.len())?;
        self.of_kind[*kind].get(which).copied()
    }

    /// Whether it is free, and all are through that run before it.
    fn is_ready(&self, module: usize) -> bool {
        !self.taken[module] && self.families.behind[module].iter().all(|family| self.left[*family] == 0)
    }

    fn take(&mut self, module: usize, which: usize) {
        self.taken[module] = true;
        self.families.within[module].iter().for_each(|family| self.left[*family] -= 1);
        self.chosen.push(which);
    }

    /// Empties the last place: which module was in it.
    fn undo(&mut self) -> Option<usize> {
        let which = self.chosen.pop()?;
        let module = self.of_kind[self.places[self.chosen.len()]][which];
        self.taken[module] = false;
        self.families.within[module].iter().for_each(|family| self.left[*family] += 1);
        Some(which)
    }

    /// The module of each place, once all are filled.
    fn order(&self) -> Option<Vec<usize>> {
        let module = |(which, kind): (&usize, &usize)| self.of_kind[*kind][*which];
        (self.chosen.len() == self.places.len()).then(|| self.chosen.iter().zip(self.places).map(module).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The orders in which modules of these names, each with a letter for its kind (`fc1:a`), fill places of kinds (`aab`).
    fn of(places: &str, modules: &[&str]) -> Vec<String> {
        let kind = |letter: char| letter as usize - 'a' as usize;
        let (names, kinds): (Vec<&str>, Vec<usize>) = modules
            .iter()
            .map(|module| module.split_once(':').unwrap())
            .map(|(name, letter)| (name, kind(letter.chars().next().unwrap())))
            .unzip();
        let places: Vec<usize> = places.chars().map(kind).collect();
        let shown = |order: &Vec<usize>| order.iter().map(|at| names[*at]).collect::<Vec<&str>>().join(" ");
        match orders(&places, &kinds, &Families::of(&names)) {
            Orders::One(order) => vec![shown(&order)],
            Orders::Several(two) => two.iter().map(shown).collect(),
            Orders::None => Vec::new(),
        }
    }

    #[test]
    fn kinds_decide_first_then_names() {
        // Different kinds leave no choice, whatever the names say.
        assert_eq!(of("cab", &["fc:a", "fc1:b", "zz:c"]), ["zz fc fc1"]);
        assert_eq!(of("ab", &["up1:b", "up2:a"]), ["up2 up1"]);
        assert_eq!(of("aa", &["layer2:a", "layer10:a"]), ["layer2 layer10"]);
        assert_eq!(of("aab", &["body:a", "stem:a", "zhead:b"]), ["body stem zhead", "stem body zhead"]);
        // Numbers that run against the kinds tell nothing of others.
        assert_eq!(of("baa", &["up1:a", "up2:b", "x:a"]), ["up2 up1 x", "up2 x up1"]);
        assert_eq!(of("ab", &["a:a", "b:a"]), [""; 0]);
        assert_eq!(of("aab", &["a:a", "b:b"]), [""; 0]);
        assert_eq!(of("", &[]), [""]);
    }

    /// What a transformer's blocks are called decides within them, not where a norm of no number stands.
    #[test]
    fn numbers_of_blocks_decide_for_all_within() {
        let blocks = ["h.0.ln_1:a", "h.0.ln_2:a", "h.0.x:b", "h.1.ln_1:a", "h.1.ln_2:a", "h.1.x:b"];
        assert_eq!(of("abaaba", &blocks), ["h.0.ln_1 h.0.x h.0.ln_2 h.1.ln_1 h.1.x h.1.ln_2"]);
        let found = of("abaabaa", &[&blocks[..], &["ln_f:a"]].concat());
        assert_eq!(
            found,
            [
                "h.0.ln_1 h.0.x h.0.ln_2 h.1.ln_1 h.1.x h.1.ln_2 ln_f",
                "h.0.ln_1 h.0.x h.0.ln_2 h.1.ln_1 h.1.x ln_f h.1.ln_2"
            ]
        );
    }

    /// Two that must be exchanged together.
    #[test]
    fn orders_that_differ_in_more_than_two_places_are_seen() {
        assert_eq!(of("abab", &["d.0:a", "d.1:b", "e.0:a", "e.1:b"]), ["d.0 d.1 e.0 e.1", "e.0 e.1 d.0 d.1"]);
    }

    /// A thousand layers of one shape take no time; what cannot be searched through is undecided.
    #[test]
    fn long_networks_are_ordered() {
        let names: Vec<String> = (0..1000).map(|at| format!("layers.{at}:a")).collect();
        let found = of(&"a".repeat(1000), &names.iter().map(String::as_str).collect::<Vec<&str>>());
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("layers.0 layers.1 ") && found[0].ends_with(" layers.999"));
    }
}
