//! What owner and ranks say to each other outside slots, each kind of message of one length
//! (docs/PROTOCOL.md, "Initialization").

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::RunError;
use super::peers::SIGNED;
use super::results::VERSION;
use super::trust::TrustError;
use crate::crypto::hpke;
use crate::ids::{Epoch, Rank};
use crate::job::Profile;
use crate::mix::geometry::{Geometry, rounded_up};
use crate::mix::package::Package;
use crate::transport::{Transport, TransportError};

/// Bytes of the owner's first message.
pub(super) const OPENING: usize = 256;
/// Bytes of a rank's announcement, before it is signed.
pub(super) const ANNOUNCEMENT: usize = 2048 - SIGNED;
/// Characters of a host's name and of a fingerprint in an announcement.
const NAME: usize = 128;

/// The owner's first message to every rank.
#[derive(Serialize, Deserialize)]
pub(super) enum Opening {
    /// The public numbers of a run.
    Start(Public),
    /// No run: exit with this code.
    Refused(i32),
}

/// The public numbers: all that a rank works from besides its package.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Public {
    /// The version of mixnn.
    pub(super) version: String,
    /// Drawn for this run alone.
    pub(super) run: [u8; 32],
    /// How much is protected.
    pub(super) profile: Profile,
    /// All lengths.
    pub(super) geometry: Geometry,
    /// How long a silent peer is waited for, in milliseconds.
    pub(super) timeout: u64,
    /// Whether ranks of one host exchange through memory that they share.
    pub(super) windows: bool,
    /// Threads a rank, 0: its share of its host's cores.
    pub(super) threads: u16,
    /// Bytes of a package before it is sealed.
    pub(super) package: u32,
    /// Bytes of a result before it is sealed.
    pub(super) result: u64,
}

impl Public {
    /// The opening that says them: the same bytes on all ranks.
    ///
    /// # Errors
    /// [`RunError::Bug`] where they do not fit.
    pub(super) fn opening(&self) -> Result<Zeroizing<Vec<u8>>, RunError> {
        padded(&Opening::Start(self.clone()), OPENING)
    }
}

/// What a rank tells the owner at the start of an epoch.
#[derive(Serialize, Deserialize)]
pub(super) struct Announcement {
    /// The version of mixnn.
    pub(super) version: String,
    /// The cryptography that the key is for: HPKE's identifiers of KEM, KDF and AEAD.
    pub(super) suite: [u16; 3],
    /// The epoch.
    pub(super) epoch: Epoch,
    /// The public half of its key pair for this epoch.
    pub(super) key: Vec<u8>,
    /// Its host.
    pub(super) host: String,
    /// What the bits of its results depend on.
    pub(super) fingerprint: String,
}

impl Announcement {
    /// What this version says.
    pub(super) fn new(epoch: Epoch, key: &[u8], host: &str, fingerprint: &str) -> Self {
        Self {
            version: VERSION.to_owned(),
            suite: hpke::SUITE,
            epoch,
            key: key.to_vec(),
            host: shortened(host),
            fingerprint: shortened(fingerprint),
        }
    }

    /// Whether a package for `epoch` may be sealed to what `from` announces here.
    ///
    /// # Errors
    /// [`TrustError::Version`], [`TrustError::Suite`], [`TrustError::Weak`]; [`RunError::Sealed`] for another epoch.
    pub(super) fn check(&self, from: Rank, epoch: Epoch) -> Result<(), RunError> {
        if self.version != VERSION {
            return Err(TrustError::Version { from, found: shortened(&self.version), expected: VERSION }.into());
        }
        if self.suite != hpke::SUITE {
            return Err(TrustError::Suite { from, found: self.suite }.into());
        }
        if self.epoch != epoch {
            return Err(RunError::Sealed { what: "the key announcement", from });
        }
        hpke::check(&self.key).map_err(|why| TrustError::Weak { from, why }.into())
    }
}

/// What a rank returns at the end.
#[derive(Serialize, Deserialize)]
pub(super) struct Returned {
    /// Nanoseconds: compute, seal, exchange, peel, open, wait; and bytes sent.
    pub(super) timing: [u64; 7],
    /// Parameters, f32; none on a relay.
    pub(super) values: Vec<f32>,
}

/// What a package is bound to.
pub(super) fn package_info(run: &[u8; 32], epoch: Epoch, rank: Rank, ranks: u16) -> Vec<u8> {
    let mut info = b"mixnn/1 package".to_vec();
    info.extend_from_slice(run);
    info.extend_from_slice(&epoch.0.to_le_bytes());
    info.extend_from_slice(&rank.0.to_le_bytes());
    info.extend_from_slice(&ranks.to_le_bytes());
    info
}

