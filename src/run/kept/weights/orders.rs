//! In which orders modules fill places, where each module fits the places of its kind. Pure.

use super::names::Families;

/// How many modules a search looks at before it is given up. An order that is not known by then to be the only one is
/// taken for one of several.
const STEPS: usize = 10_000_000;

/// What is known of the orders in which modules fill places.
#[derive(Debug, PartialEq)]
pub(in crate::run) enum Orders {
    /// One order alone fits. For each place it has the index of its module.
    One(Vec<usize>),
    /// Several orders fit. These are two of them.
    Several([Vec<usize>; 2]),
    /// No order of the modules fits.
    None,
}

/// Finds the orders in which `modules` fill `places`. Both are given by their kinds, and a module fits a place of its
/// own kind. The modules stand in their natural order. `families` is what their names tell. Kinds decide first; names
/// decide where kinds leave a choice. Of several orders the first is the natural one, where that fits.
pub(in crate::run) fn orders(places: &[usize], modules: &[usize], families: &Families) -> Orders {
    // Without as many modules as places of each kind no order fits.
    let sorted = |kinds: &[usize]| {
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds
    };
    if sorted(places) != sorted(modules) {
        return Orders::None;
    }
    // Where kinds alone leave a single order, names are not asked.
    let by_kind = first_two(places, modules, &Families::none(modules.len()));
    let [first, ..] = by_kind.found.as_slice() else { return Orders::None };
    if by_kind.found.len() == 1 {
        return Orders::One(first.clone());
    }
    // Else names decide, if they leave a single order.
    let named = first_two(places, modules, families);
    match (named.found.as_slice(), by_kind.found.as_slice()) {
        // They leave one, and the search has seen that there is no other.
        ([one], _) if named.complete => Orders::One(one.clone()),
        // They leave several, and two of these are shown. Or they leave none that the search has seen, and two orders by
        // kind alone are shown.
        ([one, other], _) | (_, [one, other]) => Orders::Several([one.clone(), other.clone()]),
        _ => Orders::None,
    }
}

/// What a search has come to.
struct SearchOutcome {
    /// The orders that were found: at most two.
    found: Vec<Vec<usize>>,
    /// Whether the search has seen all orders, or has found two. Else it was given up.
    complete: bool,
}

/// Searches for the first two orders. Orders come first that give the first places to the first modules.
fn first_two(places: &[usize], modules: &[usize], families: &Families) -> SearchOutcome {
    // The places are filled from the first to the last. Where the next one cannot be filled, the last one that was gets
    // another module.
    let mut filling = Filling::new(places, modules, families);
    let mut found = Vec::new();
    // This is the module to try at the next place, by its number among those of its kind.
    let mut next = 0;
    // Each turn looks at one module.
    for _ in 0..STEPS {
        next = match filling.candidate(next) {
            Some(module) if filling.is_ready(module) => {
                filling.take(module, next);
                0
            }
            Some(_) => next + 1,
            None => {
                // No module is left for this place. Or all places are filled, and this is an order.
                found.extend(filling.order());
                // The last place that is filled gets another module. Where no place is filled any more, all orders have
                // been seen.
                match filling.undo() {
                    Some(tried) if found.len() < 2 => tried + 1,
                    _ => return SearchOutcome { found, complete: true },
                }
            }
        };
    }
    SearchOutcome { found, complete: false }
}

/// Places that are filled with modules, one after the other.
struct Filling<'a> {
    /// The kind of each place.
    places: &'a [usize],
    families: &'a Families,
    /// For each kind, its modules in their natural order.
    of_kind: Vec<Vec<usize>>,
    /// For each place that is filled, which of its kind's modules fills it.
    chosen: Vec<usize>,
    /// For each module, whether it has a place.
    taken: Vec<bool>,
    /// For each family, how many of its modules have no place yet.
    left: Vec<usize>,
}

impl<'a> Filling<'a> {
    /// No place is filled yet.
    fn new(places: &'a [usize], modules: &[usize], families: &'a Families) -> Self {
        let mut of_kind = vec![Vec::new(); modules.iter().max().map_or(0, |most| most + 1)];
        for (module, kind) in modules.iter().enumerate() {
            of_kind[*kind].push(module);
        }
        let (chosen, taken) = (Vec::with_capacity(places.len()), vec![false; modules.len()]);
        Self { places, families, of_kind, chosen, taken, left: families.sizes.clone() }
    }

