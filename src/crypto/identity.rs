//! Identities: long-term Ed25519 keys (RFC 8032) that sign what is said at the start of a term.
//!
//! This module does not know whose an identity is, or what is signed. Verification is strict: points of low order and
//! signatures that are not canonical are refused, so that a signature fits one key and one text alone.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use thiserror::Error;
use zeroize::Zeroizing;

use super::Unauthentic;
use super::key::Key;

/// How many bytes a public identity has, and its secret half as well.
pub const IDENTITY: usize = 32;
/// How many bytes a signature has.
pub const SIGNATURE: usize = 64;

/// Why bytes or a text are no public identity.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NoIdentity {
    /// The text is not 64 hexadecimal digits.
    #[error("the key {found:?}, {} characters", found.chars().count())]
    Text {
        /// The text that was found.
        found: String,
    },
    /// The bytes are no point of the curve.
    #[error("a key that is no point of the curve Ed25519")]
    NoPoint,
    /// The point is of low order: anyone can sign under it.
    #[error("a key that is a point of low order, under which anyone can sign")]
    LowOrder,
}

/// A host's identity with its secret half. Dropping it wipes the secret half.
pub struct Identity(SigningKey);

impl Identity {
    /// A fresh identity, from the operating system's randomness.
    ///
    /// # Errors
    /// Where the operating system has no randomness to give.
    pub fn generate() -> Result<Self, rand::rngs::SysError> {
        Ok(Self(SigningKey::from_bytes(Key::random()?.bytes())))
    }

    /// Reads the secret half from a text that [`Identity::secret`] wrote. `None` where it is no such text.
    pub fn from_secret(text: &str) -> Option<Self> {
        Some(Self(SigningKey::from_bytes(&*bytes(text)?)))
    }

    /// The secret half, in 64 hexadecimal digits.
    pub fn secret(&self) -> Zeroizing<String> {
        hex(self.0.as_bytes())
    }

    /// The public half of this identity.
    pub fn public(&self) -> PublicIdentity {
        PublicIdentity(self.0.verifying_key().to_bytes())
    }

    /// Signs `text` with the secret half.
    pub fn sign(&self, text: &[u8]) -> [u8; SIGNATURE] {
        self.0.sign(text).to_bytes()
    }
}

/// The public half of an identity. It is shown in 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicIdentity([u8; IDENTITY]);

impl PublicIdentity {
    /// The identity whose public half is `bytes`.
    ///
    /// # Errors
    /// [`NoIdentity::NoPoint`], [`NoIdentity::LowOrder`].
    pub fn from_bytes(bytes: &[u8; IDENTITY]) -> Result<Self, NoIdentity> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| NoIdentity::NoPoint)?;
        if key.is_weak() {
            return Err(NoIdentity::LowOrder);
        }
        Ok(Self(key.to_bytes()))
    }

    /// The 32 bytes of the public half.
    pub fn bytes(&self) -> &[u8; IDENTITY] {
        &self.0
    }

    /// Checks that this identity has signed `text` with `signature`.
    ///
    /// # Errors
    /// [`Unauthentic`] where it has not.
    pub fn verify(&self, text: &[u8], signature: &[u8; SIGNATURE]) -> Result<(), Unauthentic> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| Unauthentic)?;
        key.verify_strict(text, &Signature::from_bytes(signature)).map_err(|_| Unauthentic)
    }
}

impl fmt::Display for PublicIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.bytes()))
    }
}

impl FromStr for PublicIdentity {
    type Err = NoIdentity;

    fn from_str(text: &str) -> Result<Self, NoIdentity> {
        let bytes = bytes(text).ok_or_else(|| NoIdentity::Text { found: text.to_owned() })?;
        Self::from_bytes(&bytes)
    }
}

/// Writes `bytes` in hexadecimal digits.
fn hex(bytes: &[u8; IDENTITY]) -> Zeroizing<String> {
    // The string has its final size from the start: one that grows leaves copies of a secret behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * IDENTITY));
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text
}