/// What a result is bound to.
pub(super) fn result_info(run: &[u8; 32], rank: Rank, slots: u64) -> Vec<u8> {
    let mut info = b"mixnn/1 result".to_vec();
    info.extend_from_slice(run);
    info.extend_from_slice(&rank.0.to_le_bytes());
    info.extend_from_slice(&slots.to_le_bytes());
    info
}

/// `value` in `length` bytes: its own length (8 bytes), postcard's encoding, zeros.
///
/// # Errors
/// [`RunError::Bug`] where it does not fit.
pub(super) fn padded<V: Serialize>(value: &V, length: usize) -> Result<Zeroizing<Vec<u8>>, RunError> {
    let encoded = Zeroizing::new(postcard::to_allocvec(value).map_err(|error| RunError::Bug(error.to_string()))?);
    if encoded.len() + 8 > length {
        return Err(RunError::Bug(format!("{} bytes do not fit a message of {length}", encoded.len() + 8)));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    bytes.extend_from_slice(&(encoded.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&encoded);
    bytes.resize(length, 0);
    Ok(bytes)
}

/// Reads what [`padded`] wrote; `None` where it is none.
pub(super) fn unpadded<V: DeserializeOwned>(bytes: &[u8]) -> Option<V> {
    let (length, rest) = bytes.split_at_checked(8)?;
    let length = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
    let (value, left) = postcard::take_from_bytes(rest.get(..length)?).ok()?;
    left.is_empty().then_some(value)
}

/// A name of at most [`NAME`] bytes.
pub(super) fn shortened(name: &str) -> String {
    name.char_indices().take_while(|(at, c)| at + c.len_utf8() <= NAME).map(|(_, c)| c).collect()
}

/// Bytes of a package, before it is sealed, that carries a role of at most `role` bytes among `ranks` ranks.
pub(super) fn package_length(ranks: u16, hops: u8, role: usize, least: u32) -> u32 {
    let lanes = usize::from(ranks);
    // postcard: a rank or a length takes up to 3 bytes, a length of the role up to 10.
    let circuits = lanes * (8 + 32 * usize::from(hops));
    let next = usize::from(hops) * (3 + 3 * lanes);
    let arrivals = lanes * 4;
    let fixed = 128 + hpke::PUBLIC_KEY;
    (rounded_up((fixed + circuits + next + arrivals + role) as u64) as u32).max(least)
}

/// Bytes of a result, before it is sealed, of up to `values` parameters.
pub(super) fn result_length(values: u64, least: u64) -> u64 {
    rounded_up(128 + 4 * values).max(least)
}

/// The package of `rank`, sealed to the key that it announced.
///
/// # Errors
/// [`RunError`].
pub(super) fn seal_package(
    package: &Package,
    public: &Public,
    epoch: Epoch,
    rank: Rank,
    announced: &Announcement,
) -> Result<Vec<u8>, RunError> {
    let plain = padded(package, public.package as usize)?;
    let info = package_info(&public.run, epoch, rank, public.geometry.ranks);
    hpke::seal(&announced.key, &info, None, &plain).map_err(super::sealed("the key announcement", rank))
}

/// Tells all ranks that there is no run, and with which code to exit. Called by the owner instead of a run.
///
/// # Errors
/// [`TransportError`].
pub fn refuse<T: Transport>(transport: &mut T, code: i32) -> Result<(), TransportError> {
    if let Ok(message) = padded(&Opening::Refused(code), OPENING) {
        let messages = vec![message.to_vec(); usize::from(transport.ranks())];
        transport.scatter(&messages, OPENING)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_hides_the_length_and_comes_off() {
        let (short, long) = (padded(&vec![1_u8], 64).unwrap(), padded(&vec![7_u8; 40], 64).unwrap());
        assert_eq!((short.len(), long.len()), (64, 64));
        assert_eq!(unpadded::<Vec<u8>>(&long), Some(vec![7; 40]));
        assert!(padded(&vec![0_u8; 60], 64).is_err());
        assert_eq!(unpadded::<Vec<u8>>(&[0xff; 64]), None);
        assert_eq!(unpadded::<Vec<u8>>(&[1, 2, 3]), None);
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(shortened("node-1"), "node-1");
        assert_eq!(shortened(&"ä".repeat(100)).len(), 128);
    }
}
