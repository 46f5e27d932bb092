//! AES-256-GCM of the crate `aes-gcm`, which is Rust alone.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Tag};

use super::{Aead, Nonce, TAG, Unauthentic};
use crate::crypto::key::Key;

/// An expanded key of `aes-gcm`. The crate wipes it on drop (its feature `zeroize`).
pub(super) struct RustCrypto(Aes256Gcm);

impl RustCrypto {
    /// Expands `key` into the form that the library works with.
    pub(super) fn new(key: &Key) -> Self {
        Self(Aes256Gcm::new(key.bytes().into()))
    }

    /// Seals `text`, in place or from one buffer to another, and writes the tag to `tag`.
    fn seal_text(&self, nonce: &Nonce, data: &[u8], text: InOutBuf<'_, '_, u8>, tag: &mut [u8]) {
        match self.0.encrypt_inout_detached(nonce.into(), data, text) {
            Ok(found) => tag.copy_from_slice(&found),
            Err(_) => unreachable!("a cell is far shorter than the 64 GiB that AES-GCM takes"),
        }
    }

    /// Opens `text`, whose tag is `tag`, in place.
    fn open_text(&self, nonce: &Nonce, data: &[u8], text: &mut [u8], tag: &[u8]) -> Result<(), Unauthentic> {
        let tag: &Tag = tag.try_into().map_err(|_| Unauthentic)?;
        self.0.decrypt_inout_detached(nonce.into(), data, InOutBuf::from(&mut *text), tag).map_err(|_| {
            text.fill(0);
            Unauthentic
        })
    }
}

impl Aead for RustCrypto {
    fn seal(&self, nonce: &Nonce, data: &[u8], plain: &[u8], sealed: &mut [u8]) {
        let (cipher, tag) = sealed.split_at_mut(plain.len());
        match InOutBuf::new(plain, cipher) {
            Ok(text) => self.seal_text(nonce, data, text, tag),
            Err(_) => unreachable!("both were cut to the length of the plaintext"),
        }
    }

    fn seal_in_place(&self, nonce: &Nonce, data: &[u8], buffer: &mut [u8]) {
        let (text, tag) = buffer.split_at_mut(buffer.len() - TAG);
        self.seal_text(nonce, data, InOutBuf::from(text), tag);
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
