//! What the names of modules tell: their natural order, and which modules run before which others. Pure.
//!
//! Who numbers modules, as `nn.Sequential` and people do (`layer1`, `layer2`, `features.0`, `features.3`), numbers them
//! in the order in which they run. So two names tell their order where they first differ in a number. Words tell
//! nothing: `decoder` comes before `encoder` by the alphabet alone.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Compares two names part by part between the dots, numbers in them as numbers: `layer2` comes before `layer10`.
pub(in crate::run) fn natural(a: &str, b: &str) -> Ordering {
    let key = |name: &str| name.split('.').map(chunks).collect::<Vec<_>>();
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

/// A run of digits in a name, or a run of anything else.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Chunk {
    /// A number, without leading zeros: how many digits it has, and the digits. So numbers of any length compare by
    /// size.
    Number(usize, String),
    /// Characters that are no digits.
    Text(String),
}

/// Cuts a part of a name into its runs.
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

/// Modules in families. A family is all modules whose names agree up to a number, and in that number. Of two families
/// whose names differ in that number alone, all of the one with the lower number run before all of the other.
#[derive(Default)]
pub(in crate::run) struct Families {
    /// For each module, the families to which it belongs. It belongs to one for each number in its name.
    pub(in crate::run) within: Vec<Vec<usize>>,
    /// For each module, the families that must be through before it runs: for each number in its name, the family with
    /// the next lower number. Families with numbers lower still are through before that one.
    pub(in crate::run) behind: Vec<Vec<usize>>,
    /// How many modules each family has.
    pub(in crate::run) sizes: Vec<usize>,
}

impl Families {
    /// The families of modules with these names.
    pub(in crate::run) fn of(names: &[&str]) -> Self {
        let names: Vec<Vec<Chunk>> = names.iter().map(|name| chunks(name)).collect();
        // Key: what stands before a number. Value: the numbers that stand there, and the family of each.
        let mut kinds: BTreeMap<&[Chunk], BTreeMap<&Chunk, usize>> = BTreeMap::new();
        let mut families = Self::default();
        for name in &names {
            let mut within = Vec::new();
            for (at, number) in numbers(name) {
                let next = families.sizes.len();
                let family = *kinds.entry(&name[..at]).or_default().entry(number).or_insert(next);
                if family == next {
                    families.sizes.push(0);
                }
                families.sizes[family] += 1;
                within.push(family);
            }
            families.within.push(within);
        }
        for name in &names {
            let before = |(at, number): (usize, &Chunk)| {
                kinds.get(&name[..at])?.range::<&Chunk, _>(..number).next_back().map(|(_, family)| *family)
            };
            families.behind.push(numbers(name).filter_map(before).collect());
        }
        families
    }

    /// The families of so many modules whose names tell nothing: there are none.
    pub(in crate::run) fn none(modules: usize) -> Self {
        Self { within: vec![Vec::new(); modules], behind: vec![Vec::new(); modules], sizes: Vec::new() }
    }
}

/// The numbers of a name, each with its place among the name's runs.
fn numbers(name: &[Chunk]) -> impl Iterator<Item = (usize, &Chunk)> {
    name.iter().enumerate().filter(|(_, chunk)| matches!(chunk, Chunk::Number(..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let mut names = ["", "b", "a10", "a9.x", "a9", "a09b", "a", "10", "9", "a9.10", "a9.9"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "9", "10", "a", "a9", "a9.9", "a9.10", "a9.x", "a09b", "a10", "b"]);
    }

    /// Whether the names tell that module `a` runs before module `b`.
    fn before(a: &str, b: &str) -> bool {
        let families = Families::of(&[a, b]);
        families.behind[1].iter().any(|family| families.within[0].contains(family))
    }

    #[test]
    fn a_number_tells_and_a_word_does_not() {
        for (a, b) in [
            ("layer2", "layer10"),
            ("features.0", "features.3"),
            ("0", "1"),
            ("blocks.0.norm2", "blocks.1.norm1"),
            ("blocks.0.zhead", "blocks.1.attn"),
            ("conv1_2", "conv2_1"),
            ("conv1_1", "conv1_2"),
        ] {
            assert!(before(a, b) && !before(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("body", "stem"),
            ("fc", "fc2"),
            ("conv2", "fc1"),
            ("a.1", "b.2"),
            ("blocks.0.attn", "blocks.0.mlp"),
            ("blocks.3.norm", "norm"),
            ("a01", "a1"),
        ] {
            assert!(!before(a, b) && !before(b, a), "{a} {b}");
        }
    }

    #[test]
    fn who_is_behind_one_is_behind_all_before_it() {
        let families = Families::of(&["a3", "a1", "a2.x", "a2.y", "b"]);
        let of = |module: usize| families.within[module][0];
        assert_eq!(families.behind, [vec![of(2)], vec![], vec![of(1)], vec![of(1)], vec![]]);
        assert_eq!(families.sizes[of(2)], 2);
    }
}
