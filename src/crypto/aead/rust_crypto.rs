//! AES-256-GCM of the crate `aes-gcm`: Rust alone.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Tag};

use super::{Aead, Nonce, TAG, Unauthentic};
use crate::crypto::key::Key;

/// A key of `aes-gcm`, which wipes it on drop (its feature `zeroize`).
pub struct RustCrypto(Aes256Gcm);

impl Aead for RustCrypto {
    fn new(key: &Key) -> Self {
        Self(Aes256Gcm::new(key.bytes().into()))
    }

    fn seal(&self, nonce: &Nonce, data: &[u8], plain: &[u8], sealed: &mut [u8]) {
        sealed[..plain.len()].copy_from_slice(plain);
        self.seal_in_place(nonce, data, &mut sealed[..plain.len() + TAG]);
    }

    fn seal_in_place(&self, nonce: &Nonce, data: &[u8], buffer: &mut [u8]) {
        let (text, tag) = buffer.split_at_mut(buffer.len() - TAG);
        match self.0.encrypt_inout_detached(nonce.into(), data, InOutBuf::from(text)) {
            Ok(found) => tag.copy_from_slice(&found),
            Err(_) => unreachable!("a cell is far shorter than the 64 GiB that AES-GCM takes"),
        }
    }

    fn open(&self, nonce: &Nonce, data: &[u8], sealed: &[u8], plain: &mut [u8]) -> Result<(), Unauthentic> {
        let (cipher, tag) = sealed.split_at(sealed.len() - TAG);
        let tag: &Tag = tag.try_into().map_err(|_| Unauthentic)?;
        plain.copy_from_slice(cipher);
        let text = InOutBuf::from(&mut *plain);
        self.0.decrypt_inout_detached(nonce.into(), data, text, tag).map_err(|_| {
            plain.fill(0);
            Unauthentic
        })
    }
}
