//! A snapshot: all that a stage needs to go on, as bytes.
//!
//! Parameters come in the order of [`StageSpec::parameters`], and values in PyTorch's layout. The bytes are, in this order:
//!
//! 1. the values of all parameters, f32;
//! 2. what the optimizer keeps of each learned parameter, f32: the velocity of SGD, or the mean and then the mean square of
//!    Adam;
//! 3. for Adam, the factors beta1^t and beta2^t of each learned parameter, f64, as counting steps would not give them to the
//!    bit;
//! 4. the number of optimizer steps so far, u64.
//!
//! All numbers are little-endian.

use std::ops::Range;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Parameter, Stage, StageSpec};
use crate::compute::{Backend, ComputeError};
use crate::job::Rule;
use crate::memory;

/// Most bytes of a snapshot that travel or rest in one piece. A multiple of four, so that no number is cut.
pub const PIECE: usize = 1 << 20;

/// The pieces of several stages' snapshots, or of as many bytes of each as `lengths` says, in the order in which they travel and
/// rest: the first [`PIECE`] of each stage, by stage, then the second of each, and so on. Each is given by its round, its stage, and
/// its place in that stage's bytes. So whoever sends or takes all of them holds one round at a time.
pub fn rounds(lengths: &[u64]) -> impl Iterator<Item = (usize, usize, Range<usize>)> + '_ {
    let count = lengths.iter().map(|length| length.div_ceil(PIECE as u64)).max().unwrap_or(0) as usize;
    let place = |round: usize, length: u64| {
        let start = round as u64 * PIECE as u64;
        let end = length.min(start + PIECE as u64);
        (start < end).then_some(start as usize..end as usize)
    };
    let of_round = move |round| {
        let piece = move |(stage, length): (usize, &u64)| Some((round, stage, place(round, *length)?));
        lengths.iter().enumerate().filter_map(piece)
    };
    (0..count).flat_map(of_round)
}

/// All that a stage needs to go on, as bytes. They are wiped on drop.
pub struct Snapshot(Zeroizing<Vec<u8>>);

impl Snapshot {
    /// A snapshot of a stage of `spec` from `bytes`. `None` if their length is not that of such a snapshot, or a parameter's
    /// value is not finite.
    pub fn from_bytes(spec: &StageSpec, bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let values = usize::try_from(spec.parameter_count()).ok()?.checked_mul(4)?;
        let fits = bytes.len() as u64 == length(spec) && numbers(&bytes[..values]).all(f32::is_finite);
        fits.then_some(Self(bytes))
    }

    /// The snapshot's bytes, as many as [`length`] says.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The SHA-256 digest of the snapshot's bytes.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.bytes()).into()
    }
}

/// Length in bytes of the values of all parameters of a stage of `spec`, with which its snapshot begins; the largest u64 if they
/// are longer.
pub fn values_length(spec: &StageSpec) -> u64 {
    spec.parameter_count().saturating_mul(4)
}

/// Length in bytes of a snapshot of a stage of `spec`, or the largest u64 if it is longer.
pub fn length(spec: &StageSpec) -> u64 {
    let (kept, factors) = match spec.optimizer.rule {
        Rule::Sgd { momentum: 0.0, .. } => (0, 0),
        Rule::Sgd { .. } => (1, 0),
        Rule::Adam { .. } => (2, 2),
    };
    let learned = spec.parameters().into_iter().filter(|(_, declared)| declared.learned);
    let (count, values) =
        learned.fold((0_u64, 0_u64), |(count, values), (_, one)| (count + 1, values.saturating_add(one.values())));
    let numbers = values.saturating_mul(kept).saturating_add(spec.parameter_count());
    numbers.saturating_mul(4).saturating_add(8 * factors * count + 8)
}

/// The little-endian f32 numbers in `bytes`.
fn numbers(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number))
}

/// Reads a snapshot from front to back.
struct SnapshotReader<'a> {
    /// The bytes that have not been read yet.
    bytes: &'a [u8],
    /// Memory for the numbers of one parameter.
    room: Zeroizing<Vec<f32>>,
}

