//! HPKE (RFC 9180) with X-Wing (X25519 and ML-KEM-768), HKDF-SHA-256 and AES-256-GCM. It seals a message for the holder
//! of one key pair, and a later quantum computer does not open it.
//!
//! Packages are sealed in mode Base. Results are sealed in mode PSK, under a key from the sender's package, so that
//! nobody else can have sent them.
//!
//! All of it runs on a stack that is wiped behind it: the crates that it uses wipe what they hold, but not what they
//! have moved.

use hpke::aead::{Aead, AesGcm256};
use hpke::kdf::{HkdfSha256, Kdf};
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable};

use thiserror::Error;

use super::Unauthentic;
use super::key::Key;
use super::labels;
use super::stack::WipedStack;

/// HPKE's identifiers of the KEM, the KDF and the AEAD that are used here (docs/PROTOCOL.md, 5.1).
pub const SUITE: [u16; 3] = [<XWing as Kem>::KEM_ID, HkdfSha256::KDF_ID, AesGcm256::AEAD_ID];
/// How many bytes a public key has: 1184 of ML-KEM-768, then 32 of X25519.
pub const PUBLIC_KEY: usize = 1216;
/// How many bytes sealing adds: the encapsulated key and the tag.
pub const OVERHEAD: usize = 1120 + 16;

/// The X25519 points of low order (RFC 7748, section 7), without the top bit. A secret shared with one of them is zero
/// whatever the other key is. They are 0, 1, the two of order 8, p - 1, and 0 and 1 again written as p and p + 1.
const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    ends(1, 0, 0),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    ends(0xec, 0xff, 0x7f),
    ends(0xed, 0xff, 0x7f),
    ends(0xee, 0xff, 0x7f),
];

/// A point whose first and last byte are `first` and `last`, with all bytes between equal to `middle`.
const fn ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut point = [middle; 32];
    (point[0], point[31]) = (first, last);
    point
}

/// Why nothing may be sealed to a public key (docs/PROTOCOL.md, 5.6).
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum WeakKey {
    /// The key has this number of bytes, which is not that of a public key.
    #[error("it has {0} bytes, {PUBLIC_KEY} were due")]
    Length(usize),
    /// A coefficient of the ML-KEM half is not below the modulus, or the half is no encoding at all.
    #[error("its ML-KEM half does not pass the check of FIPS 203, 7.2")]
    Modulus,
    /// The ML-KEM half is zero: anyone could open what is sealed to it.
    #[error("its ML-KEM half is zero")]
    Zero,
    /// The X25519 half is a point of low order: the secret that is shared with it is zero.
    #[error("its X25519 half is a point of low order")]
    LowOrder,
}

/// The randomness from which keys and encapsulations are drawn.
fn randomness() -> impl hpke::rand_core::CryptoRng {
    #[cfg(not(feature = "hostile"))]
    return rand::rand_core::UnwrapErr(rand::rngs::SysRng);
    #[cfg(feature = "hostile")]
    return super::overheard::Overheard;
}

/// A key pair for one use. Dropping it wipes the private half, which stands in one place of the heap until then.
pub struct KeyPair {
    private: Box<<XWing as Kem>::PrivateKey>,
    public: Vec<u8>,
}

impl KeyPair {
    /// A fresh key pair from the operating system's randomness.
    pub fn generate(stack: &mut WipedStack) -> Self {
        stack.run(|| {
            let (private, public) = XWing::gen_keypair_with_rng(&mut randomness());
            Self { private: Box::new(private), public: public.to_bytes().to_vec() }
        })
    }

    /// The public half, [`PUBLIC_KEY`] bytes.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Opens `sealed`, which must have been sealed to this pair for `info`, and under `psk` if one is given.
    ///
    /// # Errors
    /// [`Unauthentic`] for any reason.
    pub fn open(
        &self,
        stack: &mut WipedStack,
        info: &[u8],
        psk: Option<&Key>,
        sealed: &[u8],
    ) -> Result<Vec<u8>, Unauthentic> {
        let (encapsulated, text) = sealed.split_at_checked(OVERHEAD - 16).ok_or(Unauthentic)?;
        if is_of_low_order(encapsulated) {
            return Err(Unauthentic);
        }
        let encapsulated = <XWing as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| Unauthentic)?;
        let mode = match psk {
            None => OpModeR::Base,
            Some(key) => OpModeR::Psk(PskBundle::new(key.bytes(), PSK_ID).map_err(|_| Unauthentic)?),
        };
        let private = &self.private;
        stack
            .run(|| {
                hpke::single_shot_open::<AesGcm256, HkdfSha256, XWing>(&mode, private, &encapsulated, info, text, &[])
            })
            .map_err(|_| Unauthentic)
    }
}

