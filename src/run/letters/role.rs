//! The role: what a package tells a rank of its stage (docs/PROTOCOL.md, 5.3 to 5.5). It has as many bytes for all
//! ranks, so that it takes as long to read with a stage as without.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::opening::Public;
use super::pieces::Joined;
use super::{encode, encoded_length};
use crate::memory;
use crate::mix::beat::StageData;
use crate::nn::StageSpec;
use crate::nn::snapshot::{self, Snapshot};
use crate::role::stage::Hosting;
use crate::run::RunError;
use crate::wire::HEADER;

/// Writes the role of the host of `stage`, or of a relay, in exactly `length` bytes.
///
/// # Errors
/// [`RunError::Bug`] where it does not fit, [`RunError::Memory`].
pub(in crate::run) fn write(stage: Option<&StageSpec>, length: usize) -> Result<Zeroizing<Vec<u8>>, RunError> {
    let mut role = Zeroizing::new(memory::zeroed(length)?);
    if let Some(stage) = stage {
        let encoded = encoded_length(stage)?;
        let room = role.get_mut(..encoded);
        let room = room.ok_or_else(|| RunError::Bug(format!("a role of {encoded} bytes does not fit {length}")))?;
        encode(stage, room)?;
    }
    Ok(role)
}

/// Whether `role` names a stage. Its encoding begins with the number of operations, which is not 0 then.
pub(in crate::run) fn is_stage(role: &[u8]) -> bool {
    role.first().is_some_and(|operations| *operations != 0)
}

/// Reads the stage of which `role` tells, with the values or the state that `start` gives it, if it gives any. `None` where no rank
/// can host it in a run of these `public` numbers.
pub(in crate::run) fn read(role: &[u8], start: Option<Joined>, public: &Public) -> Option<Hosting> {
    let (mut spec, rest): (StageSpec, &[u8]) = postcard::take_from_bytes(role).ok()?;
    let number = u64::from(spec.wire.bytes());
    let width = spec.data.as_ref().map_or(number, |encoding| encoding.element.bytes().into());
    let tensor = |features: u32, width: u64| (u64::from(features) * u64::from(spec.micro_batch)).checked_mul(width);
    let travels = |bytes: Option<u64>| {
        bytes.is_some_and(|bytes| (1..=(public.geometry.message() - HEADER) as u64).contains(&bytes))
    };
    let fits = rest.iter().all(|byte| *byte == 0)
        && spec.chains()
        && spec.optimizer.fits()
        && spec.loss.is_none_or(|loss| loss.fits(spec.output_features()))
        && travels(tensor(spec.input_features(), width))
        && travels(tensor(spec.output_features(), number))
        && snapshot::values_length(&spec) <= public.result
        && snapshot::length(&spec) <= public.state;
    let mut state = None;
    match (start.filter(|_| fits), public.given) {
        (Some(start), StageData::Values) => {
            let bytes = start.first(snapshot::values_length(&spec))?;
            let values = bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
            spec.values = Some(Arc::new(Zeroizing::new(values)));
        }
        (Some(start), StageData::State) => {
            let bytes = start.first(snapshot::length(&spec))?;
            state = Some(Snapshot::from_bytes(&spec, bytes)?);
        }
        (_, _) => {}
    }
    (fits && spec.starts()).then_some(Hosting { spec, state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float::Float;
    use crate::job::op::{Activation, Linear};
    use crate::job::{Op, Optimizer, Shape};
    use crate::random::Seed;
    use crate::run::letters::opening::tests::public;
    use crate::run::letters::pieces::Pieces;

    fn linear(out: u32, bias: bool) -> Op {
        Op::Linear(Linear { input: None, out, bias })
    }

    fn spec() -> StageSpec {
        StageSpec {
            ops: vec![linear(10, true), Op::Activation(Activation::Relu)],
            input: Shape::new([16]),
            output: Shape::new([10]),
            data: None,
            wire: Float::F32,
            micro_batch: 4,
            optimizer: Optimizer::sgd(0.9),
            seed: Seed::from_text("s"),
            loss: None,
            values: None,
        }
    }

    #[test]
    fn a_stage_that_does_not_fit_its_messages_is_refused() {
        let taken = |spec: &StageSpec| read(&postcard::to_allocvec(spec).unwrap(), None, &public());
        assert!(taken(&spec()).is_some());
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
            assert!(taken(&spec).is_none(), "change {i}");
        }
        // 16 times 10 weights and 10 biases.
        let start = |data: StageData, values: &[f32]| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).chain([0; 24]).collect();
            let mut start = Joined::new(Pieces::cut(bytes.len() as u64)).unwrap();
            start.take(&bytes);
            let public = Public { given: data, ..public() };
            read(&postcard::to_allocvec(&spec()).unwrap(), Some(start), &public)
        };
        let given = |values: &[f32]| start(StageData::Values, values).and_then(|told| told.spec.values);
        assert!(given(&[0.5; 170]).is_some_and(|values| **values == [0.5; 170]));
        // A state has the velocity of each, too, and the number of steps, which is 0 here.
        let state = |values: &[f32]| start(StageData::State, values).and_then(|told| told.state);
        assert!(state(&[0.5; 340]).is_some_and(|state| state.bytes().len() == 340 * 4 + 8));
        for (count, value) in [(0, 0.5), (333, 0.5), (343, 0.5), (340, f32::NAN)] {
            assert!(state(&vec![value; count]).is_none(), "a state of {count} times {value}");
        }
        for (count, value) in [(0, 0.5), (163, 0.5), (171, 0.5), (170, f32::NAN), (170, f32::INFINITY)] {
            assert!(given(&vec![value; count]).is_none(), "{count} times {value}");
        }
        let followed = |by: &[u8]| read(&[&postcard::to_allocvec(&spec()).unwrap(), by].concat(), None, &public());
        assert!(followed(&[0; 9]).is_some() && followed(&[0, 0, 1]).is_none());
        assert!(is_stage(&postcard::to_allocvec(&spec()).unwrap()) && !is_stage(&[0; 9]) && !is_stage(&[]));
    }

    #[test]
    fn a_relay_is_told_as_much() {
        let spec = spec();
        let length = encoded_length(&spec).unwrap();
        let (stage, relay) = (write(Some(&spec), length + 9).unwrap(), write(None, length + 9).unwrap());
        assert_eq!((stage.len(), relay.len()), (length + 9, length + 9));
        assert!(is_stage(&stage) && !is_stage(&relay) && relay.iter().all(|byte| *byte == 0));
        assert!(read(&stage, None, &public()).is_some() && read(&relay, None, &public()).is_none());
        assert!(matches!(write(Some(&spec), length - 1), Err(RunError::Bug(_))));
    }
}
