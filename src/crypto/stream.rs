//! A keystream: AES-256 in counter mode (NIST SP 800-38A, 6.5). It hides what it lies over from all who do not have its key, and
//! authenticates nothing.
//!
//! Two implementations give the same bytes, as those of [`aead`](super::aead) do.

use aes::Aes256Enc;
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use ctr::cipher::{InnerIvInit, KeyInit, StreamCipher};
use ctr::{Ctr32BE, CtrCore};
use zeroize::zeroize_stack;

use super::aead::{Library, Nonce};
use super::key::Key;

/// The streams of one key. Dropping it wipes the key's schedule.
pub(crate) enum Stream {
    /// Computed by AWS-LC.
    AwsLc(Box<EncryptingKey>),
    /// Computed by the crates `aes` and `ctr`.
    Rust(Box<Aes256Enc>),
}

impl Stream {
    /// Expands `key`, for whom `library` seals.
    pub(crate) fn new(library: Library, key: &Key) -> Self {
        let stream = Self::expanded(library, key);
        // The schedule has moved from the stack to where it stays.
        zeroize_stack::<4096>();
        stream
    }

    #[inline(never)]
    fn expanded(library: Library, key: &Key) -> Self {
        match library {
            // `ring` offers no counter mode without a tag.
            Library::AwsLc | Library::Ring => {
                match UnboundCipherKey::new(&AES_256, key.bytes()).and_then(EncryptingKey::ctr) {
                    Ok(key) => Self::AwsLc(Box::new(key)),
                    Err(_) => unreachable!("a Key has the 32 bytes of an AES-256 key"),
                }
            }
            Library::Rust => Self::Rust(Box::new(Aes256Enc::new(key.bytes().into()))),
        }
    }

    /// Adds the stream of `nonce` to `bytes`: once lays it over them, twice takes it off again.
    pub(crate) fn add(&self, nonce: &Nonce, bytes: &mut [u8]) {
        let first = first_block(nonce);
        match self {
            Self::AwsLc(key) => {
                let added = key.less_safe_encrypt(bytes, EncryptionContext::Iv128(FixedLength::from(first)));
                assert!(added.is_ok(), "counter mode takes any bytes and an initial block of 16");
            }
            Self::Rust(key) => {
                Ctr32BE::from_core(CtrCore::inner_iv_init(&**key, &first.into())).apply_keystream(bytes);
            }
        }
    }
}

/// The first block of the stream of `nonce`: the nonce, then a counter of 32 bits, highest byte first, from 0 on.
fn first_block(nonce: &Nonce) -> [u8; 16] {
    let mut block = [0; 16];
    block[..12].copy_from_slice(nonce);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AES-256 of the blocks that the counter gives, one after the other, as SP 800-38A says: the blocks by another call of
    /// AWS-LC's than the stream's.
    fn by_blocks(key: &Key, nonce: &Nonce, length: usize) -> Vec<u8> {
        let cipher = EncryptingKey::ecb(UnboundCipherKey::new(&AES_256, key.bytes()).unwrap()).unwrap();
        let block = |counter: u32| {
            let mut block = [nonce.as_slice(), &counter.to_be_bytes()].concat();
            cipher.encrypt(&mut block).unwrap();
            block
        };
        (0..length.div_ceil(16) as u32).flat_map(block).take(length).collect()
    }

    #[test]
    fn all_give_the_bytes_of_counter_mode() {
        for length in [0, 1, 15, 16, 17, 64, 1000, 5824, 65_520] {
            let (key, nonce) = (Key::from_bytes([length as u8; 32]), [9; 12]);
            let expected = by_blocks(&key, &nonce, length);
            for library in Library::ALL {
                let mut found = vec![0; length];
                Stream::new(library, &key).add(&nonce, &mut found);
                assert!(found == expected, "{library:?}, {length} bytes");
            }
        }
    }

    #[test]
    fn twice_is_nothing_and_other_nonces_are_other_streams() {
        let stream = Stream::new(Library::AwsLc, &Key::from_bytes([3; 32]));
        let (mut once, mut other) = ([7; 48], [7; 48]);
        stream.add(&[1; 12], &mut once);
        stream.add(&[2; 12], &mut other);
        assert!(once != [7; 48] && once != other);
        stream.add(&[1; 12], &mut once);
        assert_eq!(once, [7; 48]);
    }
}