/// The name of the key under which results are sealed, HPKE's psk_id.
const PSK_ID: &[u8] = labels::PACKAGE;

/// Checks that something may be sealed to the public key `public` (docs/PROTOCOL.md, 5.6).
///
/// # Errors
/// [`WeakKey`] says why not.
pub fn check(public: &[u8]) -> Result<(), WeakKey> {
    parse(public).map(|_| ())
}

/// Reads the public key and checks it.
fn parse(public: &[u8]) -> Result<<XWing as Kem>::PublicKey, WeakKey> {
    if public.len() != PUBLIC_KEY {
        return Err(WeakKey::Length(public.len()));
    }
    // Only the polynomials of ML-KEM are looked at. Behind them stands the seed of its matrix, which may be anything.
    if public[..1152].iter().all(|byte| *byte == 0) {
        return Err(WeakKey::Zero);
    }
    if is_of_low_order(public) {
        return Err(WeakKey::LowOrder);
    }
    <XWing as Kem>::PublicKey::from_bytes(public).map_err(|_| WeakKey::Modulus)
}

/// Whether `key`, a public or an encapsulated key, ends with an X25519 point of low order.
fn is_of_low_order(key: &[u8]) -> bool {
    let Some((_, point)) = key.split_last_chunk::<32>() else {
        return true;
    };
    let mut point = *point;
    // X25519 does not look at the top bit.
    point[31] &= 0x7f;
    LOW_ORDER.contains(&point)
}

