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
        let due = self.waiting.pop_front_if(|(header, _)| names(header) == names(&of));
        let Some((header, targets)) = due else {
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
