//! A data set in memory, and the two things that are done to it: it is split once, and samples are gathered from it for every
//! micro-batch.

use ndarray::Array2;
use sha2::{Digest, Sha256};

use super::{Augmented, DataError, Targets};
use crate::element::{Element, Encoding};

/// Samples and their targets. Values stay as the files have them, and travel so to the first stage: images as bytes take a
/// quarter of the memory and of the traffic of `f32`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The samples' values as little-endian bytes, (samples, bytes).
    pub inputs: Array2<u8>,
    /// The type of the values, and how the first stage scales them.
    pub encoding: Encoding,
    /// The shape of one sample, such as `[1, 28, 28]` (channels, height, width) for MNIST.
    pub sample_shape: Vec<usize>,
    /// What the outputs for the samples should be.
    pub targets: Targets,
}

impl Dataset {
    /// How many samples the set has.
    pub fn samples(&self) -> usize {
        self.inputs.nrows()
    }

    /// Number of values of a sample.
    pub fn features(&self) -> usize {
        self.sample_shape.iter().product()
    }

    /// Number of bytes of a sample.
    pub fn bytes(&self) -> usize {
        self.inputs.ncols()
    }

    /// Number of bytes that the samples and their targets take in memory.
    pub fn size(&self) -> u64 {
        let targets = match &self.targets {
            Targets::Classes { labels, .. } => size_of_val(labels.as_slice()),
            Targets::Values { values, .. } => size_of_val(values.as_slice()),
        };
        (self.inputs.len() + targets) as u64
    }

