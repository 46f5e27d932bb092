//! The finished model: named tensors, and what goes into it. The names are those that PyTorch's `nn.Sequential` of all
//! stages' operations in order would give.
//!
//! A model may be larger than memory. So it is written to a file as it comes, and has its name when it is whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::KeptError;
use super::folder;
use super::input::{self, Input};
use crate::nn::snapshot::PIECE;
use crate::nn::{Declared, StageSpec};

/// A finished model: the values of all stages as named f32 tensors, in a safetensors file that has no name yet.
pub struct Model {
    file: NamedTempFile,
    sha256: String,
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
    /// SHA-256 over all values in the order of the tensors' names, in hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Gives the model the name `path`, readable by its owner alone. It must have been written in the same folder.
    ///
    /// # Errors
    /// [`KeptError::Write`], [`KeptError::Overtaken`].
    pub fn write(self, path: &Path) -> Result<(), KeptError> {
        folder::name(self.file, path)
    }

    /// Gives the model the name `path`, in the place of what stands there.
    ///
    /// # Errors
    /// [`KeptError::Write`].
    pub fn replace(self, path: &Path) -> Result<(), KeptError> {
        folder::replace(self.file, path)
    }
}

/// Where a parameter stands.
struct Stretch {
    /// Its first byte among those of its stage.
    start: u64,
    /// How many bytes it has.
    length: u64,
    /// Its first byte in the file.
    at: u64,
}

/// A model that is being written: it takes the stages' values piece by piece.
pub struct ModelWriter {
    file: NamedTempFile,
    /// By stage, its parameters in their order.
    places: Vec<Vec<Stretch>>,
    /// By stage, how many bytes of it have come.
    come: Vec<u64>,
    /// Where the first tensor begins in the file.
    data: u64,
    /// What the file is to be called, for errors.
    path: PathBuf,
}

impl ModelWriter {
    /// Begins the model of stages of these `specs`, in a file without a name in `folder`, readable by its owner alone.
    ///
    /// # Errors
    /// [`KeptError::Write`]; [`KeptError::Bug`] where no header can be made of the names.
    pub fn new(folder: &Path, specs: &[StageSpec]) -> Result<Self, KeptError> {
        let bug = |error: &dyn std::fmt::Display| KeptError::Bug(format!("model.safetensors: {error}"));
        // Tensors stand in the order of their names, each behind the one before.
        let mut tensors = Vec::new();
        let mut places: Vec<Vec<Stretch>> = Vec::new();
        for (stage, named) in named(specs).into_iter().enumerate() {
            let mut start = 0;
            let mut of_stage = Vec::new();
            for (parameter, (name, shape)) in named.into_iter().enumerate() {
                let length = 4 * shape.iter().product::<usize>() as u64;
                tensors.push((name, shape, length, stage, parameter));
                of_stage.push(Stretch { start, length, at: 0 });
                start += length;
            }
            places.push(of_stage);
        }
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let mut at = 0;
        let mut infos = Vec::new();
        for (name, shape, length, stage, parameter) in tensors {
            places[stage][parameter].at = at;
            let data_offsets = (at as usize, (at + length) as usize);
            infos.push((name, TensorInfo { dtype: Dtype::F32, shape, data_offsets }));
            at += length;
        }
        let input = specs.first().and_then(Input::of).as_ref().map(Input::json).transpose();
        let metadata =
            input.map_err(|error| bug(&error))?.map(|input| HashMap::from([(input::KEY.to_owned(), input)]));
        let metadata = Metadata::new(metadata, infos).map_err(|error| bug(&error))?;
        let mut header = serde_json::to_vec(&metadata).map_err(|error| bug(&error))?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let file = folder::nameless(folder)?;
        let data = 8 + header.len() as u64;
        let written = file.as_file().write_all_at(&(header.len() as u64).to_le_bytes(), 0);
        let written = written.and_then(|()| file.as_file().write_all_at(&header, 8));
        let path = folder.join(folder::MODEL);
        written.map_err(|source| KeptError::Write { path: path.clone(), source })?;
        Ok(Self { file, come: vec![0; places.len()], places, data, path })
    }

    /// Takes the next bytes of the values of `stage`, counted from 0, in the order of [`StageSpec::parameters`]. What
    /// comes behind its values is not taken.
    ///
    /// # Errors
    /// [`KeptError::Write`].
    pub fn take(&mut self, stage: usize, bytes: &[u8]) -> Result<(), KeptError> {
        let come = self.come[stage]..self.come[stage] + bytes.len() as u64;
        for Stretch { start, length, at } in &self.places[stage] {
            let (from, to) = (come.start.max(*start), come.end.min(start + length));
            if from < to {
                let here = &bytes[(from - come.start) as usize..(to - come.start) as usize];
                let written = self.file.as_file().write_all_at(here, self.data + at + (from - start));
                written.map_err(|source| KeptError::Write { path: self.path.clone(), source })?;
            }
        }
        self.come[stage] = come.end;
        Ok(())
    }

    /// The model of what has come.
    ///
    /// # Errors
    /// [`KeptError::Write`]; [`KeptError::Bug`] where a stage has given fewer values than it has parameters.
    pub fn finish(mut self) -> Result<Model, KeptError> {
        let due = |places: &[Stretch]| places.last().map_or(0, |place| place.start + place.length);
        if let Some((places, come)) = self.places.iter().zip(&self.come).find(|(places, come)| **come < due(places)) {
            return Err(KeptError::Bug(format!("a stage has returned {come} bytes of {}", due(places))));
        }
        let sha256 = digest(self.file.as_file_mut(), self.data);
        let synced = sha256.and_then(|sha256| self.file.as_file().sync_all().map(|()| sha256));
        let sha256 = synced.map_err(|source| KeptError::Write { path: self.path, source })?;
        Ok(Model { file: self.file, sha256 })
    }
}

/// SHA-256 of all bytes of `file` from `start` on, in hexadecimal digits.
fn digest(file: &mut File, start: u64) -> std::io::Result<String> {
    file.seek(SeekFrom::Start(start))?;
    let mut hash = Sha256::new();
    let mut room = vec![0; PIECE];
    loop {
        match file.read(&mut room)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hash.update(&room[..read]),
        }
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
            loss: None,
            values: None,
        }
    }

    #[test]
    fn names_and_shapes_are_those_of_a_sequential() {
        let linear = |out| Op::Linear(Linear { input: None, out, bias: true });
        let specs = [spec(vec![linear(2), Op::Activation(Activation::Relu)], 3, 2), spec(vec![linear(1)], 2, 1)];
        let values: [Vec<f32>; 2] = [(0..8_u8).map(f32::from).collect(), vec![8.0, 9.0, 10.0]];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        // The values come in pieces, and something else behind those of a stage.
        let write = |rest: &[u8], of_last: usize| {
            let mut writer = ModelWriter::new(folder.path(), &specs).unwrap();
            for (stage, values) in values.iter().enumerate() {
                let values = if stage == 1 { &values[..of_last] } else { values };
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                for piece in [&bytes, rest].concat().chunks(12) {
                    writer.take(stage, piece).unwrap();
                }
            }
            writer.finish()
        };
        let model = write(&[9; 40], 3).unwrap();
        let sha256 = model.sha256().to_owned();
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
        assert_eq!(sha256, expected);
        assert!(matches!(write(&[], 2), Err(KeptError::Bug(_))));
        // What stands there stays, unless it is to be replaced.
        assert!(matches!(write(&[], 3).unwrap().write(&path), Err(KeptError::Overtaken { .. })));
        std::fs::write(&path, "of an earlier start").unwrap();
        write(&[], 3).unwrap().replace(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}
