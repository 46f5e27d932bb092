//! A network's values out of a safetensors file: out of one that PyTorch has written, to start from, or out of a run's
//! own model.
//!
//! [`matching`] says which tensor is which parameter. [`modules`] gathers tensors that belong together, [`names`] says
//! what the names of modules tell, [`orders`] finds the orders of modules that fit, and [`mod@assigned`] shows a person
//! the result. A file may hold values in any float format. Parameters are f32.

mod assigned;
mod error;
mod matching;
mod modules;
mod names;
mod orders;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use assigned::Assigned;
pub use error::WeightsError;
use error::{Mismatch, NamedShape};
pub use matching::How;
use matching::{Matched, Undecided, matched};

use super::input::{self, Input};
use super::model::named;
use crate::data;
use crate::memory;
use crate::nn::{Declared, StageSpec};

/// The values of one stage, in the order of [`StageSpec::parameters`], each as PyTorch lays it out.
pub(in crate::run) type StageValues = Arc<Zeroizing<Vec<f32>>>;

/// The values that a network starts from, and where they come from.
pub(in crate::run) struct Taken {
    /// The values of each stage, by stage.
    pub(in crate::run) values: Vec<StageValues>,
    /// How tensors of the file were found to be parameters.
    pub(in crate::run) how: How,
    /// Which tensor is which parameter, in the order of the parameters.
    pub(in crate::run) assigned: Vec<Assigned>,
    /// SHA-256 of the file.
    pub(in crate::run) digest: [u8; 32],
}

/// A safetensors file, read into memory that is wiped.
pub(in crate::run) struct Weights {
    path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
}

impl Weights {
    /// Reads the file at `path`. Its format is not checked yet.
    ///
    /// # Errors
    /// [`WeightsError::Read`].
    pub(in crate::run) fn read(path: &Path) -> Result<Self, WeightsError> {
        let path = path.to_owned();
        match memory::fallibly(|| std::fs::read(&path)) {
            Ok(bytes) => Ok(Self { path, bytes: Zeroizing::new(bytes) }),
            Err(source) => Err(WeightsError::Read { path, source }),
        }
    }

    /// The file's tensors and its header.
    fn opened(&self) -> Result<(SafeTensors<'_>, Metadata), WeightsError> {
        data::safetensors::deserialize(&self.bytes)
            .map_err(|why| WeightsError::Format { path: self.path.clone(), why })
    }

