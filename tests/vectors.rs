//! The cryptography against vectors that others published (tests/vectors/README.md says which and whose).
//!
//! Each test also breaks what it was given, so that it is known to see a difference.
#![allow(clippy::unwrap_used)]

#[path = "vectors/hpke.rs"]
mod hpke_vectors;
#[path = "vectors/key_schedule.rs"]
mod key_schedule;
#[path = "vectors/x25519.rs"]
mod x25519_vectors;

use mixnn::crypto::Unauthentic;
use mixnn::crypto::aead::{Aead, Library, Nonce, TAG};
use mixnn::crypto::key::Key;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The cases of a file, one a line.
fn cases<C: DeserializeOwned>(text: &str, count: usize) -> Vec<C> {
    let cases: Vec<C> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), count);
    cases
}

/// Bytes that a file writes as hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq)]
struct Hex(Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let digits = |at| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
        let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digits).collect();
        bytes.map(Hex).ok_or_else(|| serde::de::Error::custom(format!("{text} is not hexadecimal")))
    }
}

impl Hex {
    fn array<const N: usize>(&self) -> [u8; N] {
        self.0.as_slice().try_into().unwrap()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AesGcm {
    tc_id: u32,
    key: Hex,
    iv: Hex,
    aad: Hex,
    msg: Hex,
    ct: Hex,
    tag: Hex,
    result: String,
}

/// What `aead` makes of a ciphertext and its tag.
fn open(aead: &dyn Aead, nonce: &Nonce, data: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unauthentic> {
    let mut plain = vec![0xaa; sealed.len() - TAG];
    let opened = aead.open(nonce, data, sealed, &mut plain);
    if opened.is_err() {
        assert!(plain.iter().all(|&byte| byte == 0), "something shows after a failure");
    }
    opened.map(|()| plain)
}

/// Seals and opens what is valid, and opens nothing else.
fn wycheproof(library: Library) {
    let mut counts = [0, 0];
    for case in cases::<AesGcm>(include_str!("vectors/aes_256_gcm.json"), 66) {
        let id = case.tc_id;
        let (aead, nonce) = (library.key(&Key::from_bytes(case.key.array())), case.iv.array());
        let mut sealed = [case.ct.0, case.tag.0].concat();
        let mut found = vec![0; sealed.len()];
        aead.seal(&nonce, &case.aad.0, &case.msg.0, &mut found);
        let mut in_place = case.msg.0.clone();
        in_place.resize(sealed.len(), 0);
        aead.seal_in_place(&nonce, &case.aad.0, &mut in_place);
        assert_eq!(in_place, found, "case {id}");
        match case.result.as_str() {
            "valid" => {
                counts[0] += 1;
                assert_eq!(found, sealed, "case {id}");
                assert_eq!(open(&*aead, &nonce, &case.aad.0, &sealed), Ok(case.msg.0), "case {id}");
                let places = [0, sealed.len() - TAG, sealed.len() - 1];
                for place in places {
                    sealed[place] ^= 0x80;
                    assert_eq!(open(&*aead, &nonce, &case.aad.0, &sealed), Err(Unauthentic), "case {id}, {place}");
                    sealed[place] ^= 0x80;
                }
            }
            "invalid" => {
                counts[1] += 1;
                assert_ne!(found, sealed, "case {id}");
                assert_eq!(open(&*aead, &nonce, &case.aad.0, &sealed), Err(Unauthentic), "case {id}");
            }
            other => panic!("case {id} is {other}"),
        }
    }
    assert_eq!(counts, [39, 27], "valid and invalid cases");
}

#[test]
fn aes_256_gcm_of_aws_lc_agrees_with_wycheproof() {
    wycheproof(Library::AwsLc);
}

#[test]
fn aes_256_gcm_of_ring_agrees_with_wycheproof() {
    wycheproof(Library::Ring);
}

#[test]
fn aes_256_gcm_of_rust_crypto_agrees_with_wycheproof() {
    wycheproof(Library::Rust);
}
