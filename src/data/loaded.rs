//! What a source holds, and what is done to its training and test part alike.

use std::path::Path;

use super::{Augment, DataError, Dataset, IGNORED, Targets, Wanted};
use crate::element::{Element, Encoding};

/// What a source of data holds, read into memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The training part, or the whole source.
    pub train: Dataset,
    /// The test part. `None` if the source has no split of its own.
    pub test: Option<Dataset>,
    /// Names of a sample's values, in their order, if the source has any: the columns of a table.
    pub names: Vec<String>,
}

/// A part of a source, and the file that it was read from, which stands in errors.
pub(super) type SourcePart<'a> = (&'a Path, Dataset);

impl Loaded {
    /// Joins the two parts of a source. Both must have the same shapes and types. The number of classes is `classes`, or one
    /// more than the largest label.
    ///
    /// # Errors
    /// [`DataError::Content`] if the parts differ, have more samples than a u32 counts, or no label tells the number of
    /// classes.
    pub(super) fn of(
        train: SourcePart<'_>,
        test: Option<SourcePart<'_>>,
        classes: Option<u32>,
    ) -> Result<Self, DataError> {
        if let Some((file, test)) = &test {
            let (found, expected) = (form(test), form(&train.1));
            if found != expected {
                let expected = format!("{expected} as in {}: save both alike", train.0.display());
                return Err(DataError::content(file, "its samples", found, expected));
            }
        }
        let (file, mut train) = train;
        let largest = [Some(&train), test.as_ref().map(|test| &test.1)].into_iter().flatten().map(largest).max();
        let classes = classes.or(largest.flatten().map(|largest| largest + 1));
        let set = |part: &mut Dataset, file: &Path| {
            if u32::try_from(part.samples()).is_err() {
                let expected = format!("at most {}", u32::MAX);
                return Err(DataError::content(file, "its samples", format!("{} of them", part.samples()), expected));
            }
            if let Targets::Classes { classes: to, .. } = &mut part.targets {
                let expected = "at least one that is not ignored, as train.loss.ignore_index says";
                *to = classes.ok_or_else(|| DataError::content(file, "its labels", "none that counts", expected))?
                    as usize;
            }
            Ok(())
        };
        set(&mut train, file)?;
        let test = match test {
            Some((file, mut test)) => {
                set(&mut test, file)?;
                Some(test)
            }
            None => None,
        };
        Ok(Self { train, test, names: Vec::new() })
    }

    /// This source, if the loss wants classes. A label that the loss ignores is marked as such. `source` is the word for the
    /// source in a job; its labels are always classes.
    ///
    /// # Errors
    /// [`DataError::ClassesAlone`] if the loss wants numbers.
    pub fn of_classes(mut self, wanted: Wanted, source: &'static str) -> Result<Self, DataError> {
        let Wanted::Classes { ignored, .. } = wanted else {
            return Err(DataError::ClassesAlone { source_name: source });
        };
        // Any other number is not a class of any source, so nothing need be marked.
        if let Some(ignored) = ignored.and_then(|ignored| u32::try_from(ignored).ok()) {
            for part in [Some(&mut self.train), self.test.as_mut()].into_iter().flatten() {
                if let Targets::Classes { labels, .. } = &mut part.targets {
                    labels.iter_mut().filter(|label| **label == ignored).for_each(|label| *label = IGNORED);
                }
            }
        }
        Ok(self)
    }

