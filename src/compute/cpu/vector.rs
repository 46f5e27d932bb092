//! Loops compiled for the vector instructions that the processor has.

use pulp::{Arch, NullaryFnOnce};

/// A closure that pulp's dispatch calls. It calls the closure by reference: by value, the call would be a function of its own,
/// which the compiler leaves without vector instructions if the loop in it is long.
struct Inlined<F>(F);

impl<F: FnMut()> NullaryFnOnce for Inlined<F> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        (self.0)();
    }
}

/// Runs `work` compiled for the vector instructions of `simd`. `work` must be a closure that is marked `#[inline(always)]`.
#[inline(always)]
pub(super) fn vectorised(simd: Arch, work: impl FnMut()) {
    simd.dispatch(Inlined(work));
}
