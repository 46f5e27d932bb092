//! The crate's indices, each with a type of its own, so that a slot is never taken for a rank.
//!
//! This is a leaf: it imports nothing of the crate, and every module may use it.

use std::fmt;
use std::ops::{BitAnd, BitAndAssign, Not};

use serde::{Deserialize, Serialize};

macro_rules! index {
    ($(#[$doc:meta])* $name:ident($int:ty), $word:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $int);

        impl $name {
            /// The number itself, to index with.
            #[inline]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($word, " {}"), self.0)
            }
        }
    };
}

index!(
    /// A rank of the job, 0..N. Rank 0 is the owner.
    Rank(u16), "rank"
);
index!(
    /// A stage of the network, 0..S, in the order in which an activation passes them.
    StageId(u16), "stage"
);
index!(
    /// A phase of a slot, 1..=hops: in each, every cell makes one hop.
    Phase(u8), "phase"
);
index!(
    /// A tick of the pipeline. Counts from 0 in each term.
    Slot(u64), "slot"
);
index!(
    /// A term: the slots under one set of keys, counted from 0. It runs some batches of an epoch, and what follows them
    /// if they are the epoch's last. NIST SP 800-57 calls this a cryptoperiod.
    Term(u32), "term"
);
index!(
    /// An epoch: a pass over the training data, counted from 0.
    Epoch(u32), "epoch"
);
index!(
    /// A batch within its pass over the data, counted from 0.
    Batch(u32), "batch"
);
index!(
    /// A micro-batch within its batch, counted from 0.
    MicroBatch(u32), "micro-batch"
);

impl Rank {
    /// The owner of the job, who holds the data and the model.
    pub const OWNER: Rank = Rank(0);

    /// All ranks of a job of `ranks` ranks, the owner first.
    pub fn all(ranks: u16) -> impl DoubleEndedIterator<Item = Rank> + ExactSizeIterator + Clone {
        (0..ranks).map(Rank)
    }

    /// This rank and those that follow it, `count` in all.
    pub fn following(self, count: usize) -> impl ExactSizeIterator<Item = Rank> {
        (self.0..self.0 + count as u16).map(Rank)
    }
}

impl Phase {
    /// All phases of a slot, in order: from 1 to `hops`.
    pub fn all(hops: u8) -> impl DoubleEndedIterator<Item = Phase> + ExactSizeIterator {
        (1..hops + 1).map(Phase)
    }
}

/// How many words of 64 bits a set of ranks has.
const WORDS: usize = 8;

/// A set of ranks.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RankSet([u64; WORDS]);

impl RankSet {
    /// How many ranks a set can tell apart: ranks from 0 to one less than this.
    pub const MOST: u16 = (WORDS * u64::BITS as usize) as u16;
    /// The set without a rank.
    pub const EMPTY: Self = Self([0; WORDS]);
    /// The set of all ranks that there may be.
    pub const FULL: Self = Self([u64::MAX; WORDS]);

    /// The set of `rank` alone.
    ///
    /// # Panics
    /// If `rank` is not below [`RankSet::MOST`].
    pub fn alone(rank: Rank) -> Self {
        let mut set = Self::EMPTY;
        set.insert(rank);
        set
    }

    /// Adds `rank`.
    ///
    /// # Panics
    /// If `rank` is not below [`RankSet::MOST`].
    pub fn insert(&mut self, rank: Rank) {
        let (word, bit) = Self::place(rank);
        self.0[word] |= bit;
    }

    /// Takes `rank` out.
    ///
    /// # Panics
    /// If `rank` is not below [`RankSet::MOST`].
    pub fn remove(&mut self, rank: Rank) {
        let (word, bit) = Self::place(rank);
        self.0[word] &= !bit;
    }

