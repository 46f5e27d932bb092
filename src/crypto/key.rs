//! Keys and where they come from (docs/PROTOCOL.md, "Keys").

use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 256 secret bits: an AES key, or what keys are derived from.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; 32]);

impl Key {
    /// A key drawn from the operating system.
    ///
    /// # Errors
    /// Where the operating system has no randomness to give.
    pub fn random() -> Result<Self, rand::rngs::SysError> {
        let mut key = Self([0; 32]);
        rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut key.0)?;
        Ok(key)
    }

    /// A given key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key that `context` names, by HKDF-SHA-256 (RFC 5869) with this one as its input keying material.
    pub fn derive(&self, context: &[u8]) -> Key {
        let mut key = Key([0; 32]);
        // HKDF fails only beyond 255 * 32 bytes.
        let _ = Hkdf::<Sha256>::new(Some(b"mixnn/1"), &self.0).expand(context, &mut key.0);
        key
    }

    /// The bytes, for those who compute with them.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_keys_differ_by_context_and_source() {
        let key = Key::from_bytes([1; 32]);
        let other = Key::from_bytes([2; 32]);
        assert_eq!(key.derive(b"a").0, key.derive(b"a").0);
        assert_ne!(key.derive(b"a").0, key.derive(b"b").0);
        assert_ne!(key.derive(b"a").0, other.derive(b"a").0);
    }

    /// RFC 5869 says what expand(extract(salt, key), context) is; the same by hand over HMAC.
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

    #[test]
    fn random_keys_differ() {
        assert_ne!(Key::random().unwrap().0, Key::random().unwrap().0);
    }
}