    /// What goes into the model, as the run that wrote the file says in its metadata.
    ///
    /// # Errors
    /// [`WeightsError::Format`], [`WeightsError::Input`].
    pub(in crate::run) fn input(&self) -> Result<Input, WeightsError> {
        let (_, header) = self.opened()?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(input::KEY));
        let parsed =
            text.ok_or_else(|| format!("no {:?} in its metadata", input::KEY)).and_then(|text| Input::parse(text));
        parsed.map_err(|why| WeightsError::Input { path: self.path.clone(), why })
    }

    /// Takes the values of each stage in `specs` out of the file. `order` names the file's modules in the order of the
    /// network's. It is empty where the order need not be told.
    ///
    /// # Errors
    /// [`WeightsError`].
    pub(in crate::run) fn values(&self, specs: &[StageSpec], order: &[String]) -> Result<Taken, WeightsError> {
        let (file, _) = self.opened()?;
        let stages = named(specs);
        let ours: Vec<NamedShape> = stages
            .iter()
            .flatten()
            .map(|(name, shape)| NamedShape { name: name.clone(), shape: shape.clone() })
            .collect();
        let mut views = file.tensors();
        views.sort_by(|a, b| a.0.cmp(&b.0));
        let tensor =
            |(name, view): &(String, TensorView<'_>)| NamedShape { name: name.clone(), shape: view.shape().to_vec() };
        let theirs: Vec<NamedShape> = views.iter().map(tensor).collect();
        let assigned = |pairs: &[usize]| assigned(specs, &ours, pairs.iter().map(|index| &theirs[*index]));
        let Matched { pairs, how, mut mismatches, hint } = match matched(&ours, &theirs, order) {
            Ok(matched) => matched,
            Err(Undecided { orders, pairs, natural }) => {
                let assigned = pairs.each_ref().map(|pairs| assigned(pairs));
                return Err(WeightsError::Undecided { path: self.path.clone(), orders, assigned, natural });
            }
        };
        for index in &pairs {
            let found = views[*index].1.dtype();
            if !matches!(found, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16) {
                mismatches.push(Mismatch::Type { theirs: theirs[*index].clone(), found });
            }
        }
        if !mismatches.is_empty() {
            return Err(WeightsError::Mismatch { path: self.path.clone(), mismatches, hint });
        }
        let assigned = assigned(&pairs);
        let mut pairs = pairs.into_iter();
        let mut all = Vec::with_capacity(stages.len());
        for stage in &stages {
            // This memory does not grow: what it would have grown out of would not be wiped.
            let count = stage.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            let mut values = Zeroizing::new(memory::room(count)?);
            for index in pairs.by_ref().take(stage.len()) {
                self.append(&views[index], &mut values)?;
            }
            all.push(Arc::new(values));
        }
        Ok(Taken { values: all, how, assigned, digest: self.digest() })
    }

    /// SHA-256 of the file.
    pub(in crate::run) fn digest(&self) -> [u8; 32] {
        Sha256::digest(&*self.bytes).into()
    }

    /// Appends the values of one tensor to `values`, as f32.
    ///
    /// # Errors
    /// [`WeightsError::NotFinite`].
    fn append(&self, (name, view): &(String, TensorView<'_>), values: &mut Vec<f32>) -> Result<(), WeightsError> {
        let start = values.len();
        let data = view.data();
        match view.dtype() {
            Dtype::F64 => values.extend(data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32)),
            Dtype::F16 => values.extend(data.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32())),
            Dtype::BF16 => values.extend(data.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32())),
            _ => values.extend(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
        }
        match values[start..].iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(index) => {
                let found = match view.dtype() {
                    Dtype::F64 => f64::from_le_bytes(data.as_chunks().0[index]),
                    _ => values[start + index].into(),
                };
                Err(WeightsError::NotFinite { path: self.path.clone(), name: name.clone(), index, found })
            }
        }
    }
}