    /// The rank before which `at` others of the set stand, in ascending order. `None` where there are not so many.
    pub fn nth(self, mut at: u32) -> Option<Rank> {
        for (word, mut bits) in self.0.into_iter().enumerate() {
            if at >= bits.count_ones() {
                at -= bits.count_ones();
                continue;
            }
            (0..at).for_each(|_| bits &= bits - 1);
            return Some(Rank(word as u16 * u64::BITS as u16 + bits.trailing_zeros() as u16));
        }
        None
    }

    /// Whether `rank` is in the set.
    ///
    /// # Panics
    /// If `rank` is not below [`RankSet::MOST`].
    pub fn contains(&self, rank: Rank) -> bool {
        let (word, bit) = Self::place(rank);
        self.0[word] & bit != 0
    }

    /// How many ranks are in the set.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether no rank is in the set.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// Whether some rank is in this set and in `other`.
    pub fn meets(&self, other: Self) -> bool {
        self.0.iter().zip(other.0).any(|(own, other)| own & other != 0)
    }

    /// The ranks that are in this set and not in `other`.
    pub fn without(self, other: Self) -> Self {
        self & !other
    }

    /// The ranks of the set, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Rank> {
        self.0.into_iter().zip(0..).flat_map(|(mut bits, word)| {
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as u16)?;
                bits &= bits - 1;
                Some(Rank(word * u64::BITS as u16 + bit))
            })
        })
    }

    fn place(rank: Rank) -> (usize, u64) {
        (rank.index() / u64::BITS as usize, 1 << (u32::from(rank.0) % u64::BITS))
    }
}

impl FromIterator<Rank> for RankSet {
    fn from_iter<I: IntoIterator<Item = Rank>>(ranks: I) -> Self {
        let mut set = Self::EMPTY;
        ranks.into_iter().for_each(|rank| set.insert(rank));
        set
    }
}

impl BitAnd for RankSet {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }
}

impl BitAndAssign for RankSet {
    fn bitand_assign(&mut self, other: Self) {
        *self = *self & other;
    }
}

impl Not for RankSet {
    type Output = Self;

    fn not(self) -> Self {
        Self(self.0.map(|word| !word))
    }
}

impl fmt::Debug for RankSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|rank| rank.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Against a set of another kind, over all words and their edges.
    #[test]
    fn sets_are_what_they_say() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut draw =
            |size: usize| -> BTreeSet<u16> { (0..size).map(|_| rng.random_range(0..RankSet::MOST)).collect() };
        for size in [0, 1, 7, 64, 300] {
            let (a, b) = (draw(size), draw(size + 5));
            let of = |ranks: &BTreeSet<u16>| ranks.iter().copied().map(Rank).collect::<RankSet>();
            let back = |set: RankSet| set.iter().map(|rank| rank.0).collect::<BTreeSet<u16>>();
            assert_eq!(back(of(&a)), a);
            assert_eq!((of(&a).len() as usize, of(&a).is_empty()), (a.len(), a.is_empty()));
            assert_eq!(back(of(&a) & of(&b)), &a & &b);
            let by_place = (0..of(&a).len() + 1).map_while(|at| of(&a).nth(at)).map(|rank| rank.0);
            assert_eq!(by_place.collect::<BTreeSet<u16>>(), a);
            let mut rest = of(&a);
            b.iter().for_each(|rank| rest.remove(Rank(*rank)));
            assert_eq!(back(rest), &a - &b);
            assert_eq!(back(of(&a).without(of(&b))), &a - &b);
            assert_eq!(of(&a).meets(of(&b)), !a.is_disjoint(&b));
            assert!(Rank::all(RankSet::MOST).all(|rank| of(&a).contains(rank) == a.contains(&rank.0)));
            assert_eq!(of(&a) & RankSet::FULL, of(&a));
        }
        for edge in [0, 63, 64, RankSet::MOST - 1].map(Rank) {
            assert_eq!((RankSet::alone(edge).len(), RankSet::alone(edge).contains(edge)), (1, true));
        }
        assert_eq!(format!("{:?}", RankSet::from_iter([Rank(70), Rank(2)])), "{2, 70}");
    }
}
