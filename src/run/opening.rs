//! What owner and ranks say to each other outside slots, each kind of message of one length
//! (docs/PROTOCOL.md, "Initialization").

use std::time::Duration;

use postcard::ser_flavors::Size;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::RunError;
use super::peers::SIGNED;
use super::results::VERSION;
use super::trust::TrustError;
use crate::crypto::aead::Library;
use crate::crypto::hpke;
use crate::crypto::stack::WipedStack;
use crate::ids::{Epoch, Rank};
use crate::job::{Compute, FEWEST_MIXED_RANKS, LONGEST_TIMEOUT, MOST_RANKS, MOST_THREADS, Profile};
use crate::memory;
use crate::mix::beat::Fault;
use crate::mix::clock::{LONGEST_SLOT, Pace};
use crate::mix::geometry::{Geometry, rounded_up};
use crate::mix::package::{Package, Route};
use crate::nn::StageSpec;
use crate::terminal;
use crate::wire::HEADER;

/// Bytes of the owner's first message.
pub(super) const OPENING: usize = 256;
/// Bytes of a rank's announcement, before it is signed.
pub(super) const ANNOUNCEMENT: usize = 2048 - SIGNED;
/// Bytes of a message, and of a result, at most: MPI counts in a C int.
pub(super) const LONGEST: u64 = 1 << 30;
/// Characters of a host's name and of a fingerprint in an announcement.
const NAME: usize = 128;

/// The owner's first message to every rank.
#[derive(Serialize, Deserialize)]
pub(super) enum Opening {
    /// The public numbers of a run.
    Start(Public),
    /// No run: exit with this code.
    Refused(i32),
    /// Not yet: the owner is busy with the job and the data. Another opening follows.
    Coming,
}

/// The public numbers: all that a rank works from besides its package.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Public {
    /// The version of mixnn.
    #[serde(deserialize_with = "word")]
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
    /// With what ranks compute.
    pub(super) compute: Compute,
    /// When slots begin.
    pub(super) pacing: Pacing,
    /// Bytes of a package before it is sealed.
    pub(super) package: u32,
    /// Bytes of a result before it is sealed.
    pub(super) result: u64,
    /// SHA-256 of the opening that said all this.
    #[serde(skip)]
    pub(super) digest: [u8; 32],
}

/// When slots begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Pacing {
    /// When their ranks are ready.
    Lockstep,
    /// At fixed times.
    Fixed {
        /// How far apart; the owner says it by beat where this does not.
        pace: Option<Pace>,
        /// Nanoseconds from the end of an epoch's slots to its results.
        rest: u64,
    },
}

impl Pacing {
    fn fits(&self) -> bool {
        match self {
            Self::Lockstep => true,
            Self::Fixed { pace, rest } => pace.is_none_or(|pace| pace.fits()) && *rest <= LONGEST_SLOT,
        }
    }
}

impl Public {
    /// Whether a rank among `ranks` can work from these numbers. What it then takes memory for, counts to and waits for is
    /// bounded by what a job may ask for.
    pub(super) fn fits(&self, ranks: u16) -> bool {
        let Geometry { ranks: n, hops, cells, payload } = self.geometry;
        let fewest = if self.profile == Profile::Mixed { FEWEST_MIXED_RANKS } else { 2 };
        let message = u64::from((n.max(3) - 1) / 2).checked_mul(u64::from(cells) * u64::from(payload));
        (fewest..=MOST_RANKS).contains(&ranks)
            && n == ranks.max(3)
            && (3..=4).contains(&hops)
            && payload.is_multiple_of(16)
            // Payloads are rounded up, by less than a half even of the shortest.
            && message.is_some_and(|message| (HEADER as u64..=LONGEST * 3 / 2).contains(&message))
            && u64::from(self.package) <= LONGEST
            && self.result <= LONGEST
            && Duration::from_millis(self.timeout) <= LONGEST_TIMEOUT
            && self.compute.threads <= MOST_THREADS
            && self.pacing.fits()
    }
}

