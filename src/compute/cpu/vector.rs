//! Loops compiled for the vector instructions that the processor has.

use pulp::{Arch, NullaryFnOnce};

/// Called by reference: what calls a closure by value is a function of its own, which the compiler leaves without vector
/// instructions where the loop in it is long.
struct Inlined<F>(F);

impl<F: FnMut()> NullaryFnOnce for Inlined<F> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        (self.0)();
    }
}

/// Runs `work`, a closure marked `#[inline(always)]`.
#[inline(always)]
pub(super) fn vectorised(simd: Arch, work: impl FnMut()) {
    simd.dispatch(Inlined(work));
}
