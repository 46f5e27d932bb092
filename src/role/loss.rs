//! The loss at the host of the last stage (`train.loss_at = "last"`): the owner sends it the targets of each micro-batch, and the stage
//! begins the way back in the slot in which it goes forward (docs/PROTOCOL.md, 12).

use std::collections::VecDeque;

use super::RoleError;
use crate::compute::{Backend, ComputeError};
use crate::data::Targets;
use crate::float::Float;
use crate::ids::Slot;
use crate::memory;
use crate::nn::{Criterion, LossSpec, StageSpec};
use crate::wire::{Dtype, HEADER, Header, Kind};

/// Most micro-batches whose targets wait for their outputs: at least as many as are ever under way.
const MOST_WAITING: usize = 2048;

/// Computes the loss of a stage's outputs, and its gradient.
pub(super) struct StageLoss<B: Backend> {
    /// Computes the job's loss and its gradient.
    criterion: Criterion,
    /// Targets whose micro-batch has still to come, the oldest first, with the header of their message.
    waiting: VecDeque<(Header, Targets)>,
    /// Memory for targets that holds none at the moment.
    spare: Vec<Targets>,
    /// The tensor of a message of targets, on the host.
    bytes: Vec<u8>,
    /// The outputs of a micro-batch as a message would round them, (rows, outputs).
    logits: B::Buf,
    /// The gradient of the loss by them, (rows, outputs).
    gradient: B::Buf,
}

impl<B: Backend> StageLoss<B> {
    /// The loss that `spec` tells of, at the end of the stage of `stage`.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory for a micro-batch.
    pub(super) fn new(backend: &B, spec: LossSpec, stage: &StageSpec) -> Result<Self, ComputeError> {
        let (rows, outputs) = (stage.micro_batch as usize, stage.output_features() as usize);
        Ok(Self {
            criterion: Criterion::new(spec.loss),
            waiting: VecDeque::new(),
            spare: vec![empty(spec, outputs)],
            bytes: memory::zeroed(rows * outputs * 4)?,
            logits: backend.zeros(rows * outputs)?,
            gradient: backend.zeros(rows * outputs)?,
        })
    }

    /// Takes the targets of a micro-batch, whose message has `header` and the tensor in `message`.
    ///
    /// # Errors
    /// [`RoleError::Unexpected`] if they are not what the loss takes, or too many wait.
    pub(super) fn take(
        &mut self,
        backend: &B,
        slot: Slot,
        header: Header,
        message: &B::Bytes,
        stage: &StageSpec,
    ) -> Result<(), RoleError> {
        let targets = self.spare.pop().or_else(|| self.waiting.front().map(|(_, targets)| targets.room(0)));
        let Some(mut targets) = targets else { unreachable!("some targets wait, or memory for them is spare") };
        let (dtype, features) = form(&targets);
        let due =
            Header { kind: Kind::Targets, dtype, rows: header.rows.clamp(1, stage.micro_batch), features, ..header };
        super::check_due(slot, header, due)?;
        if self.waiting.len() == MOST_WAITING {
            let expected = format!("an activation, with the targets of {MOST_WAITING} micro-batches at hand");
            return Err(RoleError::Unexpected { slot, found: format!("{header:?}"), expected });
        }
        let bytes = &mut self.bytes[..header.body() as usize];
        backend.get(message, HEADER, bytes);
        read(bytes, &mut targets);
        self.waiting.push_back((header, targets));
        Ok(())
    }

    /// Computes the gradient of the loss for the `output` of the micro-batch that came with the header `of`, rounded as messages in the
    /// format `wire` would round both, and writes it to `to`. Returns the header of such a gradient's message.
    ///
    /// # Errors
    /// [`RoleError::Unexpected`] if the targets of this micro-batch have not come.
    pub(super) fn gradient(
        &mut self,
        backend: &B,
        slot: Slot,
        of: Header,
        (output, to): (&B::Buf, &mut B::Buf),
        (wire, features): (Float, u32),
    ) -> Result<Header, RoleError> {
        let names = |header: &Header| (header.epoch, header.batch, header.micro_batch, header.rows);
        let due = self.waiting.front().is_some_and(|(header, _)| names(header) == names(&of));
        let taken = if due { self.waiting.pop_front() } else { None };
        let Some((header, targets)) = taken else {
            let found = self.waiting.front().map_or_else(|| "none".to_owned(), |(header, _)| format!("{header:?}"));
            return Err(RoleError::Unexpected { slot, found, expected: format!("targets for {of:?}") });
        };
        let values = of.rows as usize * features as usize;
        backend.round(wire, values, output, &mut self.logits);
        self.criterion.of(backend, &self.logits, (&targets).into(), header.weight, &mut self.gradient);
        backend.round(wire, values, &self.gradient, to);
        self.spare.push(targets);
        Ok(Header { kind: Kind::Gradient, dtype: Dtype::Float(wire), features, weight: 0.0, ..header })
    }
}

