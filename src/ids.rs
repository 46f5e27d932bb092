//! The crate's indices, each with a type of its own, so that a slot is never taken for a rank.
//!
//! A leaf: imports nothing of the crate, and every module may use it.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! index {
    ($(#[$doc:meta])* $name:ident($int:ty), $word:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $int);

        impl $name {
            /// The number, to index with.
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
    /// A term: the slots under one set of keys, 0-based. It runs some batches of an epoch, and what follows if it is their end: what
    /// NIST SP 800-57 calls a cryptoperiod.
    Term(u32), "term"
);
index!(
    /// An epoch: a pass over the training data, 0-based.
    Epoch(u32), "epoch"
);
index!(
    /// A batch within its pass over the data, 0-based.
    Batch(u32), "batch"
);
index!(
    /// A micro-batch within its batch, 0-based.
    MicroBatch(u32), "micro-batch"
);

impl Rank {
    /// The owner: the paper's designer.
    pub const OWNER: Rank = Rank(0);

    /// All ranks of a job of `ranks`.
    pub fn all(ranks: u16) -> impl DoubleEndedIterator<Item = Rank> + ExactSizeIterator + Clone {
        (0..ranks).map(Rank)
    }
}

impl Phase {
    /// The phases of a slot of `hops` hops, in order.
    pub fn all(hops: u8) -> impl DoubleEndedIterator<Item = Phase> + ExactSizeIterator {
        (1..hops + 1).map(Phase)
    }
}
