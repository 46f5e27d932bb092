//! The announcement: what a rank tells the owner at the start of a term (docs/PROTOCOL.md, 4.3). It says on which host
//! the rank runs, with what it computes, and to which key its package is to be sealed.

use serde::{Deserialize, Serialize};

use super::peers::SIGNED;
use super::{Binding, Desk, padded, shortened, unpadded, word};
use crate::crypto::aead::Library;
use crate::crypto::hpke::{self, KeyPair};
use crate::crypto::labels;
use crate::ids::{Rank, Term};
use crate::run::RunError;
use crate::run::kept::results::VERSION;
use crate::run::trust::TrustError;

/// How many bytes an announcement has as it travels.
pub(in crate::run) const LENGTH: usize = 2048;
/// How many bytes of an announcement stand before its identity and signature.
pub(in crate::run) const UNSIGNED: usize = LENGTH - SIGNED;
/// What an announcement is called in errors.
const WHAT: &str = "the key announcement";

/// What a rank announces of itself.
#[derive(Serialize, Deserialize)]
pub(in crate::run) struct Announcement {
    /// The version of mixnn that the rank runs.
    #[serde(deserialize_with = "word")]
    pub(in crate::run) version: String,
    /// The cryptography that the key is for: HPKE's identifiers of KEM, KDF and AEAD.
    pub(in crate::run) suite: [u16; 3],
    /// The term for which the rank announces itself.
    pub(in crate::run) term: Term,
    /// The public half of the rank's key pair for this term, 1216 bytes.
    pub(in crate::run) key: Vec<u8>,
    /// The name of the rank's host, as it says.
    #[serde(deserialize_with = "word")]
    pub(in crate::run) host: String,
    /// The rank's fingerprint: what the bits of its results depend on.
    #[serde(deserialize_with = "word")]
    pub(in crate::run) fingerprint: String,
    /// With how many threads the rank computes; 0 where a device does.
    pub(in crate::run) threads: u16,
    /// Which library seals with AES-256-GCM on the rank's processor.
    pub(in crate::run) aead: Library,
}

/// What a rank says of itself in each term alike.
pub(in crate::run) struct Introduction<'a> {
    /// The name of the rank's host.
    pub(in crate::run) host: &'a str,
    /// The rank's fingerprint: what the bits of its results depend on.
    pub(in crate::run) fingerprint: &'a str,
    /// With how many threads the rank computes; 0 where a device does.
    pub(in crate::run) threads: u16,
    /// Which library seals with AES-256-GCM on the rank's processor.
    pub(in crate::run) aead: Library,
}

/// An announcement as the owner has it.
pub(in crate::run) struct Announced {
    /// What the announcement says.
    pub(in crate::run) says: Announcement,
    /// The bytes of the announcement as they came, signature and all: the package is bound to them.
    pub(in crate::run) bytes: Vec<u8>,
}

impl Announced {
    /// The owner's own announcement. It has no key and never travels.
    pub(in crate::run) fn own(term: Term, introduction: &Introduction<'_>) -> Self {
        Self { says: Announcement::new(term, &[], introduction), bytes: Vec::new() }
    }
}

impl Announcement {
    /// What a rank of this version announces, with the public key `key`.
    pub(in crate::run) fn new(term: Term, key: &[u8], introduction: &Introduction<'_>) -> Self {
        let Introduction { host, fingerprint, threads, aead } = *introduction;
        Self {
            version: VERSION.to_owned(),
            suite: hpke::SUITE,
            term,
            key: key.to_vec(),
            host: shortened(host),
            fingerprint: shortened(fingerprint),
            threads,
            aead,
        }
    }

    /// Checks that the owner may seal a package for `term` to the key that `from` announces here (docs/PROTOCOL.md,
    /// 4.4).
    fn check(&self, from: Rank, term: Term) -> Result<(), RunError> {
        if self.version != VERSION {
            return Err(TrustError::Version { from, found: self.version.clone(), expected: VERSION }.into());
        }
        if self.suite != hpke::SUITE {
            return Err(TrustError::Suite { from, found: self.suite }.into());
        }
        if self.term != term {
            return Err(RunError::Sealed { what: WHAT, from });
        }
        hpke::check(&self.key).map_err(|why| TrustError::Weak { from, why }.into())
    }
}

/// What the signature of an announcement covers besides its bytes (docs/PROTOCOL.md, 19.5).
pub(in crate::run) fn context(binding: &Binding<'_>) -> Vec<u8> {
    binding.signed(labels::ANNOUNCEMENT)
}

/// A rank's announcement, and the private half of the key in it.
pub(in crate::run) struct Asked {
    /// The announcement as it travels, [`LENGTH`] bytes.
    pub(in crate::run) bytes: Vec<u8>,
    /// The key pair to which the package is to be sealed.
    pub(super) pair: KeyPair,
}

/// Makes a fresh key pair and writes the announcement of its public half.
///
/// # Errors
/// [`RunError::Bug`], [`RunError::Memory`].
pub(in crate::run) fn write(
    introduction: &Introduction<'_>,
    desk: &mut Desk<'_>,
    binding: &Binding<'_>,
) -> Result<Asked, RunError> {
    let pair = KeyPair::generate(&mut desk.stack);
    let says = padded(&Announcement::new(binding.term, pair.public(), introduction), UNSIGNED)?;
    Ok(Asked { bytes: desk.peers.sign(&context(binding), says.to_vec()), pair })
}

/// Reads the announcement in `bytes`. It returns what the rank says, if the rank is accepted and a package may be
/// sealed to its key.
///
/// # Errors
/// [`TrustError`] for the rank's identity, version, suite, key or host; [`RunError::Unreadable`]; [`RunError::Sealed`]
/// for another term.
pub(in crate::run) fn read(
    bytes: Vec<u8>,
    desk: &mut Desk<'_>,
    binding: &Binding<'_>,
) -> Result<Announced, RunError> {
    let from = binding.rank;
    let message = desk.peers.recognise(WHAT, from, &context(binding), &bytes)?;
    let says: Announcement = unpadded(message).ok_or(RunError::Unreadable { what: WHAT, from })?;
    says.check(from, binding.term)?;
    desk.peers.check_belongs(from, &says.host)?;
    Ok(Announced { says, bytes })
}