/// What a rank tells the owner at the start of an epoch.
#[derive(Serialize, Deserialize)]
pub(super) struct Announcement {
    /// The version of mixnn.
    #[serde(deserialize_with = "word")]
    pub(super) version: String,
    /// The cryptography that the key is for: HPKE's identifiers of KEM, KDF and AEAD.
    pub(super) suite: [u16; 3],
    /// The epoch.
    pub(super) epoch: Epoch,
    /// The public half of its key pair for this epoch.
    pub(super) key: Vec<u8>,
    /// Its host.
    #[serde(deserialize_with = "word")]
    pub(super) host: String,
    /// What the bits of its results depend on.
    #[serde(deserialize_with = "word")]
    pub(super) fingerprint: String,
    /// Threads with which it computes; 0 where a device does.
    pub(super) threads: u16,
    /// Whose AES-256-GCM seals on its processor.
    pub(super) aead: Library,
}

/// What a rank says of itself in every epoch.
pub(super) struct Introduction<'a> {
    /// Its host.
    pub(super) host: &'a str,
    /// What the bits of its results depend on.
    pub(super) fingerprint: &'a str,
    /// Threads with which it computes; 0 where a device does.
    pub(super) threads: u16,
    /// Whose AES-256-GCM seals on its processor.
    pub(super) aead: Library,
}

impl Announcement {
    /// What this version says.
    pub(super) fn new(epoch: Epoch, key: &[u8], introduction: &Introduction<'_>) -> Self {
        let Introduction { host, fingerprint, threads, aead } = *introduction;
        Self {
            version: VERSION.to_owned(),
            suite: hpke::SUITE,
            epoch,
            key: key.to_vec(),
            host: shortened(host),
            fingerprint: shortened(fingerprint),
            threads,
            aead,
        }
    }