/// Says for each parameter of `specs` which tensor it starts from. `ours` are the parameters and `tensors` their
/// tensors, in the same order.
fn assigned<'a>(
    specs: &[StageSpec],
    ours: &[NamedShape],
    tensors: impl Iterator<Item = &'a NamedShape>,
) -> Vec<Assigned> {
    let operations = specs.iter().enumerate().flat_map(|(stage, spec)| {
        let words = |(op, declared): (usize, Declared)| assigned::operation(&spec.ops[op], &declared.name);
        spec.parameters().into_iter().map(words).map(move |words| (stage + 1, words))
    });
    let one = |((ours, tensor), (stage, operation)): ((&NamedShape, &NamedShape), (usize, String))| Assigned {
        tensor: tensor.name.clone(),
        shape: ours.shape.clone(),
        parameter: ours.name.clone(),
        operation,
        stage,
    };
    ours.iter().zip(tensors).zip(operations).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::{Element, Encoding};
    use crate::float::Float;
    use crate::job::op::{Activation, Linear};
    use crate::job::{Op, Optimizer, Shape};
    use crate::random::Seed;
    use crate::run::kept::model::ModelWriter;

    fn linear(out: u32) -> Op {
        Op::Linear(Linear { input: None, out, bias: true })
    }

    /// A network of two stages: 3 values to 2, then 2 values to 1.
    fn specs() -> [StageSpec; 2] {
        let spec = |ops, input, output, data| StageSpec {
            ops,
            input: Shape::new([input]),
            output: Shape::new([output]),
            data,
            wire: Float::F32,
            micro_batch: 1,
            optimizer: Optimizer::sgd(0.0),
            seed: Seed::from_text("1"),
            loss: None,
            values: None,
        };
        let data = Some(Encoding::scaled(Element::U8, 0.25));
        [spec(vec![linear(2), Op::Activation(Activation::Relu)], 3, 2, data), spec(vec![linear(1)], 2, 1, None)]
    }

    /// A safetensors file with these tensors: name, type, shape and bytes of each.
    fn weights(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Weights {
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        Weights { path: "model".into(), bytes: Zeroizing::new(bytes) }
    }

    fn singles(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn every_float_format_becomes_f32() {
        let half = |values: &[f32]| values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        let brain = |values: &[f32]| values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
        let double = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut tensors = vec![
            ("fc1.weight", Dtype::F16, &[2, 3][..], half(&[1.0, 2.0, 3.0, 4.0, 5.0, 0.5])),
            ("fc1.bias", Dtype::BF16, &[2][..], brain(&[-1.0, 0.25])),
            ("fc2.weight", Dtype::F64, &[1, 2][..], double(&[0.1, 1e-3])),
            ("fc2.bias", Dtype::F32, &[1][..], singles(&[0.1])),
        ];
        let values = weights(&tensors).values(&specs(), &[]).unwrap().values;
        assert_eq!(**values[0], [1.0, 2.0, 3.0, 4.0, 5.0, 0.5, -1.0, 0.25]);
        assert_eq!(**values[1], [0.1, 1e-3, 0.1]);
        for (bad, shown) in [(1e39, "1000000000000000000000000000000000000000"), (f64::NAN, "NaN")] {
            tensors[2].3 = double(&[0.1, bad]);
            let error = weights(&tensors).values(&specs(), &[]).err().unwrap();
            let due = format!("model: value 1 of fc2.weight is {shown}, expected a finite number that an f32 holds");
            assert_eq!((error.to_string(), error.exit_code()), (due, 2));
        }
        tensors[2] = ("fc2.weight", Dtype::I32, &[1, 2], vec![0; 8]);
        tensors[3].2 = &[1, 1];
        let error = weights(&tensors).values(&specs(), &[]).err().unwrap().to_string();
        assert_eq!(
            error,
            "model does not fit the job's network:\n  wrong shape: fc2.bias (1, 1), expected 2.bias (1)\n  wrong type: \
             fc2.weight (1, 2) is I32, expected F32, F64, F16 or BF16\nmodules were taken in the order fc1, fc2; they fit in no \
             order; init.order = [...] names another to compare by"
        );
    }

    #[test]
    fn what_a_run_writes_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let values: Vec<Vec<f32>> = vec![(0..8_u8).map(f32::from).collect(), vec![8.0, 9.0, 10.0]];
        let mut writer = ModelWriter::new(folder.path(), &specs()).unwrap();
        for (stage, values) in values.iter().enumerate() {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            writer.take(stage, &bytes).unwrap();
        }
        writer.finish().unwrap().write(&path).unwrap();
        let read = Weights::read(&path).unwrap();
        let found: Vec<Vec<f32>> =
            read.values(&specs(), &[]).unwrap().values.iter().map(|values| values.to_vec()).collect();
        assert_eq!(found, values);
        let input = read.input().unwrap();
        assert_eq!((input.shape.clone(), input.encoding()), (Shape::new([3]), Encoding::scaled(Element::U8, 0.25)));
    }

    #[test]
    fn files_of_another_kind_are_refused() {
        let read = |bytes: &[u8]| Weights { path: "model".into(), bytes: Zeroizing::new(bytes.to_vec()) };
        for bytes in [&b""[..], b"PK\x03\x04 and so on", &u64::MAX.to_le_bytes()] {
            let error = read(bytes).values(&specs(), &[]).err().unwrap();
            assert!(error.to_string().starts_with("model is not a whole safetensors file"), "{error}");
            assert_eq!((error.exit_code(), read(bytes).input().unwrap_err().exit_code()), (2, 2));
        }
        let forged = read(&data::safetensors::forged());
        for error in [forged.values(&specs(), &[]).err().unwrap(), forged.input().err().unwrap()] {
            assert!(error.to_string().contains("(tensors that end beyond the file)"), "{error}");
        }
        let error = weights(&[]).input().unwrap_err().to_string();
        assert!(error.contains("no \"mixnn.input\" in its metadata"), "{error}");
        let error = Weights::read(Path::new("/no/such/file")).err().unwrap();
        assert_eq!(error.exit_code(), 3);
    }
}
