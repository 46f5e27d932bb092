//! The start: what a stage starts from, where that is not drawn from its seed: values that the job names a file of, or the state of
//! a checkpoint (docs/PROTOCOL.md, 4.9).
//!
//! It travels once, behind the first term's packages, in pieces. All ranks get as many; those without a stage get zeros.

use super::Binding;
use super::opening::Public;
use super::pieces::{End, Pieces};
use crate::crypto::aead::Library;
use crate::crypto::key::Key;
use crate::crypto::labels;
use crate::ids::Rank;

/// How what stages start from is cut in a run of these `public` numbers. All pieces of a rank together have room for what any stage
/// starts from. There are none where all is drawn from seeds.
pub(in crate::run) fn pieces(public: &Public) -> Pieces {
    public.pieces(public.given)
}

/// An end for the rank of `binding`. `psk` is the key `result` of its package, from which the pieces' key is derived. `library` seals
/// and opens.
pub(in crate::run) fn end(public: &Public, library: Library, psk: &Key, binding: &Binding<'_>) -> End {
    let key = psk.derive(&binding.sealed(labels::START));
    End::new(pieces(public), &key, library, "what a stage starts from", Rank::OWNER)
}
