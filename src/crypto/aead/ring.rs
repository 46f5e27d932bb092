//! AES-256-GCM of the crate `ring`, the fastest on processors that have vector AES but no AVX-512. It works in place
//! only.

use std::cell::RefCell;
use std::mem::{MaybeUninit, needs_drop};
use std::slice::from_mut;

use ::ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce as RingNonce, UnboundKey};
use zeroize::Zeroize;

use super::{Aead, Nonce, TAG, Unauthentic};
use crate::crypto::key::Key;

/// An expanded key of `ring`. The crate leaves the memory of a key as it is, so `drop` wipes it.
pub(super) struct Ring(MaybeUninit<LessSafeKey>);

// A key owns nothing besides its own memory. So nothing is lost when that is zeroed and never dropped.
const _: () = assert!(!needs_drop::<LessSafeKey>());

thread_local! {
    /// Room for one cell on its way from a message to a block. Others may see the block at any time, and must not see a
    /// plaintext there.
    static CELL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Ring {
    /// Expands `key` into the form that the library works with.
    pub(super) fn new(key: &Key) -> Self {
        match UnboundKey::new(&AES_256_GCM, key.bytes()) {
            Ok(key) => Self(MaybeUninit::new(LessSafeKey::new(key))),
            Err(_) => unreachable!("a Key has the 32 bytes of an AES-256 key"),
        }
    }

    /// Opens `text`, whose tag is `tag`, in place.
    fn open_text(&self, nonce: &Nonce, data: &[u8], text: &mut [u8], tag: &[u8]) -> Result<(), Unauthentic> {
        let nonce = RingNonce::assume_unique_for_key(*nonce);
        let opened = tag.try_into().and_then(|tag| {
            self.key().open_in_place_separate_tag(nonce, Aad::from(data), tag, text, 0..).map(|_| ())
        });
        opened.map_err(|_| {
            text.fill(0);
            Unauthentic
        })
    }

    /// The expanded key, where it stands.
    #[expect(unsafe_code, reason = "the key stands in memory that may be zeroed")]
    fn key(&self) -> &LessSafeKey {
        // SAFETY: `new` fills the memory, and no one else writes to it before `drop` zeroes it. `drop` has the only
        // reference, so nobody reads it from then on.
        unsafe { self.0.assume_init_ref() }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The memory is zeroed as a slice, so that no byte is left out, padding included.
        from_mut(&mut self.0).zeroize();
    }
}

impl Aead for Ring {
    fn seal(&self, nonce: &Nonce, data: &[u8], plain: &[u8], sealed: &mut [u8]) {
        assert_eq!(sealed.len(), plain.len() + TAG, "what is sealed is as long as its plaintext and a tag");
        CELL.with_borrow_mut(|cell| {
            if cell.len() < sealed.len() {
                cell.resize(sealed.len(), 0);
            }
            let cell = &mut cell[..sealed.len()];
            cell[..plain.len()].copy_from_slice(plain);
            self.seal_in_place(nonce, data, cell);
            sealed.copy_from_slice(cell);
        });
    }

    fn seal_in_place(&self, nonce: &Nonce, data: &[u8], buffer: &mut [u8]) {
        let (text, tag) = buffer.split_at_mut(buffer.len() - TAG);
        let nonce = RingNonce::assume_unique_for_key(*nonce);
        match self.key().seal_in_place_separate_tag(nonce, Aad::from(data), text) {
            Ok(found) => tag.copy_from_slice(found.as_ref()),
            Err(_) => unreachable!("a cell is far shorter than the 64 GiB that AES-GCM takes"),
        }
    }

    fn open(&self, nonce: &Nonce, data: &[u8], sealed: &[u8], plain: &mut [u8]) -> Result<(), Unauthentic> {
        let (cipher, tag) = sealed.split_at(sealed.len() - TAG);
        plain.copy_from_slice(cipher);
        self.open_text(nonce, data, plain, tag)
    }

    fn open_in_place(&self, nonce: &Nonce, data: &[u8], buffer: &mut [u8]) -> Result<(), Unauthentic> {
        let (text, tag) = buffer.split_at_mut(buffer.len() - TAG);
        self.open_text(nonce, data, text, tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in the memory of a key.
    #[expect(unsafe_code, reason = "the memory is read behind its owner's back")]
    fn bytes(place: *const Ring) -> Vec<u8> {
        // SAFETY: the memory is that of one `Ring`, which the test's `place` keeps allocated, and nobody writes to it meanwhile.
        (0..size_of::<Ring>()).map(|at| unsafe { place.cast::<u8>().add(at).read_volatile() }).collect()
    }

    #[test]
    #[expect(unsafe_code, reason = "the key is dropped where it stands, so that its memory can be looked at")]
    fn a_dropped_key_leaves_zeros() {
        let mut place = Box::new(MaybeUninit::uninit());
        let ring = &raw const *place.write(Ring::new(&Key::from_bytes([7; 32])));
        assert!(bytes(ring).iter().any(|byte| *byte != 0), "the control: an expanded key is not all zeros");
        // SAFETY: the key was written, and is not touched again.
        unsafe { place.assume_init_drop() };
        assert!(bytes(ring).iter().all(|byte| *byte == 0));
    }
}