/// Seals `plain` to the public key `public` for `info`, and under `psk` if one is given. The result is [`OVERHEAD`]
/// bytes longer.
///
/// # Errors
/// [`Unauthentic`] where `public` does not pass [`check`].
pub fn seal(
    stack: &mut WipedStack,
    public: &[u8],
    info: &[u8],
    psk: Option<&Key>,
    plain: &[u8],
) -> Result<Vec<u8>, Unauthentic> {
    let public = parse(public).map_err(|_| Unauthentic)?;
    let mode = match psk {
        None => OpModeS::Base,
        Some(key) => OpModeS::Psk(PskBundle::new(key.bytes(), PSK_ID).map_err(|_| Unauthentic)?),
    };
    let (encapsulated, text) = stack
        .run(|| {
            hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, XWing>(
                &mode,
                &public,
                info,
                plain,
                &[],
                &mut randomness(),
            )
        })
        .map_err(|_| Unauthentic)?;
    let mut sealed = encapsulated.to_bytes().to_vec();
    sealed.extend_from_slice(&text);
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> KeyPair {
        KeyPair::generate(&mut WipedStack::new().unwrap())
    }

    fn seal(public: &[u8], info: &[u8], psk: Option<&Key>, plain: &[u8]) -> Result<Vec<u8>, Unauthentic> {
        super::seal(&mut WipedStack::new().unwrap(), public, info, psk, plain)
    }

    fn open(pair: &KeyPair, info: &[u8], psk: Option<&Key>, sealed: &[u8]) -> Result<Vec<u8>, Unauthentic> {
        pair.open(&mut WipedStack::new().unwrap(), info, psk, sealed)
    }

    #[test]
    fn only_its_holder_opens_and_only_for_its_info() {
        let (pair, other) = (pair(), pair());
        let sealed = seal(pair.public(), b"info", None, b"package").unwrap();
        assert_eq!(pair.public().len(), PUBLIC_KEY);
        assert_eq!(sealed.len(), 7 + OVERHEAD);
        assert_eq!(open(&pair, b"info", None, &sealed).as_deref(), Ok(b"package".as_slice()));
        assert_eq!(open(&pair, b"inf0", None, &sealed), Err(Unauthentic));
        assert_eq!(open(&other, b"info", None, &sealed), Err(Unauthentic));
        assert_eq!(open(&pair, b"info", Some(&Key::from_bytes([0; 32])), &sealed), Err(Unauthentic));
    }

    #[test]
    fn a_result_needs_the_key_of_its_package() {
        let owner = pair();
        let (key, other) = (Key::from_bytes([1; 32]), Key::from_bytes([2; 32]));
        let sealed = seal(owner.public(), b"result", Some(&key), b"state").unwrap();
        assert_eq!(open(&owner, b"result", Some(&key), &sealed).as_deref(), Ok(b"state".as_slice()));
        assert_eq!(open(&owner, b"result", Some(&other), &sealed), Err(Unauthentic));
        assert_eq!(open(&owner, b"result", None, &sealed), Err(Unauthentic));
    }

    #[test]
    fn altered_or_cut_bytes_are_refused() {
        let pair = pair();
        let sealed = seal(pair.public(), b"info", None, b"package").unwrap();
        for place in [0, 500, 1100, 1119, 1120, 1126, sealed.len() - 1] {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert_eq!(open(&pair, b"info", None, &altered), Err(Unauthentic), "byte {place}");
        }
        for length in [0, 10, 1119, 1120, sealed.len() - 1] {
            assert_eq!(open(&pair, b"info", None, &sealed[..length]), Err(Unauthentic), "{length} bytes");
        }
        assert_eq!(seal(&[0; 5], b"info", None, b"package"), Err(Unauthentic));
    }

    /// Every point of low order, with the top bit and without it, is refused: nothing is sealed to it, and nothing is
    /// opened.
    #[test]
    fn points_of_low_order_are_refused() {
        let pair = pair();
        assert_eq!(check(pair.public()), Ok(()));
        let sealed = seal(pair.public(), b"info", None, b"package").unwrap();
        for point in LOW_ORDER {
            for top in [0, 0x80] {
                let mut point = point;
                point[31] |= top;
                let mut public = pair.public().to_vec();
                public[1184..].copy_from_slice(&point);
                assert_eq!(check(&public), Err(WeakKey::LowOrder), "{point:02x?}");
                assert_eq!(seal(&public, b"info", None, b"package"), Err(Unauthentic), "{point:02x?}");
                let mut sealed = sealed.clone();
                sealed[1088..1120].copy_from_slice(&point);
                assert_eq!(open(&pair, b"info", None, &sealed), Err(Unauthentic), "{point:02x?}");
            }
        }
    }

    /// The control for the table: AWS-LC refuses a shared secret of zero. It refuses each of these points and takes
    /// their neighbours.
    #[test]
    fn the_points_of_low_order_are_of_low_order() {
        use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
        let private = PrivateKey::generate(&X25519).unwrap();
        let agrees =
            |point: &[u8; 32]| agree(&private, UnparsedPublicKey::new(&X25519, point), (), |_| Ok(())).is_ok();
        for point in LOW_ORDER {
            assert!(!agrees(&point), "{point:02x?}");
            let mut next = point;
            next[0] ^= 8;
            assert!(agrees(&next) && !is_of_low_order(&next), "{next:02x?}");
        }
    }

    #[test]
    fn a_key_of_mlkem_is_checked() {
        let pair = pair();
        let with = |place: std::ops::Range<usize>, value: u8| {
            let mut public = pair.public().to_vec();
            public[place].fill(value);
            check(&public)
        };
        assert_eq!(with(0..1152, 0), Err(WeakKey::Zero));
        // Twelve bits of ones are 4095, and the modulus is 3329.
        assert_eq!(with(0..3, 0xff), Err(WeakKey::Modulus));
        assert_eq!(with(1149..1152, 0xff), Err(WeakKey::Modulus));
        assert_eq!(with(1152..1184, 0), Ok(()));
        assert_eq!(check(&pair.public()[1..]), Err(WeakKey::Length(1215)));
        assert_eq!(check(&[]), Err(WeakKey::Length(0)));
    }

    #[test]
    fn no_key_is_drawn_twice() {
        let mut stack = WipedStack::new().unwrap();
        let mut drawn: Vec<Vec<u8>> = (0..4096).map(|_| KeyPair::generate(&mut stack).public().to_vec()).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 4096);
    }
}