    /// Module number `which` of the next place's kind. `None` where that kind has no more, or all places are filled.
    fn candidate(&self, which: usize) -> Option<usize> {
        let kind = self.places.get(self.chosen.len())?;
        self.of_kind[*kind].get(which).copied()
    }

    /// Whether `module` may fill the next place: it has none yet, and all families that run before it are through.
    fn is_ready(&self, module: usize) -> bool {
        !self.taken[module] && self.families.behind[module].iter().all(|family| self.left[*family] == 0)
    }

    /// Fills the next place with `module`, which is number `which` of its kind.
    fn take(&mut self, module: usize, which: usize) {
        self.taken[module] = true;
        self.families.within[module].iter().for_each(|family| self.left[*family] -= 1);
        self.chosen.push(which);
    }

    /// Empties the last place that is filled. Returns which of its kind's modules was in it. `None` where no place is
    /// filled.
    fn undo(&mut self) -> Option<usize> {
        let which = self.chosen.pop()?;
        let module = self.of_kind[self.places[self.chosen.len()]][which];
        self.taken[module] = false;
        self.families.within[module].iter().for_each(|family| self.left[*family] += 1);
        Some(which)
    }

    /// The index of the module in each place. `None` until all places are filled.
    fn order(&self) -> Option<Vec<usize>> {
        let module = |(which, kind): (&usize, &usize)| self.of_kind[*kind][*which];
        (self.chosen.len() == self.places.len()).then(|| self.chosen.iter().zip(self.places).map(module).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The orders in which modules of these names fill places of these kinds (`aab`). A module is written with a letter
    /// for its kind (`fc1:a`).
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
        // Numbers that run against the kinds tell nothing of other modules.
        assert_eq!(of("baa", &["up1:a", "up2:b", "x:a"]), ["up2 up1 x", "up2 x up1"]);
        assert_eq!(of("ab", &["a:a", "b:a"]), [""; 0]);
        assert_eq!(of("aab", &["a:a", "b:b"]), [""; 0]);
        assert_eq!(of("", &[]), [""]);
    }

    /// The numbers of a transformer's blocks decide for all within the blocks. They do not decide where a norm without
    /// a number stands.
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

    /// Two modules that must be exchanged together make two orders.
    #[test]
    fn orders_that_differ_in_more_than_two_places_are_seen() {
        assert_eq!(of("abab", &["d.0:a", "d.1:b", "e.0:a", "e.1:b"]), ["d.0 d.1 e.0 e.1", "e.0 e.1 d.0 d.1"]);
    }

    /// A thousand layers of one shape take no time. What cannot be searched through is undecided.
    #[test]
    fn long_networks_are_ordered() {
        let names: Vec<String> = (0..1000).map(|at| format!("layers.{at}:a")).collect();
        let found = of(&"a".repeat(1000), &names.iter().map(String::as_str).collect::<Vec<&str>>());
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("layers.0 layers.1 ") && found[0].ends_with(" layers.999"));
    }

    /// Two numbered chains fill two equal stretches of places: the first chain's end tells that the first stretch is its own. A search
    /// sees that at once where the chains are short. Where they are long it is given up, and says no more than it has seen.
    #[test]
    fn an_order_that_is_not_known_to_be_the_only_one_is_one_of_several() {
        for (length, orders) in [(3, 1), (40, 2)] {
            let chain = |word: &'static str, end: char| {
                let numbered = move |at| format!("{word}.{at}:{}", if at < length { 'a' } else { end });
                (0..=length).map(numbered)
            };
            let modules: Vec<String> = chain("u", 'b').chain(chain("v", 'c')).collect();
            let stretch = "a".repeat(length);
            let places = format!("{stretch}b{stretch}c");
            let found = of(&places, &modules.iter().map(String::as_str).collect::<Vec<&str>>());
            assert_eq!(found.len(), orders, "{length}");
            assert_eq!(found[0].split(' ').nth(length), Some(format!("u.{length}").as_str()));
        }
    }
}