/// Reads 64 hexadecimal digits. `None` where `text` is anything else.
fn bytes(text: &str) -> Option<Zeroizing<[u8; IDENTITY]>> {
    let digits = text.as_bytes();
    if digits.len() != 2 * IDENTITY {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    let mut bytes = Zeroizing::new([0; IDENTITY]);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 8032, 7.1, tests 1 to 3: secret key, public key, message, signature.
    const VECTORS: [[&str; 4]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
    ];

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_published_signatures() {
        for [secret, public, text, signature] in VECTORS {
            let identity = Identity::from_secret(secret).unwrap();
            assert_eq!((identity.public().to_string().as_str(), identity.secret().as_str()), (public, secret));
            let text = unhex(text);
            assert_eq!(identity.sign(&text).to_vec(), unhex(signature));
            assert_eq!(public.parse::<PublicIdentity>().unwrap().verify(&text, &identity.sign(&text)), Ok(()));
        }
    }

    #[test]
    fn a_signature_fits_one_identity_and_one_text() {
        let (one, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let signature = one.sign(b"text");
        assert_eq!(one.public().verify(b"text", &signature), Ok(()));
        assert_eq!(other.public().verify(b"text", &signature), Err(Unauthentic));
        assert_eq!(one.public().verify(b"texT", &signature), Err(Unauthentic));
        for bit in 0..SIGNATURE * 8 {
            let mut altered = signature;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(one.public().verify(b"text", &altered), Err(Unauthentic), "bit {bit}");
        }
    }

    /// S + L satisfies the equation of a signature like S. It would be a second signature of the same text.
    #[test]
    fn a_signature_that_is_not_canonical_is_refused() {
        // The order of the base point, L = 2^252 + 27742317777372353535851937790883648493, little-endian.
        let order = unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let identity = Identity::generate().unwrap();
        let mut signature = identity.sign(b"text");
        let mut carry = 0;
        for (byte, add) in signature[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        assert_eq!(identity.public().verify(b"text", &signature), Err(Unauthentic));
    }

    /// Whoever has an identity could make signatures with R = 0, which some verifiers take and others do not.
    #[test]
    fn a_signature_whose_r_is_of_low_order_is_refused() {
        use curve25519_dalek::Scalar;
        use ed25519_dalek::Verifier;
        use sha2::{Digest, Sha512};
        let identity = Identity::generate().unwrap();
        let mut signature = [0; SIGNATURE];
        signature[0] = 1;
        let hash = Sha512::digest([&signature[..32], identity.public().bytes(), b"text"].concat());
        let s = Scalar::from_bytes_mod_order_wide(&hash.into()) * identity.0.to_scalar();
        signature[32..].copy_from_slice(s.as_bytes());
        // The control: the signature satisfies the equation.
        assert!(identity.0.verifying_key().verify(b"text", &Signature::from_bytes(&signature)).is_ok());
        assert_eq!(identity.public().verify(b"text", &signature), Err(Unauthentic));
    }

    /// These are the eight points whose order divides the cofactor, and the ways to write them that are not canonical.
    #[test]
    fn points_of_low_order_are_no_identities() {
        let low = [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            "0100000000000000000000000000000000000000000000000000000000000080",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ];
        for text in low {
            assert_eq!(text.parse::<PublicIdentity>(), Err(NoIdentity::LowOrder), "{text}");
        }
        // The control: a point of full order is taken.
        assert!(VECTORS[0][1].parse::<PublicIdentity>().is_ok());
        let nowhere = "0200000000000000000000000000000000000000000000000000000000000000";
        assert_eq!(nowhere.parse::<PublicIdentity>(), Err(NoIdentity::NoPoint));
    }

    #[test]
    fn what_is_no_hexadecimal_is_refused() {
        for text in ["", "d75a", &"g".repeat(64), &"ä".repeat(32), &VECTORS[0][1][1..]] {
            assert!(matches!(text.parse::<PublicIdentity>(), Err(NoIdentity::Text { .. })), "{text}");
            assert!(Identity::from_secret(text).is_none(), "{text}");
        }
        assert!(Identity::from_secret(&VECTORS[0][0].to_uppercase()).is_some());
    }

    #[test]
    fn no_identity_is_drawn_twice() {
        let mut drawn: Vec<[u8; 32]> = (0..4096).map(|_| *Identity::generate().unwrap().public().bytes()).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 4096);
    }
}