impl SnapshotReader<'_> {
    /// Reads the next `len` f32 numbers.
    fn numbers(&mut self, len: usize) -> &[f32] {
        let (here, behind) = self.bytes.split_at(4 * len);
        self.bytes = behind;
        self.room.clear();
        self.room.extend(numbers(here));
        &self.room
    }

    /// Reads the next eight bytes.
    fn word(&mut self) -> [u8; 8] {
        let Some((word, behind)) = self.bytes.split_first_chunk() else { unreachable!("its length was looked at") };
        self.bytes = behind;
        *word
    }
}

impl<B: Backend + 'static> Stage<B> {
    /// Takes a snapshot of this stage.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory for it.
    ///
    /// # Panics
    /// If a micro-batch is in flight, or gradients were summed that no step has used.
    pub fn snapshot(&self, backend: &B) -> Result<Snapshot, ComputeError> {
        assert!(self.is_at_rest(), "a snapshot is taken between batches");
        let mut room = Zeroizing::new(memory::zeroed(self.longest_parameter())?);
        let mut bytes = Zeroizing::new(memory::room(self.snapshot_length())?);
        let mut write = |numbers: &[f32]| bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        for parameter in self.parameters() {
            let room = &mut room[..parameter.len()];
            parameter.download(backend, room)?;
            backend.finish()?;
            write(room);
        }
        for parameter in self.parameters() {
            let room = &mut room[..parameter.len()];
            for which in 0..parameter.kept() {
                parameter.download_kept(backend, which, room)?;
                backend.finish()?;
                write(room);
            }
        }
        let factors = self.parameters().flat_map(|parameter| parameter.factors().iter());
        bytes.extend(factors.flat_map(|factor| factor.to_le_bytes()));
        bytes.extend(self.steps().to_le_bytes());
        Ok(Snapshot(bytes))
    }

    /// Sets this stage to a snapshot of a stage of the same spec.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory to read it.
    ///
    /// # Panics
    /// If a micro-batch is in flight, gradients were summed that no step has used, or the snapshot has another length.
    pub fn restore(&mut self, backend: &B, snapshot: &Snapshot) -> Result<(), ComputeError> {
        assert!(self.is_at_rest(), "a stage is restored between batches");
        assert_eq!(snapshot.bytes().len(), self.snapshot_length(), "bytes of a snapshot of this stage");
        let room = Zeroizing::new(memory::room(self.longest_parameter())?);
        let mut rest = SnapshotReader { bytes: snapshot.bytes(), room };
        for parameter in self.parameters_mut() {
            parameter.upload(backend, rest.numbers(parameter.len()))?;
        }
        for parameter in self.parameters_mut() {
            for which in 0..parameter.kept() {
                parameter.upload_kept(backend, which, rest.numbers(parameter.len()))?;
            }
        }
        for factor in self.parameters_mut().flat_map(|parameter| parameter.factors_mut()) {
            *factor = f64::from_le_bytes(rest.word());
        }
        self.set_steps(u64::from_le_bytes(rest.word()));
        Ok(())
    }

    /// Number of values of the longest parameter.
    fn longest_parameter(&self) -> usize {
        self.parameters().map(|parameter| parameter.len()).max().unwrap_or(0)
    }

    /// Length in bytes of a snapshot of this stage.
    fn snapshot_length(&self) -> usize {
        let of =
            |parameter: &Parameter<B>| 4 * parameter.len() * (1 + parameter.kept()) + 8 * parameter.factors().len();
        self.parameters().map(of).sum::<usize>() + 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::cpu::Cpu;
    use crate::float::Float;
    use crate::job::op::{Activation, BatchNorm, Linear};
    use crate::job::{Op, Optimizer, Shape};
    use crate::nn::Pass;
    use crate::random::Seed;

    const ROWS: usize = 4;

    fn spec(optimizer: Optimizer) -> StageSpec {
        let linear = |out| Op::Linear(Linear { input: None, out, bias: true });
        let norm = Op::BatchNorm(BatchNorm { eps: 1e-5, momentum: 0.1, affine: true });
        StageSpec {
            ops: vec![linear(6), norm, Op::Activation(Activation::Tanh), linear(2)],
            input: Shape::new([3]),
            output: Shape::new([2]),
            data: None,
            wire: Float::F32,
            micro_batch: ROWS as u32,
            optimizer,
            seed: Seed::from_text("s"),
            loss: None,
            values: None,
        }
    }

    fn optimizers() -> Vec<Optimizer> {
        let adam = Rule::Adam { betas: [0.9, 0.99], eps: 1e-8, decoupled: true };
        vec![
            Optimizer::sgd(0.0),
            Optimizer::sgd(0.9),
            Optimizer { rule: adam, weight_decay: 0.01, ..Optimizer::sgd(0.0) },
        ]
    }

    /// Trains the stage on something different in each of these batches.
    fn learn(backend: &Cpu, stage: &mut Stage<Cpu>, batches: std::ops::Range<u32>) {
        for batch in batches {
            let pass =
                Pass::training(ROWS, crate::ids::Epoch(0), crate::ids::Batch(batch), crate::ids::MicroBatch(0));
            let numbers = |salt: u32, len: usize| -> Vec<f32> {
                (0..len).map(|i| ((i as u32 * 7 + batch * 13 + salt) as f32 * 0.37).sin()).collect()
            };
            stage.input(backend, pass).unwrap().copy_from_slice(&numbers(1, ROWS * 3));
            stage.forward(backend);
            stage.output_gradient().copy_from_slice(&numbers(2, ROWS * 2));
            stage.backward_input(backend);
            stage.backward_params(backend);
            stage.step(backend, 0.05);
        }
    }

    /// A stage that goes on from a snapshot ends where an uninterrupted stage ends, whatever the optimizer keeps.
    #[test]
    fn a_restored_stage_goes_on_as_if_nothing_had_happened() {
        let backend = Cpu::new(1).unwrap();
        for optimizer in optimizers() {
            let spec = spec(optimizer);
            let stage = || Stage::new(&backend, &spec).unwrap();
            let mut whole = stage();
            learn(&backend, &mut whole, 0..3);
            let taken = whole.snapshot(&backend).unwrap();
            assert_eq!(taken.bytes().len() as u64, length(&spec));
            learn(&backend, &mut whole, 3..6);
            let due = whole.snapshot(&backend).unwrap();
            assert_ne!(taken.digest(), due.digest());
            // Another stage, which has learned something else.
            let mut other = stage();
            learn(&backend, &mut other, 10..15);
            let read = Snapshot::from_bytes(&spec, Zeroizing::new(taken.bytes().to_vec())).unwrap();
            other.restore(&backend, &read).unwrap();
            assert_eq!(other.snapshot(&backend).unwrap().digest(), taken.digest());
            learn(&backend, &mut other, 3..6);
            assert_eq!(other.snapshot(&backend).unwrap().digest(), due.digest(), "{:?}", spec.optimizer);
        }
    }

    /// All bytes of all stages come once, each stage's in order, round by round.
    #[test]
    fn rounds_pass_every_byte_once() {
        const P: u64 = PIECE as u64;
        for lengths in [vec![], vec![0], vec![1, P, P + 1, 0, 3 * P], vec![2 * P - 4, 8]] {
            let mut passed = vec![0; lengths.len()];
            let mut last = None;
            for (round, stage, place) in rounds(&lengths) {
                assert!(last < Some((round, stage)) && !place.is_empty() && place.len() <= PIECE);
                assert_eq!((place.start as u64, round as u64 * P), (passed[stage], passed[stage]));
                passed[stage] = place.end as u64;
                last = Some((round, stage));
            }
            assert_eq!(passed, lengths);
        }
    }

    #[test]
    fn what_is_no_snapshot_of_the_stage_is_refused() {
        let backend = Cpu::new(1).unwrap();
        let spec = spec(Optimizer::sgd(0.9));
        let snapshot = Stage::new(&backend, &spec).unwrap().snapshot(&backend).unwrap();
        let read = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = snapshot.bytes().to_vec();
            change(&mut bytes);
            Snapshot::from_bytes(&spec, Zeroizing::new(bytes))
        };
        assert!(read(&|_| {}).is_some());
        assert!(read(&|bytes| bytes.push(0)).is_none());
        assert!(read(&|bytes| bytes.truncate(8)).is_none());
        assert!(read(&|bytes| bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes())).is_none());
    }
}
