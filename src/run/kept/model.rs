//! The finished model: named tensors, and what goes into it. The names are those that PyTorch's `nn.Sequential` of all
//! stages' operations in order would give.

use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sha2::{Digest, Sha256};

use super::KeptError;
use super::folder;
use super::input::{self, Input};
use crate::memory;
use crate::nn::{Declared, StageSpec};

/// A finished model: the values of all stages as named f32 tensors.
pub struct Model {
    /// The tensors, sorted by name: name (`0.weight`), shape, and the values in little-endian bytes.
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
    /// What goes into the model. It is no part of the digest.
    input: Option<Input>,
}

/// The name and shape of each parameter: an entry for each stage, with its parameters in the order of
/// [`StageSpec::parameters`].
pub(in crate::run) fn named(specs: &[StageSpec]) -> Vec<Vec<(String, Vec<usize>)>> {
    let mut first_op = 0;
    let mut named = Vec::with_capacity(specs.len());
    for spec in specs {
        let name = |(op, Declared { name, shape, .. })| (format!("{}.{name}", first_op + op), shape);
        named.push(spec.parameters().into_iter().map(name).collect());
        first_op += spec.ops.len();
    }
    named
}

impl Model {
    /// Makes a model of the values of each stage, which come in the order of [`StageSpec::parameters`].
    ///
    /// # Errors
    /// [`KeptError::NotFinite`]; [`KeptError::Memory`]; [`KeptError::Bug`] where a stage has another number of values
    /// than its parameters.
    pub fn new(specs: &[StageSpec], values: &[Vec<f32>]) -> Result<Self, KeptError> {
        let mut tensors = Vec::new();
        for (named, values) in named(specs).into_iter().zip(values) {
            let mut rest = values.as_slice();
            for (name, shape) in named {
                let Some((here, behind)) = rest.split_at_checked(shape.iter().product()) else {
                    return Err(KeptError::Bug(format!("a stage has returned {} values, too few", values.len())));
                };
                if let Some(value) = here.iter().find(|value| !value.is_finite()) {
                    return Err(KeptError::NotFinite { value: *value, parameter: name });
                }
                let mut bytes = memory::room(4 * here.len())?;
                bytes.extend(here.iter().flat_map(|value| value.to_le_bytes()));
                tensors.push((name, shape, bytes));
                rest = behind;
            }
            if !rest.is_empty() {
                return Err(KeptError::Bug(format!("a stage has returned {} values, too many", values.len())));
            }
        }
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Self { tensors, input: specs.first().and_then(Input::of) })
    }

    /// SHA-256 over all values in the order of the tensors' names, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for (_, _, bytes) in &self.tensors {
            hash.update(bytes);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Writes the model to `path` as safetensors, whole or not at all, readable by its owner alone.
    ///
    /// # Errors
    /// [`KeptError::Write`], [`KeptError::Overtaken`].
    pub fn write(&self, path: &Path) -> Result<(), KeptError> {
        let views = self
            .tensors
            .iter()
            .map(|(name, shape, bytes)| {
                TensorView::new(Dtype::F32, shape.clone(), bytes)
                    .map(|view| (name.as_str(), view))
                    .map_err(|error| KeptError::Bug(format!("tensor {name}: {error}")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let bug = |error: &dyn std::fmt::Display| KeptError::Bug(format!("model.safetensors: {error}"));
        let input = self.input.as_ref().map(Input::json).transpose().map_err(|error| bug(&error))?;
        let metadata = input.map(|input| HashMap::from([(input::KEY.to_owned(), input)]));
        let bytes = safetensors::serialize(views, metadata).map_err(|error| bug(&error))?;
        folder::write_atomically(path, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float::Float;
    use crate::job::op::{Activation, Linear};
    use crate::job::{Op, Optimizer, Shape};
    use crate::random::Seed;

    fn spec(ops: Vec<Op>, input: u32, out: u32) -> StageSpec {
        StageSpec {
            ops,
            input: Shape::new([input]),
            output: Shape::new([out]),
            data: None,
            wire: Float::F32,
            micro_batch: 1,
            optimizer: Optimizer::sgd(0.0),
            seed: Seed::from_text("1"),
            values: None,
        }
    }

    #[test]
    fn names_and_shapes_are_those_of_a_sequential() {
        let linear = |out| Op::Linear(Linear { input: None, out, bias: true });
        let specs = [spec(vec![linear(2), Op::Activation(Activation::Relu)], 3, 2), spec(vec![linear(1)], 2, 1)];
        let values = [(0..8_u8).map(f32::from).collect(), vec![8.0, 9.0, 10.0]];
        let model = Model::new(&specs, &values).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        model.write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<_> = read.names().into_iter().map(String::from).collect();
        names.sort();
        assert_eq!(names, ["0.bias", "0.weight", "2.bias", "2.weight"]);
        assert_eq!(read.tensor("0.weight").unwrap().shape(), [2, 3]);
        assert_eq!(read.tensor("2.bias").unwrap().data(), 10.0_f32.to_le_bytes());
        // A bias comes before a weight by name.
        let in_order: Vec<u8> = [6.0_f32, 7.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 8.0, 9.0]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let expected: String = Sha256::digest(&in_order).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(model.sha256(), expected);
        assert!(Model::new(&specs, &[vec![0.0; 7], vec![0.0; 3]]).is_err());
    }
}
