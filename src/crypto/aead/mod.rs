//! AES-256-GCM (NIST SP 800-38D) under one key, with nonces of 96 bits and tags of 128 bits.
//!
//! Three libraries give the same bytes. Which of them is the fastest depends on the processor, so that a run tries them
//! ([`Library::fastest`]).

mod aws_lc;
mod ring;
mod rust_crypto;
mod timing;

use serde::{Deserialize, Serialize};
pub(crate) use timing::timed;
use zeroize::zeroize_stack;

use self::aws_lc::AwsLc;
use self::ring::Ring;
use self::rust_crypto::RustCrypto;
use super::Unauthentic;
use super::key::Key;

/// How many bytes a tag has.
pub const TAG: usize = 16;

/// A nonce. No nonce may be used twice with one key.
pub type Nonce = [u8; 12];

/// AES-256-GCM under one key. Dropping it wipes the key and its schedule.
pub trait Aead: Send {
    /// Writes the ciphertext of `plain` and its tag to `sealed`. The plaintext itself stands there at no time.
    ///
    /// # Panics
    /// Where `sealed` is not [`TAG`] bytes longer than `plain`.
    fn seal(&self, nonce: &Nonce, data: &[u8], plain: &[u8], sealed: &mut [u8]);

    /// Seals all of `buffer` except its last [`TAG`] bytes, which become the tag.
    ///
    /// # Panics
    /// Where `buffer` is shorter than a tag.
    fn seal_in_place(&self, nonce: &Nonce, data: &[u8], buffer: &mut [u8]);

    /// Writes to `plain` what was sealed. On an error `plain` holds nothing of it.
    ///
    /// # Errors
    /// [`Unauthentic`] where these bytes were not sealed with this key, nonce and associated data.
    ///
    /// # Panics
    /// Where `sealed` is not [`TAG`] bytes longer than `plain`.
    fn open(&self, nonce: &Nonce, data: &[u8], sealed: &[u8], plain: &mut [u8]) -> Result<(), Unauthentic>;

    /// Opens what was sealed in `buffer`, and leaves it there, in all bytes but the last [`TAG`]. On an error `buffer` holds nothing
    /// of it.
    ///
    /// # Errors
    /// [`Unauthentic`] where these bytes were not sealed with this key, nonce and associated data.
    ///
    /// # Panics
    /// Where `buffer` is shorter than a tag.
    fn open_in_place(&self, nonce: &Nonce, data: &[u8], buffer: &mut [u8]) -> Result<(), Unauthentic>;
}

/// The library whose AES-256-GCM is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Library {
    /// AWS-LC, by the crate `aws-lc-rs`.
    #[serde(rename = "aws-lc")]
    AwsLc,
    /// BoringSSL's code, by the crate `ring`.
    #[serde(rename = "ring")]
    Ring,
    /// The crate `aes-gcm`, which is Rust alone.
    #[serde(rename = "rust")]
    Rust,
}

impl Library {
    /// All libraries, in the order of their numbers in announcements.
    pub const ALL: [Self; 3] = [Self::AwsLc, Self::Ring, Self::Rust];

