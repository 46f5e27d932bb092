//! HPKE's key schedule (RFC 9180, section 5.1) by hand: what shows that `mixnn::crypto::hpke` is the suite that it says.

use hkdf::Hkdf;
use sha2::Sha256;

/// A suite with HKDF-SHA256, by its numbers in IANA's registry.
pub(crate) struct Suite {
    pub(crate) kem: u16,
    pub(crate) aead: u16,
}

/// What a context seals and exports with.
#[derive(Debug, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) key: Vec<u8>,
    pub(crate) base_nonce: Vec<u8>,
    pub(crate) exporter_secret: Vec<u8>,
}

impl Suite {
    fn id(&self) -> Vec<u8> {
        let numbers = [self.kem, 1, self.aead].map(u16::to_be_bytes);
        [b"HPKE".as_slice(), numbers.as_flattened()].concat()
    }

    /// `LabeledExtract`, section 4.
    fn extract(&self, salt: &[u8], label: &str, key: &[u8]) -> Hkdf<Sha256> {
        let labeled = [b"HPKE-v1", self.id().as_slice(), label.as_bytes(), key].concat();
        Hkdf::new(Some(salt), &labeled)
    }

    /// `LabeledExpand`, section 4.
    fn expand(&self, from: &Hkdf<Sha256>, label: &str, info: &[u8], length: u16) -> Vec<u8> {
        let id = self.id();
        let mut out = vec![0; usize::from(length)];
        from.expand_multi_info(&[&length.to_be_bytes(), b"HPKE-v1", &id, label.as_bytes(), info], &mut out).unwrap();
        out
    }

    /// `KeySchedule`, section 5.1. An empty `psk` is mode Base, any other mode PSK.
    pub(crate) fn schedule(&self, shared_secret: &[u8], info: &[u8], psk: &[u8], psk_id: &[u8]) -> Schedule {
        let mut context = vec![u8::from(!psk.is_empty())];
        for (label, value) in [("psk_id_hash", psk_id), ("info_hash", info)] {
            let labeled = [b"HPKE-v1", self.id().as_slice(), label.as_bytes(), value].concat();
            context.extend_from_slice(&Hkdf::<Sha256>::extract(Some(&[]), &labeled).0);
        }
        let secret = self.extract(shared_secret, "secret", psk);
        let key = if self.aead == 1 { 16 } else { 32 };
        Schedule {
            key: self.expand(&secret, "key", &context, key),
            base_nonce: self.expand(&secret, "base_nonce", &context, 12),
            exporter_secret: self.expand(&secret, "exp", &context, 32),
        }
    }
}
