//! HPKE (RFC 9180) with X-Wing (X25519 and ML-KEM-768), HKDF-SHA-256 and AES-256-GCM: a message for the holder of one
//! key pair, safe from a later quantum computer.
//!
//! Packages are sealed in mode Base; results in mode PSK, under a key from the sender's package, so that nobody else
//! can have sent them.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable};

use super::Unauthentic;
use super::key::Key;

/// Bytes of a public key.
pub const PUBLIC_KEY: usize = 1216;
/// Bytes that sealing adds: the encapsulated key and the tag.
pub const OVERHEAD: usize = 1120 + 16;

/// A key pair, for one use; dropping it wipes the private half.
pub struct KeyPair {
    private: <XWing as Kem>::PrivateKey,
    public: Vec<u8>,
}

impl KeyPair {
    /// A fresh pair, from the operating system's randomness.
    pub fn generate() -> Self {
        let (private, public) = XWing::gen_keypair();
        Self { private, public: public.to_bytes().to_vec() }
    }

    /// The public half, [`PUBLIC_KEY`] bytes.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Opens what was sealed to this pair for `info`, and under `psk` if there is one.
    ///
    /// # Errors
    /// [`Unauthentic`].
    pub fn open(&self, info: &[u8], psk: Option<&Key>, sealed: &[u8]) -> Result<Vec<u8>, Unauthentic> {
        let (encapsulated, text) = sealed.split_at_checked(OVERHEAD - 16).ok_or(Unauthentic)?;
        let encapsulated = <XWing as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| Unauthentic)?;
        let mode = match psk {
            None => OpModeR::Base,
            Some(key) => OpModeR::Psk(PskBundle::new(key.bytes(), PSK_ID).map_err(|_| Unauthentic)?),
        };
        hpke::single_shot_open::<AesGcm256, HkdfSha256, XWing>(&mode, &self.private, &encapsulated, info, text, &[])
            .map_err(|_| Unauthentic)
    }
}

const PSK_ID: &[u8] = b"mixnn/1 package";

/// Seals `plain` to `public` for `info`, and under `psk` if there is one: [`OVERHEAD`] bytes more.
///
/// # Errors
/// [`Unauthentic`] where `public` is no public key.
pub fn seal(public: &[u8], info: &[u8], psk: Option<&Key>, plain: &[u8]) -> Result<Vec<u8>, Unauthentic> {
    let public = <XWing as Kem>::PublicKey::from_bytes(public).map_err(|_| Unauthentic)?;
    let mode = match psk {
        None => OpModeS::Base,
        Some(key) => OpModeS::Psk(PskBundle::new(key.bytes(), PSK_ID).map_err(|_| Unauthentic)?),
    };
    let (encapsulated, text) =
        hpke::single_shot_seal::<AesGcm256, HkdfSha256, XWing>(&mode, &public, info, plain, &[])
            .map_err(|_| Unauthentic)?;
    let mut sealed = encapsulated.to_bytes().to_vec();
    sealed.extend_from_slice(&text);
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_holder_opens_and_only_for_its_info() {
        let (pair, other) = (KeyPair::generate(), KeyPair::generate());
        let sealed = seal(pair.public(), b"info", None, b"package").unwrap();
        assert_eq!(pair.public().len(), PUBLIC_KEY);
        assert_eq!(sealed.len(), 7 + OVERHEAD);
        assert_eq!(pair.open(b"info", None, &sealed).as_deref(), Ok(b"package".as_slice()));
        assert_eq!(pair.open(b"inf0", None, &sealed), Err(Unauthentic));
        assert_eq!(other.open(b"info", None, &sealed), Err(Unauthentic));
        assert_eq!(pair.open(b"info", Some(&Key::from_bytes([0; 32])), &sealed), Err(Unauthentic));
    }

    #[test]
    fn a_result_needs_the_key_of_its_package() {
        let owner = KeyPair::generate();
        let (key, other) = (Key::from_bytes([1; 32]), Key::from_bytes([2; 32]));
        let sealed = seal(owner.public(), b"result", Some(&key), b"state").unwrap();
        assert_eq!(owner.open(b"result", Some(&key), &sealed).as_deref(), Ok(b"state".as_slice()));
        assert_eq!(owner.open(b"result", Some(&other), &sealed), Err(Unauthentic));
        assert_eq!(owner.open(b"result", None, &sealed), Err(Unauthentic));
    }

    #[test]
    fn altered_or_cut_bytes_are_refused() {
        let pair = KeyPair::generate();
        let sealed = seal(pair.public(), b"info", None, b"package").unwrap();
        for place in [0, 500, 1100, 1119, 1120, 1126, sealed.len() - 1] {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert_eq!(pair.open(b"info", None, &altered), Err(Unauthentic), "byte {place}");
        }
        for length in [0, 10, 1119, 1120, sealed.len() - 1] {
            assert_eq!(pair.open(b"info", None, &sealed[..length]), Err(Unauthentic), "{length} bytes");
        }
        assert_eq!(seal(&[0; 5], b"info", None, b"package"), Err(Unauthentic));
    }
}