    /// The word for this library in a job (`compute.aead`).
    pub fn name(self) -> &'static str {
        match self {
            Self::AwsLc => "aws-lc",
            Self::Ring => "ring",
            Self::Rust => "rust",
        }
    }

    /// The library that seals and opens cells of `length` bytes fastest on this processor. Finding out takes some
    /// milliseconds.
    pub fn fastest(length: usize) -> Self {
        timing::fastest(length)
    }

    /// Expands `key` for use with this library.
    pub fn key(self, key: &Key) -> Box<dyn Aead> {
        let expanded = self.expanded(key);
        // The key schedule has moved from the stack to the heap, where it stays. Its copy on the stack is wiped.
        zeroize_stack::<8192>();
        expanded
    }

    /// Expands `key` in a frame of its own, which the caller wipes behind it.
    #[inline(never)]
    fn expanded(self, key: &Key) -> Box<dyn Aead> {
        match self {
            Self::AwsLc => Box::new(AwsLc::new(key)),
            Self::Ring => Box::new(Ring::new(key)),
            Self::Rust => Box::new(RustCrypto::new(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each entry: key, nonce, associated data, plaintext, ciphertext and tag. From McGrew and Viega, "The
    /// Galois/Counter Mode of Operation", test cases 13 to 16: those with 256-bit keys and 96-bit nonces to which SP
    /// 800-38D refers.
    const VECTORS: [[&str; 5]; 4] = [
        [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "000000000000000000000000",
            "",
            "",
            "530f8afbc74536b9a963b4f1c4cb738b",
        ],
        [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "000000000000000000000000",
            "",
            "00000000000000000000000000000000",
            "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
        ],
        [
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            "",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015adb094dac5d93471bdec1a502270e3cc6c",
        ],
        [
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
        ],
    ];

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    fn published(library: Library) {
        for [key, nonce, data, plain, sealed] in VECTORS {
            let aead = library.key(&Key::from_bytes(hex(key).try_into().unwrap()));
            let nonce: Nonce = hex(nonce).try_into().unwrap();
            let (data, plain, expected) = (hex(data), hex(plain), hex(sealed));
            let mut found = vec![0; expected.len()];
            aead.seal(&nonce, &data, &plain, &mut found);
            assert_eq!(found, expected);
            let mut in_place = plain.clone();
            in_place.resize(expected.len(), 0);
            aead.seal_in_place(&nonce, &data, &mut in_place);
            assert_eq!(in_place, expected);
            let mut opened = vec![0; plain.len()];
            assert_eq!(aead.open(&nonce, &data, &expected, &mut opened), Ok(()));
            assert_eq!(opened, plain);
            assert_eq!(aead.open_in_place(&nonce, &data, &mut in_place), Ok(()));
            assert_eq!(in_place[..plain.len()], plain);
        }
    }

    fn refuses_every_flipped_bit(library: Library) {
        let aead = library.key(&Key::from_bytes([7; 32]));
        let plain: Vec<u8> = (0..48).collect();
        let mut sealed = vec![0; 64];
        aead.seal(&[1; 12], b"data", &plain, &mut sealed);
        let mut out = vec![0xaa; 48];
        for bit in 0..sealed.len() * 8 {
            sealed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(aead.open(&[1; 12], b"data", &sealed, &mut out), Err(Unauthentic));
            let mut in_place = sealed.clone();
            assert_eq!(aead.open_in_place(&[1; 12], b"data", &mut in_place), Err(Unauthentic));
            for left in [&out, &in_place] {
                assert!(
                    left.windows(8).all(|w| !plain.windows(8).any(|p| p == w)),
                    "plaintext shows after a failure"
                );
            }
            sealed[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(aead.open(&[2; 12], b"data", &sealed, &mut out), Err(Unauthentic));
        assert_eq!(aead.open(&[1; 12], b"dat", &sealed, &mut out), Err(Unauthentic));
        assert_eq!(aead.open(&[1; 12], b"data", &sealed, &mut out), Ok(()));
    }

    #[test]
    fn aws_lc_gives_the_published_bytes() {
        published(Library::AwsLc);
        refuses_every_flipped_bit(Library::AwsLc);
    }

    #[test]
    fn ring_gives_the_published_bytes() {
        published(Library::Ring);
        refuses_every_flipped_bit(Library::Ring);
    }

    #[test]
    fn rust_gives_the_published_bytes() {
        published(Library::Rust);
        refuses_every_flipped_bit(Library::Rust);
    }

    /// The lengths lie around those of a block, of what vector code takes at once, and of cells. In between, `ring`'s
    /// room for a cell shrinks.
    #[test]
    fn all_give_the_same_bytes() {
        for len in [0, 1, 15, 16, 17, 64, 1000, 65_488, 5808, 95, 96, 97, 255, 256, 257] {
            let key = Key::from_bytes([len as u8; 32]);
            let plain: Vec<u8> = (0..len).map(|i| (i * 31) as u8).collect();
            let sealed = Library::ALL.map(|library| {
                let mut sealed = vec![0; len + TAG];
                library.key(&key).seal(&[9; 12], b"bound", &plain, &mut sealed);
                sealed
            });
            assert!(sealed.iter().all(|found| *found == sealed[0]), "{len} bytes");
            for library in Library::ALL {
                let mut opened = vec![0; len];
                library.key(&key).open(&[9; 12], b"bound", &sealed[0], &mut opened).unwrap();
                assert_eq!(opened, plain, "{library:?}, {len} bytes");
            }
        }
    }

    #[test]
    fn their_names_are_those_of_results() {
        for library in Library::ALL {
            assert_eq!(serde_json::to_value(library).unwrap(), library.name());
        }
    }
}
