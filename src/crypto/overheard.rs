//! What HPKE draws, for tests that search memory for it afterwards.

use std::cell::RefCell;
use std::convert::Infallible;

use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rand::{Rng, TryCryptoRng, TryRng};

/// Is called with the bytes that are drawn, each time that some are.
pub type Ear = Box<dyn FnMut(&[u8])>;

thread_local! {
    static EAR: RefCell<Option<Ear>> = const { RefCell::new(None) };
}

/// From now on `ear` hears what this thread draws: 32 bytes for a key pair, 64 for an encapsulation.
pub fn listen(ear: Ear) {
    EAR.set(Some(ear));
}

/// The operating system's randomness, which the thread's ear hears.
pub(super) struct Overheard;

impl TryRng for Overheard {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(UnwrapErr(SysRng).next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(UnwrapErr(SysRng).next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        UnwrapErr(SysRng).fill_bytes(bytes);
        EAR.with_borrow_mut(|ear| ear.iter_mut().for_each(|ear| ear(bytes)));
        Ok(())
    }
}

impl TryCryptoRng for Overheard {}
