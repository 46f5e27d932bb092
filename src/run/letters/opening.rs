//! The opening: the owner's first message, the same to every rank (docs/PROTOCOL.md, 4.1). It says the public numbers,
//! or that there is no run.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::lengths::{LONGEST, MOST_VALUES};
use super::pieces::Pieces;
use super::{Binding, padded, unpadded, word};
use crate::ids::{Rank, Term};
use crate::job::{Compute, FEWEST_MIXED_RANKS, LONGEST_TIMEOUT, MOST_RANKS, MOST_THREADS, Profile};
use crate::mix::beat::StageData;
use crate::mix::clock::{LONGEST_SLOT, Pace};
use crate::mix::geometry::Geometry;
use crate::mix::topology::Topology;
use crate::run::RunError;
use crate::wire::HEADER;

/// How many bytes an opening has.
pub(in crate::run) const LENGTH: usize = 256;

/// The owner's first message to every rank.
#[derive(Serialize, Deserialize)]
pub(in crate::run) enum Opening {
    /// The run begins, with these public numbers.
    Start(Public),
    /// There is no run: exit with this code.
    Refused(i32),
    /// The owner is still busy with the job and the data. Another opening follows.
    Coming,
}

/// The public numbers of a run. With them and its own package a rank has all that it works from.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::run) struct Public {
    /// The version of mixnn that the owner runs.
    #[serde(deserialize_with = "word")]
    pub(in crate::run) version: String,
    /// The run's id: 32 bytes, drawn for this run alone.
    pub(in crate::run) run: [u8; 32],
    /// The profile, which says how much is protected.
    pub(in crate::run) profile: Profile,
    /// The number of the run's first term.
    pub(in crate::run) term: Term,
    /// The lengths of cells, blocks and messages.
    pub(in crate::run) geometry: Geometry,
    /// How long a silent peer is waited for, in milliseconds.
    pub(in crate::run) timeout: u64,
    /// Whether ranks of one host exchange blocks through memory that they share.
    pub(in crate::run) windows: bool,
    /// With what ranks are to compute and seal.
    pub(in crate::run) compute: Compute,
    /// What decides when slots begin.
    pub(in crate::run) pacing: Pacing,
    /// How many bytes a package has before it is sealed.
    pub(in crate::run) package: u32,
    /// How many bytes the values have that follow a result, of all pieces together, before they are sealed.
    pub(in crate::run) result: u64,
    /// How many bytes the state has that follows a result, of all pieces together, before it is sealed.
    pub(in crate::run) state: u64,
    /// What stages are given that they start from.
    pub(in crate::run) given: StageData,
    /// SHA-256 of the opening that said all this. It does not travel: each process computes it of the bytes that it has
    /// said or heard.
    #[serde(skip)]
    pub(in crate::run) digest: [u8; 32],
}

/// When slots begin (docs/PROTOCOL.md, 20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::run) enum Pacing {
    /// A slot begins when its ranks are ready.
    Lockstep,
    /// Slots have a pace.
    Fixed {
        /// The pace. `None`: the owner chooses it and says it by beat.
        pace: Option<Pace>,
        /// How many nanoseconds pass from the end of a term's slots to its results.
        rest: u64,
    },
}

impl Pacing {
    /// Whether a job may ask for such a pace.
    fn fits(&self) -> bool {
        match self {
            Self::Lockstep => true,
            Self::Fixed { pace, rest } => pace.is_none_or(|pace| pace.fits()) && *rest <= LONGEST_SLOT,
        }
    }
}

impl Public {
    /// What letters of `term` belong to that are from or for `rank`, in a run of `ranks` ranks.
    pub(in crate::run) fn binding(&self, term: Term, rank: Rank, ranks: u16) -> Binding<'_> {
        Binding { run: &self.run, opening: &self.digest, term, rank, ranks }
    }

    /// How the pieces are cut in which `data` of each stage travels.
    pub(in crate::run) fn pieces(&self, data: StageData) -> Pieces {
        Pieces::cut(match data {
            StageData::Nothing => 0,
            StageData::Values => self.result,
            StageData::State => self.state,
        })
    }

    /// Whether a rank among `ranks` ranks can work from these numbers. What it takes memory for, counts to and waits
    /// for is then bounded by what a job may ask for.
    pub(in crate::run) fn fits(&self, ranks: u16) -> bool {
        let Geometry { ranks: n, hops, cells, payload } = self.geometry;
        let fewest = if self.profile == Profile::Mixed { FEWEST_MIXED_RANKS } else { 2 };
        let message = (Topology::all(n.max(3)).circuits() as u64).checked_mul(u64::from(cells) * u64::from(payload));
        (fewest..=MOST_RANKS).contains(&ranks)
            && n == ranks.max(3)
            && (3..=4).contains(&hops)
            && payload.is_multiple_of(16)
            // Payloads are rounded up, which makes a message longer by less than a half, however short the payloads
            // are.
            && message.is_some_and(|message| (HEADER as u64..=LONGEST * 3 / 2).contains(&message))
            && u64::from(self.package) <= LONGEST
            && self.result <= MOST_VALUES
            && self.state <= MOST_VALUES
            && Duration::from_millis(self.timeout) <= LONGEST_TIMEOUT
            && self.compute.threads <= MOST_THREADS
            && self.pacing.fits()
    }
}

