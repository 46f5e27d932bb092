//! Secret keys, and how keys are derived from keys (docs/PROTOCOL.md, "Keys").

use std::fmt;

use hkdf::Hkdf;
use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing, zeroize_stack};

use super::labels;

/// 256 secret bits: an AES key, or what keys are derived from.
///
/// They stand in one place of the heap from the first bit on, and are wiped there. A key that moves leaves nothing
/// behind.
pub struct Key(Box<Zeroizing<[u8; 32]>>);

impl Key {
    /// A key of zeros, to be filled in place.
    fn empty() -> Self {
        Self(Box::new(Zeroizing::new([0; 32])))
    }

    /// A key drawn from the operating system.
    ///
    /// # Errors
    /// Where the operating system has no randomness to give.
    pub fn random() -> Result<Self, rand::rngs::SysError> {
        let mut key = Self::empty();
        rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut key.0[..])?;
        Ok(key)
    }

    /// The key with these `bytes`. The argument is wiped; copies that the caller holds are the caller's to wipe.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let key = Self::of(&bytes);
        bytes.zeroize();
        key
    }

    /// Makes a second key with the same bits, for another holder.
    pub fn twin(&self) -> Self {
        Self::of(self.bytes())
    }

    /// A key with the bytes behind this reference, copied straight to where the key stands.
    fn of(bytes: &[u8; 32]) -> Self {
        let mut key = Self::empty();
        key.0.copy_from_slice(bytes);
        key
    }

    /// Derives the key that `context` names: HKDF-SHA-256 (RFC 5869) with this key as its input keying material and the
    /// salt [`labels::KEYS`].
    pub fn derive(&self, context: &[u8]) -> Key {
        let mut key = Self::empty();
        self.expand(context, &mut key);
        // HKDF's last block is the derived key, and it stood on the stack.
        zeroize_stack::<4096>();
        key
    }

    /// Expands this key into `key`. It has a frame of its own, which the caller wipes behind it.
    #[inline(never)]
    fn expand(&self, context: &[u8], key: &mut Key) {
        // HKDF fails only where more than 255 * 32 bytes are asked for.
        let _ = Hkdf::<Sha256>::new(Some(labels::KEYS), &self.0[..]).expand(context, &mut key.0[..]);
    }

    /// The 32 bytes of the key, for those who compute with them.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Writes the 32 bytes without a length.
impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = serializer.serialize_tuple(32)?;
        self.0.iter().try_for_each(|byte| bytes.serialize_element(byte))?;
        bytes.end()
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Writes byte after byte to where the key will stand.
        struct InPlace;

        impl<'de> Visitor<'de> for InPlace {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the 32 bytes of a key")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<Key, A::Error> {
                let mut key = Key::empty();
                for (place, byte) in key.0.iter_mut().enumerate() {
                    *byte =
                        bytes.next_element()?.ok_or_else(|| serde::de::Error::invalid_length(place, &"32 bytes"))?;
                }
                Ok(key)
            }
        }

        deserializer.deserialize_tuple(32, InPlace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_its_bytes_and_read_again() {
        let key = Key::random().unwrap();
        let bytes = postcard::to_allocvec(&key).unwrap();
        assert_eq!(bytes, key.bytes());
        assert_eq!(postcard::from_bytes::<Key>(&bytes).unwrap().bytes(), key.bytes());
        assert!(postcard::from_bytes::<Key>(&bytes[..31]).is_err());
        assert_eq!(key.twin().bytes(), key.bytes());
    }

    #[test]
    fn four_thousand_draws_differ() {
        let drawn: std::collections::HashSet<[u8; 32]> = (0..4096).map(|_| *Key::random().unwrap().bytes()).collect();
        assert_eq!(drawn.len(), 4096);
    }

    #[test]
    fn derived_keys_differ_by_context_and_source() {
        let key = Key::from_bytes([1; 32]);
        let other = Key::from_bytes([2; 32]);
        assert_eq!(key.derive(b"a").0, key.derive(b"a").0);
        assert_ne!(key.derive(b"a").0, key.derive(b"b").0);
        assert_ne!(key.derive(b"a").0, other.derive(b"a").0);
    }

    /// RFC 5869 defines expand(extract(salt, key), context). The test computes that by hand over HMAC.
    #[test]
    fn derivation_is_hkdf() {
        use aws_lc_rs::hmac;
        let sign = |key: &[u8], message: &[u8]| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
        };
        let extracted = sign(b"mixnn/1", &[5; 32]);
        let expanded = sign(&extracted, b"context\x01");
        assert_eq!(Key::from_bytes([5; 32]).derive(b"context").0.to_vec(), expanded);
    }
}
