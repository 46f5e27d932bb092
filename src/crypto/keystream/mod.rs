//! The keystream of AES-256-GCM under one key, without its tag: AES-256 in counter mode (NIST SP 800-38A, 6.5), with the counters
//! that SP 800-38D gives to a plaintext. It lies over what ranks send each other over a link (docs/PROTOCOL.md, 6.11).
//!
//! Nothing is authenticated here, so it costs about half of a layer. Each layer below has a tag of its own.

#[cfg(target_arch = "x86_64")]
mod vaes;

use aes::Aes256;
use ctr::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use ctr::{CtrCore, flavors};
use zeroize::zeroize_stack;

use super::aead::Nonce;
use super::key::Key;

/// The counter of a plaintext's first block. The one before it belongs to the tag.
const FIRST: u32 = 2;

/// An expanded key of keystreams. Dropping it wipes it.
pub struct Keystream(Schedule);

/// The round keys, by whoever works with them.
enum Schedule {
    /// Vector instructions for AES, on two blocks at a time.
    #[cfg(target_arch = "x86_64")]
    Vector(Box<vaes::RoundKeys>),
    /// The crate `aes`, by whatever this processor has.
    Any(Box<Aes256>),
}

impl Keystream {
    /// Expands `key` into the round keys that texts are covered with.
    pub fn new(key: &Key) -> Self {
        let expanded = Self::expanded(key);
        // The key schedule has moved from the stack to the heap, where it stays. Its copy on the stack is wiped.
        zeroize_stack::<8192>();
        expanded
    }

    /// Expands `key` in a frame of its own, which the caller wipes behind it.
    #[inline(never)]
    fn expanded(key: &Key) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(keys) = vaes::RoundKeys::new(key) {
            return Self(Schedule::Vector(Box::new(keys)));
        }
        Self::any(key)
    }

    /// Expands `key` for the crate `aes`.
    fn any(key: &Key) -> Self {
        Self(Schedule::Any(Box::new(Aes256::new(key.bytes().into()))))
    }

    /// Adds the keystream of `nonce` to `from` and writes that to `to`: the ciphertext that AES-256-GCM makes of `from`. Done once
    /// it lays the stream over bytes; done twice it takes it off again. It authenticates nothing. No nonce may be used for two
    /// texts.
    ///
    /// # Panics
    /// Where `to` is not as long as `from`.
    pub fn add(&self, nonce: &Nonce, from: &[u8], to: &mut [u8]) {
        assert_eq!(to.len(), from.len(), "a keystream makes nothing longer or shorter");
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Schedule::Vector(keys) => keys.add(nonce, from, to),
            Schedule::Any(cipher) => {
                let mut block = [0; 16];
                block[..12].copy_from_slice(nonce);
                block[12..].copy_from_slice(&FIRST.to_be_bytes());
                let core = CtrCore::<_, flavors::Ctr32BE>::inner_iv_init(&**cipher, &block.into());
                StreamCipherCoreWrapper::from_core(core).apply_keystream_b2b(from, to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::aead::{Library, TAG};

    /// The lengths lie around those of a block and of what vector code takes at once, and are those of cells.
    const LENGTHS: [usize; 15] = [0, 1, 15, 16, 17, 31, 32, 33, 191, 192, 193, 255, 400, 5824, 65_536];

    #[test]
    fn a_stream_is_what_every_library_seals_without_its_tag() {
        for len in LENGTHS {
            let (key, nonce) = (Key::from_bytes([len as u8; 32]), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 255, 254]);
            let plain: Vec<u8> = (0..len).map(|i| (i * 31) as u8).collect();
            for library in Library::ALL {
                let mut sealed = vec![0; len + TAG];
                library.key(&key).seal(&nonce, b"bound", &plain, &mut sealed);
                for stream in [Keystream::new(&key), Keystream::any(&key)] {
                    let (mut covered, mut bare) = (vec![0; len], vec![0; len]);
                    stream.add(&nonce, &plain, &mut covered);
                    assert_eq!(covered, sealed[..len], "{library:?}, {len} bytes");
                    stream.add(&nonce, &covered, &mut bare);
                    assert_eq!(bare, plain, "{len} bytes");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "longer or shorter")]
    fn lengths_must_agree() {
        Keystream::new(&Key::from_bytes([0; 32])).add(&[0; 12], &[0; 16], &mut [0; 15]);
    }
}