/// Targets for no sample, of the kind that the loss of `spec` takes with so many `outputs` a sample.
fn empty(spec: LossSpec, outputs: usize) -> Targets {
    match spec.classes as usize {
        0 => Targets::Values { values: Vec::new(), width: outputs },
        classes => Targets::Classes { labels: Vec::new(), places: outputs / classes, classes },
    }
}

/// The type of the values of `targets` in a message, and how many a sample has.
fn form(targets: &Targets) -> (Dtype, u32) {
    match targets {
        Targets::Classes { places, .. } => (Dtype::U32, *places as u32),
        Targets::Values { width, .. } => (Dtype::Float(Float::F32), *width as u32),
    }
}

/// The header of a message of `targets`, for the micro-batch that `of` names, and the message's tensor, which is written to `bytes`.
pub(super) fn write(targets: &Targets, of: Header, weight: f32, bytes: &mut Vec<u8>) -> Header {
    bytes.clear();
    match targets {
        Targets::Classes { labels, .. } => bytes.extend(labels.iter().flat_map(|label| label.to_le_bytes())),
        Targets::Values { values, .. } => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
    }
    let (dtype, features) = form(targets);
    Header { kind: Kind::Targets, weight, ..of.with_tensor(dtype, targets.samples() as u32, features) }
}

