//! The crate's indices, each with a type of its own, so that a slot is never taken for a rank.
//!
//! This is a leaf: it imports nothing of the crate, and every module may use it.

use std::fmt;

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
}

impl Phase {
    /// All phases of a slot, in order: from 1 to `hops`.
    pub fn all(hops: u8) -> impl DoubleEndedIterator<Item = Phase> + ExactSizeIterator {
        (1..hops + 1).map(Phase)
    }
}
