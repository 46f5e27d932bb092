//! The secrets of a run, written down masked as they come up, and how often each stands in this process's memory.

mod search;

use std::sync::Mutex;

use hpke::kem::XWing;
use hpke::{Kem, Serializable};
use mixnn::crypto::key::Key;
use mixnn::crypto::stack::WipedStack;
use mixnn::ids::{Phase, Rank, Term};
use mixnn::mix::package::{MixedRoute, hop_key, link_key, stream_key};
use mixnn::mix::topology::Topology;
use ml_kem::ml_kem_768;
use shake::{ExtendableOutput, Shake256, Update, XofReader};
use x_wing::{Decapsulate, DecapsulationKey};

use crate::wire::{HOPS, RANKS};

/// What a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From a package: what the keys of a rank's incoming lanes and links are derived from.
    Secret,
    /// From a package: a key of a hop of the rank's own circuits.
    Layer,
    /// The key of an incoming lane, in one phase.
    Hop,
    /// The key of a link, one way.
    Link,
    /// The key of the streams over a link, in one phase.
    Stream,
    /// The private half of a KEM's key pair, as it is kept.
    Private,
    /// What that is drawn from, and what it is expanded to.
    Expanded,
    /// What an encapsulation is drawn from.
    Encapsulation,
    /// The secret that owner and rank share by way of a package's encapsulation.
    Shared,
}

impl Kind {
    /// Whether it belongs to a term's slots.
    pub(crate) fn is_of_slots(self) -> bool {
        matches!(self, Kind::Secret | Kind::Layer | Kind::Hop | Kind::Link | Kind::Stream)
    }
}

/// A secret as a test remembers it: its bytes must not be found in memory because of the test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secret {
    pub(crate) kind: Kind,
    /// Whose.
    pub(crate) rank: Rank,
    /// When it came up.
    pub(crate) term: Term,
    pub(crate) masked: [u8; 32],
}

const MASK: u8 = 0xa5;

/// `bytes` with every bit of the mask changed. Twice gives the bytes again.
fn masked(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|at| bytes[at] ^ MASK)
}

/// All secrets that have come up, in their order.
#[derive(Default)]
pub(crate) struct Ledger {
    secrets: Mutex<Vec<Secret>>,
    /// The run's id.
    run: Mutex<[u8; 32]>,
}

impl Ledger {
    /// The run's id, from the opening: behind its digest, its length, its kind, and the version.
    pub(crate) fn opening(&self, opening: &[u8]) {
        let at = 32 + 8 + 1 + 1 + env!("CARGO_PKG_VERSION").len();
        self.run.lock().unwrap().copy_from_slice(&opening[at..at + 32]);
    }

    fn note(&self, kind: Kind, rank: Rank, term: Term, bytes: &[u8]) {
        self.secrets.lock().unwrap().push(Secret { kind, rank, term, masked: masked(bytes) });
    }

    /// What `rank` draws: for a key pair, or for an encapsulation. Call where the stack is wiped.
    pub(crate) fn drawn(&self, rank: Rank, term: Term, bytes: &[u8]) {
        if bytes.len() == 64 {
            bytes.chunks(32).for_each(|half| self.note(Kind::Encapsulation, rank, term, half));
            return;
        }
        self.note(Kind::Expanded, rank, term, bytes);
        let (private, _) = XWing::derive_keypair(bytes);
        let mut seed = [0; 32];
        private.write_exact(&mut seed);
        self.note(Kind::Private, rank, term, &seed);
        // X-Wing: the seeds d and z of ML-KEM's key, then the X25519 key.
        let mut expanded = [0; 96];
        let mut shake = Shake256::default();
        shake.update(&seed);
        shake.finalize_xof().read(&mut expanded);
        expanded.chunks(32).for_each(|part| self.note(Kind::Expanded, rank, term, part));
        let (seeds, _) = expanded.split_first_chunk::<64>().unwrap();
        self.note_polynomials(rank, term, &ml_kem_768::DecapsulationKey::from_seed((*seeds).into()));
    }

    /// The start of each polynomial of the key, as it stands in memory. FIPS 203 packs two coefficients of 12 bits into 3 bytes.
    #[allow(deprecated, reason = "nothing else gives the polynomials")]
    fn note_polynomials(&self, rank: Rank, term: Term, key: &ml_kem_768::DecapsulationKey) {
        use ml_kem::ExpandedKeyEncoding;
        for polynomial in key.to_expanded_bytes()[..1152].chunks(384) {
            let mut coefficients = [0; 32];
            for (two, packed) in coefficients.chunks_mut(4).zip(polynomial.chunks(3)) {
                let [a, b, c] = [0, 1, 2].map(|at| u16::from(packed[at]));
                two[..2].copy_from_slice(&(a | (b & 0xf) << 8).to_ne_bytes());
                two[2..].copy_from_slice(&(b >> 4 | c << 4).to_ne_bytes());
            }
            self.note(Kind::Expanded, rank, term, &coefficients);
        }
    }

    /// What the owner shares with `rank` by this `package`.
    pub(crate) fn package(&self, rank: Rank, term: Term, package: &[u8]) {
        let secrets = self.all();
        let pair = secrets.iter().rfind(|secret| (secret.kind, secret.rank) == (Kind::Private, rank)).unwrap();
        WipedStack::new().unwrap().run(|| {
            let key = DecapsulationKey::from(masked(&pair.masked));
            let shared = key.decapsulate(&package[..1120].try_into().unwrap());
            self.note(Kind::Shared, rank, term, &shared);
        });
    }

    /// What `rank` holds of a `route`, and what it and its peers derive from that.
    pub(crate) fn route(&self, rank: Rank, term: Term, route: &MixedRoute) {
        let run = *self.run.lock().unwrap();
        let note = |kind, key: &Key| self.note(kind, rank, term, key.bytes());
        note(Kind::Secret, &route.secret);
        route.circuits.iter().flat_map(|circuit| &circuit.layers).for_each(|key| note(Kind::Layer, key));
        for (peer, outgoing) in Topology::all(RANKS).peers(rank).zip(&route.links) {
            Phase::all(HOPS).for_each(|phase| {
                note(Kind::Hop, &hop_key(&route.secret, &run, term, rank, phase, peer));
            });
            let incoming = link_key(&route.secret, &run, term, rank, peer);
            for link in [outgoing.as_ref().unwrap(), &incoming] {
                note(Kind::Link, link);
                Phase::all(HOPS).skip(1).for_each(|phase| note(Kind::Stream, &stream_key(link, phase)));
            }
        }
    }

    /// All secrets so far.
    pub(crate) fn all(&self) -> Vec<Secret> {
        self.secrets.lock().unwrap().clone()
    }

    /// All secrets so far, and how often each stands in memory.
    pub(crate) fn counted(&self) -> Vec<(Secret, usize)> {
        let secrets = self.all();
        let counts = search::count(&secrets);
        secrets.into_iter().zip(counts).collect()
    }
}
