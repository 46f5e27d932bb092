//! The announcement: what a rank tells the owner at the start of a term. Who it is, the key that its package is to be sealed to, and
//! with what it computes.

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

/// Bytes of an announcement.
pub(in crate::run) const LENGTH: usize = 2048;
/// Bytes of it before it is signed.
pub(in crate::run) const UNSIGNED: usize = LENGTH - SIGNED;
/// What a user is told it is.
const WHAT: &str = "the key announcement";

/// What a rank announces.
#[derive(Serialize, Deserialize)]
pub(in crate::run) struct Announcement {
    /// The version of mixnn.
    #[serde(deserialize_with = "word")]
    pub(in crate::run) version: String,
    /// The cryptography that the key is for: HPKE's identifiers of KEM, KDF and AEAD.
    pub(in crate::run) suite: [u16; 3],
    /// The term.
    pub(in crate::run) term: Term,
    /// The public half of its key pair for this term.
    pub(in crate::run) key: Vec<u8>,
    /// Its host.
    #[serde(deserialize_with = "word")]
    pub(in crate::run) host: String,
    /// What the bits of its results depend on.
    #[serde(deserialize_with = "word")]
    pub(in crate::run) fingerprint: String,
    /// Threads with which it computes; 0 where a device does.
    pub(in crate::run) threads: u16,
    /// Whose AES-256-GCM seals on its processor.
    pub(in crate::run) aead: Library,
}

/// What a rank says of itself in every term.
pub(in crate::run) struct Introduction<'a> {
    /// Its host.
    pub(in crate::run) host: &'a str,
    /// What the bits of its results depend on.
    pub(in crate::run) fingerprint: &'a str,
    /// Threads with which it computes; 0 where a device does.
    pub(in crate::run) threads: u16,
    /// Whose AES-256-GCM seals on its processor.
    pub(in crate::run) aead: Library,
}

/// An announcement as the owner has it.
pub(in crate::run) struct Announced {
    /// What it says.
    pub(in crate::run) says: Announcement,
    /// As it came.
    pub(in crate::run) bytes: Vec<u8>,
}

impl Announced {
    /// The owner's own, which has no key and never travels.
    pub(in crate::run) fn own(term: Term, introduction: &Introduction<'_>) -> Self {
        Self { says: Announcement::new(term, &[], introduction), bytes: Vec::new() }
    }
}

impl Announcement {
    /// What this version says.
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

    /// Whether a package for `term` may be sealed to what `from` announces here.
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

/// What the signature of an announcement is bound to, besides its bytes.
pub(in crate::run) fn context(binding: &Binding<'_>) -> Vec<u8> {
    binding.signed(labels::ANNOUNCEMENT)
}

/// What a rank has announced, and the private half of the key in it.
pub(in crate::run) struct Asked {
    /// The announcement, [`LENGTH`] bytes.
    pub(in crate::run) bytes: Vec<u8>,
    /// What the package is sealed to.
    pub(super) pair: KeyPair,
}

/// Announces a fresh key.
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

/// What the rank announces in `bytes`, where it is accepted and a package may be sealed to its key.
///
/// # Errors
/// [`TrustError`]: who it is, its version, its suite, its key, its host; [`RunError::Unreadable`]; [`RunError::Sealed`] for another
/// term.
pub(in crate::run) fn read(
    bytes: Vec<u8>,
    desk: &mut Desk<'_>,
    binding: &Binding<'_>,
) -> Result<Announced, RunError> {
    let from = binding.rank;
    let message = desk.peers.recognise(WHAT, from, &context(binding), &bytes)?;
    let says: Announcement = unpadded(message).ok_or(RunError::Unreadable { what: WHAT, from })?;
    says.check(from, binding.term)?;
    desk.peers.belongs(from, &says.host)?;
    Ok(Announced { says, bytes })
}