/// Sets `targets` to those of a message's tensor.
fn read(bytes: &[u8], targets: &mut Targets) {
    let words = bytes.as_chunks().0.iter();
    match targets {
        Targets::Classes { labels, .. } => {
            labels.clear();
            labels.extend(words.map(|word| u32::from_le_bytes(*word)));
        }
        Targets::Values { values, .. } => {
            values.clear();
            values.extend(words.map(|word| f32::from_le_bytes(*word)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Memory;
    use crate::compute::cpu::Cpu;
    use crate::ids::{Batch, Epoch, MicroBatch};
    use crate::job::{Loss, Optimizer, Shape};
    use crate::random::Seed;

    /// A stage of six values, of whose end alone there is question here.
    fn stage() -> StageSpec {
        StageSpec {
            ops: Vec::new(),
            input: Shape::new([6]),
            output: Shape::new([6]),
            data: None,
            wire: Float::F32,
            micro_batch: 4,
            optimizer: Optimizer::sgd(0.9),
            seed: Seed::from_text("s"),
            loss: None,
            values: None,
        }
    }

    /// The header of an activation of two samples.
    fn activation(micro_batch: u32) -> Header {
        Header::new(Kind::Train, Epoch(1), Batch(2), MicroBatch(micro_batch)).with_tensor(
            Dtype::Float(Float::F32),
            2,
            6,
        )
    }

    const ENTROPY: LossSpec = LossSpec { loss: Loss::CrossEntropy { smoothing: 0.0, ignored: None }, classes: 3 };
    const SQUARED: LossSpec = LossSpec { loss: Loss::MeanSquaredError, classes: 0 };

    /// Two places a sample, three classes each.
    fn labels() -> Targets {
        Targets::Classes { labels: vec![0, 1, 2, u32::MAX], places: 2, classes: 3 }
    }

    /// Sends `targets` for `of`, with what `change` does to their header.
    fn send(
        loss: &mut StageLoss<Cpu>,
        backend: &Cpu,
        targets: &Targets,
        of: Header,
        change: impl Fn(&mut Header),
    ) -> Result<(), RoleError> {
        let (mut bytes, mut message) = (Vec::new(), backend.bytes(HEADER + 64).unwrap());
        let mut header = write(targets, of, 0.25, &mut bytes);
        backend.put(&bytes, &mut message, HEADER);
        change(&mut header);
        loss.take(backend, Slot(0), header, &message, &stage())
    }

    #[test]
    fn gradients_are_those_of_the_targets_that_have_come() {
        let backend = Cpu::new(1).unwrap();
        let (mut output, mut to) = (backend.zeros(12).unwrap(), backend.zeros(24).unwrap());
        backend.upload(&[0.0; 12], &mut output);
        let mut found = [0.0; 24];
        let mut loss = StageLoss::new(&backend, ENTROPY, &stage()).unwrap();
        for micro_batch in 0..3 {
            let of = Header { last: micro_batch == 2, rate: 0.5, ..activation(micro_batch) };
            send(&mut loss, &backend, &labels(), of, |_| {}).unwrap();
        }
        for micro_batch in 0..3 {
            let (of, form) = (activation(micro_batch), (Float::F32, 6));
            let header = loss.gradient(&backend, Slot(0), of, (&output, &mut to), form).unwrap();
            let due = Header { kind: Kind::Gradient, last: micro_batch == 2, rate: 0.5, ..of };
            assert_eq!(header, due);
            backend.download(&to, &mut found);
            let third = |label: usize| (0..3).map(move |at| (1.0 / 3.0 - f32::from(u8::from(at == label))) / 4.0);
            let expected = [0, 1, 2].into_iter().flat_map(third).chain([0.0; 3]);
            assert!(found.iter().zip(expected).all(|(found, due)| (found - due).abs() < 1e-6), "{found:?}");
        }
        let mut loss = StageLoss::new(&backend, SQUARED, &stage()).unwrap();
        let values = Targets::Values { values: (0_u8..12).map(f32::from).collect(), width: 6 };
        send(&mut loss, &backend, &values, activation(0), |_| {}).unwrap();
        loss.gradient(&backend, Slot(0), activation(0), (&output, &mut to), (Float::F32, 6)).unwrap();
        backend.download(&to, &mut found);
        assert_eq!(found[..12], std::array::from_fn::<f32, 12, _>(|at| -2.0 * at as f32 / 4.0));
    }

    #[test]
    fn targets_that_are_not_due_are_refused() {
        let backend = Cpu::new(1).unwrap();
        let changes: [fn(&mut Header); 5] = [
            |header| header.kind = Kind::Gradient,
            |header| header.dtype = Dtype::Float(Float::F32),
            |header| header.rows = 0,
            |header| header.rows = 5,
            |header| header.features = 3,
        ];
        for change in changes {
            let mut loss = StageLoss::new(&backend, ENTROPY, &stage()).unwrap();
            let refused = send(&mut loss, &backend, &labels(), activation(0), change);
            assert!(matches!(refused, Err(RoleError::Unexpected { .. })));
        }
        // None have come; those of another micro-batch, batch or epoch; of fewer samples.
        let (output, mut to) = (backend.zeros(12).unwrap(), backend.zeros(24).unwrap());
        let others: [fn(&mut Header); 5] = [
            |_| {},
            |header| header.micro_batch = MicroBatch(1),
            |header| header.batch = Batch(0),
            |header| header.epoch = Epoch(0),
            |header| header.rows = 1,
        ];
        for (i, change) in others.into_iter().enumerate() {
            let mut loss = StageLoss::new(&backend, ENTROPY, &stage()).unwrap();
            if i > 0 {
                send(&mut loss, &backend, &labels(), activation(0), change).unwrap();
            }
            let found = loss.gradient(&backend, Slot(3), activation(0), (&output, &mut to), (Float::F32, 6));
            assert!(matches!(found, Err(RoleError::Unexpected { slot: Slot(3), .. })), "{i}");
        }
        let mut loss = StageLoss::new(&backend, ENTROPY, &stage()).unwrap();
        let sent: Vec<bool> = (0..=MOST_WAITING)
            .map(|at| send(&mut loss, &backend, &labels(), activation(at as u32), |_| {}).is_ok())
            .collect();
        assert!(sent[..MOST_WAITING].iter().all(|taken| *taken) && !sent[MOST_WAITING]);
    }

    #[test]
    fn a_loss_fits_the_values_that_it_takes() {
        let entropy =
            |smoothing, classes| LossSpec { loss: Loss::CrossEntropy { smoothing, ignored: None }, classes };
        assert!(ENTROPY.fits(3) && ENTROPY.fits(6) && SQUARED.fits(6) && entropy(1.0, 6).fits(6));
        for wrong in [entropy(0.0, 0), entropy(0.0, 4), entropy(f32::NAN, 3), entropy(1.5, 3)] {
            assert!(!wrong.fits(6), "{wrong:?}");
        }
        assert!(!LossSpec { classes: 3, ..SQUARED }.fits(6));
        assert!(!LossSpec { loss: Loss::BinaryCrossEntropy, classes: 1 }.fits(6));
    }
}