    /// This source with its values normalised: x, scaled as the source says, becomes (x - `mean`) / `std`. Each is one number
    /// for all values, or one for each channel of images. The quotients are computed in f64 and rounded once.
    /// # Errors
    /// [`DataError::Unfit`] if samples are tokens, if there are other than one number or one for each channel, or if an f32
    /// cannot hold a result.
    pub fn normalized(mut self, mean: &[f64], std: &[f64]) -> Result<Self, DataError> {
        // A token that is shifted or scaled would be another row of the embedding.
        if self.train.encoding.element == Element::U16 {
            let expected = "uint8 or floats, as `mean` and `std` are for: leave both out for tokens, or save other numbers as \
                            float32";
            let found = "inputs of uint16, which are tokens".to_owned();
            return Err(DataError::Unfit { key: "mean", found, expected: expected.to_owned() });
        }
        let shape = shown(&self.train.sample_shape);
        let channels = match self.train.sample_shape[..] {
            [channels, _, _] => channels,
            _ => 1,
        };
        for (key, numbers) in [("mean", mean), ("std", std)] {
            if numbers.len() != 1 && numbers.len() != channels {
                let expected = match channels {
                    1 => format!("one: samples are {shape}"),
                    many => format!("one, or {many} for the channels of samples {shape}"),
                };
                return Err(DataError::Unfit { key, found: format!("{} numbers", numbers.len()), expected });
            }
        }
        for part in [Some(&mut self.train), self.test.as_mut()].into_iter().flatten() {
            let Encoding { element, scale, shift } = &part.encoding;
            let count = mean.len().max(std.len()).max(scale.len());
            let of = |numbers: &[f64], at: usize| numbers[at % numbers.len()];
            let single = |numbers: &[f32], at: usize| f64::from(numbers[at % numbers.len()]);
            let encoding = Encoding {
                element: *element,
                scale: (0..count).map(|at| (single(scale, at) / of(std, at)) as f32).collect(),
                shift: (0..count).map(|at| ((single(shift, at) - of(mean, at)) / of(std, at)) as f32).collect(),
            };
            if !u32::try_from(part.features()).is_ok_and(|features| encoding.fits(features)) {
                let found = format!("mean {mean:?} and std {std:?} for a scale of {scale:?}");
                let expected = "quotients that an f32 holds".to_owned();
                return Err(DataError::Unfit { key: "std", found, expected });
            }
            part.encoding = encoding;
        }
        Ok(self)
    }

    /// Checks that `augment` can be done to these samples.
    ///
    /// # Errors
    /// [`DataError::Unfit`] if something is to be done and the samples are not images.
    pub fn augmentable(&self, augment: Augment) -> Result<(), DataError> {
        if augment == Augment::default() || self.train.sample_shape.len() == 3 {
            return Ok(());
        }
        let found = format!("samples {}", shown(&self.train.sample_shape));
        let expected = "images (channels, height, width): say so with a `shape` such as [1, 28, 28] where the source knows \
                        one, or leave `augment` out";
        Err(DataError::Unfit { key: "augment", found, expected: expected.to_owned() })
    }
}

/// The largest class in a part. `None` if no label counts.
fn largest(part: &Dataset) -> Option<u32> {
    match &part.targets {
        Targets::Classes { labels, .. } => labels.iter().copied().filter(|label| *label != IGNORED).max(),
        Targets::Values { .. } => None,
    }
}

/// The shape and type of a part's samples and targets, in words.
fn form(part: &Dataset) -> String {
    let targets = match part.targets {
        Targets::Classes { places: 1, .. } => "a class".to_owned(),
        Targets::Classes { places, .. } => format!("{places} classes"),
        Targets::Values { width, .. } => format!("{width} numbers"),
    };
    format!("{} of {} with {targets} each", shown(&part.sample_shape), part.encoding.element.name())
}