    /// Whether a package for `epoch` may be sealed to what `from` announces here.
    ///
    /// # Errors
    /// [`TrustError::Version`], [`TrustError::Suite`], [`TrustError::Weak`]; [`RunError::Sealed`] for another epoch.
    pub(super) fn check(&self, from: Rank, epoch: Epoch) -> Result<(), RunError> {
        if self.version != VERSION {
            return Err(TrustError::Version { from, found: self.version.clone(), expected: VERSION }.into());
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

/// An announcement as the owner has it.
pub(super) struct Announced {
    /// What it says.
    pub(super) says: Announcement,
    /// As it came.
    pub(super) bytes: Vec<u8>,
}

/// What a rank returns at the end of an epoch.
#[derive(Serialize, Deserialize)]
pub(super) struct Returned {
    /// Nanoseconds: compute, seal, exchange, peel, open, wait; bytes sent, and slots that overran.
    pub(super) timing: [u64; 8],
    /// Parameters, f32; none on a relay.
    pub(super) values: Vec<f32>,
    /// What it has noticed since its last beat, or could not tell the owner before the epoch's end.
    pub(super) fault: Option<Fault>,
}

/// What a package is bound to: who it is for, and what owner and rank have said before, so that it opens only where each has
/// heard the other as it spoke.
pub(super) fn package_info(public: &Public, epoch: Epoch, rank: Rank, announcement: &[u8]) -> Vec<u8> {
    let mut info = b"mixnn/1 package".to_vec();
    info.extend_from_slice(&public.run);
    info.extend_from_slice(&epoch.0.to_le_bytes());
    info.extend_from_slice(&rank.0.to_le_bytes());
    info.extend_from_slice(&public.geometry.ranks.to_le_bytes());
    info.extend_from_slice(&public.digest);
    info.extend_from_slice(&Sha256::digest(announcement));
    info
}

/// What a result is bound to.
pub(super) fn result_info(run: &[u8; 32], epoch: Epoch, rank: Rank, slots: u64) -> Vec<u8> {
    let mut info = b"mixnn/1 result".to_vec();
    info.extend_from_slice(run);
    info.extend_from_slice(&epoch.0.to_le_bytes());
    info.extend_from_slice(&rank.0.to_le_bytes());
    info.extend_from_slice(&slots.to_le_bytes());
    info
}

/// The opening in its [`OPENING`] bytes: SHA-256 of what follows, and that [`padded`]. Whatever alters it by chance is noticed
/// at once; whoever does so on purpose, when the package does not open.
///
/// # Errors
/// [`RunError::Bug`] where it does not fit, [`RunError::Memory`].
pub(super) fn opening(says: &Opening) -> Result<Vec<u8>, RunError> {
    let body = padded(says, OPENING - 32)?;
    Ok([Sha256::digest(body.as_slice()).as_slice(), &body].concat())
}

/// Reads what [`opening`] wrote; `None` where it is none.
pub(super) fn opened(bytes: &[u8]) -> Option<Opening> {
    let (digest, body) = bytes.split_at_checked(32)?;
    match Sha256::digest(body).as_slice() == digest {
        true => match unpadded(body)? {
            Opening::Start(public) => Some(Opening::Start(Public { digest: Sha256::digest(bytes).into(), ..public })),
            refused => Some(refused),
        },
        false => None,
    }
}

/// `value` in `length` bytes: its own length (8 bytes), postcard's encoding, zeros.
///
/// # Errors
/// [`RunError::Bug`] where it does not fit, [`RunError::Memory`].
pub(super) fn padded<V: Serialize>(value: &V, length: usize) -> Result<Zeroizing<Vec<u8>>, RunError> {
    let encoded = encoded(value)?;
    if encoded.len() + 8 > length {
        return Err(RunError::Bug(format!("{} bytes do not fit a message of {length}", encoded.len() + 8)));
    }
    let mut bytes = Zeroizing::new(memory::room(length)?);
    bytes.extend_from_slice(&(encoded.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&encoded);
    bytes.resize(length, 0);
    Ok(bytes)
}

/// postcard's encoding of `value`, in memory that does not grow: what it grew out of would not be wiped.
///
/// # Errors
/// [`RunError::Bug`].
pub(super) fn encoded<V: Serialize + ?Sized>(value: &V) -> Result<Zeroizing<Vec<u8>>, RunError> {
    let mut bytes = Zeroizing::new(memory::zeroed(encoded_length(value)?)?);
    postcard::to_slice(value, &mut bytes).map_err(|error| RunError::Bug(error.to_string()))?;
    Ok(bytes)
}

/// Bytes of postcard's encoding of `value`.
///
/// # Errors
/// [`RunError::Bug`].
pub(super) fn encoded_length<V: Serialize + ?Sized>(value: &V) -> Result<usize, RunError> {
    postcard::serialize_with_flavor(value, Size::default()).map_err(|error| RunError::Bug(error.to_string()))
}

/// Reads what [`padded`] wrote; `None` where it is none.
pub(super) fn unpadded<V: DeserializeOwned>(bytes: &[u8]) -> Option<V> {
    let (length, rest) = bytes.split_at_checked(8)?;
    let length = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
    let (value, left) = postcard::take_from_bytes(rest.get(..length)?).ok()?;
    left.is_empty().then_some(value)
}

/// The package in `plain`, where `rank` of `ranks` can work from it in a run of these public numbers.
pub(super) fn handed(plain: &[u8], public: &Public, rank: Rank, ranks: u16) -> Option<Package> {
    let package: Package = unpadded(plain)?;
    let mixed = matches!(package.route, Route::Mixed(_));
    let fits = mixed == (public.profile == Profile::Mixed) && package.route.fits(&public.geometry, rank, ranks);
    fits.then_some(package)
}

/// Whether a package's `role` tells of a stage: a list of operations begins with how many there are.
pub(super) fn is_stage(role: &[u8]) -> bool {
    role.first().is_some_and(|operations| *operations != 0)
}

/// The stage that a package's `role` tells of, where a rank can host it in a run of these public numbers.
pub(super) fn stage(role: &[u8], public: &Public) -> Option<StageSpec> {
    let (spec, rest): (StageSpec, &[u8]) = postcard::take_from_bytes(role).ok()?;
    let number = u64::from(spec.wire.bytes());
    let width = spec.data.as_ref().map_or(number, |encoding| encoding.element.bytes().into());
    let tensor = |features: u32, width: u64| (u64::from(features) * u64::from(spec.micro_batch)).checked_mul(width);
    let travels = |bytes: Option<u64>| {
        bytes.is_some_and(|bytes| (1..=(public.geometry.message() - HEADER) as u64).contains(&bytes))
    };
    let fits = rest.iter().all(|byte| *byte == 0)
        && spec.chains()
        && spec.starts()
        && spec.optimizer.fits()
        && travels(tensor(spec.input_features(), width))
        && travels(tensor(spec.output_features(), number))
        && spec.parameter_count() <= public.result / 4;
    fits.then_some(spec)
}

/// A word of the one who announces, who may have put anything there: as it is shown to the owner's user, and compared.
pub(super) fn shown(word: &str) -> String {
    shortened(&terminal::escaped(word))
}

fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(shown(&String::deserialize(from)?))
}

/// A name of at most [`NAME`] bytes.
fn shortened(name: &str) -> String {
    name.char_indices().take_while(|(at, c)| at + c.len_utf8() <= NAME).map(|(_, c)| c).collect()
}

/// Bytes of a package, before it is sealed, that carries a role of at most `role` bytes among `ranks` ranks.
pub(super) fn package_length(ranks: u16, hops: u8, role: usize, least: u32) -> u64 {
    let lanes = usize::from(ranks);
    // postcard: a rank or a length takes up to 3 bytes, a length of the role up to 10.
    let circuits = lanes * (8 + 32 * usize::from(hops));
    let links = 3 + lanes * 33;
    let next = usize::from(hops) * (3 + 3 * lanes);
    let arrivals = lanes * 4;
    let fixed = 128 + hpke::PUBLIC_KEY;
    rounded_up((fixed + links + circuits + next + arrivals + role) as u64).max(least.into())
}

/// Bytes of a result, before it is sealed, of up to `values` parameters.
pub(super) fn result_length(values: u64, least: u64) -> u64 {
    rounded_up(values.saturating_mul(4).saturating_add(128)).max(least)
}

/// The package of `rank`, sealed to the key that it announced.
///
/// # Errors
/// [`RunError`].
pub(super) fn seal_package(
    stack: &mut WipedStack,
    package: &Package,
    public: &Public,
    epoch: Epoch,
    rank: Rank,
    announced: &Announced,
) -> Result<Vec<u8>, RunError> {
    let plain = padded(package, public.package as usize)?;
    let info = package_info(public, epoch, rank, &announced.bytes);
    hpke::seal(stack, &announced.says.key, &info, None, &plain).map_err(super::sealed("the key announcement", rank))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float::{Float, Precision};
    use crate::job::op::{Activation, Linear};
    use crate::job::{AesGcm, Backend, Op, Optimizer, Shape};
    use crate::random::Seed;

    #[test]
    fn padding_hides_the_length_and_comes_off() {
        let (short, long) = (padded(&vec![1_u8], 64).unwrap(), padded(&vec![7_u8; 40], 64).unwrap());
        assert_eq!((short.len(), long.len()), (64, 64));
        assert_eq!(unpadded::<Vec<u8>>(&long), Some(vec![7; 40]));
        assert!(padded(&vec![0_u8; 60], 64).is_err());
        assert_eq!(unpadded::<Vec<u8>>(&[0xff; 64]), None);
        assert_eq!(unpadded::<Vec<u8>>(&[1, 2, 3]), None);
    }

    fn public() -> Public {
        Public {
            version: String::new(),
            run: [0; 32],
            profile: Profile::Mixed,
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
            digest: [0; 32],
        }
    }

    #[test]
    fn public_numbers_that_no_job_asks_for_are_refused() {
        assert!(public().fits(7) && !public().fits(6) && !public().fits(0));
        let breaks: [fn(&mut Public); 12] = [
            |public| public.geometry.ranks = 0,
            |public| public.geometry.hops = 0,
            |public| public.geometry.hops = 255,
            |public| public.geometry.cells = 0,
            |public| public.geometry.payload += 1,
            |public| (public.geometry.cells, public.geometry.payload) = (u32::MAX, u32::MAX - 15),
            |public| public.timeout = u64::MAX,
            |public| public.compute.threads = u16::MAX,
            |public| public.package = u32::MAX,
            |public| public.result = u64::MAX,
            |public| public.pacing = Pacing::Fixed { pace: None, rest: u64::MAX },
            |public| public.pacing = Pacing::Fixed { pace: Some(Pace { slot: 0, share: 1 }), rest: 0 },
        ];
        for (i, change) in breaks.into_iter().enumerate() {
            let mut public = public();
            change(&mut public);
            assert!(!public.fits(7), "change {i}");
        }
        // Two ranks have the lengths of three; they do not mix.
        let pair = |profile| Public { profile, geometry: Geometry::new(3, 3, 64, 1 << 24).unwrap(), ..public() };
        assert!(pair(Profile::Sealed).fits(2) && !pair(Profile::Mixed).fits(3));
        // The longest message in the smallest cells is what a job may ask for.
        let long = Geometry::new(64, 4, 1 << 30, 128).unwrap();
        assert!(Public { geometry: long, ..public() }.fits(64));
    }

    #[test]
    fn a_stage_that_does_not_fit_its_messages_is_refused() {
        fn linear(out: u32, bias: bool) -> Op {
            Op::Linear(Linear { input: None, out, bias })
        }
        let spec = || StageSpec {
            ops: vec![linear(10, true), Op::Activation(Activation::Relu)],
            input: Shape::new([16]),
            output: Shape::new([10]),
            data: None,
            wire: Float::F32,
            micro_batch: 4,
            optimizer: Optimizer::sgd(0.9),
            seed: Seed::from_text("s"),
            values: None,
        };
        let read = |spec: &StageSpec| stage(&postcard::to_allocvec(spec).unwrap(), &public());
        assert!(read(&spec()).is_some());
        let breaks: [fn(&mut StageSpec); 8] = [
            |spec| spec.ops.clear(),
            |spec| spec.output = Shape::new([11]),
            |spec| spec.micro_batch = 0,
            |spec| spec.micro_batch = 16,
            |spec| spec.input = Shape::new([0]),
            |spec| spec.input = Shape::new([u32::MAX]),
            |spec| spec.ops.insert(0, linear(u32::MAX, false)),
            |spec| spec.ops.insert(0, linear(100, false)),
        ];
        for (i, change) in breaks.into_iter().enumerate() {
            let mut spec = spec();
            change(&mut spec);
            assert!(read(&spec).is_none(), "change {i}");
        }
        // 16 times 10 weights and 10 biases.
        let given = |count, value| StageSpec { values: Some(vec![value; count].into()), ..spec() };
        assert!(read(&given(170, 0.5)).is_some_and(|spec| spec.values.is_some_and(|values| *values == [0.5; 170])));
        for (count, value) in [(0, 0.5), (169, 0.5), (171, 0.5), (170, f32::NAN), (170, f32::INFINITY)] {
            assert!(read(&given(count, value)).is_none(), "{count} times {value}");
        }
        let followed = |by: &[u8]| stage(&[&postcard::to_allocvec(&spec()).unwrap(), by].concat(), &public());
        assert!(followed(&[0; 9]).is_some() && followed(&[0, 0, 1]).is_none());
        assert!(is_stage(&postcard::to_allocvec(&spec()).unwrap()) && !is_stage(&[0; 9]) && !is_stage(&[]));
    }

    /// docs/PROTOCOL.md, 3.10 and 3.11, with the example's figures: few lengths, so that one says little of a model.
    #[test]
    fn lengths_of_packages_and_results_are_rounded() {
        assert_eq!((result_length(200_960, 0), package_length(7, 3, 73, 0)), (819_200, 2560));
        assert_eq!((result_length(200_960, 1 << 20), package_length(7, 3, 73, 4000)), (1 << 20, 4000));
        let lengths = |of: &dyn Fn(u64) -> u64| -> usize {
            (100_000..200_000).step_by(100).map(of).collect::<std::collections::BTreeSet<u64>>().len()
        };
        // A doubling takes 16 steps.
        assert!(lengths(&|values| result_length(values, 0)) <= 17);
        assert!(lengths(&|role| package_length(7, 3, role as usize, 0)) <= 17);
        // Longer by a sixteenth at most, and never too short.
        for values in (1..1_000_000).step_by(997) {
            let needed = values * 4 + 128;
            assert!((needed..=needed + needed / 16).contains(&result_length(values, 0)), "{values}");
        }
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(shortened("node-1"), "node-1");
        assert_eq!(shortened(&"ä".repeat(100)).len(), 128);
    }
}
