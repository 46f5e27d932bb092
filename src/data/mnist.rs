//! MNIST, or any other images and labels in four IDX files of the same names, such as Fashion-MNIST and the parts of EMNIST.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ndarray::Array2;

use super::{DataError, Dataset, Loaded, Targets, Wanted, idx};
use crate::element::{Element, Encoding};

/// Names of the four files: training images, training labels, test images, test labels.
pub const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// Reads the four [`FILES`] in `dir`. Each is read plain or, if there is no plain one, with `.gz` behind its name.
///
/// `sample_shape` is `[1, height, width]`, as the files say, and the targets are as many classes as `wanted` says, or one more than the
/// largest label. Bytes go in times 1/255.
///
/// # Errors
/// [`DataError::MissingFile`]; all of [`idx::read`]; [`DataError::Empty`], [`DataError::CountsDiffer`] and
/// [`DataError::LabelOutOfRange`] in either part, [`DataError::ImageSizesDiffer`] between the two.
pub fn load(dir: &Path, wanted: Wanted) -> Result<Loaded, DataError> {
    let [train_images, train_labels, test_images, test_labels] = FILES;
    let train = IdxPart::read(dir, train_images, train_labels, wanted.classes())?;
    let test = IdxPart::read(dir, test_images, test_labels, wanted.classes())?;
    if test.image_size != train.image_size {
        return Err(DataError::ImageSizesDiffer {
            file: test.image_file,
            found: test.image_size,
            other: train.image_file,
            expected: train.image_size,
        });
    }
    let (test_file, test) = (test.image_file, test.dataset);
    Loaded::of((&train.image_file, train.dataset), Some((&test_file, test)), wanted.classes())
}

/// A training or test part, read from a file of images and a file of labels.
struct IdxPart {
    /// The samples and their classes.
    dataset: Dataset,
    /// The file of images, for errors.
    image_file: PathBuf,
    /// Size of the images in pixels, (height, width).
    image_size: [usize; 2],
}

impl IdxPart {
    /// Reads and checks the files `images` and `labels` in `dir`. Where the number of `classes` is known, labels must be below it.
    fn read(
        dir: &Path,
        images: &'static str,
        labels: &'static str,
        classes: Option<u32>,
    ) -> Result<IdxPart, DataError> {
        let (image_file, label_file) = (locate(dir, images)?, locate(dir, labels)?);
        let images = idx::read(&image_file, 3)?;
        let labels = idx::read(&label_file, 1)?.values;

        let &[count, height, width] = images.dims.as_slice() else {
            let found = images.dims.len();
            return Err(DataError::DimensionCount { file: image_file, found, expected: 3 });
        };
        if images.values.is_empty() {
            return Err(DataError::Empty { file: image_file, found: images.dims });
        }
        if labels.len() != count {
            return Err(DataError::CountsDiffer { image_file, images: count, label_file, labels: labels.len() });
        }
        let labels: Vec<u32> = labels.into_iter().map(u32::from).collect();
        if let Some(classes) = classes
            && let Some((index, &found)) = labels.iter().enumerate().find(|&(_, &label)| label >= classes)
        {
            return Err(DataError::LabelOutOfRange { file: label_file, index, found, classes: classes as usize });
        }

        let features = height * width;
        let bytes = images.values.len() as u64;
        let inputs = Array2::from_shape_vec((count, features), images.values).map_err(|_| DataError::Truncated {
            file: image_file.clone(),
            found: bytes,
            expected: (count * features) as u64,
        })?;
        let sample_shape = vec![1, height, width];
        let encoding = Encoding::scaled(Element::U8, 1.0 / 255.0);
        let dataset = Dataset { inputs, encoding, sample_shape, targets: Targets::classes(labels, 0) };
        Ok(IdxPart { dataset, image_file, image_size: [height, width] })
    }
}

