//! X25519, as `x25519-dalek` under the crates `hpke` and `x-wing` has it, against Wycheproof; and what becomes of points of
//! low order, with which the shared secret is zero whatever the private key.
//!
//! RFC 9180 (7.1.4) has DHKEM refuse them. X-Wing does not look: draft-connolly-cfrg-xwing-kem has no such check, and
//! the crate `hpke` takes `x-wing`'s `DecapsulationKey`, which accepts them. That is safe: the X25519 part of the
//! ciphertext and of the public key are hashed into the shared secret, and without it ML-KEM-768 still keeps the secret.
//! Our suite looks all the same: it seals to no key with such a half, and opens no message into which such a point was put.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, HpkeError, Kem, OpModeR};
use mixnn::crypto::Unauthentic;
use mixnn::crypto::hpke::{KeyPair, OVERHEAD, PUBLIC_KEY, seal};
use mixnn::crypto::stack::WipedStack;
use serde::Deserialize;
use x25519_dalek::x25519;

use super::{Hex, cases};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    tc_id: u32,
    public: Hex,
    private: Hex,
    shared: Hex,
    flags: Vec<String>,
}

impl Case {
    fn low_order(&self) -> bool {
        self.flags.iter().any(|flag| flag == "LowOrderPublic")
    }
}

fn published() -> Vec<Case> {
    cases(include_str!("x25519.json"), 518)
}

#[test]
fn x25519_agrees_with_wycheproof() {
    for case in published() {
        let (private, mut public): ([u8; 32], [u8; 32]) = (case.private.array(), case.public.array());
        assert_eq!(x25519(private, public).to_vec(), case.shared.0, "case {}", case.tc_id);
        assert_eq!(case.low_order(), case.shared.0 == [0; 32], "case {}", case.tc_id);
        // Bit 255 of a point does not count (RFC 7748, section 5); every other one does.
        public[31] ^= 0x80;
        assert_eq!(x25519(private, public).to_vec(), case.shared.0, "case {}", case.tc_id);
        public[1] ^= 4;
        assert_ne!(x25519(private, public).to_vec(), case.shared.0, "case {}", case.tc_id);
    }
}

#[test]
fn dhkem_refuses_points_of_low_order_and_takes_all_others() {
    for case in published() {
        let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&case.private.0).unwrap();
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&case.public.0).unwrap();
        let mode = OpModeR::<X25519HkdfSha256>::Base;
        let set_up =
            hpke::setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(&mode, &private, &encapsulated, b"");
        let due = if case.low_order() { Some(HpkeError::DecapError) } else { None };
        assert_eq!(set_up.err(), due, "case {}", case.tc_id);
    }
}

#[test]
fn our_suite_neither_opens_nor_seals_with_a_replaced_point() {
    let mut stack = WipedStack::new().unwrap();
    let pair = KeyPair::generate(&mut stack);
    let sealed = seal(&mut stack, pair.public(), b"info", None, b"package").unwrap();
    let (point, key_point) = (OVERHEAD - 16 - 32, PUBLIC_KEY - 32);
    let mut tried = 0;
    for case in published().iter().filter(|case| case.low_order()) {
        tried += 1;
        let mut replaced = sealed.clone();
        replaced[point..point + 32].copy_from_slice(&case.public.0);
        assert_eq!(pair.open(&mut stack, b"info", None, &replaced), Err(Unauthentic), "case {}", case.tc_id);

        let mut public = pair.public().to_vec();
        public[key_point..].copy_from_slice(&case.public.0);
        assert_eq!(seal(&mut stack, &public, b"info", None, b"package"), Err(Unauthentic), "case {}", case.tc_id);
    }
    assert_eq!(tried, 31);
    assert_eq!(pair.open(&mut stack, b"info", None, &sealed).as_deref(), Ok(b"package".as_slice()));
}
