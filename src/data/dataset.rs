//! A data set in memory, and the two things done to it: split once, gathered from for every
//! micro-batch.

use ndarray::Array2;

use super::DataError;

/// Labelled samples. Images stay bytes, as in their files: a quarter of the memory and of the
/// traffic of `f32`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// (samples, features)
    pub inputs: Array2<u8>,
    /// (samples): the class of each sample, below `classes`.
    pub labels: Vec<u32>,
    /// The shape of one sample, its product is `features`: `[1, 28, 28]` (channels, height, width)
    /// for MNIST.
    pub sample_shape: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
    /// What the first stage multiplies a byte with, so that inputs lie in 0..=1: 1/255 for MNIST.
    pub scale: f32,
}

/// What a source holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The training part, or all of the source.
    pub train: Dataset,
    /// The test part, `None` where the source has no split of its own.
    pub test: Option<Dataset>,
}

impl Dataset {
    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.inputs.nrows()
    }

    /// Bytes a sample.
    pub fn features(&self) -> usize {
        self.inputs.ncols()
    }

    /// Splits into (rest, part). `part` holds the samples that the first `count` entries of
    /// `permutation` name, `rest` the others, both in the order of their entries.
    ///
    /// # Errors
    /// [`DataError::Split`] if `count` exceeds the samples or `permutation` does not name each
    /// sample exactly once.
    pub fn split(self, permutation: &[u32], count: usize) -> Result<(Dataset, Dataset), DataError> {
        self.check_permutation(permutation)?;
        let Some((part, rest)) = permutation.split_at_checked(count) else {
            return Err(self.split_error(format!("{count} samples asked for"), "at most all of them"));
        };
        Ok((self.select(rest), self.select(part)))
    }

    /// Copies the rows `indices` into `inputs` (indices, features), row-major, and their classes
    /// into `labels` (indices). Allocates nothing: it runs for every micro-batch.
    ///
    /// # Panics
    /// If an index is not below [`samples`](Self::samples), or, in a debug build, if `inputs` or
    /// `labels` has not the length above.
    pub fn gather(&self, indices: &[u32], inputs: &mut [u8], labels: &mut [u32]) {
        debug_assert_eq!(inputs.len(), indices.len() * self.features(), "inputs must be (indices, features)");
        debug_assert_eq!(labels.len(), indices.len(), "labels must be (indices)");
        for (&index, label) in indices.iter().zip(labels) {
            *label = self.labels[index as usize];
        }
        // Without features there is nothing to copy, but a chunk of no bytes would panic.
        let features = self.features().max(1);
        for (&index, target) in indices.iter().zip(inputs.chunks_exact_mut(features)) {
            let row = self.inputs.row(index as usize);
            match row.to_slice() {
                Some(bytes) => target.copy_from_slice(bytes),
                // Somebody built `inputs` column by column.
                None => target.iter_mut().zip(row).for_each(|(target, byte)| *target = *byte),
            }
        }
    }

    /// The first `count` samples, or all where there are fewer.
    #[must_use]
    pub fn first(&self, count: usize) -> Dataset {
        self.select(&(0..self.samples().min(count) as u32).collect::<Vec<u32>>())
    }

    /// The samples `indices` as a data set of their own. `indices` are below `samples`.
    fn select(&self, indices: &[u32]) -> Dataset {
        let mut inputs = Array2::zeros((indices.len(), self.features()));
        let mut labels = vec![0; indices.len()];
        if let Some(bytes) = inputs.as_slice_mut() {
            self.gather(indices, bytes, &mut labels);
        }
        Dataset { inputs, labels, sample_shape: self.sample_shape.clone(), ..*self }
    }

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

    fn split_error(&self, found: String, expected: &'static str) -> DataError {
        DataError::Split { samples: self.samples(), found, expected }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, ShapeBuilder, array};

    use super::*;

    fn five() -> Dataset {
        Dataset {
            inputs: array![[0, 1, 2], [10, 11, 12], [20, 21, 22], [30, 31, 32], [40, 41, 42]],
            labels: vec![5, 6, 7, 8, 9],
            sample_shape: vec![1, 1, 3],
            classes: 10,
            scale: 0.5,
        }
    }

    #[test]
    fn gather_copies_rows_in_the_order_of_the_indices() {
        let (mut inputs, mut labels) = ([99; 9], [99; 3]);
        five().gather(&[3, 0, 3], &mut inputs, &mut labels);
        assert_eq!(inputs, [30, 31, 32, 0, 1, 2, 30, 31, 32]);
        assert_eq!(labels, [8, 5, 8]);
    }

    #[test]
    fn gather_reads_a_matrix_of_columns_too() {
        let mut columns = Array2::zeros((5, 3).f());
        columns.assign(&five().inputs);
        assert!(columns.as_slice().is_none());
        let set = Dataset { inputs: columns, ..five() };
        let (mut inputs, mut labels) = ([0; 6], [0; 2]);
        set.gather(&[4, 1], &mut inputs, &mut labels);
        assert_eq!(inputs, [40, 41, 42, 10, 11, 12]);
        assert_eq!(labels, [9, 6]);
    }

    #[test]
    fn gather_without_features_still_copies_labels() {
        let set = Dataset { inputs: Array2::zeros((5, 0)), ..five() };
        let mut labels = [0; 2];
        set.gather(&[1, 2], &mut [], &mut labels);
        assert_eq!(labels, [6, 7]);
    }

    #[test]
    #[should_panic]
    fn gather_panics_on_an_index_past_the_end() {
        five().gather(&[5], &mut [0; 3], &mut [0; 1]);
    }

    #[test]
    fn split_takes_the_first_entries_and_keeps_both_orders() {
        let (rest, part) = five().split(&[4, 1, 3, 0, 2], 2).unwrap();
        assert_eq!(part.inputs, array![[40, 41, 42], [10, 11, 12]]);
        assert_eq!(part.labels, [9, 6]);
        assert_eq!(rest.inputs, array![[30, 31, 32], [0, 1, 2], [20, 21, 22]]);
        assert_eq!(rest.labels, [8, 5, 7]);
        for half in [&rest, &part] {
            assert_eq!((&half.sample_shape[..], half.classes, half.scale), (&[1, 1, 3][..], 10, 0.5));
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
