//! HPKE: RFC 9180's vectors for the AEADs around ours, the draft's for our KEM, and our own suite by hand.
//!
//! Nobody has published vectors of X-Wing with HKDF-SHA256 and AES-256-GCM. So the parts are held to vectors in the
//! suites that there are, the key schedule twice, by the crate and by hand; and what our suite seals is opened by hand.

use hpke::aead::{Aead, AesGcm128, AesGcm256, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{Deserializable, HpkeError, Kem, OpModeR, PskBundle, Serializable};
use mixnn::crypto::aead::Library;
use mixnn::crypto::hpke::{KeyPair, OVERHEAD, PUBLIC_KEY, seal};
use mixnn::crypto::key::Key;
use mixnn::crypto::stack::WipedStack;
use serde::Deserialize;
use x_wing::{Decapsulate, DecapsulationKey};

use super::key_schedule::{Schedule, Suite};
use super::{Hex, cases, open};

/// X-Wing, AES-256-GCM: the suite of docs/PROTOCOL.md, "Package".
const OURS: Suite = Suite { kem: 0x647a, aead: 2 };

#[derive(Deserialize)]
struct Case {
    mode: u8,
    kem_id: u16,
    aead_id: u16,
    info: Hex,
    psk: Hex,
    psk_id: Hex,
    #[serde(rename = "skRm")]
    private: Hex,
    #[serde(rename = "pkRm")]
    public: Hex,
    enc: Hex,
    shared_secret: Hex,
    key: Hex,
    base_nonce: Hex,
    exporter_secret: Hex,
    encryptions: Vec<Encryption>,
    exports: Vec<Export>,
}

#[derive(Deserialize)]
struct Encryption {
    aad: Hex,
    pt: Hex,
    ct: Hex,
}

#[derive(Deserialize)]
struct Export {
    exporter_context: Hex,
    exported_value: Hex,
}

fn published() -> Vec<Case> {
    cases(include_str!("hpke.json"), 5)
}

/// The receiver's side of `case` through the crate `hpke`: opens every ciphertext, and none that was altered.
fn receive<A: Aead, K: Kem>(case: &Case) {
    let private = K::PrivateKey::from_bytes(&case.private.0).unwrap();
    assert_eq!(K::sk_to_pk(&private).to_bytes().to_vec(), case.public.0);
    let encapsulated = K::EncappedKey::from_bytes(&case.enc.0).unwrap();
    let mode = match case.mode {
        0 => OpModeR::<K>::Base,
        _ => OpModeR::Psk(PskBundle::new(&case.psk.0, &case.psk_id.0).unwrap()),
    };
    let set_up =
        |info: &[u8]| hpke::setup_receiver::<A, HkdfSha256, K>(&mode, &private, &encapsulated, info).unwrap();
    let mut context = set_up(&case.info.0);
    for Encryption { aad, pt, ct } in &case.encryptions {
        for place in [0, ct.0.len() - 1] {
            let mut altered = ct.0.clone();
            altered[place] ^= 1;
            assert_eq!(context.open(&altered, &aad.0), Err(HpkeError::OpenError));
        }
        assert_eq!(context.open(&ct.0, &aad.0).unwrap(), pt.0);
    }
    for Export { exporter_context, exported_value } in &case.exports {
        let mut found = vec![0; exported_value.0.len()];
        context.export(&exporter_context.0, &mut found).unwrap();
        assert_eq!(found, exported_value.0);
    }
    let first = &case.encryptions[0];
    assert_eq!(set_up(b"other info").open(&first.ct.0, &first.aad.0), Err(HpkeError::OpenError));
}

#[test]
fn the_crate_opens_what_was_published() {
    for case in published() {
        match (case.kem_id, case.aead_id) {
            (0x20, 1) => receive::<AesGcm128, X25519HkdfSha256>(&case),
            (0x20, 2) => receive::<AesGcm256, X25519HkdfSha256>(&case),
            (0x647a, 3) => receive::<ChaCha20Poly1305, XWing>(&case),
            other => panic!("{other:?} is no suite of the file"),
        }
    }
}

#[test]
fn the_key_schedule_by_hand_is_the_published_one() {
    for case in published() {
        let suite = Suite { kem: case.kem_id, aead: case.aead_id };
        let due =
            Schedule { key: case.key.0, base_nonce: case.base_nonce.0, exporter_secret: case.exporter_secret.0 };
        let schedule = |secret: &[u8], id: &[u8]| suite.schedule(secret, &case.info.0, &case.psk.0, id);
        assert_eq!(schedule(&case.shared_secret.0, &case.psk_id.0), due);
        assert_ne!(schedule(&case.shared_secret.0, b"another"), due);
        let mut other = case.shared_secret.0.clone();
        other[31] ^= 1;
        assert_ne!(schedule(&other, &case.psk_id.0), due);
    }
}

#[derive(Deserialize)]
struct Encapsulation {
    sk: Hex,
    pk: Hex,
    ct: Hex,
    ss: Hex,
}

#[test]
fn x_wing_decapsulates_what_was_published() {
    for case in cases::<Encapsulation>(include_str!("x_wing.json"), 3) {
        let private = DecapsulationKey::from(case.sk.array());
        let decapsulated = |ct: &[u8]| private.decapsulate(ct.try_into().unwrap()).to_vec();
        assert_eq!(decapsulated(&case.ct.0), case.ss.0);
        // A byte of ML-KEM's part and one of X25519's: either gives another secret.
        for place in [7, 1100] {
            let mut altered = case.ct.0.clone();
            altered[place] ^= 1;
            assert_ne!(decapsulated(&altered), case.ss.0);
        }
        let hpkes = <XWing as Kem>::PrivateKey::from_bytes(&case.sk.0).unwrap();
        assert_eq!(XWing::sk_to_pk(&hpkes).to_bytes().to_vec(), case.pk.0);
    }
}

/// What `seal` gives is what RFC 9180 says for these numbers, in both modes that docs/PROTOCOL.md uses.
#[test]
fn what_our_suite_seals_opens_by_hand() {
    for case in cases::<Encapsulation>(include_str!("x_wing.json"), 3) {
        let private = DecapsulationKey::from(case.sk.array());
        for (psk, psk_id) in [(None, b"".as_slice()), (Some([5; 32]), b"mixnn/1 package")] {
            let key = psk.map(Key::from_bytes);
            let sealed =
                seal(&mut WipedStack::new().unwrap(), &case.pk.0, b"info", key.as_ref(), b"package").unwrap();
            assert_eq!((case.pk.0.len(), sealed.len()), (PUBLIC_KEY, OVERHEAD + 7));
            let (ct, text) = sealed.split_at(OVERHEAD - 16);
            let secret = private.decapsulate(ct.try_into().unwrap());
            let by_hand = |suite: &Suite, info: &[u8]| {
                let Schedule { key, base_nonce, .. } =
                    suite.schedule(&secret, info, psk.as_ref().map_or(&[], |psk| psk.as_slice()), psk_id);
                let aead = Library::AwsLc.key(&Key::from_bytes(key.try_into().unwrap()));
                open(&*aead, &base_nonce.try_into().unwrap(), b"", text)
            };
            assert_eq!(by_hand(&OURS, b"info").as_deref(), Ok(b"package".as_slice()));
            assert!(by_hand(&OURS, b"other").is_err());
            assert!(by_hand(&Suite { aead: 3, ..OURS }, b"info").is_err());
        }
    }
}

/// The secret of a mode is not that of the other: a result that was sealed without its key does not pass.
#[test]
fn modes_do_not_open_each_other() {
    let mut stack = WipedStack::new().unwrap();
    let (pair, key) = (KeyPair::generate(&mut stack), Key::from_bytes([5; 32]));
    let base = seal(&mut stack, pair.public(), b"info", None, b"result").unwrap();
    let psk = seal(&mut stack, pair.public(), b"info", Some(&key), b"result").unwrap();
    assert!(
        pair.open(&mut stack, b"info", Some(&key), &base).is_err()
            && pair.open(&mut stack, b"info", None, &psk).is_err()
    );
    assert!(
        pair.open(&mut stack, b"info", None, &base).is_ok()
            && pair.open(&mut stack, b"info", Some(&key), &psk).is_ok()
    );
}