    /// SHA-256 of all that runs take from the set: values, how they are read, shapes and targets.
    pub fn digest(&self) -> [u8; 32] {
        let Encoding { element, scale, shift } = &self.encoding;
        let mut hash = Sha256::new();
        let mut counted = |what: &[u64]| {
            hash.update((what.len() as u64).to_le_bytes());
            what.iter().for_each(|number| hash.update(number.to_le_bytes()));
        };
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits().into()).collect::<Vec<u64>>();
        counted(&[self.samples() as u64, self.bytes() as u64, element.bytes().into()]);
        counted(&self.sample_shape.iter().map(|dim| *dim as u64).collect::<Vec<_>>());
        counted(&bits(scale));
        counted(&bits(shift));
        match &self.targets {
            Targets::Classes { labels, places, classes } => {
                counted(&[0, labels.len() as u64, *places as u64, *classes as u64]);
                labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
            }
            Targets::Values { values, width } => {
                counted(&[1, values.len() as u64, *width as u64]);
                values.iter().for_each(|value| hash.update(value.to_le_bytes()));
            }
        }
        match self.inputs.as_slice() {
            Some(values) => hash.update(values),
            // A table was read column by column.
            None => self.inputs.rows().into_iter().for_each(|row| hash.update(row.to_vec())),
        }
        hash.finalize().into()
    }

    /// The largest token of all samples. `None` if there are no samples, or their values are not tokens.
    pub fn largest_token(&self) -> Option<u16> {
        match self.encoding.element {
            Element::U16 => {
                let bytes: Vec<u8> = self.inputs.iter().copied().collect();
                bytes.as_chunks::<2>().0.iter().map(|token| u16::from_le_bytes(*token)).max()
            }
            Element::U8 | Element::F32 => None,
        }
    }

    /// Splits the data set into (rest, part). `part` holds the samples that the first `count` entries of `permutation` name,
    /// `rest` the others. Both keep the order of the entries.
    ///
    /// # Errors
    /// [`DataError::Split`] if `count` exceeds the number of samples, or `permutation` does not name each sample exactly once.
    pub fn split(self, permutation: &[u32], count: usize) -> Result<(Dataset, Dataset), DataError> {
        self.check_permutation(permutation)?;
        let Some((part, rest)) = permutation.split_at_checked(count) else {
            return Err(self.split_error(format!("{count} samples asked for"), "at most all of them"));
        };
        Ok((self.select(rest), self.select(part)))
    }

    /// Copies the samples `indices` to `inputs` (indices, bytes), row-major, moved and mirrored as `augmented` says. It
    /// allocates nothing, because it runs for every micro-batch.
    ///
    /// # Panics
    /// If an index is not below [`samples`](Self::samples), or, in a debug build, if `inputs` has another length.
    pub fn gather(&self, indices: &[u32], augmented: Option<&Augmented>, inputs: &mut [u8]) {
        debug_assert_eq!(inputs.len(), indices.len() * self.bytes(), "inputs must be (indices, bytes)");
        let image = match self.sample_shape[..] {
            [channels, height, width] => {
                augmented.filter(|wanted| wanted.is_needed()).zip(Some([channels, height, width]))
            }
            _ => None,
        };
        // Without features there is nothing to copy, but a chunk of no bytes would panic.
        let bytes = self.bytes().max(1);
        for (&index, target) in indices.iter().zip(inputs.chunks_exact_mut(bytes)) {
            let row = self.inputs.row(index as usize);
            match (row.to_slice(), image) {
                (Some(row), None) => target.copy_from_slice(row),
                (Some(row), Some((augmented, shape))) => {
                    augmented.apply(index, shape, self.encoding.element.bytes() as usize, row, target);
                }
                // `inputs` was built column by column, so a row is not contiguous.
                (None, _) => target.iter_mut().zip(row).for_each(|(target, byte)| *target = *byte),
            }
        }
    }

    /// A data set of the first `count` samples, or of all if there are fewer.
    #[must_use]
    pub fn first(&self, count: usize) -> Dataset {
        self.select(&(0..self.samples().min(count) as u32).collect::<Vec<u32>>())
    }

    /// A data set of the samples `indices`, which must be below [`samples`](Self::samples).
    fn select(&self, indices: &[u32]) -> Dataset {
        let mut inputs = Array2::zeros((indices.len(), self.bytes()));
        if let Some(bytes) = inputs.as_slice_mut() {
            self.gather(indices, None, bytes);
        }
        let mut targets = self.targets.room(indices.len());
        targets.copy_from(&self.targets, indices);
        Dataset { inputs, targets, sample_shape: self.sample_shape.clone(), encoding: self.encoding.clone() }
    }

    /// Checks that `permutation` names each sample exactly once.
    fn check_permutation(&self, permutation: &[u32]) -> Result<(), DataError> {
        let expected = "a permutation that names each sample once";
        if permutation.len() != self.samples() {
            return Err(self.split_error(format!("a permutation of {} entries", permutation.len()), expected));
        }
        let mut seen = vec![false; self.samples()];
        for &index in permutation {
            match seen.get_mut(index as usize) {
                Some(seen) if !*seen => *seen = true,
                Some(_) => {
                    return Err(self.split_error(format!("sample {index} twice in the permutation"), expected));
                }
                None => {
                    return Err(self.split_error(format!("sample {index} in the permutation"), expected));
                }
            }
        }
        Ok(())
    }

    /// The error that the data set cannot be split as asked.
    fn split_error(&self, found: String, expected: &'static str) -> DataError {
        DataError::Split { samples: self.samples(), found, expected }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, ShapeBuilder, array};

    use super::*;
    use crate::data::Augment;
    use crate::random::Seed;

    fn five() -> Dataset {
        Dataset {
            inputs: array![[0, 1, 2], [10, 11, 12], [20, 21, 22], [30, 31, 32], [40, 41, 42]],
            encoding: Encoding::scaled(Element::U8, 0.5),
            sample_shape: vec![1, 1, 3],
            targets: Targets::classes(vec![5, 6, 7, 8, 9], 10),
        }
    }

    fn labels(set: &Dataset) -> Vec<u32> {
        match &set.targets {
            Targets::Classes { labels, .. } => labels.clone(),
            Targets::Values { .. } => panic!("these are classes"),
        }
    }

    /// Whatever runs take from a set changes its digest; how it lies in memory does not.
    #[test]
    fn everything_counts_for_the_digest() {
        let set = || Dataset {
            inputs: Array2::from_shape_fn((3, 4), |(i, j)| (4 * i + j) as u8),
            encoding: Encoding::scaled(Element::U8, 0.5),
            sample_shape: vec![2, 2],
            targets: Targets::classes(vec![0, 1, 0], 2),
        };
        let digest = set().digest();
        let columns = Dataset { inputs: set().inputs.t().as_standard_layout().into_owned().reversed_axes(), ..set() };
        assert!(columns.inputs.as_slice().is_none() && columns.inputs == set().inputs);
        assert_eq!(columns.digest(), digest);
        let changes: [fn(&mut Dataset); 9] = [
            |set| set.inputs[[2, 3]] += 1,
            |set| set.sample_shape = vec![4, 1],
            |set| set.encoding.scale[0] = 0.25,
            |set| set.encoding.shift[0] = 1.0,
            |set| set.encoding.element = Element::U16,
            |set| set.targets = Targets::classes(vec![0, 1, 1], 2),
            |set| set.targets = Targets::classes(vec![0, 1, 0], 3),
            |set| set.targets = Targets::Values { values: vec![0.0, 1.0, 0.0], width: 1 },
            |set| set.targets = Targets::Values { values: vec![0.0, 1.0, 0.5], width: 1 },
        ];
        let mut digests = vec![digest];
        for change in changes {
            let mut changed = set();
            change(&mut changed);
            digests.push(changed.digest());
        }
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn gather_copies_rows_in_the_order_of_the_indices() {
        let mut inputs = [99; 9];
        five().gather(&[3, 0, 3], None, &mut inputs);
        assert_eq!(inputs, [30, 31, 32, 0, 1, 2, 30, 31, 32]);
    }

    #[test]
    fn gather_reads_a_matrix_of_columns_too() {
        let mut columns = Array2::zeros((5, 3).f());
        columns.assign(&five().inputs);
        assert!(columns.as_slice().is_none());
        let set = Dataset { inputs: columns, ..five() };
        let mut inputs = [0; 6];
        set.gather(&[4, 1], None, &mut inputs);
        assert_eq!(inputs, [40, 41, 42, 10, 11, 12]);
    }

    #[test]
    fn gather_augments_images_alone() {
        let augmented = Augmented::new(Augment { crop: 0, flip: true }, Seed::from_text("7"));
        let of = |set: &Dataset| {
            let mut inputs = vec![0; 15];
            set.gather(&[0, 1, 2, 3, 4], Some(&augmented), &mut inputs);
            inputs
        };
        let plain: Vec<u8> = five().inputs.iter().copied().collect();
        let seen = of(&five());
        for (seen, plain) in seen.chunks(3).zip(plain.chunks(3)) {
            assert!(seen == plain || seen.iter().eq(plain.iter().rev()));
        }
        assert_ne!(seen, plain);
        assert_eq!(of(&Dataset { sample_shape: vec![3], ..five() }), plain);
    }

    #[test]
    #[should_panic]
    fn gather_panics_on_an_index_past_the_end() {
        five().gather(&[5], None, &mut [0; 3]);
    }

    #[test]
    fn the_largest_token_is_found() {
        let tokens = Dataset { encoding: Encoding::scaled(Element::U16, 1.0), ..five() };
        let tokens = Dataset { inputs: array![[1, 0, 255, 1], [9, 1, 0, 0]], sample_shape: vec![2], ..tokens };
        assert_eq!(tokens.largest_token(), Some(511));
        assert_eq!((tokens.features(), tokens.bytes()), (2, 4));
        assert_eq!(five().largest_token(), None);
    }

    #[test]
    fn split_takes_the_first_entries_and_keeps_both_orders() {
        let (rest, part) = five().split(&[4, 1, 3, 0, 2], 2).unwrap();
        assert_eq!(part.inputs, array![[40, 41, 42], [10, 11, 12]]);
        assert_eq!(labels(&part), [9, 6]);
        assert_eq!(rest.inputs, array![[30, 31, 32], [0, 1, 2], [20, 21, 22]]);
        assert_eq!(labels(&rest), [8, 5, 7]);
        for half in [&rest, &part] {
            assert_eq!((&half.sample_shape, &half.encoding), (&five().sample_shape, &five().encoding));
        }
        assert_eq!((rest.samples(), part.samples(), part.features()), (3, 2, 3));
    }

    #[test]
    fn split_at_either_end_leaves_one_side_empty() {
        let order = [0, 1, 2, 3, 4];
        let (rest, part) = five().split(&order, 0).unwrap();
        assert_eq!((rest, part.samples(), part.features()), (five(), 0, 3));
        let (rest, part) = five().split(&order, 5).unwrap();
        assert_eq!((rest.samples(), part), (0, five()));
    }

    #[test]
    fn split_refuses_a_bad_count_and_a_bad_permutation() {
        let error = |permutation: &[u32], count| five().split(permutation, count).unwrap_err().to_string();
        assert!(error(&[0, 1, 2, 3, 4], 6).contains("6 samples asked for"));
        assert!(error(&[0, 1, 2, 3], 1).contains("4 entries"));
        assert!(error(&[0, 1, 2, 3, 3], 1).contains("sample 3 twice"));
        assert!(error(&[0, 1, 2, 3, 5], 1).contains("sample 5 in"));
    }
}