/// Writes the opening in its [`LENGTH`] bytes: the SHA-256 of what follows, then the opening, [`padded`]. Chance
/// changes show by the digest at once. Deliberate ones show when the package does not open.
///
/// # Errors
/// [`RunError::Bug`] where it does not fit, [`RunError::Memory`].
pub(in crate::run) fn write(says: &Opening) -> Result<Vec<u8>, RunError> {
    let body = padded(says, LENGTH - 32)?;
    Ok([Sha256::digest(body.as_slice()).as_slice(), &body].concat())
}

/// Writes the opening that says the `public` numbers. Returns the numbers with its digest filled in, and its bytes.
///
/// # Errors
/// As [`write()`].
pub(in crate::run) fn start(public: Public) -> Result<(Public, Vec<u8>), RunError> {
    let bytes = write(&Opening::Start(public.clone()))?;
    Ok((Public { digest: Sha256::digest(&bytes).into(), ..public }, bytes))
}

/// Reads an opening that [`write()`] wrote. `None` where the bytes hold none.
pub(in crate::run) fn read(bytes: &[u8]) -> Option<Opening> {
    let (digest, body) = bytes.split_at_checked(32)?;
    match Sha256::digest(body).as_slice() == digest {
        true => match unpadded(body)? {
            Opening::Start(public) => Some(Opening::Start(Public { digest: Sha256::digest(bytes).into(), ..public })),
            refused => Some(refused),
        },
        false => None,
    }
}

#[cfg(test)]
pub(in crate::run) mod tests {
    use super::*;
    use crate::float::Precision;
    use crate::job::{AesGcm, Backend};

    pub(in crate::run) fn public() -> Public {
        Public {
            version: String::new(),
            run: [0; 32],
            profile: Profile::Mixed,
            term: Term(0),
            geometry: Geometry::new(7, 3, 1000, 1 << 16).unwrap(),
            timeout: 1000,
            windows: false,
            compute: Compute {
                backend: Backend::Auto,
                precision: Precision::Fp32,
                threads: 0,
                overlap: false,
                aead: AesGcm::Auto,
            },
            pacing: Pacing::Lockstep,
            package: 4096,
            result: 4096,
            state: 8192,
            given: StageData::Nothing,
            digest: [0; 32],
        }
    }

    #[test]
    fn public_numbers_that_no_job_asks_for_are_refused() {
        assert!(public().fits(7) && !public().fits(6) && !public().fits(0));
        let breaks: [fn(&mut Public); 15] = [
            |public| public.geometry.ranks = 0,
            |public| public.geometry.hops = 0,
            |public| public.geometry.hops = 255,
            |public| public.geometry.cells = 0,
            |public| public.geometry.payload += 1,
            |public| (public.geometry.cells, public.geometry.payload) = (u32::MAX, u32::MAX - 15),
            // Two circuits of a cell of 16 bytes have no room for a header, and a message that is more than half too long nobody asks for.
            |public| (public.geometry.cells, public.geometry.payload) = (1, 16),
            |public| (public.geometry.cells, public.geometry.payload) = (1, LONGEST as u32 * 3 / 4 + 16),
            |public| public.timeout = u64::MAX,
            |public| public.compute.threads = u16::MAX,
            |public| public.package = u32::MAX,
            |public| public.result = u64::MAX,
            |public| public.state = u64::MAX,
            |public| public.pacing = Pacing::Fixed { pace: None, rest: u64::MAX },
            |public| public.pacing = Pacing::Fixed { pace: Some(Pace::Slots(0)), rest: 0 },
        ];
        for (i, change) in breaks.into_iter().enumerate() {
            let mut public = public();
            change(&mut public);
            assert!(!public.fits(7), "change {i}");
        }
        // Two ranks have the lengths of three. They do not mix.
        let pair = |profile| Public { profile, geometry: Geometry::new(3, 3, 64, 1 << 24).unwrap(), ..public() };
        assert!(pair(Profile::Sealed).fits(2) && !pair(Profile::Mixed).fits(3));
        // The longest message in the smallest cells is still what a job may ask for.
        let long = Geometry::new(64, 4, 1 << 30, 128).unwrap();
        assert!(Public { geometry: long, ..public() }.fits(64));
    }
}