/// The path of the file `name` in `dir`, plain before gzipped.
fn locate(dir: &Path, name: &'static str) -> Result<PathBuf, DataError> {
    for path in [dir.join(name), dir.join(format!("{name}.gz"))] {
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => return Ok(path),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(source) => {
                return Err(DataError::Io { action: "read", path, source });
            }
        }
    }
    Err(DataError::MissingFile { name, dir: dir.to_owned() })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::data::gzip;

    /// A folder with three training and two test images of 2x3 pixels.
    fn small() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        put(&dir, FILES[0], &idx::encode(&[3, 2, 3], &(0..18).collect::<Vec<u8>>()));
        put(&dir, FILES[1], &idx::encode(&[3], &[9, 0, 4]));
        put(&dir, FILES[2], &idx::encode(&[2, 2, 3], &(100..112).collect::<Vec<u8>>()));
        put(&dir, FILES[3], &idx::encode(&[2], &[1, 2]));
        dir
    }

    fn put(dir: &TempDir, name: &str, bytes: &[u8]) {
        fs::write(dir.path().join(name), bytes).unwrap();
    }

    const CLASSES: Wanted = Wanted::Classes { ignored: None, classes: None };

    fn refused(dir: &TempDir) -> DataError {
        load(dir.path(), CLASSES).unwrap_err()
    }

    #[test]
    fn loads_both_parts() {
        let Loaded { train, test, .. } = load(small().path(), CLASSES).unwrap();
        let test = test.unwrap();
        assert_eq!((train.samples(), train.features(), &train.sample_shape[..]), (3, 6, &[1, 2, 3][..]));
        assert_eq!(train.encoding, Encoding::scaled(Element::U8, 1.0 / 255.0));
        assert_eq!(train.inputs.row(1).to_vec(), [6, 7, 8, 9, 10, 11]);
        assert_eq!(train.targets, Targets::classes(vec![9, 0, 4], 10));
        assert_eq!((test.samples(), test.inputs[[1, 0]]), (2, 106));
        assert_eq!(test.targets, Targets::classes(vec![1, 2], 10));
    }

    #[test]
    fn takes_gzipped_files_but_plain_ones_first() {
        let dir = small();
        let plain = load(dir.path(), CLASSES).unwrap();
        // A gzipped file with other labels is not looked at while the plain one is there.
        put(&dir, "train-labels-idx1-ubyte.gz", &gzip::pack(&idx::encode(&[3], &[9, 7, 7])));
        assert_eq!(load(dir.path(), CLASSES).unwrap(), plain);
        fs::remove_file(dir.path().join(FILES[1])).unwrap();
        assert_eq!(load(dir.path(), CLASSES).unwrap().train.targets, Targets::classes(vec![9, 7, 7], 10));
    }

    #[test]
    fn a_missing_file_names_the_folder_and_the_remedy() {
        let dir = small();
        fs::remove_file(dir.path().join(FILES[2])).unwrap();
        let message = refused(&dir).to_string();
        for part in [FILES[2], "run `mixnn data fetch mnist`", &dir.path().display().to_string()] {
            assert!(message.contains(part), "{message}");
        }
        let elsewhere = load(&dir.path().join("nowhere"), CLASSES).unwrap_err();
        assert!(matches!(elsewhere, DataError::MissingFile { name, .. } if name == FILES[0]));
        assert!(matches!(load(&dir.path().join(FILES[0]), CLASSES), Err(DataError::MissingFile { .. })));
    }

    #[test]
    fn counts_must_agree() {
        let dir = small();
        put(&dir, FILES[3], &idx::encode(&[3], &[1, 2, 3]));
        assert!(matches!(refused(&dir), DataError::CountsDiffer { images: 2, labels: 3, .. }));
    }

    /// EMNIST counts its letters from 1, and has files of up to 62 classes.
    #[test]
    fn there_are_as_many_classes_as_labels_tell_or_a_job_says() {
        let dir = small();
        put(&dir, FILES[3], &idx::encode(&[2], &[61, 2]));
        let of = |classes| load(dir.path(), Wanted::Classes { ignored: None, classes });
        assert_eq!(of(None).unwrap().train.targets, Targets::classes(vec![9, 0, 4], 62));
        assert_eq!(of(Some(100)).unwrap().test.unwrap().targets, Targets::classes(vec![61, 2], 100));
        let message = of(Some(10)).unwrap_err().to_string();
        assert!(message.contains("t10k-labels-idx1-ubyte: label 0 is 61, expected a class below 10"), "{message}");
    }

    #[test]
    fn image_sizes_must_agree() {
        let dir = small();
        put(&dir, FILES[2], &idx::encode(&[2, 3, 2], &[0; 12]));
        let error = refused(&dir);
        assert!(matches!(error, DataError::ImageSizesDiffer { found: [3, 2], expected: [2, 3], .. }), "{error}");
    }

    #[test]
    fn there_must_be_a_sample() {
        for dims in [[0, 2, 3], [2, 0, 3], [2, 2, 0]] {
            let dir = small();
            put(&dir, FILES[2], &idx::encode(&dims, &[]));
            put(&dir, FILES[3], &idx::encode(&[dims[0]], &vec![1; dims[0] as usize]));
            let error = refused(&dir);
            assert!(matches!(error, DataError::Empty { .. }), "{error}");
        }
    }

    #[test]
    fn swapped_files_are_seen() {
        let dir = small();
        put(&dir, FILES[1], &fs::read(dir.path().join(FILES[0])).unwrap());
        assert!(matches!(refused(&dir), DataError::DimensionCount { found: 3, expected: 1, .. }));
    }
}
