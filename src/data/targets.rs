//! Targets: what the outputs for samples should be.

/// The label that does not count.
pub const IGNORED: u32 = u32::MAX;

/// What the outputs for samples should be, sample by sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Classes, for a loss that compares with classes.
    Classes {
        /// The labels, (samples, places): each below `classes`, or [`IGNORED`].
        labels: Vec<u32>,
        /// Number of labels of a sample: 1, or one for each token.
        places: usize,
        /// Number of classes that a label may name.
        classes: usize,
    },
    /// Numbers, for a loss that compares with numbers.
    Values {
        /// The numbers, (samples, width).
        values: Vec<f32>,
        /// Number of numbers of a sample.
        width: usize,
    },
}

impl Targets {
    /// Targets of one class a sample.
    pub fn classes(labels: Vec<u32>, classes: usize) -> Self {
        Targets::Classes { labels, places: 1, classes }
    }

    /// No targets, for samples of which nobody knows what should come out.
    pub fn none() -> Self {
        Targets::Values { values: Vec::new(), width: 1 }
    }

    /// Number of samples that have targets.
    pub fn samples(&self) -> usize {
        match self {
            Targets::Classes { labels, places, .. } => labels.len() / places,
            Targets::Values { values, width } => values.len() / width,
        }
    }

    /// Whether each sample has several labels, of which one is 1 and the others are 0: a one-hot class, as NumPy's `eye` makes
    /// it.
    pub fn is_one_hot(&self) -> bool {
        match self {
            Targets::Classes { labels, places, .. } if *places > 1 => labels.chunks_exact(*places).all(|row| {
                row.iter().all(|label| *label <= 1) && row.iter().filter(|label| **label == 1).count() == 1
            }),
            _ => false,
        }
    }

    /// Empty targets of the same kind, with memory for `samples` samples.
    #[must_use]
    pub fn room(&self, samples: usize) -> Targets {
        match *self {
            Targets::Classes { places, classes, .. } => {
                Targets::Classes { labels: Vec::with_capacity(samples * places), places, classes }
            }
            Targets::Values { width, .. } => Targets::Values { values: Vec::with_capacity(samples * width), width },
        }
    }

    /// Sets these targets to those of the samples `indices` of `from`, which must be of the same kind. It allocates nothing if
    /// there is [`room`](Targets::room).
    ///
    /// # Panics
    /// If an index is not below [`samples`](Targets::samples), or the kinds differ.
    pub fn copy_from(&mut self, from: &Targets, indices: &[u32]) {
        match (self, from) {
            (Targets::Classes { labels: to, .. }, Targets::Classes { labels, places, .. }) => {
                copy_rows(labels, *places, indices, to);
            }
            (Targets::Values { values: to, .. }, Targets::Values { values, width }) => {
                copy_rows(values, *width, indices, to);
            }
            _ => unreachable!("all targets of a job are of one kind"),
        }
    }

    /// Number of terms in the loss of the samples `indices`, which is the mean over them: their labels that are not ignored, or
    /// their numbers.
    ///
    /// # Panics
    /// If an index is not below [`samples`](Targets::samples).
    pub fn terms(&self, indices: &[u32]) -> usize {
        match self {
            Targets::Classes { labels, places, .. } => {
                let rows = indices.iter().map(|index| &labels[*index as usize * places..][..*places]);
                rows.flatten().filter(|label| **label != IGNORED).count()
            }
            Targets::Values { width, .. } => indices.len() * width,
        }
    }
}

/// Sets `to` to the rows `indices` of `from`. Each row has `width` values.
fn copy_rows<X: Copy>(from: &[X], width: usize, indices: &[u32], to: &mut Vec<X>) {
    to.clear();
    for index in indices {
        to.extend_from_slice(&from[*index as usize * width..][..width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_copied_in_the_order_of_the_indices() {
        let tokens = Targets::Classes { labels: vec![0, 1, 2, IGNORED, 4, 5], places: 2, classes: 6 };
        let mut taken = tokens.room(2);
        taken.copy_from(&tokens, &[2, 1]);
        assert_eq!(taken, Targets::Classes { labels: vec![4, 5, 2, IGNORED], places: 2, classes: 6 });
        assert_eq!((tokens.samples(), tokens.terms(&[2, 1]), tokens.terms(&[1])), (3, 3, 1));
        let values = Targets::Values { values: vec![0.5, 1.5, 2.5], width: 1 };
        let mut taken = values.room(1);
        taken.copy_from(&values, &[1]);
        assert_eq!(taken, Targets::Values { values: vec![1.5], width: 1 });
        assert_eq!((values.samples(), values.terms(&[0, 2])), (3, 2));
    }

    #[test]
    fn one_hot_labels_are_seen() {
        let of =
            |labels: &[u32], places| Targets::Classes { labels: labels.to_vec(), places, classes: 2 }.is_one_hot();
        assert!(of(&[0, 1, 1, 0, 0, 1], 2) && of(&[0, 0, 1], 3));
        for labels in [&[0, 1, 1, 1][..], &[0, 0, 0, 1], &[0, 2, 1, 0], &[1, IGNORED]] {
            assert!(!of(labels, 2), "{labels:?}");
        }
        assert!(!of(&[1, 1], 1));
        assert!(!Targets::Values { values: vec![0.0, 1.0], width: 2 }.is_one_hot());
    }

    #[test]
    #[should_panic]
    fn an_index_past_the_end_panics() {
        let classes = Targets::classes(vec![1, 2], 3);
        classes.room(1).copy_from(&classes, &[2]);
    }
}
