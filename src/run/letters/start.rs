//! The start: the values that a stage starts from, where the job names a file of them (docs/PROTOCOL.md, 4.9).
//!
//! They travel once, behind the first term's packages, in pieces. All ranks get as many; those without a stage get zeros.

use super::Binding;
use super::opening::Public;
use super::pieces::{End, Pieces};
use crate::crypto::aead::Library;
use crate::crypto::key::Key;
use crate::crypto::labels;
use crate::ids::Rank;

/// How initial values are cut in a run of these `public` numbers. All pieces of a rank together have room for the values of any stage.
/// There are none where values are drawn from the seed.
pub(in crate::run) fn pieces(public: &Public) -> Pieces {
    Pieces::cut(if public.given { public.result } else { 0 })
}

/// An end for the rank of `binding`. `psk` is the key `result` of its package, from which the pieces' key is derived. `library` seals
/// and opens.
pub(in crate::run) fn end(public: &Public, library: Library, psk: &Key, binding: &Binding<'_>) -> End {
    let key = psk.derive(&binding.sealed(labels::START));
    End::new(pieces(public), &key, library, "the initial values", Rank::OWNER)
}
