//! AES-256-GCM of AWS-LC, the fastest on processors with AVX-512. It seals from one buffer to another in one pass.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce as AwsNonce, UnboundKey};

use super::{Aead, Nonce, TAG, Unauthentic};
use crate::crypto::key::Key;

/// An expanded key of AWS-LC. The library wipes its memory when it is freed.
pub(super) struct AwsLc(LessSafeKey);

impl AwsLc {
    /// Expands `key` into the form that the library works with.
    pub(super) fn new(key: &Key) -> Self {
        match UnboundKey::new(&AES_256_GCM, key.bytes()) {
            Ok(key) => Self(LessSafeKey::new(key)),
            Err(_) => unreachable!("a Key has the 32 bytes of an AES-256 key"),
        }
    }
}

impl Aead for AwsLc {
    fn seal(&self, nonce: &Nonce, data: &[u8], plain: &[u8], sealed: &mut [u8]) {
        let (cipher, tag) = sealed.split_at_mut(plain.len());
        let nonce = AwsNonce::assume_unique_for_key(*nonce);
        let done = self.0.seal_out_of_place_scatter(nonce, Aad::from(data), plain, cipher, &[], tag);
        assert!(done.is_ok(), "{} bytes do not take the {} of a plaintext and its tag", sealed.len(), plain.len());
    }

    fn seal_in_place(&self, nonce: &Nonce, data: &[u8], buffer: &mut [u8]) {
        let (text, tag) = buffer.split_at_mut(buffer.len() - TAG);
        let nonce = AwsNonce::assume_unique_for_key(*nonce);
        match self.0.seal_in_place_separate_tag(nonce, Aad::from(data), text) {
            Ok(found) => tag.copy_from_slice(found.as_ref()),
            Err(_) => unreachable!("a cell is far shorter than the 64 GiB that AES-GCM takes"),
        }
    }

    fn open(&self, nonce: &Nonce, data: &[u8], sealed: &[u8], plain: &mut [u8]) -> Result<(), Unauthentic> {
        let (cipher, tag) = sealed.split_at(sealed.len() - TAG);
        assert_eq!(cipher.len(), plain.len(), "a plaintext is as long as its ciphertext");
        let nonce = AwsNonce::assume_unique_for_key(*nonce);
        self.0.open_separate_gather(nonce, Aad::from(data), cipher, tag, plain).map_err(|_| {
            plain.fill(0);
            Unauthentic
        })
    }

    fn open_in_place(&self, nonce: &Nonce, data: &[u8], buffer: &mut [u8]) -> Result<(), Unauthentic> {
        let nonce = AwsNonce::assume_unique_for_key(*nonce);
        self.0.open_in_place(nonce, Aad::from(data), buffer).map(|_| ()).map_err(|_| {
            buffer.fill(0);
            Unauthentic
        })
    }
}