/// Dimensions in words, such as `(1, 28, 28)`.
pub(super) fn shown(dims: &[usize]) -> String {
    let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
    format!("({})", dims.join(", "))
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn part(labels: &[u32], shape: &[usize]) -> Dataset {
        Dataset {
            inputs: Array2::zeros((labels.len(), shape.iter().product())),
            encoding: Encoding::scaled(Element::U8, 0.5),
            sample_shape: shape.to_vec(),
            targets: Targets::classes(labels.to_vec(), 0),
        }
    }

    fn of(train: &[u32], test: Option<Dataset>, classes: Option<u32>) -> Result<Loaded, DataError> {
        let test = test.map(|test| (Path::new("test"), test));
        Loaded::of((Path::new("train"), part(train, &[3, 1, 2])), test, classes)
    }

    fn classes(part: &Dataset) -> usize {
        match part.targets {
            Targets::Classes { classes, .. } => classes,
            Targets::Values { .. } => panic!("these are classes"),
        }
    }

    #[test]
    fn both_parts_have_as_many_classes() {
        let test = || Some(part(&[0, 5], &[3, 1, 2]));
        let loaded = of(&[1, 2, IGNORED], test(), None).unwrap();
        assert_eq!((classes(&loaded.train), classes(&loaded.test.unwrap())), (6, 6));
        let loaded = of(&[1, 2], None, Some(10)).unwrap();
        assert_eq!((classes(&loaded.train), loaded.test), (10, None));
        let error = of(&[IGNORED, IGNORED], None, None).unwrap_err().to_string();
        assert_eq!(
            error,
            "train, its labels: none that counts, expected at least one that is not ignored, as train.loss.ignore_index says"
        );
    }

    #[test]
    fn parts_must_have_one_form() {
        let error = of(&[1], Some(part(&[1], &[3, 2, 1])), None).unwrap_err().to_string();
        assert_eq!(
            error,
            "test, its samples: (3, 2, 1) of uint8 with a class each, expected (3, 1, 2) of uint8 with a class each as in train: save \
             both alike"
        );
        let mut other = part(&[1], &[3, 1, 2]);
        other.encoding.element = Element::F32;
        assert!(of(&[1], Some(other), None).is_err());
        let values = Targets::Values { values: vec![1.0], width: 1 };
        assert!(of(&[1], Some(Dataset { targets: values, ..part(&[1], &[3, 1, 2]) }), None).is_err());
    }

    #[test]
    fn a_source_of_classes_has_nothing_else() {
        let loaded = || of(&[1, 2, 0], Some(part(&[2], &[3, 1, 2])), None).unwrap();
        let wanted = |ignored| Wanted::Classes { ignored, classes: None };
        assert_eq!(loaded().of_classes(wanted(None), "mnist").unwrap(), loaded());
        assert_eq!(loaded().of_classes(wanted(Some(-100)), "mnist").unwrap(), loaded());
        let ignoring = loaded().of_classes(wanted(Some(2)), "mnist").unwrap();
        assert_eq!(ignoring.train.targets, Targets::classes(vec![1, IGNORED, 0], 3));
        assert_eq!(ignoring.test.unwrap().targets, Targets::classes(vec![IGNORED], 3));
        let error = loaded().of_classes(Wanted::Values, "mnist").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let error = error.to_string();
        for words in ["the loss wants numbers", "\"mnist\" are classes", "loss = \"cross_entropy\"", "csv, npy"] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn mean_and_deviation_go_into_the_encoding() {
        let loaded = || of(&[1, 2], Some(part(&[0], &[3, 1, 2])), None).unwrap();
        let normal = loaded().normalized(&[0.1, 0.2, 0.3], &[0.25]).unwrap();
        for part in [&normal.train, normal.test.as_ref().unwrap()] {
            assert_eq!(part.encoding.scale, [2.0; 3]);
            assert_eq!(part.encoding.shift, [(-0.1 / 0.25) as f32, (-0.2 / 0.25) as f32, (-0.3 / 0.25) as f32]);
        }
        let all = loaded().normalized(&[0.1], &[0.3]).unwrap().train.encoding;
        assert_eq!((all.scale, all.shift), (vec![(0.5 / 0.3) as f32], vec![(-0.1 / 0.3) as f32]));
        for (mean, std, words) in [
            (&[0.1, 0.2][..], &[1.0][..], "data.mean: 2 numbers, expected one, or 3 for the channels"),
            (&[0.1], &[1.0; 4], "data.std: 4 numbers, expected one, or 3"),
            (&[0.1], &[], "data.std: 0 numbers"),
            (&[0.1], &[1e-300], "quotients that an f32 holds"),
        ] {
            let error = loaded().normalized(mean, std).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let vector = Loaded { train: part(&[1], &[4]), test: None, names: Vec::new() };
        let error = vector.normalized(&[0.0; 4], &[1.0]).unwrap_err().to_string();
        assert_eq!(error, "data.mean: 4 numbers, expected one: samples are (4)");
    }

    #[test]
    fn tokens_are_not_normalized() {
        let mut tokens = part(&[1], &[4]);
        tokens.encoding = Encoding::scaled(Element::U16, 1.0);
        let error = Loaded { train: tokens, test: None, names: Vec::new() }.normalized(&[0.5], &[2.0]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(
            error.to_string(),
            "data.mean: inputs of uint16, which are tokens, expected uint8 or floats, as `mean` and `std` are for: leave both \
             out for tokens, or save other numbers as float32"
        );
    }

    #[test]
    fn images_alone_are_augmented() {
        let augment = Augment { crop: 1, flip: false };
        let of = |shape: &[usize]| Loaded { train: part(&[1], shape), test: None, names: Vec::new() };
        of(&[1, 2, 2]).augmentable(augment).unwrap();
        of(&[4]).augmentable(Augment::default()).unwrap();
        let error = of(&[4]).augmentable(augment).unwrap_err().to_string();
        assert!(error.starts_with("data.augment: samples (4), expected images (channels, height, width)"), "{error}");
    }
}
